"""The images of a table of memes: every row is an image that can be shown, or is rejected by name.

One row of ``tables/memes.parquet`` in, one of these out::

    Meme(row=3, path="Негативно/a.jpg", sha256="51ab…", label="toxic", text="СЕРГЕЙ БЕЗРУКОВ")
    BadMeme(row=4, path="Негативно/b.jpg", sha256="09f1…", label="toxic", error="missing-image", message="Row 4, …")
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.storage.errors import ForeignTable, PermanentError
from tasks.storage.schemas import MEMES
from tasks.storage.tables import read_table

# Why an image is rejected, besides those of tasks/pictures.
REASONS = {
    "changed-image": "the file is not the image that was read",
    "missing-image": "there is no such file in the folder of the images",
    "outside": "the path leads out of the folder of the images",
    "too-long": "the text on the image is longer than the VLM takes",
}


class BadTable(PermanentError):
    """A table of memes that cannot be classified as it is asked for."""


@dataclass(frozen=True, slots=True)
class Meme:
    """An image that is there: its position in the table, path below the folder, digest, gold label if any, text."""

    row: int
    path: str
    sha256: str
    label: str | None
    text: str


@dataclass(frozen=True, slots=True)
class BadMeme:
    """A row whose image is not there as it was."""

    row: int
    path: str
    sha256: str
    label: str | None
    error: str
    message: str


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


def classes_of(table: Path, labels: Sequence[str] | None) -> tuple[str, ...]:
    """The classes: those that are given, or the table's labels in alphabetical order.

    Raises:
        BadTable: A row has a label that is none of them; or there are fewer than two, or one twice.
        ForeignTable: The table is none of ``read-memes``.
    """
    gold = _read(table)["label"].to_pylist()
    classes = tuple(labels) if labels else tuple(sorted({label for label in gold if label}))
    if len(classes) < 2 or len(set(classes)) < len(classes) or not all(classes):
        raise BadTable(
            f"The classes are {list(classes)}; at least two different ones are needed. Give them as `labels`, such as "
            '["toxic", "non_toxic"].'
        )
    for row, label in enumerate(gold):
        if label is not None and label not in classes:
            raise BadTable(
                f"{table}, row {row}: its label {label!r} is none of the classes {', '.join(classes)}. Add it to "
                "`labels`, or give `read-memes` a table of labels that has none but these."
            )
    return classes


def read_catalog(table: Path, folder: Path) -> list[Meme | BadMeme]:
    """Every row of a table of memes; each file is hashed.

    Raises:
        BadTable: There is no row, or not one of the images is there.
        ForeignTable: The table is none of ``read-memes``.
        TornFile: It is damaged.
    """
    catalog = list(_rows(table, folder.resolve()))
    if not catalog:
        raise BadTable(f"{table} has no rows. Read a folder that has memes: read-memes.")
    first = catalog[0]
    if isinstance(first, BadMeme) and not any(isinstance(item, Meme) for item in catalog):
        raise BadTable(
            f"None of the {len(catalog):,} images of {table.name} can be used. The first one: {first.message} Give the "
            "folder that they are in as `images`."
        )
    return catalog


def _rows(table: Path, folder: Path) -> Iterator[Meme | BadMeme]:
    for row, item in enumerate(_read(table).to_pylist()):
        known = (row, item["path"], item["sha256"], item["label"])
        path = (folder / item["path"]).resolve()
        where = f"Row {row}, {item['path']}"
        if not path.is_relative_to(folder):
            yield BadMeme(*known, "outside", f"{where} is outside {folder}.")
            continue
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            yield BadMeme(*known, "missing-image", f"{where} cannot be read in {folder}: {error.strerror}.")
            continue
        if found != item["sha256"]:
            yield BadMeme(*known, "changed-image", f"{where} is not the image that was read. Read the folder again.")
        else:
            yield Meme(*known, item["text"] or "")


def _read(table: Path):  # type: ignore[no-untyped-def]
    try:
        return read_table(table, MEMES, ["path", "sha256", "label", "text"])
    except ForeignTable as error:
        raise ForeignTable(f"{error} classify-memes takes the table of read-memes: run that first.") from error
