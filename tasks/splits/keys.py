"""What rows must not share across splits: the values of the columns that group them.

An image's name, a COCO id, a routine; or a perceptual hash of 64 bits (``phash``, as 16 hex digits or a number), whose
neighbours count as the same image; or ``near_duplicate_of``, the ``id`` of the row that a row
repeats. Of images that a table holds itself, their bytes count, or for ``phash`` what they show. Any Parquet or Arrow file,
CSV, TSV, JSON array or JSON Lines is read, packed or not, only these columns; and an image file as a row with ``image``
(its bytes) and ``phash``.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.pictures.decode import BadImage, open_picture, perceptual_hash
from tasks.pictures.near import Hashes
from tasks.storage.errors import PermanentError, TornFile
from tasks.storage.files import sha256
from tasks.storage.tables import open_parquet

PHASH = "phash"
REPEATS, ID = "near_duplicate_of", "id"
IMAGE = "image"
ENDINGS = (".parquet", ".arrow", ".csv", ".tsv", ".jsonl", ".json")
PICTURES = (".avif", ".bmp", ".gif", ".heic", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_PACKED = re.compile(r"\.(bz2|gz|zst)$")
_BATCH = 1_000  # rows in memory, with the images that they may hold


class BadTable(PermanentError):
    """A table has not the columns that are asked for, or a value that cannot be used."""


@dataclass(slots=True)
class Keys:
    """The values of some columns, row by row; None where a row has none.

    Args:
        columns: Their names.
        values: Per column, one entry per row.
    """

    columns: Sequence[str]
    values: list[list[str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.values = self.values or [[] for _ in self.columns]

    def __len__(self) -> int:
        return len(self.values[0])

    def only(self, rows: Sequence[int]) -> Keys:
        """Those of some rows."""
        return Keys(self.columns, [[values[row] for row in rows] for values in self.values])


def is_near(column: str, distance: int) -> bool:
    """Whether near values of a column count as equal."""
    return distance > 0 and column.endswith(PHASH)


def check_distance(distance: int) -> None:
    """Refuse what is no distance between hashes of one image.

    Raises:
        BadTable: It is below 0 or above 16.
    """
    if not 0 <= distance <= 16:
        raise BadTable(
            f"distance={distance} is no number of bits from 0 to 16; 64-bit hashes of one image differ by less."
        )


def hashes_of(values: Sequence[str], column: str) -> Hashes:
    """Perceptual hashes as numbers.

    Raises:
        BadTable: One is no hash of 64 bits.
    """
    for value in values:
        if len(value) != 16 or not all(digit in "0123456789abcdef" for digit in value):
            raise BadTable(
                f"The column {column!r} holds {value[:40]!r}, which is no perceptual hash of 64 bits (16 hex digits, "
                "lower case). Give another column, or distance=0 to compare it as it is."
            )
    return np.array([int(value, 16) for value in values], np.uint64)


def read_keys(path: Path, columns: Sequence[str]) -> Keys:
    """The columns of one file.

    Raises:
        BadTable: A column is missing or nested, or the file cannot be read.
        TornFile: A Parquet file is damaged.
    """
    keys, kind = Keys(columns), kind_of(path)
    if kind in PICTURES:
        return Keys(columns, [[_of_picture(path, column)] for column in columns])
    if kind in (".parquet", ".arrow"):
        for batch in _batches(path, columns):
            for values, column in zip(keys.values, columns, strict=True):
                if column in batch.schema.names:
                    values.extend(column_keys(batch.column(column), f"{path}, column {column!r}"))
                else:  # hashes are asked for, and there are images
                    values.extend(_looks(batch.column(_images(batch.schema)), path, len(values)))
        return keys
    for number, item in enumerate(_items(path)):
        if not isinstance(item, dict):
            raise BadTable(f"{path}, row {number} is no object.")
        check_columns(path, list(item), columns)
        for values, column in zip(keys.values, columns, strict=True):
            values.append(_plain(item[column], f"{path}, row {number}, column {column!r}"))
    return keys


def kind_of(path: Path) -> str:
    """A file's ending in lower case, without that of a packer: ``.jsonl`` of ``TRAIN.JSONL.gz``."""
    return Path(_PACKED.sub("", path.name.lower())).suffix


def check_columns(path: Path, there: Sequence[str], columns: Sequence[str]) -> None:
    """Say which columns there are when one is missing.

    Raises:
        BadTable: One is.
    """
    if missing := [column for column in columns if column not in there]:
        raise BadTable(
            f"{path} has no column {missing[0]!r}; it has {', '.join(map(str, there))}. "
            "Give one of them for `group_by` (on the command line: --group-by)."
        )


