"""Leaks of splits, whoever made them: rows of one split that share a group with a row of another.

test / train, image: 6,437 of 7,886 rows of test (81.6 %) share a value with train, such as 000000000009.jpg
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from tasks.pictures.near import near_pairs
from tasks.splits.keys import ENDINGS, PICTURES, BadTable, Keys, hashes_of, is_near, kind_of, read_keys
from tasks.storage.split_names import SPLITS, split_in, split_of

_NAMED = 5
_SPLIT = "split"  # the column in which one table names its splits
_FORMATS = {".tsv": ".csv", ".json": ".jsonl"} | dict.fromkeys(PICTURES, "")


@dataclass(frozen=True, slots=True)
class Leak:
    """What two splits share in one column.

    Args:
        column: Where the values stand.
        split: The split that should be unseen.
        other: The one that is seen before it.
        rows: Rows of ``split`` whose value, or a near one, stands in ``other``.
        of: Rows of ``split``.
        values: Distinct values that these rows have.
        examples: Some of them.
    """

    column: str
    split: str
    other: str
    rows: int
    of: int
    values: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        such = f", such as {', '.join(self.examples)}" if self.examples else ""
        return (
            f"{self.rows:,} of {self.of:,} rows of {self.split} ({self.rows / max(self.of, 1):.1%}) share "
            f"{self.column} with {self.other}: {self.values:,} values{such}"
        )


def find_leaks(splits: Mapping[str, Keys], distance: int) -> list[Leak]:
    """Hold every two splits against each other, column by column.

    Args:
        splits: Their keys, all with the same columns.
        distance: Bits in which perceptual hashes may differ and still mean one image.

    Returns:
        One entry per pair of splits and column, also where nothing is shared.
    """
    named = [split for split in SPLITS if split in splits]
    return [
        _between(column, at, later, earlier, splits, distance)
        for earlier, later in combinations(named, 2)
        for at, column in enumerate(splits[later].columns)
    ]


def _between(column: str, at: int, split: str, other: str, splits: Mapping[str, Keys], distance: int) -> Leak:
    values = splits[split].values[at]
    mine = {value for value in values if value is not None}
    seen = {value for value in splits[other].values[at] if value is not None}
    shared = mine & seen
    if is_near(column, distance):
        shared |= _near(sorted(mine - shared), sorted(seen), column, distance)
    rows = sum(value in shared for value in values)
    return Leak(column, split, other, rows, len(values), len(shared), tuple(sorted(shared)[:_NAMED]))


def _near(mine: Sequence[str], seen: Sequence[str], column: str, distance: int) -> set[str]:
    """Values of mine that have a near one among those seen; the two have none in common."""
    both = [*mine, *seen]
    hit = np.zeros(len(both), bool)
    for one, other in near_pairs(hashes_of(both, column), distance):
        across = (one < len(mine)) != (other < len(mine))
        hit[one[across]] = hit[other[across]] = True
    return {value for value, is_hit in zip(mine, hit, strict=False) if is_hit}


def find_files(folder: Path) -> dict[str, list[Path]]:
    """The files of each split, as `datasets` finds them: a word of the file's name, or of a folder's that it lies in.

    ``train.csv``, ``data/test-00000-of-00002.parquet``, ``mmhs_val.jsonl.gz``, ``default/test/0000.parquet``. Where a split
    is there in several formats, the first of ``ENDINGS`` counts: what lies beside tables are notes, or the same again.
    Images (``train/toxic/1.jpg``) count where a split has no table.

    Raises:
        BadTable: There are no two splits.
    """
    found: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(folder.rglob("*")):
        parts, kind = path.relative_to(folder).parts, kind_of(path)
        if kind not in (*ENDINGS, *PICTURES) or any(part.startswith(".") for part in parts) or not path.is_file():
            continue
        if kind == ".arrow" and path.name.startswith("cache-"):  # what `map` of datasets made of these rows
            continue
        # An image may be named as it likes.
        names = parts[:-1] if kind in PICTURES else reversed(parts)
        if split := next(filter(None, map(split_in, names)), None):
            found.setdefault(split, {}).setdefault(_FORMATS.get(kind, kind), []).append(path)
    if len(found) < 2:
        raise BadTable(
            f"{folder} holds no two splits: files or folders with train, val (or validation, dev) and test in their names, "
            f"as {', '.join(ENDINGS)} or images."
        )
    return {
        split: next(found[split][kind] for kind in (*ENDINGS, "") if kind in found[split])
        for split in SPLITS
        if split in found
    }


def read_splits(files: Mapping[str, Sequence[Path]], columns: Sequence[str]) -> dict[str, Keys]:
    """The keys of each split.

    Raises:
        BadTable: A column is missing, a file cannot be read, or a split holds no row or no value of a column.
    """
    splits = {}
    for split, paths in files.items():
        keys = Keys(columns)
        for path in paths:
            for all_values, values in zip(keys.values, read_keys(path, columns).values, strict=True):
                all_values.extend(values)
        if not len(keys):
            raise BadTable(f"The split {split!r} holds no row: {', '.join(map(str, paths[:_NAMED]))}.")
        splits[split] = keys
    _check_values(splits)
    return splits


def read_table_splits(table: Path, columns: Sequence[str]) -> dict[str, Keys]:
    """The keys of each split of one table that names them in a column ``split``; rows of none are left out.

    Raises:
        BadTable: A column is missing, the file cannot be read, a split has no value of a column, or there are no two
            splits.
    """
    keys = read_keys(table, columns)
    try:
        (names,) = read_keys(table, [_SPLIT]).values
    except BadTable as error:
        raise BadTable(
            f"{table} is one file, and names no splits in a column {_SPLIT!r}. Give the folder that holds the files of "
            "train, val and test, or a table with such a column."
        ) from error
    named = {name: split_of(name) for name in set(names) if name is not None}
    if unknown := sorted(name for name, split in named.items() if split is None):
        raise BadTable(f"{table}: the column {_SPLIT!r} holds {unknown[0]!r}, which is none of {', '.join(SPLITS)}.")
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if name is not None:
            rows.setdefault(str(named[name]), []).append(row)
    if len(rows) < 2:
        raise BadTable(f"{table}: the column {_SPLIT!r} names no two splits.")
    splits = {split: keys.only(rows[split]) for split in SPLITS if split in rows}
    _check_values(splits)
    return splits


def told(splits: Mapping[str, Keys]) -> str:
    """Rows of each split, and how many of them have no value to compare: ``train 8, test 4 (1 without image)``."""
    parts = []
    for split, keys in splits.items():
        without = ", ".join(
            f"{empty:,} without {column}"
            for column, values in zip(keys.columns, keys.values, strict=True)
            if (empty := values.count(None))
        )
        parts.append(f"{split} {len(keys):,}{f' ({without})' if without else ''}")
    return ", ".join(parts)


def _check_values(splits: Mapping[str, Keys]) -> None:
    for split, keys in splits.items():
        for column, values in zip(keys.columns, keys.values, strict=True):
            if not any(values):
                raise BadTable(
                    f"No row of the split {split!r} has a value in the column {column!r}, so nothing can be compared. "
                    "Give another column for --group-by."
                )
