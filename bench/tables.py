"""How the benches print what they measured."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def table(title: str, head: Sequence[str], lines: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print(f"\n## {title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for line in lines:
        print("| " + " | ".join(f"{cell:,.2f}" if isinstance(cell, float) else f"{cell}" for cell in line) + " |")
    sys.stdout.flush()