def column_keys(column: pa.Array, where: str) -> list[str | None]:
    """A column's values as text; an empty text is none.

    Raises:
        BadTable: It holds lists, structures or fractions, which cannot tell groups apart.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_uint64(kind) or pa.types.is_int64(kind):
        # A hash may be stored as a number; other numbers are names like any text.
        if where.endswith(f"{PHASH}'"):
            return [None if value is None else f"{value & (1 << 64) - 1:016x}" for value in column.to_pylist()]
        return [None if value is None else str(value) for value in column.to_pylist()]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return [value or None for value in column.to_pylist()]
    if pa.types.is_integer(kind):
        return [None if value is None else str(value) for value in column.to_pylist()]
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return [None if value is None else value.hex() for value in column.to_pylist()]
    if _holds_images(kind):
        return [None if value is None else _of_image(value["bytes"], value["path"]) for value in column.to_pylist()]
    raise BadTable(f"{where} is {column.type}; groups are told apart by text or whole numbers.")


def follow_repeats(ids: Sequence[str | None], repeats: Sequence[str | None]) -> list[str | None]:
    """What rows that repeat one another share, through chains and whether or not each row of a chain is there.

    Args:
        ids: Each row's own.
        repeats: The id that it repeats, or None.

    Returns:
        Per row the smallest id of its chain; None for a row that repeats none and that none repeats.
    """
    first: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := first.setdefault(name, name)) != name:
            first[name] = name = first[above]
        return name

    for own, other in zip(ids, repeats, strict=True):
        if own is not None and other is not None:
            small, large = sorted((root(own), root(other)))
            first[large] = small
    chains = [root(name) if (name := own or other) else None for own, other in zip(ids, repeats, strict=True)]
    rows = Counter(chains)
    return [chain if rows[chain] > 1 else None for chain in chains]


def row_digest(row: dict[str, Any]) -> str:
    """A key for a row that has none: equal rows have equal ones."""
    return f"row:{hashlib.sha256(json.dumps(row, default=str, sort_keys=True).encode()).hexdigest()}"


def _of_image(content: bytes | None, path: str | None) -> str | None:
    return hashlib.sha256(content).hexdigest() if content else path or None


def _of_picture(path: Path, column: str) -> str | None:
    """What an image file itself is the row of."""
    if column == IMAGE:
        return sha256(path)
    if not column.endswith(PHASH):
        raise BadTable(
            f"{path} is an image, not a table. Give image (equal bytes) or phash (equal looks) for --group-by."
        )
    return _look(path.read_bytes(), str(path))


def _looks(images: pa.Array, path: Path, start: int) -> Iterator[str | None]:
    """Perceptual hashes of images that a table holds itself, from its row ``start`` on."""
    for row, value in enumerate(images.to_pylist(), start):
        yield _look(value["bytes"], f"{path}, row {row}: the image") if value and value["bytes"] else None


def _look(content: bytes, where: str) -> str | None:
    try:
        return perceptual_hash(open_picture(content).image)
    except BadImage as error:
        raise BadTable(f"{where} {error} Or compare the bytes: --group-by image.") from error


def _there(path: Path, schema: pa.Schema, columns: Sequence[str]) -> list[str]:
    """The columns to read: of a table without hashes, but with images, these."""
    images = _images(schema)
    asked = [images if column == PHASH and column not in schema.names and images else column for column in columns]
    check_columns(path, schema.names, asked)
    return [name for name in schema.names if name in asked]


def _images(schema: pa.Schema) -> str | None:
    """The first column that holds images themselves."""
    return next((column.name for column in schema if _holds_images(column.type)), None)


def _holds_images(kind: pa.DataType) -> bool:
    """Whether it is how Hugging Face keeps images in a table."""
    return pa.types.is_struct(kind) and {"bytes", "path"} <= {field.name for field in kind}


def _batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    if kind_of(path) == ".parquet":
        with open_parquet(path) as file:
            yield from file.iter_batches(_BATCH, columns=_there(path, file.schema_arrow, columns))
        return
    try:
        with pa.memory_map(str(path)) as content:
            is_file = content.read(6) == b"ARROW1"  # else a stream, as `save_to_disk` writes it
            content.seek(0)
            table = (pa.ipc.open_file(content) if is_file else pa.ipc.open_stream(content)).read_all()
            yield from table.select(_there(path, table.schema, columns)).to_batches(_BATCH)
    except (OSError, pa.ArrowInvalid) as error:
        raise TornFile(f"{path} is no whole Arrow file ({error}).") from error


def _items(path: Path) -> Iterator[Any]:
    kind = kind_of(path)
    try:
        if kind in (".csv", ".tsv"):
            csv.field_size_limit(1 << 27)
            with _text(path) as text:
                rows = csv.DictReader(text, delimiter="\t" if kind == ".tsv" else ",", strict=True)
                yield from ({key: value or None for key, value in row.items()} for row in rows)
            return
        with _text(path) as text:
            is_array = kind == ".json" and text.read(100).lstrip()[:1] == "["
        with _text(path) as text:
            if is_array:
                yield from json.load(text)
            else:
                yield from (json.loads(line.removeprefix("\ufeff")) for line in text if line.strip())
    except (OSError, ValueError, RecursionError, csv.Error, AttributeError) as error:
        raise BadTable(f"{path} cannot be read to its end as {kind[1:].upper()} ({error}).") from error


def _text(path: Path) -> io.TextIOWrapper:
    """A text file, unpacked on the way where its ending says so."""
    return io.TextIOWrapper(pa.input_stream(str(path)), encoding="utf-8-sig", newline="")


def _plain(value: Any, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, int):
        return str(value)
    raise BadTable(f"{where} is {type(value).__name__}; groups are told apart by text or whole numbers.")
