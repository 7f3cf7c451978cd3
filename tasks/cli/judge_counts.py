"""`trasvase judge-counts 47/109 54/110`: whether two win rates against the same opponent differ, from counts alone."""

from __future__ import annotations

import argparse
import re

_EPILOG = """\
examples:
  trasvase judge-counts 47/109 54/110      a model of before and one of now, each against the same third one

Games that one model won and that it played, then those of another one against the same opponent. Ties and games without
a verdict are in neither number. p is of the z test for two proportions, each with its own error.

exit codes: 0 it was worked out; 2 these are no counts
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `trasvase judge-counts`."""
    parser.description = "Two win rates against a common opponent: intervals, p, and how many games would be needed."
    parser.epilog = _EPILOG
    parser.add_argument("first", metavar="WON/PLAYED", type=_counts, help="of the first model, such as 47/109")
    parser.add_argument("second", metavar="WON/PLAYED", type=_counts, help="of the second one, such as 54/110")
    parser.set_defaults(run_command=run)


def run(options: argparse.Namespace) -> int:
    """Print what the counts say; the exit code."""
    from tasks.judging.statistics import POWER, arms

    (won, n), (others, m) = options.first, options.second
    found = arms(won, n, others, m)
    for name, (value, low, high, of), wins in (("first", found.one, won), ("second", found.other, others)):
        assert value is not None, "played games"
        print(f"{name:7} {wins:,} of {of:,}: {100 * value:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f} %)")
    gain, low, high = found.gain
    print(f"gain    {100 * gain:+.1f} points (95 % interval {100 * low:+.1f} to {100 * high:+.1f})")
    if found.needed:
        print(
            f"needed  {found.needed:,} games per model, to show this gain in {100 * POWER:.0f} of 100 such comparisons"
        )
    print(found)
    return 0


def _counts(text: str) -> tuple[int, int]:
    read = re.fullmatch(r"(\d+)/(\d+)", text)
    if read is None or not int(read[1]) <= int(read[2]) or not int(read[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not games won and played, such as 47/109")
    return int(read[1]), int(read[2])
