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
from itertools import chain
from typing import Literal

import numpy as np

from tasks.pictures.near import near_sets
from tasks.splits.keys import Keys, hashes_of, is_near
from tasks.stats.components import join, root
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
    nodes: list[dict[str, int]] = [{} for _ in keys.columns]  # of each value of a column
    parent: list[int] = []
    of_row: list[int] = []
    for row in range(len(keys)):
        mine = -1
        for known, values in zip(nodes, keys.values, strict=True):
            if (value := values[row]) is not None:
                node = known.setdefault(value, len(parent))
                if node == len(parent):
                    parent.append(node)
                if mine >= 0:
                    join(parent, mine, node)
                mine = node
        of_row.append(mine)
    for known, column in zip(nodes, keys.columns, strict=True):
        if is_near(column, distance):
            # A row without any key of its own stands for itself: it is no hash.
            some = [value for value in known if not value.startswith("row:")]
            node_of = np.fromiter((known[value] for value in some), np.int64, len(some))
            first = node_of[near_sets(hashes_of(some, column), distance)]
            for one, other in zip(first.tolist(), node_of.tolist(), strict=True):
                join(parent, one, other)
    name: dict[int, str] = {}
    for value, node in chain.from_iterable(known.items() for known in nodes):
        least = root(parent, node)
        called = name.setdefault(least, value)
        if called != value:
            name[least] = min((called, value), key=lambda each: (_hash(each), each))
    return [name[root(parent, node)] for node in of_row]


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
    split_of_group: dict[str, str] = {}
    torn: dict[str, set[str]] = defaultdict(set)  # groups in several official splits: few, if any
    if official != "ignore":
        for example in examples:
            if split := example.official:
                first = split_of_group.setdefault(example.group, split)
                if first != split:
                    torn[example.group] |= {first, split}
                    split_of_group[example.group] = min(first, split, key=_STRONGEST.index)
    if official == "keep":
        _refuse_leaks(torn)
    free = dict.fromkeys(example.group for example in examples if example.group not in split_of_group)
    all_official = bool(split_of_group) and not free
    drawn = _stratified(examples, free, shares, seed) if stratify else {key: place(key, seed) for key in free}
    split_of_group |= {group: split_at(where, shares) for group, where in drawn.items()}
    result = [
        LEFT_OUT if official == "clean" and example.official not in (None, split) else split
        for example in examples
        for split in [split_of_group[example.group]]
    ]
    _refuse_empty(result, shares, all_official)
    return result


def _refuse_leaks(torn: Mapping[str, set[str]]) -> None:
    if torn:
        named = ", ".join(f"{group} ({' and '.join(sorted(torn[group]))})" for group in sorted(torn)[:_NAMED])
        raise OfficialLeak(
            f"The official splits share {len(torn):,} groups: {named}{', …' if len(torn) > _NAMED else ''}. Give "
            "official='clean' to leave such rows out of the weaker split (test stays whole), or official='ignore' to "
            "draw new splits."
        )


def _refuse_empty(result: Sequence[str], shares: Mapping[str, float], all_official: bool) -> None:
    rows = Counter(result)
    if all_official:
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


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
