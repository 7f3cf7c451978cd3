"""Chunks into tables: every row once, delivered or rejected, and the same bytes whatever happened before."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.chunks.manifest import CountsDiffer, Manifest, read_manifest
from tasks.llava.collect import collect
from tasks.llava.counts import Counts
from tasks.llava.plan import plan
from tasks.llava.source import BadSource
from tasks.remote.errors import TooLarge
from tasks.storage.errors import ForeignTable, PermanentError, TornFile
from tasks.storage.schemas import LLAVA, LLAVA_REJECTED, TRANSLATIONS, TableSchema
from tasks.storage.tables import origin, read_table, write_table
from tasks.translators.shouting import Options, ShoutingTranslator, open_translator
from tests.walk import walk

ROWS = [
    {
        "id": str(n),
        "image": f"{n}.jpg",
        "conversations": [
            {"from": "human" if n != 3 else "nobody", "value": f"<image>\nWhat is number {n} doing here?"},
            {"from": "gpt", "value": f"Number {n} is waiting for the bus."},
        ],
    }
    for n in range(7)
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.json"
    path.write_text(json.dumps(ROWS))
    return path


def _walk(source: Path, data: Path, chunk_size: int = 3) -> Any:
    return walk(source, data, [open_translator(Options(), "en", "es")], chunk_size=chunk_size, threads=1)


@pytest.mark.parametrize("chunk_size", [1, 3, 6, 7, 8])
def test_every_row_is_there_once(source: Path, tmp_path: Path, chunk_size: int) -> None:
    tables = _walk(source, tmp_path / "data", chunk_size)

    assert [0, 1, 2, 4, 5, 6] == read_table(tables.table, LLAVA)["row"].to_pylist()
    (rejected,) = read_table(tables.rejected, LLAVA_REJECTED).to_pylist()
    assert (3, "unknown-role", ROWS[3]) == (rejected["row"], rejected["error"], json.loads(rejected["raw"]))
    assert (7, 6, {"unknown-role": 1}) == (tables.counts.rows, tables.counts.delivered, tables.counts.rejected)
    records = json.loads(tables.json.read_text())
    assert ["<image>\nWHAT IS NUMBER 0 DOING HERE?", "NUMBER 0 IS WAITING FOR THE BUS."] == [
        turn["value"] for turn in records[0]["conversations"]
    ]


def test_what_is_collected_is_left_alone(source: Path, tmp_path: Path) -> None:
    tables = _walk(source, tmp_path / "data")
    before = [path.stat().st_mtime_ns for path in (tables.table, tables.rejected, tables.json, tables.provenance)]
    again = _walk(source, tmp_path / "data")

    assert before == [path.stat().st_mtime_ns for path in (again.table, again.rejected, again.json, again.provenance)]
    assert tables.counts == again.counts


def test_tables_of_another_job_are_replaced(source: Path, tmp_path: Path) -> None:
    _walk(source, tmp_path / "data")
    other = tmp_path / "other.json"
    other.write_text(json.dumps(ROWS[:2]))

    assert 2 == _walk(other, tmp_path / "data").counts.delivered
    assert 6 == _walk(source, tmp_path / "data").counts.delivered


def test_the_provenance_names_job_source_and_hashes(source: Path, tmp_path: Path) -> None:
    tables = _walk(source, tmp_path / "data")
    provenance = json.loads(tables.provenance.read_text())
    assert provenance["source"]["path"] == str(source)
    assert set(provenance["files"]) == {"llava-es.parquet", "llava-es.rejected.parquet", "llava-es.json"}
    assert provenance["versions"]["translators"] == "shouting/1"


def _rewrite(manifest: Manifest, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write chunk 1 anew with other rows, as a bug of ours would: all in order but the rows."""
    path = manifest.path(manifest.chunks()[1])
    rows = change(read_table(path, TRANSLATIONS))
    origin = {"job": manifest.job, "counts": Counts.of(rows, rows.slice(0, 0)).plain()}
    write_table(rows, path, TRANSLATIONS, origin)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.slice(1), "7 rows went in, 5 came out and 1 were rejected; missing or there twice: row 4"),
        (
            lambda rows: pa.concat_tables([rows.slice(0, 1), rows.slice(0, 1)]),
            "7 rows went in, 6 came out and 1 were rejected; missing or there twice: row 4, 5",
        ),
    ],
)
def test_a_row_too_few_or_there_twice_stops_everything(
    source: Path, tmp_path: Path, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    data = tmp_path / "data"
    _walk(source, data)
    manifest = read_manifest(next((data / "jobs").iterdir()))
    assert manifest is not None
    _rewrite(manifest, change)
    before = {path: path.read_bytes() for path in (data / "tables").iterdir()}

    with pytest.raises(CountsDiffer, match=message):
        collect(manifest, data / "tables", "llava-es")
    assert before == {path: path.read_bytes() for path in (data / "tables").iterdir()}


def test_counts_in_a_footer_that_are_not_the_rows_are_named(source: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    _walk(source, data)
    manifest = read_manifest(next((data / "jobs").iterdir()))
    assert manifest is not None
    path = manifest.path(manifest.chunks()[1])
    rows = read_table(path, TRANSLATIONS)
    write_table(rows.slice(1), path, TRANSLATIONS, {"job": manifest.job, "counts": Counts.of(rows, rows[:0]).plain()})

    with pytest.raises(ForeignTable, match=r"chunk-00001\.parquet has other row groups than were counted"):
        collect(manifest, data / "tables", "llava-es")


def test_a_damaged_chunk_is_named_and_the_tables_stay(source: Path, tmp_path: Path) -> None:
    tables = _walk(source, tmp_path / "data")
    before = tables.table.read_bytes()
    chunk = next((tmp_path / "data" / "jobs").glob("*/chunks/chunk-00001.parquet"))
    content = bytearray(chunk.read_bytes())
    content[200] ^= 1
    chunk.write_bytes(content)

    with pytest.raises(TornFile, match=r"chunk-00001\.parquet is damaged.* Move it away and run again"):
        _walk(source, tmp_path / "data")
    assert before == tables.table.read_bytes()
    chunk.unlink()
    assert before == _walk(source, tmp_path / "data").table.read_bytes()


def test_a_chunk_of_an_older_layout_is_made_again(source: Path, tmp_path: Path) -> None:
    tables = _walk(source, tmp_path / "data")
    before = tables.table.read_bytes()
    chunk = next((tmp_path / "data" / "jobs").glob("*/chunks/chunk-00001.parquet"))
    older = TableSchema("translations/1", TRANSLATIONS.columns)
    with pq.ParquetFile(chunk) as file:
        write_table(file.read(), chunk, older, {"job": origin(file)["job"]})

    assert before == _walk(source, tmp_path / "data").table.read_bytes()


def test_rows_that_no_translator_takes_are_rejected_in_order(source: Path, tmp_path: Path) -> None:
    class Picky(ShoutingTranslator):
        async def translate(self, texts: Sequence[str]) -> list[str]:
            if any(text.startswith(("Number 1", "Number 4")) for text in texts):
                raise TooLarge("No.")
            return await super().translate(texts)

    tables = walk(source, tmp_path / "data", [Picky()], chunk_size=3, threads=1)

    assert [0, 2, 5, 6] == read_table(tables.table, LLAVA)["row"].to_pylist()
    rejected = read_table(tables.rejected, LLAVA_REJECTED)
    assert [(1, "refused"), (3, "unknown-role"), (4, "refused")] == list(
        zip(rejected["row"].to_pylist(), rejected["error"].to_pylist(), strict=True)
    )
    assert ["0", "2", "5", "6"] == [record["id"] for record in json.loads(tables.json.read_text())]
    assert {"refused": 2, "unknown-role": 1} == tables.counts.rejected


def test_a_torn_chunk_is_made_again(source: Path, tmp_path: Path) -> None:
    tables = _walk(source, tmp_path / "data")
    before = tables.table.read_bytes()
    chunk = next((tmp_path / "data" / "jobs").glob("*/chunks/chunk-00001.parquet"))
    chunk.write_bytes(chunk.read_bytes()[:-20])

    assert before == _walk(source, tmp_path / "data").table.read_bytes()


def test_a_torn_plan_is_named(source: Path, tmp_path: Path) -> None:
    _walk(source, tmp_path / "data")
    folder = next((tmp_path / "data" / "jobs").iterdir())
    (folder / "rows.parquet").write_bytes(b"PAR1")
    (folder / "chunks" / "chunk-00001.parquet").unlink()

    with pytest.raises(TornFile, match=r"rows\.parquet is not a whole Parquet file"):
        _walk(source, tmp_path / "data")


def test_a_source_without_one_good_row_makes_no_job(tmp_path: Path) -> None:
    source = tmp_path / "source.json"
    source.write_text(json.dumps([{"id": "1"}, {"id": "2"}]))
    with pytest.raises(BadSource, match=r"none of the 2 rows can be used. The first one: Row 0 has no conversations."):
        plan(source, tmp_path / "jobs", 500, {}, {})
    assert not list((tmp_path / "jobs").rglob("manifest.json"))


def test_a_chunk_size_below_one_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="`chunk_size` is 0; it must be at least 1 row"):
        plan(source, tmp_path / "jobs", 0, {}, {})


def test_one_edited_row_asks_only_its_new_text(source: Path, tmp_path: Path) -> None:
    from tasks.remote.journal import Journal

    _walk(source, tmp_path / "data")
    rows = json.loads(json.dumps(ROWS))
    rows[5]["conversations"][1]["value"] += " It is late."
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(rows))

    tables = _walk(edited, tmp_path / "data")

    job = json.loads(tables.provenance.read_text())["job"]
    assert [(1, 11)] == [(c.texts, c.chars) for c in Journal(tmp_path / "data/journal/answers.sqlite").calls(job)]
