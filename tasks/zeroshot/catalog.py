"""The images of a table of memes: every row is an image that can be shown, or is rejected by name.

One row of ``tables/memes.parquet`` in, one of these out::

    row 3 | "Негативно/a.jpg" | sha256 "51ab…" | text "СЕРГЕЙ БЕЗРУКОВ"
    row 4 | "Негативно/b.jpg" | sha256 "09f1…" | error "missing-image" | message "Row 4, …"
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.storage.errors import ForeignTable, PermanentError
from tasks.storage.files import sha256
from tasks.storage.schemas import MEMES, MEMES_TO_CLASSIFY, MEMES_UNCLASSIFIED
from tasks.storage.tables import read_batches

# Why an image is rejected, besides those of tasks/pictures.
REASONS = {
    "changed-image": "the file is not the image that was read",
    "missing-image": "there is no such file in the folder of the images",
    "outside": "the path leads out of the folder of the images",
    "too-long": "the text on the image is longer than the VLM takes",
}

_AT_ONCE = 500  # rows as Python's objects


class BadTable(PermanentError):
    """A table of memes that cannot be classified as it is asked for."""


class TableChanged(PermanentError):
    """The table of memes is not the one that was read before."""


@dataclass(frozen=True)
class Catalog:
    """Which images of a table can be shown. What is on them stays in the table.

    Args:
        table: The table of memes.
        images: The folder that its paths are below.
        rows: How many it has.
        refused: Rows of ``MEMES_UNCLASSIFIED``, without labels.
        digest: SHA-256 of what models get to see, and of what they do not.
    """

    table: Path
    images: Path
    rows: int
    refused: pa.Table
    digest: str

    def usable(self, rows: int) -> Iterator[pa.Table]:
        """Of each so many rows those that can be shown, as ``MEMES_TO_CLASSIFY``.

        Raises:
            TableChanged: At the end: the table is not as it was when the images were looked at.
        """
        digest = hashlib.sha256()
        for some in _rows(self.table, rows):
            fine = some.filter(pc.invert(pc.is_in(some["row"], self.refused["row"])))
            for line in _lines(fine):
                digest.update(line)
            yield fine
        for line in _lines(self.refused):
            digest.update(line)
        if digest.hexdigest() != self.digest:
            raise TableChanged(f"{self.table} was written anew while it was read. Start the flow again.")


def images_of(table: Path, images: Path | None) -> Path:
    """The folder that a table's paths are below: the one that is given, or the one that it was made from.

    Raises:
        BadTable: It is not known, or is no folder.
    """
    if images is None:
        provenance = table.with_name(f"{table.stem}.provenance.json")
        try:
            images = Path(json.loads(provenance.read_bytes())["source"]["path"])
        except (OSError, ValueError, KeyError, TypeError):
            raise BadTable(
                f"{provenance} does not say where the images of {table.name} are. Give the folder as `images`."
            ) from None
    if not images.is_dir():
        raise BadTable(f"The folder of the images, {images}, is not there. Give the one that they are in as `images`.")
    return images.absolute()


def name_of(table: Path, tables: Path, name: str) -> str:
    """Stem of the tables to write below a folder: the one that is given, or the table's own with "-classified".

    Raises:
        BadTable: They would take the place of the table itself.
    """
    if name and (tables / f"{name}.parquet").resolve() == table.resolve():
        raise BadTable(
            f"`name` is {name!r}, so the answers would take the place of {table}. Leave it empty, or give another one."
        )
    return name or f"{table.stem}-classified"


def classes_of(table: Path, labels: Sequence[str] | None) -> tuple[str, ...]:
    """The classes: those that are given, or the table's labels in alphabetical order.

    Raises:
        BadTable: A row has a label that is none of them; or there are fewer than two, or one twice.
        ForeignTable: The table is none of ``read-memes``.
    """
    known = {label for some in _batches(table, _AT_ONCE, ["label"]) for label in some["label"].unique().to_pylist()}
    classes = tuple(labels) if labels else tuple(sorted(label for label in known if label))
    if len(classes) < 2 or len(set(classes)) < len(classes) or not all(classes):
        raise BadTable(
            f"The classes are {list(classes)}; at least two different ones are needed. Give them as `labels`, such as "
            '["toxic", "non_toxic"].'
        )
    if known - {None, *classes}:
        gold = (label for some in _batches(table, _AT_ONCE, ["label"]) for label in some["label"].to_pylist())
        row, label = next((row, label) for row, label in enumerate(gold) if label not in (None, *classes))
        raise BadTable(
            f"{table}, row {row}: its label {label!r} is none of the classes {', '.join(classes)}. Add it to "
            "`labels`, or give `read-memes` a table of labels that has none but these."
        )
    return classes


def read_catalog(table: Path, images: Path) -> Catalog:
    """Look at every image of a table of memes; each file is hashed.

    Raises:
        BadTable: There is no row, or not one of the images is there.
        ForeignTable: The table is none of ``read-memes``.
        TornFile: It is damaged.
    """
    folder, digest, count = images.resolve(), hashlib.sha256(), 0
    pieces = [MEMES_UNCLASSIFIED.columns.empty_table()]
    for some in _rows(table, _AT_ONCE):
        why = [_why_not(row, folder) for row in some.to_pylist()]
        for line in _lines(some.filter(pa.array([each is None for each in why]))):
            digest.update(line)
        pieces.append(pa.Table.from_pylist([each for each in why if each], MEMES_UNCLASSIFIED.columns))
        count += len(some)
    refused = pa.concat_tables(pieces).combine_chunks()
    if not count:
        raise BadTable(f"{table} has no rows. Read a folder that has memes: read-memes.")
    if len(refused) == count:
        raise BadTable(
            f"None of the {count:,} images of {table.name} can be used. The first one: {refused['message'][0]} Give the "
            "folder that they are in as `images`."
        )
    for line in _lines(refused):
        digest.update(line)
    return Catalog(table, images, count, refused, digest.hexdigest())


def _why_not(row: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """The row with ``error`` and ``message`` where its image is not there as it was."""
    path = (folder / row["path"]).resolve()
    where = f"Row {row['row']}, {row['path']}"
    if not path.is_relative_to(folder):
        return {**row, "error": "outside", "message": f"{where} is outside {folder}."}
    try:
        found = sha256(path)
    except OSError as error:
        message = f"{where} cannot be read in {folder}: {error.strerror}."
        return {**row, "error": "missing-image", "message": message}
    if found != row["sha256"]:
        message = f"{where} is not the image that was read. Read the folder again."
        return {**row, "error": "changed-image", "message": message}
    return None


def _lines(some: pa.Table) -> Iterator[bytes]:
    """What is seen of each row, or why it is not."""
    for batch in some.to_batches(_AT_ONCE):
        for row in batch.to_pylist():
            seen = [row["row"], row["path"], row["sha256"], row.get("text"), row.get("error")]
            yield json.dumps(seen, ensure_ascii=False).encode() + b"\n"


def _rows(table: Path, at_once: int) -> Iterator[pa.Table]:
    """All rows by their positions, as ``MEMES_TO_CLASSIFY``."""
    start = 0
    for some in _batches(table, at_once, ["path", "sha256", "text"]):
        numbers = pa.array(range(start, start + len(some)), pa.int64())
        columns = [numbers, some["path"], some["sha256"], pc.fill_null(some["text"], "")]
        yield pa.Table.from_arrays(columns, schema=MEMES_TO_CLASSIFY.columns)
        start += len(some)


def _batches(table: Path, at_once: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    try:
        yield from read_batches(table, MEMES, at_once, columns)
    except ForeignTable as error:
        raise ForeignTable(f"{error} classify-memes takes the table of read-memes: run that first.") from error
