"""A chunk's file holds every row, and says in its footer how many were refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tasks.chunks.file import refused, write_chunk
from tasks.chunks.manifest import Manifest, Source
from tasks.storage.schemas import TableSchema
from tasks.storage.tables import open_table, origin, read_table

SCHEMA = TableSchema("rows/1", pa.schema([("row", pa.int64()), ("error", pa.string())]))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], 0),
        ([{"row": 0, "error": None}, {"row": 1, "error": "unread"}, {"row": 2, "error": "damaged"}], 2),
        ([{"row": 0}, {"row": 1}], 0),
    ],
)
def test_every_row_is_kept_and_the_refused_ones_are_counted(
    tmp_path: Path, rows: list[dict[str, object]], expected: int
) -> None:
    manifest = Manifest(tmp_path / "job-1", "job", Source("/source.json", "00", 1), {}, {}, 3, len(rows) + 1, 0)
    chunk = manifest.chunks()[0]
    path = write_chunk(rows, chunk, manifest, SCHEMA)

    assert (manifest.path(chunk), expected) == (path, refused(path))
    assert [{"error": None, **row} for row in rows] == read_table(path, SCHEMA).to_pylist()
    assert manifest.done(chunk, SCHEMA)
    with open_table(path, SCHEMA) as file:
        assert {"schema": "rows/1", "job": "job-1", "rejected": expected} == origin(file)
