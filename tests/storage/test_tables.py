"""Tables are held against their schema when they are written and when they are read."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.storage.errors import ForeignTable, TornFile
from tasks.storage.schemas import TableSchema
from tasks.storage.tables import (
    open_table,
    origin,
    read_batches,
    read_group,
    read_rows,
    read_table,
    table_writer,
    write_table,
)

NUMBERS = TableSchema("numbers/1", pa.schema([("n", pa.int64()), ("name", pa.string())]))
TABLE = pa.table({"n": [1, 2], "name": ["one", None]}, schema=NUMBERS.columns)


def test_a_table_comes_back_with_its_origin(tmp_path: Path) -> None:
    path = write_table(TABLE, tmp_path / "t.parquet", NUMBERS, {"job": "j"})

    assert TABLE == read_table(path, NUMBERS)
    with open_table(path, NUMBERS) as file:
        assert {"job": "j", "schema": "numbers/1"} == origin(file)


def test_equal_work_gives_equal_bytes(tmp_path: Path) -> None:
    one, two = (write_table(TABLE, tmp_path / name, NUMBERS, {"job": "j"}) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_groups_can_be_read_alone_even_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with table_writer(path, NUMBERS, {}) as writer:
        for rows in (TABLE, TABLE.slice(0, 0), TABLE.slice(1)):
            writer.write_table(rows)

    assert [2, 0, 1] == [read_group(path, NUMBERS, number).num_rows for number in range(3)]


def test_batches_have_as_many_rows_as_asked_for_whatever_the_groups(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with table_writer(path, NUMBERS, {}) as writer:
        for rows in (TABLE, TABLE.slice(0, 0), TABLE.slice(1), TABLE, TABLE):
            writer.write_table(rows)
    batches = list(read_batches(path, NUMBERS, 3, ["n"]))

    assert [[1, 2, 2], [1, 2, 1], [2]] == [batch["n"].to_pylist() for batch in batches]


def test_rows_can_be_read_by_their_positions_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with table_writer(path, NUMBERS, {}) as writer:
        for rows in (TABLE, TABLE.slice(0, 0), TABLE.slice(1)):
            writer.write_table(rows)

    assert [{"n": 2}, {"n": 1}] == read_rows(path, NUMBERS, [2, 0], ["n"])
    assert [] == read_rows(path, NUMBERS, [])


def test_what_was_read_of_a_file_is_let_go_of_before_it_is_closed(tmp_path: Path) -> None:
    noise = TableSchema("noise/1", pa.schema([("bytes", pa.binary())]))
    path, size = tmp_path / "t.parquet", 1 << 20
    with table_writer(path, noise, {}) as writer:
        for _ in range(16):
            writer.write_table(pa.table({"bytes": [os.urandom(size)]}, schema=noise.columns))
    before = pa.total_allocated_bytes()
    with open_table(path, noise) as file:
        held = [pa.total_allocated_bytes() - before for _ in file.iter_batches(1)]
    assert 16 == len(held)
    assert max(held) < 5 * size


def test_another_shape_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="schema"):
        write_table(pa.table({"n": ["text"]}), tmp_path / "t.parquet", NUMBERS, {})
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [0, 3, 100, -10])
def test_a_torn_file_is_named(tmp_path: Path, keep: int) -> None:
    path = write_table(TABLE, tmp_path / "t.parquet", NUMBERS, {})
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(TornFile, match=r"t\.parquet is not a whole Parquet file"):
        read_table(path, NUMBERS)


def test_damage_inside_is_named(tmp_path: Path) -> None:
    big = pa.table({"n": range(10_000), "name": [f"name {n}" for n in range(10_000)]}, schema=NUMBERS.columns)
    path = write_table(big, tmp_path / "t.parquet", NUMBERS, {})
    content = bytearray(path.read_bytes())
    content[60:2_000] = b"\xff" * 1_940
    path.write_bytes(content)

    with pytest.raises(TornFile, match=r"t\.parquet is damaged"):
        read_table(path, NUMBERS)
    with pytest.raises(TornFile, match=r"t\.parquet is damaged"):
        list(read_batches(path, NUMBERS, 100))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"n": [1]}), "has no column 'name'"),
        (pa.table({"n": ["x"], "name": ["y"]}), "column 'n' is string, not int64"),
        (pa.table({"n": [1], "name": ["y"], "more": [1]}), "has more columns: more"),
    ],
)
def test_a_foreign_table_is_named(tmp_path: Path, table: pa.Table, message: str) -> None:
    path = tmp_path / "foreign.parquet"
    pq.write_table(table, path)

    with pytest.raises(ForeignTable, match=rf"foreign\.parquet is no numbers/1 table: .*{message}"):
        read_table(path, NUMBERS)
