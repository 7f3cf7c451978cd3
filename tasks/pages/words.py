"""Figures in words, and tables in Markdown, the same in every report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def percent(share: float) -> str:
    """A share from 0 to 1 in per cent."""
    return f"{100 * share:.2f} %"


def carried(share: float, n: int) -> str:
    """A share from 0 to 1 in per cent, with no more decimals than ``n`` cases carry: none below 1,000."""
    return f"{100 * share:.{max(0, len(str(n)) - 3)}f} %"


def interval(item: Mapping[str, Any]) -> str:
    """The ends of a share's ``interval_95``, in per cent."""
    low, high = item["interval_95"]
    return f"{100 * low:.2f} to {100 * high:.2f} %"


def with_interval(item: Mapping[str, Any]) -> str:
    """A share with its interval and its n."""
    return f"{percent(item['share'])} ({interval(item)}, n = {item['n']:,})"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; a cell's own bars and line breaks do not break it."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(' '.join(cell.replace('|', '¦').split()) for cell in cells)} |" for cells in lines)


def dollars(usd: float | None) -> str:
    """An amount with as many decimals as it takes to see it."""
    if usd is None:
        return "none"
    return f"${usd:,.2f}" if usd >= 1 or usd == 0 else f"${usd:.2g}"


def duration(seconds: float) -> str:
    """Hours and minutes, or less."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
