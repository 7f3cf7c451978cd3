"""Tables and figures as lines of a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Lay out rows under columns as wide as their widest cell; a column of ints is set to the right.

    Args:
        columns: Their names.
        rows: Cells; ints get thousands separators, None is empty.
    """
    cells = [
        ["" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows
    ]
    widths = [max(len(row[at]) for row in [columns, *cells]) for at in range(len(columns))]
    right = [bool(rows) and all(isinstance(row[at], int) for row in rows) for at in range(len(columns))]
    for row in [columns, ["─" * width for width in widths], *cells]:
        placed = (
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        )
        yield "  ".join(placed).rstrip()


def size(count: float) -> str:
    """Bytes as people read them: 1.4 GB."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"


def utc(at: float) -> str:
    """A moment, seconds since 1970, to the second."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
