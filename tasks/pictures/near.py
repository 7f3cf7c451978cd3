"""Perceptual hashes that differ in a few bits of 64, without comparing each with each.

Hashes at a distance of at most d agree in at least one of d + 1 bands of their bits (the pigeonhole principle), so only
those that agree in a band are compared: of 150,000 random hashes and d = 6, one pair in 70 instead of all 11 billion.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.stats.components import join, root

BITS = 64
_AT_ONCE = 1 << 22  # comparisons in memory
_MANY = 16  # pairs per hash, from which on a set is walked along instead

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
    for bucket in _buckets(hashes, distance):
        yield from _within(hashes, bucket, distance)


def near_sets(hashes: Hashes, distance: int) -> Places:
    """What chains of pairs within a Hamming distance hold together.

    Returns:
        For each hash the place of the first one of its set.
    """
    first = list(range(len(hashes)))

    for bucket in _buckets(hashes, distance):
        found = 0
        for ones, others in _within(hashes, bucket, distance):
            found += len(ones)
            if found > _MANY * len(bucket):
                for pair in _along(hashes, bucket, distance):
                    _join(first, *pair)
                break
            _join(first, ones, others)
    return np.array([root(first, place) for place in first], np.int64)


def repeated(values: NDArray[Any]) -> Iterator[Places]:
    """Places of each value that stands more than once."""
    order = np.argsort(values, kind="stable")
    edges = np.flatnonzero(np.diff(values[order])) + 1
    starts, stops = np.append(0, edges), np.append(edges, len(order))
    some = stops - starts > 1
    for start, stop in zip(starts[some], stops[some], strict=True):
        yield order[start:stop]


def _join(parent: list[int], ones: Places, others: Places) -> None:
    for one, other in zip(ones.tolist(), others.tolist(), strict=True):
        join(parent, one, other)


def _buckets(hashes: Hashes, distance: int) -> Iterator[Places]:
    """Places of two or more hashes that agree in a band."""
    for low, high in _bands(distance + 1):
        yield from repeated((hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1))


def _within(hashes: Hashes, bucket: Places, distance: int) -> Iterator[tuple[Places, Places]]:
    step = max(1, _AT_ONCE // len(bucket))
    for start in range(0, len(bucket), step):
        some, rest = bucket[start : start + step], bucket[start:]
        apart = np.bitwise_count(hashes[some][:, None] ^ hashes[rest][None, :])
        one, other = np.nonzero(apart <= distance)
        later = one < other
        if later.any():
            yield some[one[later]], rest[other[later]]


def _along(hashes: Hashes, bucket: Places, distance: int) -> Iterator[tuple[Places, Places]]:
    """As many pairs as hold a bucket's sets together, where all of them may be millions: each place is reached once."""
    left = bucket
    reached: list[int] = []
    while len(left):
        if not reached:
            reached, left = [int(left[-1])], left[:-1]
        one = reached.pop()
        is_near = np.bitwise_count(hashes[left] ^ hashes[one]) <= distance
        found, left = left[is_near], left[~is_near]
        reached += found.tolist()
        yield np.full(len(found), one), found


def _bands(number: int) -> Iterator[tuple[int, int]]:
    edges = [BITS * at // number for at in range(number + 1)]
    return pairwise(edges)
