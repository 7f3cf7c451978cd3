"""The manifest says what should exist, the folder says what does."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tasks.chunks.lock import JobBusy, only_run
from tasks.chunks.manifest import Chunk, Manifest, Source, job_folder, read_manifest
from tasks.storage.errors import PermanentError, TornFile
from tasks.storage.files import write_bytes
from tasks.storage.schemas import TableSchema
from tasks.storage.tables import write_table

SCHEMA = TableSchema("rows/1", pa.schema([("row", pa.int64())]))


def _manifest(tmp_path: Path, rows: int = 7, chunk_size: int = 3) -> Manifest:
    return Manifest(
        tmp_path / "job-1",
        "job",
        Source("/source.json", "00", 1),
        {"target": "es"},
        {"code": "1"},
        chunk_size,
        rows,
        0,
    )


def _do(manifest: Manifest, chunk: Chunk, job: str | None = None) -> Path:
    table = pa.table({"row": range(chunk.start, chunk.stop)}, schema=SCHEMA.columns)
    return write_table(table, manifest.path(chunk), SCHEMA, {"job": job or manifest.job})


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(0, []), (1, [(0, 1)]), (3, [(0, 3)]), (4, [(0, 3), (3, 4)]), (7, [(0, 3), (3, 6), (6, 7)])],
)
def test_chunks_cover_every_row_and_the_last_may_be_short(
    tmp_path: Path, rows: int, expected: list[tuple[int, int]]
) -> None:
    assert expected == [(chunk.start, chunk.stop) for chunk in _manifest(tmp_path, rows).chunks()]


def test_the_published_157_712_rows_make_316_chunks(tmp_path: Path) -> None:
    chunks = _manifest(tmp_path, 157_712, 500).chunks()
    assert (316, "chunk-00315", 212) == (len(chunks), chunks[-1].name, chunks[-1].stop - chunks[-1].start)


def test_pending_is_what_is_not_there(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    first, second, third = manifest.chunks()
    _do(manifest, second)

    assert [first, third] == manifest.pending(SCHEMA)
    assert [third] == manifest.pending(SCHEMA, [2, 1])


def test_a_torn_chunk_and_a_chunk_of_another_job_are_pending(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    first, second, third = manifest.chunks()
    torn = _do(manifest, first)
    torn.write_bytes(torn.read_bytes()[:-4])
    _do(manifest, second, job="another")
    _do(manifest, third)

    assert [first, second] == manifest.pending(SCHEMA)


def test_a_chunk_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as error:
        _manifest(tmp_path).pending(SCHEMA, [1, 3])
    assert "There is no chunk 3: job-1 has the chunks 0 to 2. Correct `chunks`." == str(error.value)


def test_no_number_names_all_chunks(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    assert manifest.chunks() == manifest.chosen(None) == manifest.chosen([])


def test_chunks_set_aside_are_pending_and_not_lost(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    for chunk in manifest.chunks():
        _do(manifest, chunk)
    old = manifest.path(manifest.chunks()[1]).read_bytes()

    manifest.set_aside([1])

    assert [manifest.chunks()[1]] == manifest.pending(SCHEMA)
    assert old == manifest.aside(manifest.chunks()[1]).read_bytes()


def test_a_manifest_comes_back(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    assert read_manifest(manifest.folder) is None
    manifest.write()
    assert manifest == read_manifest(manifest.folder)


def test_a_torn_manifest_is_named(tmp_path: Path) -> None:
    write_bytes(tmp_path / "manifest.json", b'{"kind": "jo')
    with pytest.raises(TornFile, match=r"manifest\.json is not a manifest"):
        read_manifest(tmp_path)


def test_whatever_decides_the_result_is_in_the_folder_s_name(tmp_path: Path) -> None:
    def folder(kind: str = "k", sha: str = "s", target: str = "es", code: str = "1", chunk_size: int = 500) -> Path:
        return job_folder(tmp_path, kind, sha, {"target": target}, {"code": code}, chunk_size)

    others = {
        folder(kind="l"),
        folder(sha="t"),
        folder(target="pt"),
        folder(code="2"),
        folder(chunk_size=501),
    }
    assert folder() == folder()
    assert 6 == len({folder()} | others)


def test_a_second_run_of_a_job_is_told_who_works_on_it(tmp_path: Path) -> None:
    with (
        only_run(tmp_path / "job-1"),
        pytest.raises(JobBusy, match=r"^job-1 is being worked on by process \d+ on .+\. Wait until that run has ended"),
        only_run(tmp_path / "job-1"),
    ):
        pass
    with only_run(tmp_path / "job-1"):
        pass
