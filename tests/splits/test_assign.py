"""A group's split depends on seed and key alone, and no group stands in two."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.pictures.near import near_pairs
from tasks.splits.assign import (
    LEFT_OUT,
    BadShares,
    EmptySplit,
    Example,
    Official,
    OfficialLeak,
    assign,
    find_groups,
    make_shares,
    place,
    split_at,
)
from tasks.splits.audit import find_leaks
from tasks.splits.keys import BadTable, Keys
from tasks.storage.split_names import SPLITS, split_of

SHARES = make_shares(0.1, 0.1)
TRAIN_ONLY = make_shares(0, 0)

keys = st.lists(st.text(max_size=4), min_size=1, max_size=60)
# Few distinct bits, so that many are near each other.
hashes = st.lists(st.integers(0, 255).map(lambda low: f"{low * 0x0101_0101_0000_0001:016x}"), min_size=1, max_size=40)
seeds = st.integers(0, 2**31)


def _splits(groups: Sequence[str], seed: int) -> dict[str, str]:
    return {group: split_at(place(group, seed), SHARES) for group in groups}


def _by_split(values: Sequence[str], groups: Sequence[str], seed: int, column: str) -> dict[str, Keys]:
    parts: dict[str, list[str | None]] = defaultdict(list)
    for value, group in zip(values, groups, strict=True):
        parts[split_at(place(group, seed), SHARES)].append(value)
    return {split: Keys([column], [some]) for split, some in parts.items()}


@given(hashes.flatmap(lambda values: st.tuples(st.just(values), st.permutations(values))), st.integers(0, 8))
def test_groups_do_not_depend_on_the_order_of_rows(both: tuple[list[str], list[str]], distance: int) -> None:
    first, second = (
        dict(zip(values, find_groups(Keys(["phash"], [list(values)]), distance), strict=True)) for values in both
    )
    assert first == second


@given(keys, keys, seeds)
def test_rows_that_are_added_move_no_group(values: list[str], more: list[str], seed: int) -> None:
    def result(some: list[str]) -> list[str]:
        groups = find_groups(Keys(["image"], [list(some)]), 6)
        return [split_at(place(group, seed), SHARES) for group in groups]

    assert result(values) == result(values + more)[: len(values)]
    assert result(values) == result(more + values)[len(more) :]


@given(hashes, hashes, st.integers(0, 8), seeds)
def test_rows_that_are_added_move_only_groups_that_they_join(
    values: list[str], more: list[str], distance: int, seed: int
) -> None:
    before = find_groups(Keys(["phash"], [list(values)]), distance)
    after = find_groups(Keys(["phash"], [[*values, *more]]), distance)
    joined = {group for value, group in zip(values + more, after, strict=True) if value in set(more) - set(values)}
    for row, group in enumerate(before):
        assert after[row] in joined or after[row] == group


@given(hashes, st.integers(1, 8), seeds)
def test_no_near_duplicate_stands_in_two_splits(values: list[str], distance: int, seed: int) -> None:
    groups = find_groups(Keys(["phash"], [list(values)]), distance)
    splits = _by_split(values, groups, seed, "phash")
    assert [] == [leak for leak in find_leaks(splits, distance) if leak.rows]


@given(hashes, st.integers(0, 12))
def test_near_pairs_are_those_of_comparing_each_with_each(values: list[str], distance: int) -> None:
    numbers = np.array(sorted({int(value, 16) for value in values}), np.uint64)
    found = {
        pair
        for one, other in near_pairs(numbers, distance)
        for pair in zip(one.tolist(), other.tolist(), strict=True)
        if pair[0] != pair[1]
    }
    expected = {
        (one, other)
        for one in range(len(numbers))
        for other in range(len(numbers))
        if one != other and (int(numbers[one]) ^ int(numbers[other])).bit_count() <= distance
    }
    assert {tuple(sorted(pair)) for pair in expected} == {tuple(sorted(pair)) for pair in found}


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz")), min_size=1), seeds)
def test_rows_that_share_any_of_several_columns_stay_together(rows: list[tuple[str, str]], seed: int) -> None:
    columns: list[list[str | None]] = [[row[at] for row in rows] for at in (0, 1)]
    groups = find_groups(Keys(["image", "author"], columns), 0)
    for column in columns:
        of: dict[str | None, set[str]] = defaultdict(set)
        for value, group in zip(column, groups, strict=True):
            of[value].add(group)
        assert all(len(some) == 1 for some in of.values())


def test_a_chain_of_near_hashes_is_one_group() -> None:
    chain = [f"{(1 << (3 * n)) - 1:016x}" for n in range(5)]  # each 3 bits from the next, the ends 12
    far = "ffff000000000000"
    groups = find_groups(Keys(["phash"], [[*chain, far]]), 3)
    assert 1 == len(set(groups[:5]))
    assert far == groups[5]
    assert 6 == len(set(find_groups(Keys(["phash"], [[*chain, far]]), 0)))


def test_shares_are_kept_within_chance() -> None:
    for seed in range(5):
        counts = Counter(_splits([f"{n:012d}.jpg" for n in range(20_000)], seed).values())
        assert {"train": True, "validation": True, "test": True} == {  # five standard errors of 10 % are 1.1 %
            split: abs(counts[split] / 20_000 - SHARES[split]) < 0.011 for split in SPLITS
        }


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=30, max_size=200), seeds)
def test_stratified_labels_are_in_proportion_within_one_group(labels: list[str], seed: int) -> None:
    examples = [Example(f"group {n}", (label,)) for n, label in enumerate(labels)]
    try:
        splits = assign(examples, SHARES, seed, "keep", stratify=True)
    except EmptySplit:
        return
    for label in set(labels):
        mine = [split for split, other in zip(splits, labels, strict=True) if other == label]
        for split in SPLITS:
            assert abs(mine.count(split) - SHARES[split] * len(mine)) < 2


def _official(*rows: tuple[str, str | None]) -> list[Example]:
    return [Example(group, (), split) for group, split in rows]


LEAKING = _official(("a", "train"), ("b", "train"), ("a", "test"), ("c", "validation"), ("b", "validation"))


def test_official_splits_are_kept() -> None:
    rows = _official(("a", "train"), ("b", "test"), ("a", None), ("c", "validation"))
    assert ["train", "test", "train", "validation"] == assign(rows, SHARES, 0, "keep", stratify=False)


def test_official_splits_that_leak_are_named() -> None:
    with pytest.raises(OfficialLeak) as leak:
        assign(LEAKING, SHARES, 0, "keep", stratify=False)
    assert (
        "The official splits share 2 groups: a (test and train), b (train and validation). Give official='clean' to leave "
        "such rows out of the weaker split (test stays whole), or official='ignore' to draw new splits."
    ) == str(leak.value)


def test_official_splits_are_cleaned_for_the_test_s_sake() -> None:
    rows = [*LEAKING, *_official(("d", "train"))]
    expected = [LEFT_OUT, LEFT_OUT, "test", "validation", "validation", "train"]
    assert expected == assign(rows, SHARES, 0, "clean", stratify=False)


def test_official_splits_may_be_ignored() -> None:
    groups = [f"{n}" for n in range(200)]
    rows = _official(*((group, "train") for group in groups))
    assert [split_at(place(group, 7), SHARES) for group in groups] == assign(rows, SHARES, 7, "ignore", stratify=False)


@pytest.mark.parametrize(
    ("rows", "official", "told"),
    [
        (_official(("a", None), ("b", None)), "keep", "would hold none of the 2 rows: there are too few groups."),
        (
            _official(("a", "validation")),
            "keep",
            "official splits hold only rows for validation. Give official='ignore'",
        ),
        (_official(("a", "train")), "clean", "official splits hold only rows for train."),
    ],
)
def test_an_empty_split_is_named(rows: list[Example], official: Official, told: str) -> None:
    with pytest.raises(EmptySplit) as empty:
        assign(rows, SHARES, 0, official, stratify=False)
    assert told in str(empty.value)


def test_a_split_that_is_not_wanted_may_be_empty() -> None:
    assert ["train"] == assign(_official(("a", None)), TRAIN_ONLY, 0, "keep", stratify=False)


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (-0.1, 0.2), (0.1, 1.5), (float("nan"), 0.1)])
def test_shares_that_are_none_are_named(validation: float, test: float) -> None:
    with pytest.raises(BadShares, match=r"leave nothing for training\. Give shares such as 0\.1 and 0\.1\."):
        make_shares(validation, test)


def test_what_is_no_perceptual_hash_is_named() -> None:
    with pytest.raises(BadTable) as bad:
        find_groups(Keys(["phash"], [["abc"]]), 4)
    assert (
        "The column 'phash' holds 'abc', which is no perceptual hash of 64 bits (16 hex digits, lower case). Give another "
        "column, or distance=0 to compare it as it is."
    ) == str(bad.value)


def test_names_of_splits() -> None:
    named = ["val.csv", "train-00000-of-00002.parquet", "dev_seen.jsonl", "Test", "validation", "testimony.csv", "data"]
    assert ["validation", "train", "validation", "test", "validation", None, None] == [split_of(name) for name in named]
