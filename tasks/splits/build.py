"""A table into a frozen version of a dataset, whose splits share no group.

::

    datasets/llava-es/3f2a9c01d7b4/
      data/train-00000-of-00001.parquet        the table's rows and columns, and `split_group`
      data/validation-00000-of-00001.parquet
      data/test-00000-of-00001.parquet
      left-out.parquet                         only with official="clean": rows that stand in no split
      README.md                                dataset card, as Hugging Face reads it
      certificate.json                         parameters, counts, leaks that were looked for, SHA-256 of every file

The version is a digest of the table's bytes and of the parameters: the same again is found, anything else is another
folder. The folder appears whole, by rename; a version is never written twice.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.splits.assign import LEFT_OUT, Example, Official, assign, find_groups, make_shares
from tasks.splits.audit import Leak, find_leaks
from tasks.splits.card import write_card
from tasks.splits.keys import PHASH, BadTable, Keys, check_columns, column_keys, is_near, read_keys, row_digest
from tasks.storage.errors import PermanentError, TornFile
from tasks.storage.files import fingerprints, sha256, whole_folder, write_bytes
from tasks.storage.schemas import TableSchema
from tasks.storage.split_names import SPLITS, split_of
from tasks.storage.tables import open_parquet, table_writer

VERSION = "build-splits/1"
CERTIFICATE = "certificate.json"
GROUP = "split_group"
_OFFICIAL, _OFFICIAL_KEPT = "split", "official_split"  # the table's column, and its name in the dataset
_BATCH = 5_000
_TOLD = "every two files were read again and their values compared"
_TOLD_NEAR = ", and perceptual hashes also with those up to {distance} of 64 bits away"


class VersionChanged(PermanentError):
    """A dataset's version is not as it was written."""


class Leaking(PermanentError):
    """The splits that were just written share a group: a fault of ours."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a table is to be split.

    Args:
        group_by: Columns whose values must not stand in two splits; and ``phash``, where the table has it, if distance > 0.
        seed: Another seed is another split.
        validation: Share of the groups.
        test: Share of the groups.
        distance: Bits in which perceptual hashes may differ and still mean one image.
        official: What becomes of splits that the table names.
        stratify: Put labels in proportion exactly; added rows may then move groups.
        label: The column with the labels; none where it is empty.
        licence: The source's, as Hugging Face names it.
    """

    group_by: tuple[str, ...]
    seed: int = 0
    validation: float = 0.1
    test: float = 0.1
    distance: int = 6
    official: Official = "keep"
    stratify: bool = False
    label: str = ""
    licence: str = ""


class Dataset(NamedTuple):
    """A version of a dataset: its folder and its certificate."""

    folder: Path
    certificate: dict[str, Any]


@dataclass(slots=True)
class _Read:
    """What the first pass over a table keeps of it."""

    keys: Keys
    labels: list[tuple[str, ...]] = field(default_factory=list)
    official: list[str | None] = field(default_factory=list)
    without_key: int = 0


def build(table: Path, datasets: Path, name: str, wanted: Wanted) -> Dataset:
    """Split a table, or find the version that was made of the same table in the same way.

    Args:
        table: Any Parquet file.
        datasets: The folder of all datasets.
        name: Of this dataset.
        wanted: How to split.

    Raises:
        BadTable: A column is missing or cannot be used.
        BadShares: The shares are none.
        OfficialLeak: Official splits are to be kept and share groups.
        EmptySplit: A split would hold no row.
        VersionChanged: The version is there and was changed after it had been written.
    """
    shares = make_shares(wanted.validation, wanted.test)
    if not 0 <= wanted.distance <= 16:
        raise BadTable(
            f"distance={wanted.distance} is no number of bits from 0 to 16; 64-bit hashes of one image differ by less."
        )
    wanted, provenance = _completed(table, wanted)
    digest = sha256(table)
    version = version_of(digest, asdict(wanted))
    folder = datasets / name / version
    if folder.exists():
        return Dataset(folder, check_version(folder))
    read = _read(table, wanted)
    groups = find_groups(read.keys, wanted.distance)
    examples = [Example(*row) for row in zip(groups, read.labels, read.official, strict=True)]
    if not examples:
        raise BadTable(f"{table} has no rows, so there is nothing to split.")
    split_of_row = assign(examples, shares, wanted.seed, wanted.official, wanted.stratify)
    certificate = {
        "dataset": name,
        "version": version,
        "code": VERSION,
        "table": {"name": table.name, "sha256": digest, "rows": len(examples)},
        "source": provenance.get("source", {}),
        "parameters": _plain(wanted),
        "splits": _counts(examples, split_of_row),
        "left_out": split_of_row.count(LEFT_OUT),
        "rows_without_key": read.without_key,
        "official_rows": len(examples) - read.official.count(None),
        "random_split": _random_split(groups, shares),
    }
    with whole_folder(folder) as aside:
        _write(table, aside, groups, split_of_row, {"dataset": name, "version": version})
        certificate["leaks"] = _look_for_leaks(aside, wanted)
        write_card(aside / "README.md", certificate, wanted.licence, provenance)
        certificate["files"] = fingerprints(aside)
        write_bytes(aside / CERTIFICATE, json.dumps(certificate, indent=2, ensure_ascii=False).encode())
    return Dataset(folder, certificate)


