"""Krippendorff's alpha: how far people agree beyond what chance gives, with any number of answers per unit.

::

    alpha([["a", "a"], ["a", "b"], ["b", "b", "b"], ["b"]], nominal)     # the last unit has no pair and does not count
    Alpha(value=0.5, low=None, high=None, units=3, answers=7, reason="too little variation for an interval")

1 is full agreement, 0 what chance gives. Written from Krippendorff, Computing Krippendorff's Alpha-Reliability (2011),
whose worked examples are in the test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import sqrt
from statistics import NormalDist
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tasks.stats.intervals import student

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Value = TypeVar("Value", bound=Hashable)
# From the distinct values and how often each occurs (draws × values): how far apart any two are (draws × values × values).
Distance = Callable[[Sequence[Any], Floats], Floats]

_DRAWS = 2000
_AT_ONCE = 100  # draws that are worked out together
_UNDEFINED = 0.025  # share of draws without variation from which the lower end of an interval could not be told


@dataclass(frozen=True, slots=True)
class Alpha:
    """An alpha with its 95 % interval.

    Args:
        value: At most 1; None where there is none.
        low, high: Ends of the interval; None where there is none.
        units: Units with at least two answers.
        answers: Answers to these.
        reason: Why the value or the interval is None.
    """

    value: float | None
    low: float | None
    high: float | None
    units: int
    answers: int
    reason: str = ""


def alpha(
    units: Sequence[Sequence[Value]],
    distance: Distance,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    draws: int = _DRAWS,
) -> Alpha:
    """Alpha over units, each with the answers that it got; a missing answer is just not there.

    The interval: units are drawn anew with replacement, and alpha is worked out from each draw, expected disagreement
    and all (Zapf et al. 2016, doi:10.1186/s12874-016-0200-9). Its middle is taken, a little more than 95 %, since draws
    from few units vary too little (expanded percentile interval: Hesterberg 2015, doi:10.1080/00031305.2015.1089789).

    Args:
        units: The answers per unit.
        distance: ``nominal``, ``ordinal(scale)`` or ``masi``.
        groups: Per unit what it was drawn with, such as its row; whole groups are then drawn anew.
        seed: Of the draws.
        draws: How many.
    """
    if groups is None:
        groups = range(len(units))
    kept = [(list(unit), group) for unit, group in zip(units, groups, strict=True) if len(unit) > 1]
    answers = sum(len(unit) for unit, _ in kept)
    if not kept:
        return Alpha(None, None, None, 0, 0, "no unit has two answers")
    values = list(dict.fromkeys(value for unit, _ in kept for value in unit))
    if len(values) == 1:
        return Alpha(None, None, None, len(kept), answers, "all answers are the same: chance would agree as well")
    place = {value: at for at, value in enumerate(values)}
    counts = np.zeros((len(kept), len(values)))
    for at, (unit, _) in enumerate(kept):
        for answer, times in Counter(unit).items():
            counts[at, place[answer]] = times
    pairs = _pairs(counts)
    found = float(_alphas(counts, pairs, np.ones((1, len(kept))), values, distance)[0])
    names = {group: at for at, group in enumerate(dict.fromkeys(group for _, group in kept))}
    group_of = np.array([names[group] for _, group in kept])
    if found == 1:
        return Alpha(found, None, None, len(kept), answers, "no disagreement was seen, so its spread is unknown")
    if len(names) < 2:
        return Alpha(found, None, None, len(kept), answers, "all was drawn together, so its spread is unknown")
    random = np.random.default_rng(seed)
    chance = np.full(len(names), 1 / len(names))
    drawn = random.multinomial(len(names), chance, size=draws).astype(float)[:, group_of]
    blocks = np.split(drawn, range(_AT_ONCE, draws, _AT_ONCE))
    redone = np.concatenate([_alphas(counts, pairs, block, values, distance) for block in blocks])
    if np.isnan(redone).mean() > _UNDEFINED:
        return Alpha(found, None, None, len(kept), answers, "too little variation for an interval")
    tail = NormalDist().cdf(-student(len(names) - 1) * sqrt(len(names) / (len(names) - 1)))
    low, high = np.nanquantile(redone, [tail, 1 - tail])
    return Alpha(found, float(low), float(high), len(kept), answers)


def nominal(values: Sequence[Any], totals: Floats) -> Floats:
    """Two values are the same or they are not."""
    return np.broadcast_to(1 - np.eye(len(values)), (1, len(values), len(values)))


def ordinal(scale: Sequence[str]) -> Distance:
    """Two values of a scale are as far apart as there are answers between them."""

    def distance(values: Sequence[Any], totals: Floats) -> Floats:
        order = np.argsort([scale.index(value) for value in values])
        back = np.argsort(order)
        ranked = totals[:, order]
        middle = np.cumsum(ranked, axis=1) - ranked / 2
        apart = (middle[:, :, None] - middle[:, None, :]) ** 2
        return apart[:, back][:, :, back]

    return distance


def masi(values: Sequence[Any], totals: Floats) -> Floats:
    """Sets: one less Jaccard's index, weighed by how one lies in the other (Passonneau 2006, MASI)."""

    def weight(one: frozenset[Any], other: frozenset[Any]) -> float:
        if one == other:
            return 1.0
        if not one & other:
            return 0.0
        return 2 / 3 if one <= other or other <= one else 1 / 3

    return np.array([[[1 - _overlap(one, other) * weight(one, other) for other in values] for one in values]])


def _overlap(one: frozenset[Any], other: frozenset[Any]) -> float:
    return len(one & other) / len(one | other) if one | other else 1.0


class _Pairs(NamedTuple):
    """Every two different values that a unit got: its number, places of both values, and how much they weigh."""

    unit: Whole
    one: Whole
    other: Whole
    weight: Floats


def _pairs(counts: Floats) -> _Pairs:
    found = [
        (unit, one, other)
        for unit, row in enumerate(counts)
        for one, other in permutations(np.flatnonzero(row).tolist(), 2)
    ]
    unit, one, other = np.array(found, dtype=np.int64).reshape(-1, 3).T
    return _Pairs(unit, one, other, counts[unit, one] * counts[unit, other] / (counts.sum(axis=1)[unit] - 1))


def _alphas(counts: Floats, pairs: _Pairs, draws: Floats, values: Sequence[Any], distance: Distance) -> Floats:
    """Alpha per draw; NaN where a draw has no variation.

    Args:
        counts: How often each unit got each value.
        pairs: Of these.
        draws: How often each draw has each unit.
        values: Distinct values.
        distance: Between two of them.
    """
    totals = draws @ counts
    apart = distance(values, totals)
    observed = (draws[:, pairs.unit] * pairs.weight * apart[:, pairs.one, pairs.other]).sum(axis=1)
    expected = ((totals[:, None, :] @ apart)[:, 0, :] * totals).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 0, 1 - (totals.sum(axis=1) - 1) * observed / expected, np.nan)
