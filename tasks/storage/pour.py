"""Row groups of tables into another table as the bytes they are: not decoded, not compressed again.

Joining 157,712 rows costs a tenth of what reading and writing them costs (docs/decisions.md, "Collect"). pyarrow cannot do
it. The bytes are held against the CRC-32 in their table's footer; the new footer is an empty table's, which pyarrow
writes, with the groups' entries moved to where their pages are now. Footers are Thrift's compact protocol:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.storage.errors import ForeignTable, TornFile
from tasks.storage.files import whole_file
from tasks.storage.schemas import TableSchema
from tasks.storage.tables import Summed, marked, open_table, sum_in_footer

_MAGIC = b"PAR1"
_TAIL = 8  # the footer's length, four bytes, and the magic

# Field numbers of parquet.thrift.
_FILE_ROWS, _FILE_GROUPS = 3, 4
_GROUP_COLUMNS, _GROUP_BYTES, _GROUP_ROWS, _GROUP_OFFSET, _GROUP_COMPRESSED, _GROUP_ORDINAL = 1, 2, 3, 5, 6, 7
_CHUNK_OFFSET, _CHUNK_META = 2, 3
_META_PATH, _META_UNCOMPRESSED, _META_COMPRESSED, _META_DATA, _META_DICTIONARY = 3, 6, 7, 9, 11
_META_INDEX, _META_BLOOM = 10, 14  # our tables have neither; they would have to be moved too

# Types of Thrift's compact protocol.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _BINARY, _LIST, _STRUCT = 1, 2, 3, 4, 5, 6, 8, 9, 12
_INTEGERS = (_I16, _I32, _I64)
_BYTES = (_TRUE, _FALSE, _BYTE)  # in a list a truth value is a byte; in a struct its type says it
_LONG = 15  # items from which a list's length stands in a number of its own

Struct = dict[int, tuple[int, Any]]  # field number -> (type, value); a list's value is (type, items)


class Pourer:
    """A table that takes other tables' row groups as they are. Made by ``table_pourer``."""

    def __init__(self, file: BinaryIO, columns: pa.Schema) -> None:
        self._file = Summed(file)
        self._columns = columns
        self._groups: list[Struct] = []
        self._at = self._file.write(_MAGIC)

    def pour(self, path: Path, schema: TableSchema, number: int) -> int:
        """Append a row group of another table: of its columns those that this table has.

        Args:
            path: The other table.
            schema: Its shape; has at least this table's columns.
            number: The row group, from 0.

        Returns:
            Rows in the group.

        Raises:
            TornFile: The table is cut off or damaged.
            ForeignTable: Its columns are others.
        """
        with open_table(path, schema) as opened:
            found, crc = opened.schema_arrow, sum_in_footer(opened)
        for column in self._columns:
            if not found.field(column.name).equals(column):
                raise ForeignTable(f"{path}: {found.field(column.name)} cannot be poured into {column}.")
        content = memoryview(path.read_bytes())
        footer = content[-_TAIL - int.from_bytes(content[-_TAIL:-4], "little") : -_TAIL]
        if crc != zlib.crc32(content[: -_TAIL - len(footer)]):
            raise TornFile(f"{path} is damaged: it is not as it was written. Move it away and run again.")
        try:
            _, groups = _Reader(footer).struct()[_FILE_GROUPS][1]
            return self._group(content, groups[number])
        except (IndexError, KeyError, ValueError) as error:
            raise TornFile(f"{path} is damaged ({error}). Move it away and run again: it is made anew.") from error

    def close(self) -> None:
        """Write the footer."""
        empty = io.BytesIO()
        with pq.ParquetWriter(empty, self._columns) as writer:
            writer.add_key_value_metadata(self._file.metadata())
        footer = _Reader(memoryview(empty.getvalue())[len(_MAGIC) : -_TAIL]).struct()
        footer[_FILE_ROWS] = (_I64, sum(group[_GROUP_ROWS][1] for group in self._groups))
        footer[_FILE_GROUPS] = (_LIST, (_STRUCT, self._groups))
        written = bytearray()
        _write_struct(footer, written)
        tail = bytes(written) + len(written).to_bytes(4, "little") + _MAGIC
        pq.read_metadata(io.BytesIO(_MAGIC + tail))  # pyarrow can read what we wrote
        self._file.write(tail)

    def _group(self, content: memoryview, group: Struct) -> int:
        started, rows = self._at, group[_GROUP_ROWS][1]
        chunks = [
            self._column(content, chunk)
            for name in self._columns.names
            for chunk in group[_GROUP_COLUMNS][1][1]
            if chunk[_CHUNK_META][1][_META_PATH][1][1][0] == name.encode()
        ]
        metas = [chunk[_CHUNK_META][1] for chunk in chunks]
        poured: Struct = {
            _GROUP_COLUMNS: (_LIST, (_STRUCT, chunks)),
            _GROUP_BYTES: (_I64, sum(meta[_META_UNCOMPRESSED][1] for meta in metas)),
            _GROUP_ROWS: (_I64, rows),
            _GROUP_OFFSET: (_I64, started),
            _GROUP_COMPRESSED: (_I64, sum(meta[_META_COMPRESSED][1] for meta in metas)),
            _GROUP_ORDINAL: (_I16, len(self._groups)),
        }
        self._groups.append(poured)
        return int(rows)

    def _column(self, content: memoryview, chunk: Struct) -> Struct:
        meta = dict(chunk[_CHUNK_META][1])
        if _META_INDEX in meta or _META_BLOOM in meta:
            raise ValueError("it has index pages or Bloom filters, which cannot be poured")
        start = meta.get(_META_DICTIONARY, meta[_META_DATA])[1]
        pages = content[start : start + meta[_META_COMPRESSED][1]]
        for field in (_META_DATA, _META_DICTIONARY):
            if field in meta:
                meta[field] = (_I64, meta[field][1] - start + self._at)
        self._at += self._file.write(pages)
        return {_CHUNK_OFFSET: (_I64, 0), _CHUNK_META: (_STRUCT, meta)}


