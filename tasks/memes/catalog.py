"""Which images there are, and what they are labelled: a folder walked, or a table read.

A folder's first level names the label; a table (CSV, JSON Lines, Parquet) has a column ``image`` and perhaps ``label``::

    memes/Негативно/043dc85c.jpg   with {"Негативно": "toxic"}   ->   row 0 | toxic | 5f1c…  | 121,774 bytes

Every file is a row, in the order of the paths. One that cannot be used comes out as a ``BadMeme`` with its reason. Names
are compared as people read them (NFC): macOS writes "й" as two characters.
"""

from __future__ import annotations

import csv
import json
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from tasks.storage.errors import PermanentError
from tasks.storage.files import sha256
from tasks.storage.tables import is_unicode, open_parquet

MAX_BYTES = 100_000_000
# Ours, the predecessors', Hugging Face's image folders' and Hateful Memes'.
IMAGE_COLUMNS = ("image", "image_path", "path", "file", "filename", "file_name", "img")
LABEL_COLUMN = "label"
_BATCH = 1_000

# Why a file is refused before it is opened, for every code that a table may hold.
REASONS = {
    "bad-row": "the row of the table names no image, or its label is no text",
    "duplicate-row": "an earlier row of the table names the same image",
    "missing-image": "the image is not there",
    "not-a-file": "it is a link to a folder, a device or a pipe",
    "not-readable": "the system does not let us read the file",
    "not-unicode": "the file's name is not UTF-8, or the table's text for it is no whole text",
    "outside": "the path leads out of the folder of images",
    "too-many-bytes": "the file is larger than any image that is taken",
    "unknown-label": "the folder or label is not in the table of labels",
}


class BadSource(PermanentError):
    """The folder or table cannot be read at all."""


@dataclass(frozen=True, slots=True)
class Meme:
    """One image: position, path below the folder, SHA-256 of its bytes, size, label."""

    row: int
    path: str
    sha256: str
    bytes: int
    label: str | None


@dataclass(frozen=True, slots=True)
class BadMeme:
    """An image that is refused: position, path as far as it is known, reason code, a sentence for people."""

    row: int
    path: str | None
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Named:
    """An image as the source names it; ``problem`` says what is wrong with that already."""

    path: str | None
    label: Any = None
    problem: tuple[str, str] | None = None


def folder_of(source: Path, images: Path | None) -> Path:
    """The folder that paths are below.

    Raises:
        BadSource: There is none.
    """
    if not source.exists():
        raise BadSource(f"{source} does not exist. Give a folder of images, or a table, as the worker sees it.")
    if source.is_dir() and images is not None:
        raise BadSource("`images` is for a table that names images; `folder` is a folder already. Leave it out.")
    folder = source if source.is_dir() else images or source.parent
    if not folder.is_dir():
        raise BadSource(
            f"images={str(folder)!r} is no folder on this machine. Give the folder that the paths are below."
        )
    return folder.absolute()


def read_catalog(source: Path, labels: Mapping[str, str], images: Path | None = None) -> Iterator[Meme | BadMeme]:
    """Every image of a source.

    Args:
        source: A folder of images, or a table that names them.
        labels: Label by folder, or by what the table says; empty takes these as they are.
        images: The folder that a table's paths are below; the table's own when None.

    Yields:
        Each image in order; positions count from 0 and are never skipped.

    Raises:
        BadSource: There is no such source, it cannot be read to its end, or it names nothing.
    """
    folder = folder_of(source, images)
    named = _walk(folder) if source.is_dir() else _once(_table(source, folder))
    known = {_plain(name): label for name, label in labels.items()}
    row = -1
    for row, item in enumerate(named):
        yield _check(row, item, folder, known)
    if row < 0:
        what = "files. Give a folder with images in it" if source.is_dir() else "rows"
        raise BadSource(f"{source} has no {what}.")


def _check(row: int, item: Named, folder: Path, labels: Mapping[str, str]) -> Meme | BadMeme:
    def bad(code: str, message: str) -> BadMeme:
        return BadMeme(row, item.path, code, f"Row {row}{'' if item.path is None else f', {item.path}'}: {message}")

    if item.problem:
        return bad(*item.problem)
    assert item.path is not None
    label, path = None if item.label is None else _plain(item.label), _as_written(folder, item.path)
    file = folder / path
    if labels and label not in labels.values():
        if label is None or label not in labels:
            what = "it has no label" if label is None else f"{label!r} is no label"
            return bad("unknown-label", f"{what} that `labels` knows ({', '.join(labels)}). Add it there.")
        label = labels[label]
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            return bad("not-a-file", "is no plain file. Put the image itself there.")
        if found.st_size > MAX_BYTES:
            return bad("too-many-bytes", f"has {found.st_size:,} bytes; {MAX_BYTES:,} is the most.")
        return Meme(row, path, sha256(file), found.st_size, label)
    except (FileNotFoundError, NotADirectoryError):
        return bad("missing-image", f"is not there, below {folder}.")
    except (OSError, ValueError) as error:
        return bad("not-readable", f"cannot be read ({error}).")


def _walk(folder: Path) -> Iterator[Named]:
    """All files below a folder but hidden ones, in the order of their paths."""
    found: list[str] = []

    def trouble(error: OSError) -> None:
        raise BadSource(f"{error.filename} cannot be listed: {error.strerror}. Make it readable.") from error

    for inside, folders, files in os.walk(folder, onerror=trouble):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if os.path.islink(os.path.join(inside, name))]  # noqa: PTH118, PTH114
        found += [os.path.relpath(os.path.join(inside, name), folder) for name in (*files, *links)]  # noqa: PTH118
    for path in sorted(path for path in found if not PurePosixPath(path).name.startswith(".")):
        if is_unicode(path):
            parts = PurePosixPath(path).parts
            yield Named(path, parts[0] if len(parts) > 1 else None)
        else:
            shown = os.fsencode(path).decode(errors="backslashreplace")
            yield Named(shown, problem=("not-unicode", "its name is not UTF-8. Rename it."))


