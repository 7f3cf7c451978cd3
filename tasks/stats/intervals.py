"""Intervals for what was counted.

Clusters are what was drawn: of 100 rows with 6 turns each we know as much as of 100 turns where a row is wrong as a
whole, and as of 600 where turns are wrong each on its own. The spread between the rows says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_Z = 1.959964  # 97.5 % of a normal distribution


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), as shares from 0 to 1; (0, 1) where n is 0.

    Unlike the share plus or minus 1.96 standard errors it holds near 0, where most of our rates are.
    """
    return score(hits / n, n, _Z) if n else (0.0, 1.0)


def clustered(hits: Sequence[float] | Floats, sizes: Sequence[float] | Floats) -> tuple[float, float]:
    """The 95 % interval of a share whose cases were drawn in clusters, such as turns in rows.

    Wilson's interval, with the number of cases that would be as informative if they had been drawn one by one (after
    Korn and Graubard 1998 and Franco, Little, Louis and Slud 2019, doi:10.1093/jssam/smy019), and Student's t instead of
    1.96 (``by_groups``); of cases drawn one by one with as many degrees as there are cases, less one. Wilson's own
    interval holds a share of 8 to 30 cases in 91 to 98 %, depending on the share, and this one in 94 to 99 %.

    Its coverage is simulated in tests/stats/test_intervals.py: 94 to 96 % from 100 clusters, for shares of 5 to 95 % and
    a correlation within clusters up to 0.1; less where errors are rarer and come in clumps.

    Args:
        hits: Per cluster.
        sizes: Cases per cluster, or 0 in one that was drawn and has none.

    Returns:
        Low and high, from 0 to 1; (0, 1) with fewer than three clusters of several cases, whose spread says nothing.
    """
    h, n = np.asarray(hits, float), np.asarray(sizes, float)
    total = float(n.sum())
    if len(n) < 2 or not total:
        return 0.0, 1.0
    share = float(h.sum()) / total
    if not (n * (n - 1)).any():
        return score(share, total, student(len(n) - 1))
    return by_groups(share, pulls(h, n), n / total, 1 / total)


def pulls(sums: Floats, sizes: Floats) -> Floats:
    """How far each group pulls a share, or another mean of cases, towards itself: what it would be less without the group.

    Linearised: a group that holds many of the cases looks less unlike the others than it is (Bell and McCaffrey 2002).

    Args:
        sums: ``[groups]``.
        sizes: ``[groups]``, cases.

    Returns:
        ``[groups]``; no number where a single group has cases.
    """
    total = sizes.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        pulled: Floats = (sums - sizes * sums.sum() / total) / (total - sizes)
    return pulled


def by_groups(value: float, pulled: Floats, held: Floats, single: float = 0.0) -> tuple[float, float]:
    """The 95 % interval of a figure between 0 and 1: Wilson's, for as many cases as have the error that groups show.

    Args:
        value: The figure.
        pulled: ``[groups]``, how far each group pulls it towards itself.
        held: ``[groups]``, what share of it rests on each group.
        single: One divided by the cases, where it is a share of cases: how much of the error follows from the share.
    """
    inside = 0 < value < 1
    error, degrees = spread(pulled, held, (1 - 2 * value) / (value * (1 - value)) if inside else 0.0, single)
    if degrees < 1:
        return 0.0, 1.0
    # Groups that are all alike say nothing about how they vary: then each counts as one case.
    effective = 1 + value * (1 - value) / error**2 if inside and error else 1 / float((held**2).sum())
    return score(value, effective, student(degrees))


def spread(pulled: Floats, held: Floats, follows: float = 0.0, single: float = 0.0) -> tuple[float, float]:
    """The standard error of a figure by the jackknife over groups, and its degrees of freedom.

    Degrees say how uncertain the error itself is: at most the groups less one, and those of groups as unequal as these
    (Satterthwaite 1946, Kish 1965), and what their squares tell. The latter differ from what the groups hold,
    and from what the figure explains, by some share of the variance each. A variance that spreads so much has 2 degrees
    divided by the sum of the squares of these shares; we take half of that, since the squares of few groups seldom show
    how far they can go (docs/decisions.md, "Every interval from its groups").

    Args:
        pulled: As for ``by_groups``.
        held: As for ``by_groups``.
        follows: Slope of the logarithm of the variance over the figure.
        single: As for ``by_groups``.

    Returns:
        Error and degrees; below one degree nothing is known of the error.
    """
    squares, some = pulled**2, int((held > 0).sum())
    total = float(squares.sum())
    if some < 3 or not isfinite(total):
        return 0.0, 0.0
    degrees = min(len(held) - 1, 1 / max(float((held**2).sum()) - single, 1e-12) - 1)
    if total < 1e-24:
        return 0.0, degrees
    noise = float(((squares / total - held - follows * pulled) ** 2).sum())
    return sqrt(total * (some - 1) / some), min(degrees, 1 / max(noise, 1e-12))


def difference(
    share: float, interval: tuple[float, float], other: float, others: tuple[float, float]
) -> tuple[float, float]:
    """The interval of ``share - other`` from the intervals of both (Newcombe 1998, method 10; Zou and Donner 2008)."""
    (low, high), (low2, high2) = interval, others
    gap = share - other
    return gap - sqrt((share - low) ** 2 + (high2 - other) ** 2), gap + sqrt((high - share) ** 2 + (other - low2) ** 2)


def mean(
    values: Sequence[float], intervals: Sequence[tuple[float, float]], pulled: Sequence[Floats]
) -> tuple[float, float]:
    """The interval of a mean of figures from the interval of each (Zou and Donner 2008), as far as they go together.

    Args:
        values: The figures.
        intervals: Of each.
        pulled: Of each, ``[groups]``.
    """
    below = np.array([value - low for value, (low, _) in zip(values, intervals, strict=True)])
    above = np.array([high - value for value, (_, high) in zip(values, intervals, strict=True)])
    each = np.nan_to_num(np.stack(pulled), posinf=0.0, neginf=0.0)
    length = np.sqrt((each**2).sum(axis=1))
    # Those whose groups say nothing may all err together.
    together = np.where(np.outer(length, length) > 0, each @ each.T, np.add.outer(length, length) == 0)
    together = together / np.outer(*[np.where(length > 0, length, 1.0)] * 2)
    middle, n = float(np.mean(values)), len(values)
    down, up = (sqrt(max(0.0, float(reach @ together @ reach))) / n for reach in (below, above))
    return middle - down, middle + up


def score(share: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's interval of a share.

    Args:
        share: From 0 to 1.
        n: As many single cases as know as much of it.
        z: Standard errors to both sides.
    """
    zz = z * z / n
    middle, half = share + zz / 2, z * sqrt(share * (1 - share) / n + zz / (4 * n))
    return max(0.0, (middle - half) / (1 + zz)), min(1.0, (middle + half) / (1 + zz))


def student(degrees: float) -> float:
    """97.5 % of Student's t: Abramowitz and Stegun 26.7.5, off by 3 % at two degrees, by 0.1 % from five."""
    z, d = _Z, degrees
    return (
        z
        + (z**3 + z) / (4 * d)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * d**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * d**3)
    )
