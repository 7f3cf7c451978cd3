"""Pairs of perceptual hashes that differ in a few bits of 64, without comparing each with each.

Hashes at a distance of at most d agree in at least one of d + 1 bands of their bits (the pigeonhole principle), so only
those that agree in a band are compared: of 150,000 random hashes and d = 6, one pair in 70 instead of all 11 billion.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

BITS = 64
_AT_ONCE = 1 << 22  # comparisons in memory

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]


def near_pairs(hashes: Hashes, distance: int) -> Iterator[tuple[Places, Places]]:
    """All pairs within a Hamming distance, some of them several times.

    Args:
        hashes: Each value once.
        distance: In bits, from 0 (no pairs) to 63.

    Yields:
        Places of the first and of the second of each pair, as two arrays of one length.
    """
    for low, high in _bands(distance + 1):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(band, kind="stable")
        edges = np.flatnonzero(np.diff(band[order])) + 1
        for bucket in np.split(order, edges):
            if len(bucket) > 1:
                yield from _within(hashes, bucket, distance)


def _within(hashes: Hashes, bucket: Places, distance: int) -> Iterator[tuple[Places, Places]]:
    step = max(1, _AT_ONCE // len(bucket))
    for start in range(0, len(bucket), step):
        some = bucket[start : start + step]
        apart = np.bitwise_count(hashes[some][:, None] ^ hashes[bucket][None, :])
        one, other = np.nonzero(apart <= distance)
        later = one + start < other
        if later.any():
            yield some[one[later]], bucket[other[later]]


def _bands(number: int) -> Iterator[tuple[int, int]]:
    edges = [BITS * at // number for at in range(number + 1)]
    return pairwise(edges)