def _once(items: Iterable[Named]) -> Iterator[Named]:
    seen: dict[str, int] = {}
    for row, item in enumerate(items):
        first = row if item.path is None else seen.setdefault(item.path, row)
        if first != row and item.problem is None:
            yield Named(item.path, problem=("duplicate-row", f"row {first} names it already."))
        else:
            yield item


def _table(source: Path, folder: Path) -> Iterator[Named]:
    with source.open("rb") as file:
        head = file.read(4096)
    if head.startswith(b"PAR1"):
        rows = _parquet(source)
    elif (first := head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]) == b"{":
        rows = _lines(source)
    elif first == b"[":
        raise BadSource(
            f"{source} is a JSON array. Write one object a line (pandas: to_json(…, orient='records', lines=True))."
        )
    else:
        rows = _csv(source)
    known = False
    try:
        for row in rows:
            if isinstance(row, Named):
                yield row
                continue
            if not isinstance(row, dict):
                yield Named(None, problem=("bad-row", "is no object with a field `image`."))
                continue
            if not known:
                _column(source, row)
                known = True
            yield _named(row, folder)
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadSource(
            f"{source} cannot be read to its end: {error}. Give CSV, JSON Lines or Parquet, as UTF-8."
        ) from error


def _named(row: Mapping[str, Any], folder: Path) -> Named:
    path = next((row[name] for name in IMAGE_COLUMNS if name in row), None)
    label = row.get(LABEL_COLUMN)
    if not isinstance(path, str) or not path or "\0" in path:
        return Named(None, problem=("bad-row", f"its image is {repr(path)[:100]}, not a path."))
    if not is_unicode(path):  # JSON can say "\\ud83d", half of an emoji
        return Named(None, problem=("not-unicode", f"its image is {ascii(path)[:100]}, with half a character in it."))
    parts = PurePosixPath(path.replace("\\", "/"))
    if parts.is_relative_to(folder):
        parts = parts.relative_to(folder)
    if parts.is_absolute() or ".." in parts.parts:
        return Named(path, problem=("outside", "leads out of the folder of images. Give a path below it."))
    if isinstance(label, int) and not isinstance(label, bool):  # in a CSV the same is text
        label = str(label)
    if label is not None and not isinstance(label, str):
        return Named(path, problem=("bad-row", f"its label is {label!r}, not text."))
    if label and not is_unicode(label):
        return Named(path, problem=("bad-row", f"its label is {ascii(label)[:100]}, with half a character in it."))
    return Named(str(parts), label or None)


def _column(source: Path, row: Mapping[str, Any]) -> None:
    if not any(name in row for name in IMAGE_COLUMNS):
        names = ", ".join(map(str, row)) or "none"
        raise BadSource(f"{source} has no column {' or '.join(map(repr, IMAGE_COLUMNS))}; it has {names}.")
    meant = [name for name in row if name.strip().lower() in (LABEL_COLUMN, f"{LABEL_COLUMN}s")]
    if meant and LABEL_COLUMN not in row:
        raise BadSource(
            f"{source} has a column {meant[0]!r} and none called {LABEL_COLUMN!r}, so no image would have a label. Rename "
            "it, with one label in each row, or take it away."
        )


def _csv(source: Path) -> Iterator[Any]:
    with source.open(encoding="utf-8-sig", newline="") as text:
        first = text.readline()
        text.seek(0)
        # Excel writes semicolons where a comma stands in numbers, as in Russia and Spain.
        between = ";" if ";" in first and "," not in first else ","
        rows = csv.DictReader(text, delimiter=between, skipinitialspace=True, strict=True)
        for row in rows:
            if any(row.pop(None, ())) or None in row.values():  # a comma without quotes moves what stands behind it
                told = f"line {rows.line_num:,} has not {len(row)} cells, as the first line has."
                yield Named(None, problem=("bad-row", f"{told} Put quotes around a cell that holds {between!r}."))
            else:
                yield row


def _lines(source: Path) -> Iterator[Any]:
    with source.open(encoding="utf-8-sig") as text:
        for line in text:
            if line.strip():
                try:
                    yield json.loads(line)
                except (json.JSONDecodeError, RecursionError):
                    yield None


def _parquet(source: Path) -> Iterator[Any]:
    with open_parquet(source) as file:
        schema = file.schema_arrow
        _column(source, dict.fromkeys(schema.names))
        there = [name for name in IMAGE_COLUMNS if name in schema.names]
        paths = [name for name in there if _is_text(schema.field(name).type)]
        if not paths:
            raise BadSource(
                f"{source}: the column {there[0]!r} is {schema.field(there[0]).type}, not paths. Put the images into a "
                "folder, and their paths into a column."
            )
        labels = [LABEL_COLUMN] if LABEL_COLUMN in schema.names else []
        for batch in file.iter_batches(_BATCH, columns=[paths[0], *labels]):
            yield from batch.to_pylist()


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any((pa.types.is_string(kind), pa.types.is_large_string(kind), pa.types.is_null(kind)))


def _as_written(folder: Path, path: str) -> str:
    """The path as the file's name is written: a table may say "й" as one character, and macOS as two."""
    forms = (path, _plain(path), unicodedata.normalize("NFD", path))
    return next((form for form in forms if os.path.lexists(folder / form)), path)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)
