"""Rows of a split as a model gets them.

One row of ``datasets/mmhs/3f2a9c01d7b4/data/test-00000-of-00001.parquet``::

    Example(row=17, id="1023995910915870723", text="@someone ...", image="img_resized/1023….jpg", labels=("otherhate",),
            group="9c01…")
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from tasks.pictures.decode import BadImage, open_picture
from tasks.storage.errors import PermanentError
from tasks.storage.files import sha256
from tasks.storage.tables import open_parquet

if TYPE_CHECKING:
    import pyarrow.parquet as pq
    from PIL.Image import Image

_BATCH = 1_000  # rows in memory
_SHOWN = 100  # characters of a cell in a message
_GROUP = "split_group"
# A list of texts, written as one; no label such as [deleted].
_LIST = re.compile(r"\s*\[\s*(?:[\"'].*)?\]\s*", re.DOTALL)


class BadExamples(PermanentError):
    """A split whose columns are not the ones that were asked for."""


class Example(NamedTuple):
    """One row: its position in the split, what is shown, what is asked for, and what it must be drawn with."""

    row: int
    id: str
    text: str
    image: str
    labels: tuple[str, ...] | None
    group: str


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a split are what.

    Args:
        text: Columns whose texts are joined by a line break, empty ones left out; none for images alone.
        image: The image's path below the images' folder; empty for text alone.
        labels: A list of labels, also as JSON text, or one label; empty where there are none.
        messages: Conversations, in place of all of these; empty where there are none.
    """

    text: tuple[str, ...]
    image: str
    labels: str
    messages: str = ""

    @classmethod
    def guess(cls, path: Path, text: Sequence[str] | None, image: str | None, labels: str | None) -> Columns:
        """What was asked for; else ``text``, ``image`` or ``path``, ``labels`` or ``label``, as far as the split has them.

        Raises:
            BadExamples: A column that was asked for is missing, or nothing is left to look at.
        """
        with open_parquet(path) as file:
            names = file.schema_arrow.names
        first = {"image": ("image", "path"), "labels": ("labels", "label")}
        found = cls(
            tuple(name for name in ("text",) if name in names) if text is None else tuple(text),
            next((name for name in first["image"] if name in names), "") if image is None else image,
            next((name for name in first["labels"] if name in names), "") if labels is None else labels,
        )
        asked = [name for name in (*found.text, found.image, found.labels) if name]
        if missing := [name for name in asked if name not in names]:
            raise BadExamples(f"{path} has no column {missing[0]!r}. It has: {', '.join(names)}.")
        if not found.text and not found.image:
            raise BadExamples(f"{path} has neither text nor images to learn from. It has: {', '.join(names)}.")
        return found


def read_examples(path: Path, columns: Columns) -> Iterator[Example]:
    """The rows of one split, in order; never more than a batch in memory.

    Raises:
        BadExamples: A column is missing, or holds something else than text or labels.
        TornFile: The file is damaged.
    """
    with open_parquet(path) as file:
        row = 0
        for batch in file.iter_batches(_BATCH, columns=_wanted(path, file, columns)):
            for values in batch.to_pylist():
                yield _example(path, row, values, columns)
                row += 1


class Examples:
    """The rows of one split by their positions. The columns are in memory as the file has them: no object for each row.

    Raises:
        BadExamples: As ``read_examples``; of a row when it is asked for.
    """

    def __init__(self, path: Path, columns: Columns) -> None:
        with open_parquet(path) as file:
            names = _wanted(path, file, columns)
            # Read whole and by several threads, 30,000 rows took 17 MB, and 6 so (docs/decisions.md).
            batches = list(file.iter_batches(_BATCH, columns=names, use_threads=False))
            table = pa.Table.from_batches(batches, pa.schema([file.schema_arrow.field(name) for name in names]))
        self._path, self._columns = path, columns
        self._rows: int = table.num_rows
        self._values = dict(zip(names, table.columns, strict=True))

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: int) -> Example:
        values = {name: column[row].as_py() for name, column in self._values.items()}
        return _example(self._path, row, values, self._columns)


def image_digests(folder: Path, examples: Iterable[Example]) -> Iterator[str]:
    """SHA-256 of each example's image, in order; empty where there is none to read."""

    def digest(example: Example) -> str:
        with suppress(OSError, ValueError):  # the latter where the path has a zero byte
            return sha256(folder / example.image) if example.image else ""
        return ""

    rows = iter(examples)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        while some := list(islice(rows, _BATCH)):
            yield from threads.map(digest, some)


def digest_of(pieces: Iterable[str]) -> str:
    """SHA-256 of a text that comes in pieces."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece.encode())
    return digest.hexdigest()


def json_list(texts: Iterable[str]) -> Iterator[str]:
    """``json.dumps`` of a list that is never in memory, in pieces."""
    yield "["
    for at, text in enumerate(texts):
        yield f"{', ' if at else ''}{json.dumps(text)}"
    yield "]"


def open_image(folder: Path, example: Example) -> Image:
    """The example's image, upright RGB.

    Raises:
        BadImage: It is missing, outside the folder, or not taken; the message names the row and the file.
    """
    where = f"Row {example.row}: {folder / example.image}"
    if "\0" in example.image:
        raise BadImage("missing", f"Row {example.row}: its image {example.image!r} is no path. Correct the table.")
    path = (folder / example.image).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise BadImage("outside", f"{where} is outside {folder}. Correct the path in the table.")
    try:
        return open_picture(path.read_bytes()).image
    except BadImage as error:
        raise BadImage(error.code, f"{where} {error}") from error
    except OSError as error:
        raise BadImage("missing", f"{where} cannot be read: {error.strerror}. Give the images' folder.") from error


def _wanted(path: Path, file: pq.ParquetFile, columns: Columns) -> list[str]:
    names = file.schema_arrow.names
    asked = [name for name in (*columns.text, columns.image, columns.labels) if name]
    if missing := [name for name in asked if name not in names]:
        raise BadExamples(
            f"{path} has no column {missing[0]!r}, which the adapter was trained with. It has: {', '.join(names)}. "
            "Rename it in the table, and build the splits again."
        )
    return sorted({*asked, *(name for name in ("id", _GROUP) if name in names)})


def _example(path: Path, row: int, values: dict[str, Any], columns: Columns) -> Example:
    texts = [_text(path, row, name, values[name]) for name in columns.text]
    return Example(
        row,
        str(values.get("id") or ""),
        "\n".join(text for text in texts if text),
        _text(path, row, columns.image, values[columns.image]) if columns.image else "",
        _labels(path, row, columns.labels, values[columns.labels]) if columns.labels else None,
        str(values.get(_GROUP) or row),
    )


def _text(path: Path, row: int, column: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    raise BadExamples(
        f"{path}, row {row}: column {column!r} holds {_shown(value)}, which is no text. Prepare the table again; an image "
        "is a file, and the table names its path."
    )


def _labels(path: Path, row: int, column: str, value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        if not _LIST.fullmatch(value):
            return (value,)
        with suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, list) and all(isinstance(label, str) for label in value):
        return tuple(value)
    raise BadExamples(
        f"{path}, row {row}: column {column!r} holds {_shown(value)}, which are no labels. Prepare the table again: a list "
        'of texts, the same as JSON such as ["a", "b"], or one label.'
    )


def _shown(value: Any) -> str:
    """A value as a message can hold it: a cell may be a whole image."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
