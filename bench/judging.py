"""Do the judge's figures say what they claim? Coverage of their intervals, and judges whose habits are known.

``python -m bench.judging --rounds 2000`` prints, per simulated judge and number of groups, the mean of each figure against
the truth and how often its 95 % interval holds the truth. With 2,000 rounds a coverage of 95 % is known to +- 1.0 points.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from tasks.judging.statistics import Comparison, Share, compare
from tests.judging.simulated import Judge, rounds

CASES: Sequence[tuple[str, Judge, int, int]] = (
    ("sees all", Judge(better=0.55), 110, 1),
    ("sees half, first slot 0.8", Judge(better=0.6, sees=0.5, first=0.8), 110, 1),
    ("the same, 30 % ties", Judge(better=0.6, sees=0.5, first=0.8, ties=0.3), 110, 1),
    ("the same, 1 to 3 of a group, alike 0.3", Judge(0.6, 0.5, 0.8, 0.3, 0.3), 110, 3),
    ("the same, 400 groups", Judge(0.6, 0.5, 0.8, 0.3, 0.3), 400, 3),
    ("the same, 40 groups", Judge(0.6, 0.5, 0.8, 0.3, 0.3), 40, 3),
    ("likes length", Judge(better=0.5, longer=1.0), 110, 1),
    ("likes length, 1 to 3 of a group", Judge(better=0.5, longer=1.0), 110, 3),
)


def main() -> None:
    """Print one line per judge and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2000)
    options = parser.parse_args()
    print(f"{options.rounds:,} rounds each, one process, {os.cpu_count()} cores.")
    print("| judge | groups | figure | truth | mean found | coverage | called better or worse |\n" + "|---" * 7 + "|")
    for name, judge, groups, most in CASES:
        found: dict[str, list[Share]] = defaultdict(list)
        decided = 0
        for pairs in rounds(judge, options.rounds, groups, most):
            comparison = compare(pairs)
            decided += comparison.outcome != "not enough evidence"
            for figure in truths(judge):
                found[figure].append(figure_of(comparison, figure))
        for figure, truth in truths(judge).items():
            values = np.array([each.value for each in found[figure]], float)
            held = np.mean([each.low <= truth <= each.high for each in found[figure]])
            told = f"{100 * decided / options.rounds:.1f} %" if figure == "win_rate" else ""
            print(f"| {name} | {groups} | {figure} | {truth:.4f} | {values.mean():.4f} | {100 * held:.1f} % | {told} |")


def truths(judge: Judge) -> dict[str, float]:
    """What should be found; of a judge that likes length only what is known exactly."""
    if judge.longer:
        return {"at_equal_length": judge.better, "doubled": 1 / (1 + np.exp(-judge.longer))}
    return {
        "win_rate": judge.win_rate,
        "bootstrap": judge.win_rate,
        "without_ties": judge.without_ties,
        "flips": judge.flips,
        "first_slot": judge.first_slot,
        "one_order": judge.one_order,
    }


def figure_of(comparison: Comparison, name: str) -> Share:
    """A figure by its name."""
    found = getattr(comparison, name, None) or getattr(comparison.length, name)
    assert isinstance(found, Share)
    return found


if __name__ == "__main__":
    main()
