"""Intervals for any metric, by groups: of 3 crops of one image we know little more than of one.

How far each group pulls a figure towards itself (the jackknife over groups, linearised) says how far the figure spreads.
The interval is Wilson's for as many single cases as have that error (``stats.intervals.by_groups``). F1 has that of
``2 J / (1 + J)``: J is the share of right answers among all rows where a label is or is said. The mean of labels has its
interval from theirs (``stats.intervals.mean``): a label that is true in few groups makes it wide, but not the others'.

The calibration error is a sum of distances, which chance only makes larger: its interval is found by asking which true
errors could have shown this one (``calibration_interval``).

Coverage over shares of a label from 5 to 50 %, 17 to 200 groups, equal and very unequal ones, is printed by
``python -m bench.intervals`` and stands in docs/decisions.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, sqrt
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.scoring.metrics import Bins, Ranking, calibration_error
from tasks.stats.intervals import by_groups, clustered, mean, pulls, score, spread, student

Floats = NDArray[np.float64]

ROUNDS = 2_000
_AT_ONCE = 250_000  # weights at a time, 2 MB: more leave the cache, and take thrice the time
_BLOCK = 1_000  # names that are hashed at a time
_NARROW = 1e-6  # where the search for an end of an interval stops


class Interval(NamedTuple):
    """A figure and its 95 % interval; the ends are NaN where nothing is known of them, all where there is no figure."""

    value: float
    low: float
    high: float


def plain(found: Interval) -> dict[str, Any]:
    """As JSON takes it, with None for what does not exist."""
    if np.isnan(found.value):
        return {"value": None, "interval_95": None}
    return {"value": found.value, "interval_95": None if np.isnan(found.low) else [found.low, found.high]}


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows by group.

    Args:
        codes: ``[rows]``, the number of each row's group, from 0 on without a gap.
        seed: Of the draws; equal content gives an equal seed, so a report is the same when it is made again, and two
            models on the same rows are drawn together.
    """

    codes: NDArray[np.intp]
    seed: int

    @classmethod
    def of(cls, names: Sequence[str]) -> Groups:
        """Groups by name, one per row.

        Raises:
            ValueError: There is no row.
        """
        if not len(names):
            raise ValueError("No rows, so there is nothing to draw from.")
        # As Python's or numpy's texts the names would be the most of what a row takes.
        numbered = pa.array(names, pa.string()).dictionary_encode()
        order = pc.array_sort_indices(numbered.dictionary).to_numpy()
        rank = np.empty(len(order), np.intp)
        rank[order] = np.arange(len(order))
        digest = hashlib.sha256()
        for start in range(0, len(names), _BLOCK):
            digest.update(("\0" * bool(start) + "\0".join(map(str, names[start : start + _BLOCK]))).encode())
        return cls(rank[numbered.indices.to_numpy()], int.from_bytes(digest.digest()[:8], "big"))

    @cached_property
    def n(self) -> int:
        """How many groups there are."""
        return int(self.codes.max()) + 1

    def sums(self, columns: NDArray[Any]) -> Floats:
        """Rows ``[rows, k]`` summed within each group, ``[groups, k]``."""
        return np.stack([np.bincount(self.codes, column, self.n) for column in columns.T], axis=1)

    def draws(self, rounds: int = ROUNDS) -> Iterator[Floats]:
        """How often each group is drawn, some rounds at a time: ``[rounds, groups]``."""
        random = np.random.default_rng(self.seed)
        step = max(1, _AT_ONCE // self.n)
        for start in range(0, rounds, step):
            some = min(step, rounds - start)
            drawn = random.integers(0, self.n, (some, self.n), dtype=np.int32)
            drawn += (np.arange(some, dtype=np.int32) * self.n)[:, None]
            yield np.bincount(drawn.ravel(), minlength=some * self.n).reshape(some, self.n).astype(float)

    def replicate(self, statistic: Callable[[Floats], Floats], rounds: int = ROUNDS) -> Floats:
        """A statistic of every draw.

        Args:
            statistic: From weights of groups ``[some, groups]`` to figures ``[some, k]``.
            rounds: How many draws.

        Returns:
            ``[rounds, k]``.
        """
        return np.concatenate([statistic(weights) for weights in self.draws(rounds)])


def share_interval(hits: Floats, cases: Floats) -> Interval:
    """The 95 % interval of a share of what was counted; there is no figure where nothing was.

    Args:
        hits: ``[groups]``.
        cases: ``[groups]``.
    """
    if not cases.any():
        return Interval(np.nan, np.nan, np.nan)
    return Interval(float(hits.sum() / cases.sum()), *clustered(hits, cases))


def f1_interval(hits: Floats, extra: Floats, missed: Floats) -> Interval:
    """The 95 % interval of an F1.

    Args:
        hits: ``[groups]``, true and said.
        extra: ``[groups]``, said, not true.
        missed: ``[groups]``, true, not said.
    """
    return Interval(*(2 * share / (1 + share) for share in share_interval(hits, hits + extra + missed)))


def f1_macro_interval(hits: Floats, extra: Floats, missed: Floats) -> Interval:
    """The 95 % interval of the mean F1 of labels.

    Args:
        hits: ``[groups, labels]``; the others the same.
        extra: As for ``f1_interval``.
        missed: As for ``f1_interval``.
    """
    cases = hits + extra + missed
    return mean_interval(
        [f1_interval(*each) for each in zip(hits.T, extra.T, missed.T, strict=True)],
        [pulls(*each) for each in zip(hits.T, cases.T, strict=True)],
    )


def mean_interval(found: Sequence[Interval], pulled: Sequence[Floats]) -> Interval:
    """The 95 % interval of the mean of those figures that exist.

    Args:
        found: Each figure.
        pulled: How far each group pulls each, ``[groups]``; how strongly does not matter.
    """
    known = [(each, mine) for each, mine in zip(found, pulled, strict=True) if not np.isnan(each.value)]
    if not known:
        return Interval(np.nan, np.nan, np.nan)
    values = [each.value for each, _ in known]
    ends = mean(values, [(each.low, each.high) for each, _ in known], [mine for _, mine in known])
    return Interval(float(np.mean(values)), *ends)


def row_interval(sums: Floats, sizes: Floats, kind: Literal["share", "loss"]) -> Interval:
    """The 95 % interval of a mean over rows.

    Args:
        sums: ``[groups]``.
        sizes: ``[groups]``, rows.
        kind: A share lies between 0 and 1, a loss above 0.
    """
    value, held, pulled = float(sums.sum() / sizes.sum()), sizes / sizes.sum(), pulls(sums, sizes)
    if kind == "share":
        return Interval(value, *by_groups(value, pulled, held))
    error, degrees = spread(pulled, held, 2 / value if value else 0.0)
    if degrees < 1 or not error:
        return Interval(value, np.nan, np.nan)
    reach = student(degrees) * error / value
    return Interval(value, value * exp(-reach), value * exp(reach))


def ranking_intervals(
    truth: NDArray[np.bool_], found: Ranking, groups: Groups
) -> tuple[tuple[Interval, Floats], tuple[Interval, Floats]]:
    """AUROC and average precision of a label with their 95 % intervals, each with how far groups pull it.

    Args:
        truth: ``[rows]``.
        found: Of these rows.
        groups: Of these rows.
    """
    columns = [truth, ~truth, found.of_auroc * truth, found.of_auroc * ~truth, found.of_average_precision]
    true, false, *sums = groups.sums(np.stack(columns, axis=1)).T
    if np.isnan(found.average_precision):
        nothing = Interval(np.nan, np.nan, np.nan)
        return (nothing, sums[0]), (nothing, sums[0])
    positives, negatives = true.sum(), max(false.sum(), 1)
    of_true, of_false = true / positives, false / negatives
    with np.errstate(invalid="ignore", divide="ignore"):
        area, average = sums[0] / (1 - of_true) + sums[1] / (1 - of_false), sums[2] / (1 - of_true)
    held = (of_true / positives + of_false / negatives) / (1 / positives + 1 / negatives)
    both = (found.auroc, area, held), (found.average_precision, average, of_true)
    first, second = (
        Interval(value, *((value, value) if np.isnan(value) else by_groups(value, *rest))) for value, *rest in both
    )
    return (first, area), (second, average)


def calibration_interval(bins: Bins) -> Interval:
    """The expected calibration error, with an interval that holds the true one in 95 % of all samples or more.

    Chance adds to a sum of distances, the more so the more bins are right; how many are, nobody knows. So each end is
    what a true error could be in the case that makes the interval widest (test inversion). The lower one lies in one bin
    alone, where chance adds most, and 2.5 % of the samples would show as much as this one or more. The upper one lies in
    all bins as chance does, where it hides best, and 2.5 % would show as little or less. Chance is drawn 2,000 times,
    normally distributed as the groups show.

    Args:
        bins: Of each group, ``[groups, bins]``; decisions ``[groups, 1]``.
    """
    value = float(calibration_error(Bins(*(each.sum(axis=0) for each in bins))))
    decisions, gaps = bins.n[:, 0], bins.predicted - bins.true
    held, each = decisions / decisions.sum(), gaps.sum(axis=0) / decisions.sum()
    pulled = np.stack([pulls(column, decisions) for column in gaps.T], axis=1)
    error, degrees = spread(np.sqrt((pulled**2).sum(axis=1)), held)
    if degrees < 1 or not error:
        return Interval(value, *by_groups(value, np.zeros(len(held)), held))
    of_bins, axes = np.linalg.eigh(pulled.T @ pulled * (len(held) - 1) / len(held))
    normal = np.random.default_rng(0).normal(size=(ROUNDS, len(each))) * student(degrees) / student(np.inf)
    chance = normal * np.sqrt(np.maximum(of_bins, 0)) @ axes.T
    alone = np.arange(len(each)) == np.abs(each).argmax()
    everywhere = np.where(each < 0, -1.0, 1.0) * chance.std(axis=0)

    def end(shape: Floats, quantile: float) -> float:
        """The smallest true error of which the samples' quantile is as large as what is seen."""
        shape, low, high = shape / np.abs(shape).sum(), 0.0, 1.0
        if np.quantile(np.abs(chance).sum(axis=1), quantile) >= value:
            return 0.0
        while high - low > _NARROW:
            middle = (low + high) / 2
            if np.quantile(np.abs(middle * shape + chance).sum(axis=1), quantile) < value:
                low = middle
            else:
                high = middle
        return high

    return Interval(value, end(alone * np.sign(each), 0.975), end(everywhere, 0.025))


def interval(value: float, replicates: Floats, groups: int) -> Interval:
    """The 95 % interval of a share from its draws.

    Args:
        value: Of the rows as they are.
        replicates: ``[rounds]``, of the draws; NaN where a draw has no figure.
        groups: How many groups were drawn from.
    """
    known = replicates[~np.isnan(replicates)]
    if np.isnan(value) or not len(known):
        return Interval(np.nan, np.nan, np.nan)
    if groups < 3:
        return Interval(value, 0.0, 1.0)
    error = float(known.std(ddof=1)) * sqrt(groups / (groups - 1))
    # Where every draw gives the same the spread says nothing: then each group counts as one case.
    effective = value * (1 - value) / error**2 if error > 1e-12 and 0 < value < 1 else groups
    return Interval(value, *score(value, effective, student(groups - 1)))
