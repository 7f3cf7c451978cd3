"""Intervals for any metric, by groups: of 3 crops of one image we know little more than of one.

Shares of what was counted (precision, recall, accuracy) have ``stats.intervals.clustered``, and so has F1: it is
``2 J / (1 + J)`` of the share J of right answers among all rows where a label is or is said.

For all others groups are drawn with replacement, as many as there are (the cluster bootstrap), 2,000 times; a metric is
computed of every draw at once, from weights per group. How far the draws spread is the standard error, and the interval is
Wilson's for as many single cases as have that error. Student's t has the degrees of the groups in which a row bears on the
figure: effective ones, since a group of 30 rows among groups of one leaves few of them.

Coverage over shares of a label from 5 to 50 %, 17 to 200 groups, equal and very unequal ones, is printed by
``python -m bench.intervals`` and stands in docs/decisions.md.

Where every draw gives the same figure (a perfect model, a label that is never found) the spread says nothing. Then the end
that is not at 0 or 1 is what would still be seen one time in forty: ``0.025 ** (1 / n)`` of the way, n being the groups
that could have shown something else (Clopper and Pearson 1934).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, sqrt
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.stats.intervals import clustered, score, student

Floats = NDArray[np.float64]

ROUNDS = 2_000
_AT_ONCE = 250_000  # weights at a time, 2 MB: more leave the cache, and take thrice the time
_BLOCK = 1_000  # groups whose counts are made floats at a time
_TAIL = 0.025

# A share lies between 0 and 1, a loss above 0. A distance is the size of a difference: drawing again makes it larger.
Kind = Literal["share", "loss", "distance"]


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

    def sums(self, columns: NDArray[Any]) -> NDArray[Any]:
        """Rows ``[rows, k]`` summed within each group, ``[groups, k]``: counts in the smallest type that holds them."""
        kind = np.dtype(float)
        if columns.dtype.kind == "u":
            kind = np.min_scalar_type(int(columns.max()) * int(np.bincount(self.codes).max()))
        found = np.empty((self.n, columns.shape[1]), kind)
        for at, column in enumerate(columns.T):
            found[:, at] = np.bincount(self.codes, column, self.n)
        return found

    def effective(self, rows: NDArray[np.bool_]) -> float:
        """As how many equal groups these rows count (Kish 1965): never more than they stand in; 0 of no row."""
        sizes = np.bincount(self.codes[rows], minlength=self.n).astype(float)
        return float(sizes.sum() ** 2 / max((sizes**2).sum(), 1))

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


def weigh(weights: Floats, sums: NDArray[Any]) -> Floats:
    """Counts of draws, ``weights @ sums``: ``[some, groups]`` by ``[groups, k]``.

    They are made floats some groups at a time, which gives the same: whole numbers have no last bits to lose.
    """
    found = np.zeros((len(weights), sums.shape[1]))
    for start in range(0, len(sums), _BLOCK):
        found += weights[:, start : start + _BLOCK] @ sums[start : start + _BLOCK].astype(float)
    return found


def share_interval(hits: Floats, cases: Floats) -> Interval:
    """The 95 % interval of a share of what was counted; there is no figure where nothing was.

    Args:
        hits: ``[groups]``.
        cases: ``[groups]``.
    """
    some = cases > 0
    if not some.any():
        return Interval(np.nan, np.nan, np.nan)
    return Interval(float(hits.sum() / cases.sum()), *clustered(hits[some].tolist(), cases[some].tolist()))


def f1_interval(hits: Floats, extra: Floats, missed: Floats) -> Interval:
    """The 95 % interval of an F1.

    Args:
        hits: ``[groups]``, true and said.
        extra: ``[groups]``, said, not true.
        missed: ``[groups]``, true, not said.
    """
    return Interval(*(2 * share / (1 + share) for share in share_interval(hits, hits + extra + missed)))


def interval(value: float, replicates: Floats, groups: int, could_differ: float, kind: Kind = "share") -> Interval:
    """The 95 % interval of a figure from its draws.

    Args:
        value: Of the rows as they are.
        replicates: ``[rounds]``, of the draws; NaN where a draw has no figure.
        groups: How many groups were drawn from.
        could_differ: In how many of them, effectively, a row bears on the figure.
        kind: What the figure is.
    """
    known = replicates[~np.isnan(replicates)]
    if np.isnan(value) or not len(known):
        return Interval(np.nan, np.nan, np.nan)
    degrees = min(groups, could_differ) - 1
    if kind == "distance" and groups > 1:
        low, high = np.quantile(known, tails(groups))
        # As much as drawing again adds to the figure, it already has too much.
        return Interval(value, max(0.0, 2 * value - float(high)), max(0.0, 2 * value - float(low)))
    if degrees < 2 or np.ptp(known) < 1e-12 or (kind == "share" and not 0 < value < 1):
        if kind == "loss":  # nothing bounds it from above
            return Interval(value, np.nan, np.nan)
        least = _TAIL ** (1 / max(could_differ, 1))
        return Interval(value, min(value, max(0.0, value * least)), max(value, 1 - (1 - value) * least))
    error = float(known.std(ddof=1)) * sqrt((degrees + 1) / degrees)
    if kind == "loss":
        reach = student(degrees) * error / value
        return Interval(value, value * exp(-reach), value * exp(reach))
    return Interval(value, *score(value, value * (1 - value) / error**2, student(degrees)))


def effective_of_two(one: float, other: float) -> float:
    """Effective groups of a figure that holds two kinds of rows against each other, such as AUROC.

    Args:
        one: Those of the one kind.
        other: Those of the other kind.

    Returns:
        Welch and Satterthwaite's degrees where both kinds vary alike, and one.
    """
    least = min(one, other)
    if least <= 1:
        return least
    return 1 + (1 / one + 1 / other) ** 2 / (1 / (one**2 * (one - 1)) + 1 / (other**2 * (other - 1)))


def tails(groups: int) -> tuple[float, float]:
    """The quantiles of the draws that bound a 95 % interval; outside 2.5 and 97.5 %, the more so the fewer groups."""
    tail = NormalDist().cdf(-sqrt(groups / (groups - 1)) * student(groups - 1))
    return tail, 1 - tail
