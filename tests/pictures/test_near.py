"""Pairs and sets of hashes are those of comparing each with each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.pictures import near
from tasks.pictures.near import near_sets


def _sets_by_comparing_all(numbers: list[int], distance: int) -> list[int]:
    first = list(range(len(numbers)))
    for _ in numbers:
        for one, this in enumerate(numbers):
            for other, that in enumerate(numbers):
                if (this ^ that).bit_count() <= distance:
                    first[one] = min(first[one], first[other])
    return first


@pytest.mark.parametrize("many", [0, 16])
@given(st.sets(st.integers(0, 255), max_size=30), st.integers(0, 8))
def test_sets_are_those_of_comparing_each_with_each(many: int, low: set[int], distance: int) -> None:
    numbers = [each * 0x0101_0101_0000_0001 for each in low]  # few distinct bits, so that many are near each other
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near, "_MANY", many)
        found = near_sets(np.array(numbers, np.uint64), distance)
    assert _sets_by_comparing_all(numbers, distance) == found.tolist()
