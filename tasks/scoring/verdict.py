"""Whether one model is better than another on the same frozen rows: pass, fail, or not enough evidence.

    F1 micro 0.6442 against 0.6110: +0.0332 (+0.021 to +0.0454), at least 0 asked for  ->  pass

The interval is of the difference, from the same draws of groups for both models: what is hard for both cancels out. It
passes when the whole interval lies above the least difference that was asked for, fails when the whole of it lies below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, erfc, isnan, sqrt
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.scoring import metrics
from tasks.scoring.bootstrap import Groups, Interval, plain, tails, weigh
from tasks.scoring.figures import NAMES, OWN_RULE, SMALLER_IS_BETTER, decided, rule_of
from tasks.scoring.metrics import Tally
from tasks.scoring.predictions import Predictions
from tasks.scoring.thresholds import Thresholds, decide
from tasks.storage.errors import PermanentError

Floats = NDArray[np.float64]

Outcome = Literal["pass", "fail", "not enough evidence"]
Metric = Literal["f1_micro", "f1_macro", "subset_accuracy", "hamming_loss"]

POWER = 0.8
_NORMAL = NormalDist()
_TAIL = 0.025


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
            does not exist on them, or differs on none of them.
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
    differences, spread = _differences((ours, new[1]), (theirs, old[1]), groups, metric)
    value, low, high = differences[metric]
    outcome: Outcome = "pass" if low > minimal else "fail" if high < minimal else "not enough evidence"
    reach = _NORMAL.inv_cdf(1 - _TAIL) + _NORMAL.inv_cdf(POWER)
    away = abs(value - minimal)
    needed = ceil(len(rows) * (reach * spread / away) ** 2) if away > 1e-12 and spread > 0 else None
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
        reach * spread if spread > 0 else None,
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
) -> tuple[dict[str, Interval], float]:
    """New minus old for every metric of decisions, and the spread of the one that decides."""
    columns = [
        groups.sums(metrics.tally(each.true_labels, decide(each, rule_of(name, each), thresholds)).columns())
        for name in OWN_RULE
        for each, thresholds in (new, old)
    ]
    sums = np.concatenate(columns, axis=1)

    def apart(weights: Floats) -> Floats:
        parts = np.split(weigh(weights, sums), len(columns), axis=1)
        values = [decided(name, Tally.read(parts[at])) for at, name in enumerate(n for n in OWN_RULE for _ in new)]
        return np.stack(
            [
                theirs - ours if name in SMALLER_IS_BETTER else ours - theirs
                for name, ours, theirs in zip(OWN_RULE, values[::2], values[1::2], strict=True)
            ],
            axis=1,
        )

    values, replicates = apart(np.ones((1, groups.n)))[0], groups.replicate(apart)
    found = {
        name: _around(float(value), replicates[:, at], groups.n)
        for at, (name, value) in enumerate(zip(OWN_RULE, values, strict=True))
    }
    known = replicates[:, list(OWN_RULE).index(metric)]
    known = known[~np.isnan(known)]
    return found, float(known.std(ddof=1)) if len(known) > 1 else 0.0


def _around(value: float, replicates: Floats, groups: int) -> Interval:
    known = replicates[~np.isnan(replicates)]
    if isnan(value) or not len(known):
        return Interval(np.nan, np.nan, np.nan)
    if groups < 3 or np.ptp(known) < 1e-12:
        unseen = 1 - _TAIL ** (1 / groups)  # as in bootstrap.interval: what could differ and was not met
        return Interval(value, value - unseen, value + unseen)
    low, high = np.quantile(known, tails(groups))
    return Interval(value, float(low), float(high))
