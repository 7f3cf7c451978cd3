"""Which group a row belongs to, and which split a group belongs to.

A group's place is a number from 0 to 1, a hash of the seed and the group's key alone::

    0           test        test + validation                                 1
    |-- test ----|-- validation --|------------------ train ------------------|
                                        ^ 0.41  image "000000033471.jpg", seed 0

So rows that are added move no group. Labels are in proportion because a hash knows nothing of labels; ``stratify`` puts
them in proportion exactly, at the price that added rows may move groups.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tasks.splits.keys import Keys, hashes_of, is_near
from tasks.splits.near import near_pairs
from tasks.storage.errors import PermanentError
from tasks.storage.split_names import SPLITS

Official = Literal["keep", "clean", "ignore"]

LEFT_OUT = "left-out"
_STRONGEST = ("test", "validation", "train")  # a group in two official splits stays in the first of these
_NAMED = 5


class BadShares(PermanentError):
    """The splits' shares are no shares of one whole."""


class OfficialLeak(PermanentError):
    """Official splits share groups."""


class EmptySplit(PermanentError):
    """A split would hold no row."""


@dataclass(frozen=True, slots=True)
class Example:
    """What deciding needs of one row."""

    group: str
    labels: tuple[str, ...] = ()
    official: str | None = None


def place(key: str, seed: int) -> float:
    """Where a group stands between 0 and 1; evenly spread over the keys."""
    return int.from_bytes(_hash(f"{seed}\0{key}")) / 2**64


def split_at(where: float, shares: Mapping[str, float]) -> str:
    """The split at a place."""
    if where < shares["test"]:
        return "test"
    return "validation" if where < shares["test"] + shares["validation"] else "train"


def make_shares(validation: float, test: float) -> dict[str, float]:
    """The three splits' shares.

    Raises:
        BadShares: One is below 0, or nothing is left for training.
    """
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise BadShares(
            f"validation={validation} and test={test} leave nothing for training. Give shares such as 0.1 and 0.1."
        )
    return {"train": 1 - validation - test, "validation": validation, "test": test}


def find_groups(keys: Keys, distance: int) -> list[str]:
    """The group of each row, named by one of its keys.

    Rows belong together that share a value in any of the columns, and so on through chains. A group of several values is
    named by the one with the smallest hash, so neither the order of rows nor the other groups matter.

    Args:
        keys: No row without any value.
        distance: Bits in which perceptual hashes may differ.
    """
    if len(keys.columns) == 1 and not is_near(keys.columns[0], distance):
        return [value or "" for value in keys.values[0]]
    number: dict[tuple[int, str], int] = {}
    of_row: list[int] = []
    links: list[tuple[int, int]] = []
    for row in range(len(keys)):
        mine = [
            number.setdefault((at, value), len(number))
            for at, values in enumerate(keys.values)
            if (value := values[row]) is not None
        ]
        of_row.append(mine[0])
        links += ((mine[0], other) for other in mine[1:])
    for at, column in enumerate(keys.columns):
        if is_near(column, distance):
            # A row without any key of its own stands for itself: it is no hash.
            mine_of = {value: node for (of, value), node in number.items() if of == at and not value.startswith("row:")}
            nodes = np.array(list(mine_of.values()), np.int64)
            for one, other in near_pairs(hashes_of(list(mine_of), column), distance):
                links += zip(nodes[one].tolist(), nodes[other].tolist(), strict=True)
    root = _joined(len(number), links)
    name: dict[int, tuple[bytes, str]] = {}
    for (_, value), node in number.items():
        candidate = (_hash(value), value)
        name[root[node]] = min(name.get(root[node], candidate), candidate)
    return [name[root[node]][1] for node in of_row]


def assign(
    examples: Sequence[Example], shares: Mapping[str, float], seed: int, official: Official, stratify: bool
) -> list[str]:
    """The split of each row: one of ``SPLITS``, or ``left-out``.

    Args:
        examples: The rows.
        shares: Of the three splits, together 1.
        seed: Another seed is another split.
        official: keep what the source says, clean it of rows whose group stands in a stronger split, or ignore it.
        stratify: Draw from groups of equal labels so that each split has its share of each.

    Raises:
        OfficialLeak: Official splits are to be kept and share groups.
        EmptySplit: A split that is wanted would hold no row.
    """
    given: dict[str, set[str]] = defaultdict(set)
    if official != "ignore":
        for example in examples:
            if example.official:
                given[example.group].add(example.official)
    if official == "keep":
        _refuse_leaks(given)
    fixed = {group: min(splits, key=_STRONGEST.index) for group, splits in given.items()}
    free = dict.fromkeys(example.group for example in examples if example.group not in fixed)
    drawn = _stratified(examples, free, shares, seed) if stratify else {key: place(key, seed) for key in free}
    split_of_group = fixed | {group: split_at(where, shares) for group, where in drawn.items()}
    result = [
        LEFT_OUT if official == "clean" and example.official not in (None, split) else split
        for example in examples
        for split in [split_of_group[example.group]]
    ]
    _refuse_empty(result, shares, bool(fixed), bool(free))
    return result


def _refuse_leaks(given: Mapping[str, set[str]]) -> None:
    torn = sorted(group for group, splits in given.items() if len(splits) > 1)
    if torn:
        named = ", ".join(f"{group} ({' and '.join(sorted(given[group]))})" for group in torn[:_NAMED])
        raise OfficialLeak(
            f"The official splits share {len(torn):,} groups: {named}{', …' if len(torn) > _NAMED else ''}. Give "
            "official='clean' to leave such rows out of the weaker split (test stays whole), or official='ignore' to "
            "draw new splits."
        )


def _refuse_empty(result: Sequence[str], shares: Mapping[str, float], fixed: bool, free: bool) -> None:
    rows = Counter(result)
    if fixed and not free:
        if not rows["train"] or len([split for split in SPLITS if rows[split]]) < 2:
            there = ", ".join(split for split in SPLITS if rows[split])
            raise EmptySplit(
                f"The table's official splits hold only rows for {there}. Give official='ignore' to draw new splits, or "
                "prepare the table with its other splits."
            )
        return
    for split in SPLITS:
        if shares[split] > 0 and not rows[split]:
            raise EmptySplit(
                f"The split {split!r} (share {shares[split]:.3g}) would hold none of the {len(result):,} rows: there are "
                "too few groups. Give more rows, a larger share, 0 to do without it, another seed, or stratify=true."
            )


def _stratified(
    examples: Sequence[Example], free: Mapping[str, None], shares: Mapping[str, float], seed: int
) -> dict[str, float]:
    """Places spread evenly within each stratum: systematic sampling with a start drawn by the seed."""
    labels: dict[str, set[str]] = {group: set() for group in free}
    for example in examples:
        if example.group in labels:
            labels[example.group].update(example.labels)
    strata: dict[str, list[str]] = defaultdict(list)
    for group, some in labels.items():
        strata["\0".join(sorted(some))].append(group)
    places: dict[str, float] = {}
    for stratum, groups in strata.items():
        groups.sort(key=lambda group: (place(group, seed), group))
        start = place(f"stratum\0{stratum}", seed)
        places |= {group: (rank + start) / len(groups) for rank, group in enumerate(groups)}
    return places


def _joined(number: int, links: Sequence[tuple[int, int]]) -> list[int]:
    """Union-find: the smallest node of each node's component."""
    parent = list(range(number))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    for one, other in links:
        first, second = root(one), root(other)
        parent[max(first, second)] = min(first, second)
    return [root(node) for node in range(number)]


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
