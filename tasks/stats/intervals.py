"""Intervals for what was counted.

Clusters are what was drawn: of 100 rows with 6 turns each we know as much as of 100 turns where a row is wrong as a
whole, and as of 600 where turns are wrong each on its own. The spread between the rows says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

_Z = 1.959964  # 97.5 % of a normal distribution


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), as shares from 0 to 1; (0, 1) where n is 0.

    Unlike the share plus or minus 1.96 standard errors it holds near 0, where most of our rates are.
    """
    return score(hits / n, n, _Z) if n else (0.0, 1.0)


def clustered(hits: Sequence[int], sizes: Sequence[int]) -> tuple[float, float]:
    """The 95 % interval of a share whose cases were drawn in clusters, such as turns in rows.

    Wilson's interval, with the number of cases that would be as informative if they had been drawn one by one (after
    Korn and Graubard 1998 and Franco, Little, Louis and Slud 2019, doi:10.1093/jssam/smy019). The variance is that of the
    jackknife over clusters, linearised: a cluster that holds many of the cases pulls the share towards itself, and looks
    less unlike it than it is (Bell and McCaffrey 2002). Student's t has the degrees with which that variance would spread
    if cases were independent: ``N² / sum(n (n - 1))``. So clusters of one case each give Wilson's own interval.

    Its coverage is simulated in tests/stats/test_intervals.py: 94 to 96 % from 100 clusters, for shares of 5 to 95 % and
    a correlation within clusters up to 0.1; less where errors are rarer and come in clumps.

    Args:
        hits: Per cluster.
        sizes: Cases per cluster, at least one in each.

    Returns:
        Low and high, from 0 to 1; (0, 1) with fewer than three clusters of several cases, whose spread says nothing.
    """
    h, n = np.asarray(hits, float), np.asarray(sizes, float)
    total, alike = float(n.sum()), float((n * (n - 1)).sum())
    if not alike:
        return wilson(int(h.sum()), len(n))
    if len(h) < 3:
        return 0.0, 1.0
    share = float(h.sum()) / total
    apart = (h - share * n) / (1 - n / total)
    variance = float((apart**2).sum()) * (len(h) - 1) / len(h) / total**2
    # Clusters that are all alike say nothing about how they vary: then each counts as one case.
    effective = 1 + share * (1 - share) / variance if variance > 0 else len(h)
    return score(share, effective, student(total**2 / alike))


def difference(
    share: float, interval: tuple[float, float], other: float, others: tuple[float, float]
) -> tuple[float, float]:
    """The interval of ``share - other`` from the intervals of both (Newcombe 1998, method 10; Zou and Donner 2008)."""
    (low, high), (low2, high2) = interval, others
    gap = share - other
    return gap - sqrt((share - low) ** 2 + (high2 - other) ** 2), gap + sqrt((high - share) ** 2 + (other - low2) ** 2)


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
