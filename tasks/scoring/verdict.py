"""Whether one model is better than another on the same frozen rows: pass, fail, or not enough evidence.

    F1 micro 0.6442 against 0.6110: +0.0332 (+0.021 to +0.0454), at least 0 asked for  ->  pass

The interval is of the difference, from what each group tells of both models: what is hard for both cancels out. It
passes when the whole interval lies above the least difference that was asked for, fails when the whole of it lies below.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from math import erfc, isnan, sqrt
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.scoring import metrics
from tasks.scoring.figures import NAMES, OWN_RULE, SMALLER_IS_BETTER, rule_of
from tasks.scoring.intervals import Groups, Interval, plain
from tasks.scoring.metrics import Tally
from tasks.scoring.predictions import Predictions
from tasks.scoring.thresholds import Thresholds, decide
from tasks.stats.intervals import pulls, spread, student
from tasks.storage.errors import PermanentError

Floats = NDArray[np.float64]

Outcome = Literal["pass", "fail", "not enough evidence"]
Metric = Literal["f1_micro", "f1_macro", "subset_accuracy", "hamming_loss"]

POWER = 0.8
_NORMAL = NormalDist()
_TAIL = 0.025
_MOST = 10**15  # rows that are looked for


class OtherRows(PermanentError):
    """Two models that were not asked the same questions cannot be compared."""


class McNemar(NamedTuple):
    """Rows that just one of two models has right, and how likely such a difference is by chance.

    Args:
        only_new: Rows.
        only_old: Rows.
        p: Two-sided.
        how: The test that was used.
    """

    only_new: int
    only_old: int
    p: float
    how: str


@dataclass(frozen=True)
class Verdict:
    """What a comparison says.

    Args:
        outcome: pass, fail, or not enough evidence.
        metric: What decided.
        minimal: The least difference that was asked for.
        differences: New minus old by metric, turned so that more is better; intervals of 95 %.
        n: Rows that both models answered.
        groups: Groups of these rows.
        only_one: Rows that just one of the models could be scored on; left out.
        mcnemar: Of rows that are exactly right.
        rows_needed: Rows that would show the difference that was found, or its absence, in 80 of 100 such test sets; None
            where it is exactly what was asked for.
        detectable: The difference from ``minimal`` that these rows show in 80 of 100 such test sets; None where the metric
            does not exist on them, differs on none of them, or too few groups tell.
    """

    outcome: Outcome
    metric: Metric
    minimal: float
    differences: Mapping[str, Interval]
    n: int
    groups: int
    only_one: int
    mcnemar: McNemar
    rows_needed: int | None
    detectable: float | None

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "outcome": self.outcome,
            "metric": self.metric,
            "minimal_difference": self.minimal,
            "differences": {name: plain(each) for name, each in self.differences.items()},
            "n": self.n,
            "groups": self.groups,
            "only_one": self.only_one,
            "mcnemar": self.mcnemar._asdict(),
            "rows_needed": self.rows_needed,
            "detectable": self.detectable,
            "power": POWER,
        }

    def __str__(self) -> str:
        value, low, high = self.differences[self.metric]
        if isnan(value):
            return (
                f"{self.outcome}: {NAMES[self.metric]} does not exist on these {self.n:,} rows, since nothing is true and "
                "nothing predicted. Take another metric"
            )
        needed = f"; about {self.rows_needed:,} rows would be needed" if self.rows_needed else ""
        return (
            f"{self.outcome}: {NAMES[self.metric]} {value:+.4f} ({low:+.4f} to {high:+.4f}, n = {self.n:,}), "
            f"more than {self.minimal:+.4f} asked for{needed if self.outcome == 'not enough evidence' else ''}"
        )


def compare(
    new: tuple[Predictions, Thresholds],
    old: tuple[Predictions, Thresholds],
    metric: Metric = "f1_micro",
    minimal: float = 0.0,
) -> Verdict:
    """Compare two models on the rows that both were scored on, each with its own thresholds.

    Args:
        new: Predictions of the model that wants to be better, and its thresholds.
        old: The other one's, on the same rows of the same split.
        metric: What decides.
        minimal: By how much it must be better at least; a little below 0 to ask that it is not worse.

    Raises:
        OtherRows: A row has another group or truth in the two, or they have no row in common.
    """
    rows = np.intersect1d(new[0].rows, old[0].rows)
    only_one = len(new[0]) + len(old[0]) - 2 * len(rows)
    if not len(rows):
        raise OtherRows("The two models have no row in common. Compare them on the same split.")
    ours, theirs = new[0].at(rows), old[0].at(rows)
    if ours.space.labels != theirs.space.labels or not ours.groups.equals(theirs.groups):
        raise OtherRows("The two models were asked about other labels or groups. Compare them on the same version.")
    if (ours.true_labels != theirs.true_labels).any():
        raise OtherRows("The rows have other labels for the two models. Compare them on the same dataset version.")
    groups = Groups.of(ours.groups)
    differences, error = _differences((ours, new[1]), (theirs, old[1]), groups, metric)
    value, low, high = differences[metric]
    outcome: Outcome = "pass" if low > minimal else "fail" if high < minimal else "not enough evidence"
    away = abs(value - minimal)
    needed = None
    if away > 1e-12 and error.value:
        needed = bisect_left(range(1, _MOST), True, key=lambda n: error.shown(n / len(rows)) <= away) + 1
    right = [each.answer == each.truth for each in (ours, theirs)]
    return Verdict(
        outcome,
        metric,
        minimal,
        differences,
        len(rows),
        groups.n,
        only_one,
        mcnemar(right[0], right[1], groups.codes),
        needed,
        error.shown() if error.value else None,
    )


def mcnemar(new: NDArray[np.bool_], old: NDArray[np.bool_], groups: NDArray[np.intp]) -> McNemar:
    """Whether two models are right equally often, from the rows where just one of them is.

    Exact (binomial, two-sided) where each group is one row; else the rows of a group count as one draw (Yang, Sun and
    Hardin 2010, doi:10.1002/bimj.201000035).

    Args:
        new: ``[rows]`` whether the one is right.
        old: ``[rows]`` whether the other one is.
        groups: ``[rows]``, numbers of their groups.
    """
    only_new, only_old = int((new & ~old).sum()), int((old & ~new).sum())
    if len(np.unique(groups)) == len(groups):
        return McNemar(only_new, only_old, _binomial(only_new, only_old), "exact McNemar test")
    apart = np.bincount(groups, new.astype(float) - old)
    squares = float((apart**2).sum())
    p = erfc(sqrt(float(apart.sum()) ** 2 / squares / 2)) if squares else 1.0
    return McNemar(only_new, only_old, p, "McNemar test for rows in groups")


def _binomial(one: int, other: int) -> float:
    """Two-sided probability of a split at least as uneven of ``one + other`` fair coins."""
    n, term, below = one + other, 1, 0
    for k in range(min(one, other) + 1):
        below += term
        term = term * (n - k) // (k + 1)
    return min(1.0, float(2 * below / 2**n))


def _differences(
    new: tuple[Predictions, Thresholds], old: tuple[Predictions, Thresholds], groups: Groups, metric: Metric
) -> tuple[dict[str, Interval], _Error]:
    """New minus old for every metric of decisions, and the error of the one that decides."""
    found, errors = {}, {}
    for name in OWN_RULE:
        ours, theirs = (
            _part(name, groups, metrics.tally(each.true_labels, decide(each, rule_of(name, each), thresholds)))
            for each, thresholds in ((old, new) if name in SMALLER_IS_BETTER else (new, old))
        )
        found[name], errors[name] = _apart(ours, theirs)
    return found, errors[metric]


class _Error(NamedTuple):
    """The standard error of a difference, and its degrees of freedom; 0 where nothing is known of it."""

    value: float
    degrees: float

    def shown(self, more: float = 1.0) -> float:
        """The difference that so many times the rows show with the power asked for: the more, the surer the error, too."""
        return (student(self.degrees * more) + _NORMAL.inv_cdf(POWER)) * self.value / sqrt(more)


class _Part(NamedTuple):
    """A figure, how far each group pulls it towards itself, and what share of it rests on each, ``[groups]``."""

    value: float
    pulled: Floats
    held: Floats


def _part(metric: str, groups: Groups, counts: Tally) -> _Part:
    hits, extra, missed, exact, rows = Tally.read(groups.sums(counts.columns()))
    wrong = extra + missed
    if metric == "f1_macro":
        of_labels = [_f1(*each) for each in zip(hits.T, wrong.T, strict=True)]
        known = [each for each in of_labels if not isnan(each.value)]
        return _Part(*(np.mean(each, axis=0) for each in zip(*known or of_labels, strict=True)))
    if metric == "f1_micro":
        return _f1(hits.sum(axis=1), wrong.sum(axis=1))
    sums, sizes = (exact, rows) if metric == "subset_accuracy" else (wrong.sum(axis=1), rows * hits.shape[1])
    return _Part(float(sums.sum() / sizes.sum()), pulls(sums, sizes), sizes / sizes.sum())


def _f1(hits: Floats, wrong: Floats) -> _Part:
    cases = hits + wrong
    if not cases.any():
        return _Part(np.nan, cases, cases)
    share = float(hits.sum() / cases.sum())
    return _Part(2 * share / (1 + share), 2 / (1 + share) ** 2 * pulls(hits, cases), cases / cases.sum())


def _apart(ours: _Part, theirs: _Part) -> tuple[Interval, _Error]:
    """The difference of two figures of the same rows with its interval, and its error."""
    value, held = ours.value - theirs.value, (ours.held + theirs.held) / 2
    if isnan(value):
        return Interval(np.nan, np.nan, np.nan), _Error(0.0, 0.0)
    error, degrees = spread(ours.pulled - theirs.pulled, held)
    if degrees < 1:
        reach = 1 + abs(value)  # nothing is known of the error
    elif error:
        reach = student(degrees) * error
    else:
        # What could differ and was not met in any group (Clopper and Pearson 1934), at worst the other way round.
        reach = (1 + abs(value)) * (1 - _TAIL ** float((held**2).sum()))
    return Interval(value, value - reach, value + reach), _Error(error if degrees >= 1 else 0.0, degrees)
