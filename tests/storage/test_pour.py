"""Row groups poured as bytes read the same as rows that were decoded and written again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tasks.storage.errors import ForeignTable, TornFile
from tasks.storage.pour import table_pourer
from tasks.storage.schemas import TableSchema
from tasks.storage.tables import origin, read_group, read_table, table_writer, write_table

TURNS = pa.list_(pa.struct([pa.field("from", pa.string()), pa.field("value", pa.string())]))
_FIELDS = [
    pa.field("n", pa.int64(), nullable=False),
    pa.field("text", pa.string()),
    pa.field("turns", TURNS),
    pa.field("codes", pa.list_(pa.list_(pa.string()))),
    pa.field("share", pa.float64()),
    pa.field("yes", pa.bool_()),
    pa.field("left", pa.string()),
]
WIDE = TableSchema("wide/1", pa.schema(_FIELDS))
NARROW = TableSchema("narrow/1", pa.schema([_FIELDS[0], *_FIELDS[2:6], _FIELDS[1]]))  # one less, another order


def _rows(start: int, stop: int) -> pa.Table:
    numbers = range(start, stop)
    return pa.table(
        {
            "n": list(numbers),
            "text": [None if n % 5 == 0 else f"row {n} " * (n % 7) for n in numbers],
            "turns": [
                None if n % 11 == 0 else [{"from": "human", "value": "a" * n}, {"from": "gpt", "value": None}][: n % 3]
                for n in numbers
            ],
            "codes": [[[], ["seam"] * (n % 3)] for n in numbers],
            "share": [n / 3 if n % 2 else None for n in numbers],
            "yes": [n % 2 == 0 for n in numbers],
            "left": ["left behind"] * len(numbers),
        },
        schema=WIDE.columns,
    )


def _wide(path: Path, *groups: pa.Table) -> Path:
    with table_writer(path, WIDE, {}) as writer:
        for rows in groups:
            writer.write_table(rows)
    return path


def _poured(path: Path, parts: Sequence[tuple[Path, int]]) -> Path:
    with table_pourer(path, NARROW, {"job": "j"}) as pourer:
        for part, number in parts:
            pourer.pour(part, WIDE, number)
    return path


def _written(path: Path, groups: Sequence[pa.Table]) -> Path:
    with table_writer(path, NARROW, {"job": "j"}) as writer:
        for rows in groups:
            writer.write_table(rows.select(NARROW.columns.names).cast(NARROW.columns))
    return path


def test_poured_rows_are_those_that_would_have_been_written(tmp_path: Path) -> None:
    groups = [_rows(40 * n, 40 * n + 40) for n in range(20)]  # a list of 20 is longer than Thrift's short lists
    parts = [(_wide(tmp_path / f"{n}.parquet", rows, rows.slice(3)), 0) for n, rows in enumerate(groups)]

    poured, written = _poured(tmp_path / "poured.parquet", parts), _written(tmp_path / "written.parquet", groups)

    assert read_table(written, NARROW).equals(read_table(poured, NARROW))
    assert read_group(written, NARROW, 19).equals(read_group(poured, NARROW, 19))
    with pq.ParquetFile(poured) as one, pq.ParquetFile(written) as two:
        assert {"job": "j", "schema": "narrow/1"} == origin(one)
        assert two.schema_arrow.equals(one.schema_arrow, check_metadata=True)
        assert _facts(two.metadata) == _facts(one.metadata)


def _facts(metadata: Any) -> dict[str, Any]:
    """All that a footer says but where columns lie."""
    facts: dict[str, Any] = metadata.to_dict()
    facts.pop("serialized_size")
    for group in facts["row_groups"]:
        for column in group["columns"]:
            for place in ("file_offset", "data_page_offset", "dictionary_page_offset"):
                column.pop(place)
    return facts


def test_it_can_be_poured_again_filtered_and_read_by_pandas(tmp_path: Path) -> None:
    groups = [_rows(0, 50), _rows(50, 60)]
    wide = _wide(tmp_path / "wide.parquet", *groups)
    once = _poured(tmp_path / "once.parquet", [(wide, 0), (wide, 1)])
    with table_pourer(tmp_path / "twice.parquet", NARROW, {"job": "j"}) as pourer:
        assert [50, 10] == [pourer.pour(once, NARROW, number) for number in (0, 1)]

    assert once.read_bytes() == (tmp_path / "twice.parquet").read_bytes()
    assert list(range(55, 60)) == pq.read_table(once, filters=pc.field("n") >= 55)["n"].to_pylist()
    assert 60 == len(pq.read_pandas(once).to_pandas())


def test_many_pages_and_a_dictionary_that_overflows(tmp_path: Path) -> None:
    words = pa.table({"n": range(30_000), "text": [f"{n} {'x' * 90}" for n in range(30_000)]})
    wide = words.append_column("turns", pa.nulls(30_000, TURNS)).append_column("left", pa.nulls(30_000, pa.string()))
    wide = wide.append_column("codes", pa.nulls(30_000, WIDE.columns.field("codes").type))
    wide = wide.append_column("share", pa.nulls(30_000, pa.float64()))
    wide = wide.append_column("yes", pa.nulls(30_000, pa.bool_())).select(WIDE.columns.names).cast(WIDE.columns)
    path = _wide(tmp_path / "wide.parquet", wide)

    poured = _poured(tmp_path / "poured.parquet", [(path, 0)])

    assert wide.select(NARROW.columns.names).equals(read_table(poured, NARROW))


def test_nothing_poured_is_an_empty_table(tmp_path: Path) -> None:
    assert 0 == read_table(_poured(tmp_path / "t.parquet", []), NARROW).num_rows


def test_a_changed_byte_in_a_page_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    rows = _rows(0, 200)
    path = _wide(tmp_path / "chunk-00007.parquet", rows)
    column = pq.read_metadata(path).row_group(0).column(2)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 9] ^= 1
    path.write_bytes(content)

    with pytest.raises(TornFile, match=r"chunk-00007\.parquet is damaged: it is not as it was written"):
        _poured(tmp_path / "poured.parquet", [(path, 0)])
    assert [path] == list(tmp_path.iterdir())


def test_a_changed_byte_in_any_place_is_seen(tmp_path: Path) -> None:
    path = _wide(tmp_path / "wide.parquet", _rows(0, 20))
    whole = path.read_bytes()
    for at in range(4, len(whole) - int.from_bytes(whole[-8:-4], "little") - 8):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(TornFile), table_pourer(tmp_path / "poured.parquet", NARROW, {}) as pourer:
            pourer.pour(path, WIDE, 0)


@pytest.mark.parametrize("keep", [0, 3, 100, 2_000, -10])
def test_a_torn_table_is_named(tmp_path: Path, keep: int) -> None:
    path = _wide(tmp_path / "torn.parquet", _rows(0, 50))
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(TornFile, match=r"torn\.parquet is not a whole Parquet file"):
        _poured(tmp_path / "poured.parquet", [(path, 0)])


def test_a_group_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = _wide(tmp_path / "wide.parquet", _rows(0, 5))
    with pytest.raises(TornFile, match=r"wide\.parquet is damaged \(list index out of range\)"):
        _poured(tmp_path / "poured.parquet", [(path, 1)])


def test_columns_of_another_kind_are_not_poured(tmp_path: Path) -> None:
    loose = TableSchema("wide/1", pa.schema([pa.field("n", pa.int64()), *_FIELDS[1:]]))  # n may be null
    path = write_table(_rows(0, 5).cast(loose.columns), tmp_path / "loose.parquet", loose, {})

    with pytest.raises(ForeignTable, match=r"loose\.parquet: .*n: int64.* cannot be poured into"):
        _poured(tmp_path / "poured.parquet", [(path, 0)])


def test_a_table_without_a_checksum_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "foreign.parquet"
    pq.write_table(_rows(0, 5), path)

    with pytest.raises(TornFile, match=r"foreign\.parquet is damaged"):
        _poured(tmp_path / "poured.parquet", [(path, 0)])