@contextmanager
def table_pourer(path: Path, schema: TableSchema, origin: Mapping[str, Any]) -> Iterator[Pourer]:
    """Make a table out of other tables' row groups; it appears under its name when the block ends.

    Args:
        path: The final name.
        schema: The declared shape.
        origin: What made the table; must not hold times, so that equal work gives equal bytes.

    Raises:
        DiskFull: No room; nothing is left behind.
        NotWritable: The folder does not let us write.
    """
    with whole_file(path) as file:
        pourer = Pourer(file, marked(schema, origin))
        yield pourer
        pourer.close()


class _Reader:
    """Thrift's compact protocol, as far as Parquet's footers and page headers use it."""

    def __init__(self, content: memoryview, at: int = 0) -> None:
        self._content = content
        self.at = at

    def struct(self) -> Struct:
        fields: Struct = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            kind = head & 15
            fields[number] = (kind, kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind))
        return fields

    def _value(self, kind: int) -> Any:
        if kind in _INTEGERS:
            return self._signed()
        if kind == _BINARY:
            length = self._unsigned()
            self.at += length
            return bytes(self._content[self.at - length : self.at])
        if kind == _STRUCT:
            return self.struct()
        if kind == _LIST:
            head = self._byte()
            size, item = head >> 4, head & 15
            if size == _LONG:
                size = self._unsigned()
            return item, [self._value(item) for _ in range(size)]
        if kind in _BYTES:
            return self._byte()
        raise ValueError(f"its footer holds the Thrift type {kind}, which Parquet does not use")

    def _byte(self) -> int:
        byte = self._content[self.at]
        self.at += 1
        return byte

    def _unsigned(self) -> int:
        value = self._content[self.at]
        self.at += 1
        if value > 0x7F:
            value, shift, byte = value & 0x7F, 7, 0x80
            while byte & 0x80:
                byte = self._content[self.at]
                self.at += 1
                value |= (byte & 0x7F) << shift
                shift += 7
        return value

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)


def _write_struct(fields: Struct, out: bytearray) -> None:
    last = 0
    for number, (kind, value) in sorted(fields.items()):
        out.append((number - last) << 4 | kind)  # Parquet's fields are never 16 apart
        if kind not in (_TRUE, _FALSE):
            _write_value(kind, value, out)
        last = number
    out.append(0)


def _write_value(kind: int, value: Any, out: bytearray) -> None:
    if kind in _INTEGERS:
        _write_unsigned(value << 1 if value >= 0 else (-value << 1) - 1, out)
    elif kind == _BINARY:
        _write_unsigned(len(value), out)
        out += value
    elif kind == _STRUCT:
        _write_struct(value, out)
    elif kind == _LIST:
        item, values = value
        out.append(min(len(values), _LONG) << 4 | item)
        if len(values) >= _LONG:
            _write_unsigned(len(values), out)
        for each in values:
            _write_value(item, each, out)
    else:
        out.append(value)


def _write_unsigned(value: int, out: bytearray) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
