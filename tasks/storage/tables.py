"""Parquet files against a declared schema.

A table carries its schema's name and its origin in the file's own metadata, under the key ``trasvase``::

    {"schema": "llava/2", "job": "translate-llava-3f2a…", …}

and under ``trasvase.crc32`` the CRC-32 of all bytes before the footer: pages have checksums, their headers have none.
"""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.storage.errors import ForeignTable, TornFile
from tasks.storage.files import whole_file
from tasks.storage.schemas import TableSchema

_KEY = b"trasvase"
_SUM = b"trasvase.crc32"


def is_unicode(text: str) -> bool:
    """Whether a table can hold a text: JSON can say half of a character, and a file's name can be any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Summed:
    """A file that knows the CRC-32 of what was written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._crc = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, content: bytes | memoryview) -> int:
        """Write and sum up."""
        self._crc = zlib.crc32(content, self._crc)
        return self._file.write(content)

    def metadata(self) -> dict[str, str]:
        """The sum so far, as a footer takes it."""
        return {_SUM.decode(): f"{self._crc:08x}"}


@contextmanager
def table_writer(path: Path, schema: TableSchema, origin: Mapping[str, Any]) -> Iterator[pq.ParquetWriter]:
    """Write a table in pieces; it appears under its name when the block ends.

    Args:
        path: The final name.
        schema: The declared shape; a piece with another shape is an error.
        origin: What made the table; must not hold times, so that equal work gives equal bytes.

    Raises:
        DiskFull: No room; nothing is left behind.
        NotWritable: The folder does not let us write.
    """
    columns = marked(schema, origin)
    with whole_file(path) as file:
        summed = Summed(file)
        with pq.ParquetWriter(summed, columns, compression="zstd", write_page_checksum=True) as writer:
            yield writer
            writer.add_key_value_metadata(summed.metadata())


def marked(schema: TableSchema, origin: Mapping[str, Any]) -> pa.Schema:
    """The schema's columns with its name and the origin added to the file's own metadata."""
    text = json.dumps({"schema": schema.name, **origin}, sort_keys=True, ensure_ascii=False)
    return schema.columns.with_metadata({**(schema.columns.metadata or {}), _KEY: text})


def write_table(table: pa.Table, path: Path, schema: TableSchema, origin: Mapping[str, Any]) -> Path:
    """Write one table whole. See ``table_writer``."""
    with table_writer(path, schema, origin) as writer:
        writer.write_table(table)
    return path


def open_table(path: Path, schema: TableSchema) -> pq.ParquetFile:
    """Open a table and hold it against its schema; only the footer is read.

    Raises:
        FileNotFoundError: There is no such file.
        TornFile: It is not a whole Parquet file.
        ForeignTable: It is whole, but another table.
    """
    file = open_parquet(path)
    found = file.schema_arrow
    for column in schema.columns:
        at = found.get_field_index(column.name)
        if at < 0:
            raise ForeignTable(f"{path} is no {schema.name} table: it has no column {column.name!r}.")
        if found.field(at).type != column.type:
            raise ForeignTable(
                f"{path} is no {schema.name} table: column {column.name!r} is {found.field(at).type}, not {column.type}."
            )
    if len(found) != len(schema.columns):
        more = sorted(set(found.names) - set(schema.columns.names))
        raise ForeignTable(f"{path} is no {schema.name} table: it has more columns: {', '.join(more)}.")
    return file


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open any Parquet file.

    Raises:
        FileNotFoundError: There is no such file.
        TornFile: It is not a whole Parquet file.
    """
    try:
        # Without page checksums flipped bytes inside a column are read as data. With pre_buffer, pyarrow's default, all
        # that was read of a file stays in memory until it is closed: of 300 MB of images in batches, 280 MB.
        return pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False)
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error  # Arrow's has no name
    except (OSError, pa.ArrowInvalid) as error:
        raise TornFile(
            f"{path} is not a whole Parquet file ({error}). Move it away and run again: it is made anew."
        ) from error


@contextmanager
def _whole(
    path: Path, schema: TableSchema, remedy: str = "Move it away and run again: it is made anew."
) -> Iterator[pq.ParquetFile]:
    """A table while it is read: what is damaged behind the footer is told, too."""
    with open_table(path, schema) as file:
        try:
            yield file
        except (OSError, pa.ArrowInvalid) as error:
            raise TornFile(f"{path} is damaged ({error}). {remedy}") from error


def read_table(path: Path, schema: TableSchema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table that has exactly the declared columns.

    Raises:
        TornFile: The file is cut off or damaged.
        ForeignTable: The columns are not the declared ones.
    """
    with _whole(path, schema) as file:
        return file.read(columns=None if columns is None else list(columns))


def read_precious(path: Path, schema: TableSchema) -> pa.Table:
    """``read_table`` for what nobody can make anew: first every byte before the footer is held against their sum.

    Raises:
        TornFile: The file is cut off or damaged.
        ForeignTable: The columns are not the declared ones.
    """
    with open_table(path, schema) as file:
        crc = sum_in_footer(file)
    content = memoryview(path.read_bytes())
    if crc != zlib.crc32(content[: -8 - int.from_bytes(content[-8:-4], "little")]):
        raise TornFile(f"{path} is damaged: it is not as it was written.")
    return read_table(path, schema)


def read_group(path: Path, schema: TableSchema, number: int, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one row group of a table: these columns, or all.

    Raises:
        TornFile: The file is cut off or damaged.
        ForeignTable: The columns are not the declared ones.
    """
    with _whole(path, schema, "Move its folder away and run again.") as file:
        return file.read_row_group(number, columns=None if columns is None else list(columns))


def read_batches(
    path: Path, schema: TableSchema, rows: int, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Read a table some rows at a time, whatever its row groups: these columns, or all.

    Args:
        path: The table.
        schema: Its declared shape.
        rows: In each batch; the last one may be short.
        columns: Those that are read.

    Raises:
        TornFile: The file is cut off or damaged.
        ForeignTable: The columns are not the declared ones.
    """
    with _whole(path, schema) as file:
        yield from file.iter_batches(rows, columns=None if columns is None else list(columns))


def read_rows(
    path: Path, schema: TableSchema, wanted: Sequence[int], columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The rows at these positions, in this order: these columns, or all. Only row groups that hold one are read.

    Raises:
        TornFile: The file is cut off or damaged.
        ForeignTable: The columns are not the declared ones.
    """
    with open_table(path, schema) as file:
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    found: dict[int, dict[str, Any]] = {}
    start = 0
    for number, size in enumerate(sizes):
        if mine := [at for at in wanted if start <= at < start + size]:
            group = read_group(path, schema, number, columns)
            found |= zip(mine, group.take([at - start for at in mine]).to_pylist(), strict=True)
        start += size
    return [found[at] for at in wanted]


def sum_in_footer(file: pq.ParquetFile) -> int | None:
    """The CRC-32 that a table's bytes before the footer had when it was written; None in a foreign file."""
    text = (file.metadata.metadata or {}).get(_SUM)
    return int(text, 16) if text else None


def origin(file: pq.ParquetFile) -> dict[str, Any]:
    """What a table says of its own making; empty for a foreign file."""
    text = (file.schema_arrow.metadata or {}).get(_KEY)
    return json.loads(text) if text else {}
