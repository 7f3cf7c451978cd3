"""A table into a frozen version of a dataset, whose splits share no group.

::

    datasets/llava-es/3f2a9c01d7b4/
      data/train-00000-of-00001.parquet        the table's rows and columns, and `split_group`
      data/validation-00000-of-00001.parquet
      data/test-00000-of-00001.parquet
      data/train.jsonl, …                      the same rows' conversations, where the table has a column `messages`
      left-out.parquet                         rows that stand in no split: not taken, or cleaned of official splits
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
from dataclasses import asdict, dataclass, field, replace
from itertools import compress, islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.models.messages import MESSAGES, has_conversations
from tasks.splits.assign import LEFT_OUT, Example, Official, assign, find_groups, make_shares
from tasks.splits.audit import Leak, find_leaks
from tasks.splits.card import write_card
from tasks.splits.chats import check_row, write_lines
from tasks.splits.keys import (
    ID,
    IMAGE,
    PHASH,
    REPEATS,
    BadTable,
    Keys,
    check_columns,
    check_distance,
    column_keys,
    follow_repeats,
    is_near,
    read_keys,
    row_digest,
)
from tasks.storage.errors import PermanentError, TornFile
from tasks.storage.files import fingerprints, sha256, whole_folder, write_bytes
from tasks.storage.schemas import TableSchema
from tasks.storage.split_names import SPLITS, split_of
from tasks.storage.tables import open_parquet, table_writer

VERSION = "build-splits/1"
CERTIFICATE = "certificate.json"
GROUP = "split_group"
_OFFICIAL, _OFFICIAL_KEPT = "split", "official_split"  # the table's column, and its name in the dataset
_FEATURES = b"huggingface"  # metadata in which `datasets` keeps what Parquet has no types for
_HASH = "sha256"  # of an image's bytes
_REASON = "reason"  # the column in which a table says why a row is not to be taken
_BATCH = 1_000  # rows in memory
_BATCH_BYTES = 32_000_000  # the same, where rows hold images
_GROUP_BATCHES = 5  # in a row group of a split
_TOLD = "every two files were read again and their values compared"
_TOLD_REPEATS = f", and {REPEATS} was followed from row to row"
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
        keep: The column that is true in rows that are taken; all are where it is empty.
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
    keep: str = ""


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
    taken: list[bool] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
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
    check_distance(wanted.distance)
    wanted, provenance, names = _completed(table, wanted)
    digest = sha256(table)
    version = version_of(digest, _plain(wanted))
    folder = datasets / name / version
    if folder.exists():
        return Dataset(folder, check_version(folder))
    read = _read(table, wanted)
    rows = range(len(read.taken))
    taken = rows if all(read.taken) else list(compress(rows, read.taken))
    if not taken:
        which = f" that {wanted.keep!r} is true of" if read.taken else ""
        raise BadTable(f"{table} has no rows{which}, so there is nothing to split.")
    groups = find_groups(read.keys.only(taken), wanted.distance)
    examples = [Example(group, read.labels[row], read.official[row]) for row, group in zip(taken, groups, strict=True)]
    splits = assign(examples, shares, wanted.seed, wanted.official, wanted.stratify)
    certificate = {
        "dataset": name,
        "version": version,
        "code": VERSION,
        "table": {"name": table.name, "sha256": digest, "rows": len(read.taken)},
        "source": provenance.get("source", {}),
        "parameters": _plain(wanted),
        "splits": _counts(examples, splits),
        "left_out": splits.count(LEFT_OUT) + len(read.taken) - len(taken),
        **({"not_taken": dict(sorted(read.refused.items()))} if wanted.keep else {}),
        "rows_without_key": read.without_key,
        "official_rows": sum(example.official is not None for example in examples),
        "random_split": _random_split(groups, shares),
    }
    is_taken = read.taken
    del read, examples  # keys and labels: what was written is read again
    with whole_folder(folder) as aside:
        _write(table, aside, is_taken, splits, groups, {"dataset": name, "version": version})
        if conversations := _write_conversations(aside):
            certificate["conversations"] = conversations
        certificate["leaks"] = _look_for_leaks(aside, wanted)
        certificate["equal_bytes"] = _equal_bytes(aside, names, wanted)
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
            "move the folder away, and run build-splits again to make it anew."
        )
    return certificate


def changed_files(folder: Path, certificate: Mapping[str, Any]) -> Iterator[str]:
    """What is not as the certificate says, file by file. Hidden files (git's, Finder's, the Hub's) are no part of it."""
    for name, told in certificate["files"].items():
        path = folder / name
        if not path.is_file():
            yield f"{name} is missing"
        elif path.stat().st_size != told["bytes"] or sha256(path) != told["sha256"]:
            yield f"{name} has another SHA-256"
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    for name in sorted(there - {CERTIFICATE, *certificate["files"]}):
        if "/." not in f"/{name}":
            yield f"{name} was added"


def wrong_counts(folder: Path, certificate: Mapping[str, Any]) -> Iterator[str]:
    """Counts of the certificate that are not those of the files.

    Raises:
        TornFile: A file is damaged, or has not the columns of a dataset.
    """
    label = certificate["parameters"]["label"]
    names = [GROUP, *([_OFFICIAL_KEPT if label == _OFFICIAL else label] if label else [])]
    found: dict[str, Any] = {}
    for split in SPLITS:
        if (path := folder / _path(split)).is_file():
            examples: list[Example] = []
            with open_parquet(path) as file:
                if missing := set(names) - set(file.schema_arrow.names):
                    raise TornFile(f"{path} has no column {missing.pop()!r}. Move {folder} away and build it again.")
                for batch in file.iter_batches(_BATCH, columns=names):
                    labels = _labels(batch.column(names[1])) if label else [()] * len(batch)
                    examples += map(Example, batch.column(GROUP).to_pylist(), labels)
            found |= _counts(examples, [split] * len(examples))
    for split in SPLITS:
        told, there = certificate["splits"].get(split), found.get(split)
        if told != there:
            yield f"{split}: {told} certified, {there} in the file"
    left_out = folder / _path(LEFT_OUT)
    aside = 0
    if left_out.is_file():
        with open_parquet(left_out) as file:
            aside = file.metadata.num_rows
    if aside != certificate["left_out"]:
        yield f"left out: {certificate['left_out']:,} certified, {aside:,} in the file"
    total = aside + sum(counts["rows"] for counts in found.values())
    if total != certificate["table"]["rows"]:
        yield f"the table had {certificate['table']['rows']:,} rows, the files have {total:,}"


def leaks_of(folder: Path, group_by: Sequence[str], distance: int) -> list[Leak]:
    """Leaks between the splits of a version, read from its files."""
    # A chain of repeats may lead through what was left out.
    names = (*SPLITS, LEFT_OUT) if REPEATS in group_by else SPLITS
    files = {split: path for split in names if (path := folder / _path(split)).is_file()}
    keys = {split: read_keys(path, group_by) for split, path in files.items()}
    if REPEATS in group_by:
        at = list(group_by).index(REPEATS)
        ids = [own for path in files.values() for own in read_keys(path, [ID]).values[0]]
        chains = iter(follow_repeats(ids, [other for each in keys.values() for other in each.values[at]]))
        for each in keys.values():
            each.values[at] = list(islice(chains, len(each)))
    return find_leaks(keys, distance)


def _equal_bytes(folder: Path, names: Sequence[str], wanted: Wanted) -> list[dict[str, Any]]:
    """Splits that share images under other names, where names alone hold rows together: no leak of what was asked for."""
    if not {IMAGE, _HASH} <= set(names) or _HASH in wanted.group_by:
        return []
    leaks = leaks_of(folder, [_HASH], 0)
    return [{"split": leak.split, "other": leak.other, "rows": leak.rows, "of": leak.of} for leak in leaks if leak.rows]


def _completed(table: Path, wanted: Wanted) -> tuple[Wanted, dict[str, Any], Sequence[str]]:
    """Near-duplicates, label and licence where they were not named; what the table's provenance says; its columns."""
    if not wanted.group_by:
        raise BadTable("group_by names no column. Give one, such as image.")
    with table.open("rb") as content:
        if content.read(4) != b"PAR1":
            raise BadTable(
                f"{table} is no Parquet file. Write it as one (pandas: read_csv(…).to_parquet(…)), and give that."
            )
    with open_parquet(table) as file:
        names = file.schema_arrow.names
    if IMAGE not in names and _HASH in names:  # in a table of read-memes an image's bytes name it
        wanted = replace(wanted, group_by=tuple(_HASH if name == IMAGE else name for name in wanted.group_by))
    needed = [*wanted.group_by, *([ID] if REPEATS in wanted.group_by else []), wanted.label, wanted.keep]
    check_columns(table, names, [name for name in needed if name])
    if taken := {GROUP, _OFFICIAL_KEPT} & set(names):
        raise BadTable(f"{table} has a column {taken.pop()!r} already, which a dataset gets. Rename it.")
    near = (PHASH,) if PHASH in names and PHASH not in wanted.group_by and wanted.distance else ()
    repeats = (REPEATS,) if {REPEATS, ID} <= set(names) and REPEATS not in wanted.group_by else ()
    label = wanted.label or next((name for name in ("labels", "label") if name in names), "")
    path = table.with_suffix(".provenance.json")
    try:
        provenance = json.loads(path.read_bytes()) if path.is_file() else {}
    except ValueError as error:
        raise TornFile(f"{path} is damaged ({error}). Run the flow that made {table.name} again.") from error
    licence = wanted.licence or str(provenance.get("licence", ""))
    group_by = (*wanted.group_by, *near, *repeats)
    return replace(wanted, group_by=group_by, label=label, licence=licence), provenance, names


def _plain(wanted: Wanted) -> dict[str, Any]:
    return asdict(wanted) | {"group_by": list(wanted.group_by)}


def _read(table: Path, wanted: Wanted) -> _Read:
    """One pass over the columns that decide; whole rows only where a key is missing."""
    read = _Read(Keys(wanted.group_by))
    with open_parquet(table) as file:
        schema = file.schema_arrow
        official = _OFFICIAL in schema.names and wanted.official != "ignore"
        repeats = REPEATS in wanted.group_by
        chats = has_conversations(schema)
        others = ((wanted.label, wanted.label), (_OFFICIAL, official), (ID, repeats), (MESSAGES, chats))
        columns = {*wanted.group_by, *(name for name, is_read in others if is_read), *_deciding(table, schema, wanted)}
        ids: list[str | None] = []
        known: dict[tuple[str, ...], tuple[str, ...]] = {}  # rows of equal labels share one tuple
        for batch in file.iter_batches(_BATCH, columns=sorted(columns)):
            start = len(read.taken)
            _take(table, batch, wanted, read)
            if chats:
                for row, messages in enumerate(batch.column(MESSAGES).to_pylist(), start):
                    if read.taken[row]:
                        check_row(table, row, messages)
            ids += column_keys(batch.column(ID), f"{table}, column {ID!r}") if repeats else []
            for values, column in zip(read.keys.values, wanted.group_by, strict=True):
                values.extend(column_keys(batch.column(column), f"{table}, column {column!r}"))
            labels = _labels(batch.column(wanted.label)) if wanted.label else [()] * len(batch)
            read.labels += [known.setdefault(each, each) for each in labels]
            given = batch.column(_OFFICIAL).to_pylist() if official else [None] * len(batch)
            read.official += [_official(table, value) for value in given]
        if repeats:
            at = wanted.group_by.index(REPEATS)
            read.keys.values[at] = _repeats(ids, read.keys.values[at], read.taken)
        of_rows = zip(*read.keys.values, read.taken, strict=True)
        without = [row for row, (*values, is_taken) in enumerate(of_rows) if is_taken and not any(values)]
        if without:
            read.without_key = len(without)
            for row, item in _rows_at(file, set(without)):
                read.keys.values[0][row] = row_digest(item)
    return read


def _deciding(table: Path, schema: pa.Schema, wanted: Wanted) -> list[str]:
    """The columns that say whether a row is taken, and why not."""
    if not wanted.keep:
        return []
    kind = schema.field(wanted.keep).type
    if not pa.types.is_boolean(kind):
        raise BadTable(
            f"{table}, column {wanted.keep!r} is {kind}. Give a column of true and false for `keep`, or none."
        )
    told = _REASON in schema.names and pa.types.is_string(schema.field(_REASON).type)
    return [wanted.keep, *([_REASON] if told else [])]


def _take(table: Path, batch: pa.RecordBatch, wanted: Wanted, read: _Read) -> None:
    """Which rows of a batch are taken, and why the others are not, as far as the table says it."""
    if not wanted.keep:
        read.taken += [True] * len(batch)
        return
    told = batch.column(_REASON).to_pylist() if _REASON in batch.schema.names else [None] * len(batch)
    for keep, reason in zip(batch.column(wanted.keep).to_pylist(), told, strict=True):
        if keep is None:
            raise BadTable(
                f"{table}, row {len(read.taken)}: the column {wanted.keep!r} is empty, so nothing says whether the row is "
                "taken. Fill it in, or give another column for `keep`."
            )
        read.taken.append(keep)
        if not keep:
            read.refused[reason or f"not {wanted.keep}"] += 1


def _repeats(ids: Sequence[str | None], repeats: Sequence[str | None], taken: Sequence[bool]) -> list[str | None]:
    """Chains of rows that repeat one another, those alone that two or more of the taken rows are in.

    A chain is followed through rows that are not taken, but does not tie their routine to anything.
    """
    chains = follow_repeats(ids, repeats)
    rows = Counter(chain for chain, is_taken in zip(chains, taken, strict=True) if is_taken)
    return [chain if rows[chain] > 1 else None for chain in chains]


def _rows_at(file: pq.ParquetFile, rows: set[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    start = 0
    for batch in file.iter_batches(_rows_at_once(file)):
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
    if value is None or value == "":
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
    return f"{LEFT_OUT}.parquet" if split == LEFT_OUT else f"data/{split}-00000-of-00001.parquet"


def _write(
    table: Path,
    folder: Path,
    taken: Sequence[bool],
    splits: Sequence[str],
    groups: Sequence[str],
    origin: Mapping[str, str],
) -> None:
    """The table's rows, batch by batch, each to its split; those that are not taken have neither split nor group."""
    with open_parquet(table) as file, ExitStack() as stack:
        fields = [
            column.with_name(_OFFICIAL_KEPT) if column.name == _OFFICIAL else column for column in file.schema_arrow
        ]
        there = {*splits, *([] if all(taken) else [LEFT_OUT])}
        # A row that is not taken belongs to no group.
        schemas = {
            split: TableSchema(
                "dataset/1",
                pa.schema(
                    [*fields, pa.field(GROUP, pa.string(), nullable=split == LEFT_OUT and not all(taken))],
                    _features(file.schema_arrow),
                ),
            )
            for split in (*SPLITS, LEFT_OUT)
            if split in there
        }
        writers = {
            split: stack.enter_context(table_writer(folder / _path(split), schema, origin))
            for split, schema in schemas.items()
        }
        is_taken, placed = iter(taken), zip(splits, groups, strict=True)
        at_once = _rows_at_once(file)
        for batch in file.iter_batches(at_once):
            mine = [next(placed) if each else (LEFT_OUT, None) for each in islice(is_taken, len(batch))]
            columns = [*batch.columns, pa.array([group for _, group in mine], pa.string())]
            where = pa.array([split for split, _ in mine])
            for split, writer in writers.items():
                chosen = pc.equal(where, split)
                if pc.any(chosen).as_py():
                    some = [column.filter(chosen) for column in columns]
                    some_rows = pa.RecordBatch.from_arrays(some, schema=schemas[split].columns)
                    writer.write_batch(some_rows, _GROUP_BATCHES * at_once)


def _features(schema: pa.Schema) -> dict[bytes, str] | None:
    """Which columns are images or classes with names, as `datasets` wrote it down, with our two columns."""
    try:
        told = json.loads((schema.metadata or {})[_FEATURES])
        given = told["info"]["features"].items()
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    renamed = {_OFFICIAL_KEPT if name == _OFFICIAL else name: kind for name, kind in given}
    features = renamed | {GROUP: {"dtype": "string", "_type": "Value"}}
    return {_FEATURES: json.dumps({"info": {"features": features}}, ensure_ascii=False)}


def _rows_at_once(file: pq.ParquetFile) -> int:
    told = file.metadata
    size = sum(told.row_group(number).total_byte_size for number in range(told.num_row_groups))
    return max(1, min(_BATCH, int(_BATCH_BYTES * told.num_rows / max(size, 1))))


def _write_conversations(folder: Path) -> dict[str, str]:
    """A JSON Lines file per split where there are conversations; their names by split."""
    files = {split: _path(split) for split in SPLITS if (folder / _path(split)).is_file()}
    with open_parquet(folder / next(iter(files.values()))) as file:
        if not has_conversations(file.schema_arrow):
            return {}
    for split, path in files.items():
        write_lines(folder / path, folder / f"data/{split}.jsonl")
    return {split: f"data/{split}.jsonl" for split in files}


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
        "how": _TOLD
        + (_TOLD_NEAR.format(distance=wanted.distance) if near else "")
        + (_TOLD_REPEATS if REPEATS in wanted.group_by else ""),
        "looked": [
            {"column": leak.column, "split": leak.split, "other": leak.other, "rows": leak.of, "shared": leak.values}
            for leak in (*looked, *by_group)
        ],
    }