def find_version(datasets: Path, dataset: str) -> Path:
    """The version that is meant: a folder, ``name/version``, or the name of a dataset that has one version.

    Args:
        datasets: The folder of all datasets.
        dataset: What the user named.

    Raises:
        PermanentError: There is none, or there are several; the message lists them.
    """
    for folder in (Path(dataset), datasets / dataset):
        if dataset and (folder / CERTIFICATE).is_file():
            return folder.absolute()
    folder = datasets / dataset
    versions = sorted((path.parent for path in folder.glob(f"*/{CERTIFICATE}")), key=lambda path: path.stat().st_mtime)
    if dataset and len(versions) == 1:
        return versions[0].absolute()
    if dataset and versions:
        told = ", ".join(f"{dataset}/{version.name}" for version in versions)
        raise PermanentError(f"{dataset} has {len(versions)} versions. Name one, oldest first: {told}.")
    names = ", ".join(sorted({path.parent.parent.name for path in datasets.glob(f"*/*/{CERTIFICATE}")})) or "none yet"
    raise PermanentError(
        f"There is no dataset {dataset!r}. Give a folder that build-splits made, or a name under {datasets}: {names}."
    )


def version_of(table_sha256: str, parameters: Mapping[str, Any]) -> str:
    """The name of a version: a digest of content, parameters and the code that made it."""
    text = json.dumps([VERSION, table_sha256, parameters], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_certificate(folder: Path) -> dict[str, Any]:
    """A dataset's certificate.

    Raises:
        TornFile: It is missing or damaged.
    """
    path = folder / CERTIFICATE
    try:
        read: dict[str, Any] = json.loads(path.read_bytes())
        _ = read["files"].items(), read["version"], read["parameters"]["group_by"], read["splits"].items()
    except FileNotFoundError as error:
        raise TornFile(f"{folder} has no {CERTIFICATE}, so it is no version of a dataset. Move it away.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TornFile(f"{path} is damaged ({error!r}). Move {folder} away and build it again.") from error
    return read


def check_version(folder: Path) -> dict[str, Any]:
    """Hold a version's files against its certificate; the certificate.

    Raises:
        TornFile: The certificate is missing or damaged.
        VersionChanged: A file is missing or was changed; the message names it.
    """
    certificate = read_certificate(folder)
    if wrong := list(changed_files(folder, certificate)):
        raise VersionChanged(
            f"{folder} was changed after it had been written: {'; '.join(wrong)}. A version is never overwritten: "
            "move the folder away, and run again to make it anew."
        )
    return certificate


def changed_files(folder: Path, certificate: Mapping[str, Any]) -> Iterator[str]:
    """What is not as the certificate says, file by file."""
    for name, told in certificate["files"].items():
        path = folder / name
        if not path.is_file():
            yield f"{name} is missing"
        elif path.stat().st_size != told["bytes"] or sha256(path) != told["sha256"]:
            yield f"{name} has another SHA-256"
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    for name in sorted(there - {CERTIFICATE, *certificate["files"]}):
        yield f"{name} was added"


def leaks_of(folder: Path, group_by: Sequence[str], distance: int) -> list[Leak]:
    """Leaks between the splits of a version, read from its files."""
    files = {split: path for split in SPLITS if (path := folder / _path(split)).is_file()}
    return find_leaks({split: read_keys(path, group_by) for split, path in files.items()}, distance)


def _completed(table: Path, wanted: Wanted) -> tuple[Wanted, dict[str, Any]]:
    """Near-duplicates, label and licence where they were not named, and what the table's provenance says."""
    if not wanted.group_by:
        raise BadTable("group_by names no column. Give one, such as image.")
    with open_parquet(table) as file:
        names = file.schema_arrow.names
    check_columns(table, names, [*wanted.group_by, *([wanted.label] if wanted.label else [])])
    if taken := {GROUP, _OFFICIAL_KEPT} & set(names):
        raise BadTable(f"{table} has a column {taken.pop()!r} already, which a dataset gets. Rename it.")
    near = (PHASH,) if PHASH in names and PHASH not in wanted.group_by and wanted.distance else ()
    label = wanted.label or next((name for name in ("labels", "label") if name in names), "")
    path = table.with_suffix(".provenance.json")
    try:
        provenance = json.loads(path.read_bytes()) if path.is_file() else {}
    except ValueError as error:
        raise TornFile(f"{path} is damaged ({error}). Run the flow that made {table.name} again.") from error
    licence = wanted.licence or str(provenance.get("licence", ""))
    given = asdict(wanted) | {"group_by": (*wanted.group_by, *near), "label": label, "licence": licence}
    return Wanted(**given), provenance


def _plain(wanted: Wanted) -> dict[str, Any]:
    return asdict(wanted) | {"group_by": list(wanted.group_by)}


def _read(table: Path, wanted: Wanted) -> _Read:
    """One pass over the columns that decide; whole rows only where a key is missing."""
    read = _Read(Keys(wanted.group_by))
    with open_parquet(table) as file:
        official = _OFFICIAL in file.schema_arrow.names and wanted.official != "ignore"
        columns = {*wanted.group_by, *([wanted.label] if wanted.label else []), *([_OFFICIAL] if official else [])}
        for batch in file.iter_batches(_BATCH, columns=sorted(columns)):
            for values, column in zip(read.keys.values, wanted.group_by, strict=True):
                values.extend(column_keys(batch.column(column), f"{table}, column {column!r}"))
            read.labels += _labels(batch.column(wanted.label)) if wanted.label else [()] * len(batch)
            given = batch.column(_OFFICIAL).to_pylist() if official else [None] * len(batch)
            read.official += [_official(table, value) for value in given]
        without = [row for row, values in enumerate(zip(*read.keys.values, strict=True)) if not any(values)]
        if without:
            read.without_key = len(without)
            for row, item in _rows_at(file, set(without)):
                read.keys.values[0][row] = row_digest(item)
    return read


def _rows_at(file: pq.ParquetFile, rows: set[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    start = 0
    for batch in file.iter_batches(_BATCH):
        for at in range(len(batch)):
            if start + at in rows:
                yield start + at, batch.slice(at, 1).to_pylist()[0]
        start += len(batch)


def _labels(column: pa.Array) -> list[tuple[str, ...]]:
    many = isinstance(column, pa.ListArray | pa.LargeListArray)
    return [
        () if value is None else tuple(sorted(map(str, value))) if many else (str(value),)
        for value in column.to_pylist()
    ]


def _official(table: Path, value: Any) -> str | None:
    if value is None:
        return None
    split = split_of(value) if isinstance(value, str) else None
    if split is None:
        raise BadTable(
            f"{table}: the column {_OFFICIAL!r} holds {value!r}, which is none of {', '.join(SPLITS)}. "
            "Give official='ignore' to draw new splits."
        )
    return split


def _counts(examples: Sequence[Example], split_of_row: Sequence[str]) -> dict[str, Any]:
    counts = {}
    for split in SPLITS:
        mine = [example for example, where in zip(examples, split_of_row, strict=True) if where == split]
        if mine:
            labels = Counter(label for example in mine for label in example.labels)
            counts[split] = {
                "rows": len(mine),
                "groups": len({example.group for example in mine}),
                "labels": dict(sorted(labels.items())),
                "without_label": sum(not example.labels for example in mine) if labels else 0,
            }
    return counts


def _random_split(groups: Sequence[str], shares: Mapping[str, float]) -> float:
    """Share of test rows that would share their group with a row of train, had the rows been drawn one by one."""
    sizes = Counter(groups).values()
    return round(sum(size * (1 - (1 - shares["train"]) ** (size - 1)) for size in sizes) / len(groups), 4)


def _path(split: str) -> str:
    return f"data/{split}-00000-of-00001.parquet"


def _write(
    table: Path, folder: Path, groups: Sequence[str], split_of_row: Sequence[str], origin: Mapping[str, str]
) -> None:
    """The table's rows, batch by batch, each to its split."""
    places = [split for split in (*SPLITS, LEFT_OUT) if split in set(split_of_row)]
    with open_parquet(table) as file, ExitStack() as stack:
        fields = [
            column.with_name(_OFFICIAL_KEPT) if column.name == _OFFICIAL else column for column in file.schema_arrow
        ]
        schema = TableSchema("dataset/1", pa.schema([*fields, pa.field(GROUP, pa.string(), nullable=False)]))
        writers = {
            split: stack.enter_context(
                table_writer(folder / (f"{LEFT_OUT}.parquet" if split == LEFT_OUT else _path(split)), schema, origin)
            )
            for split in places
        }
        start = 0
        for batch in file.iter_batches(_BATCH):
            stop = start + len(batch)
            columns = [*batch.columns, pa.array(groups[start:stop], pa.string())]
            rows = pa.Table.from_arrays(columns, schema=schema.columns)
            where = pa.array(split_of_row[start:stop])
            for split, writer in writers.items():
                mine = rows.filter(pc.equal(where, split))
                if mine.num_rows:
                    writer.write_table(mine)
            start = stop


def _look_for_leaks(folder: Path, wanted: Wanted) -> dict[str, Any]:
    """Read what was written, and compare every two splits in every column that groups."""
    looked = leaks_of(folder, wanted.group_by, wanted.distance)
    by_group = leaks_of(folder, [GROUP], 0)
    found = sum(leak.values for leak in (*looked, *by_group))
    if found:
        told = "; ".join(str(leak) for leak in (*looked, *by_group) if leak.values)
        raise Leaking(f"{told}. Nothing was kept. This is a fault of {VERSION}: please report it with this message.")
    near = any(is_near(column, wanted.distance) for column in wanted.group_by)
    return {
        "found": found,
        "how": _TOLD + (_TOLD_NEAR.format(distance=wanted.distance) if near else ""),
        "looked": [
            {"column": leak.column, "split": leak.split, "other": leak.other, "rows": leak.of, "shared": leak.values}
            for leak in (*looked, *by_group)
        ],
    }
