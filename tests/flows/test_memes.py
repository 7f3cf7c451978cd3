"""read-memes on a real server and worker: a chunk fails, Retry does only that one."""

from __future__ import annotations

from pathlib import Path

from tasks.chunks.manifest import read_manifest
from tasks.storage.schemas import MEME_READINGS, MEMES, MEMES_REJECTED
from tasks.storage.tables import read_table
from tests.flows.local_prefect import LocalPrefect
from tests.memes.drawn import SAID, folder_of_memes

DEPLOYMENT = "read-memes/russian"


def test_memes_are_read_and_a_retry_does_only_what_is_missing(tmp_path: Path, deployed: Path) -> None:
    folder = folder_of_memes(tmp_path / "memes")
    labels = {"Плохо": "toxic", "Хорошо": "non_toxic"}
    asked = {"folder": str(folder), "labels": labels, "reader": "hybrid", "chunk_size": 2}
    with LocalPrefect(tmp_path, deployed, TRASVASE_CHUNK_RETRIES="0") as local:
        local.start_worker()
        local.wait(local.run(DEPLOYMENT, **asked, chunks=[0]), "COMPLETED")
        (job,) = (tmp_path / "data" / "jobs").iterdir()
        manifest = read_manifest(job)
        assert manifest is not None
        assert [1, 2] == [chunk.number for chunk in manifest.pending(MEME_READINGS)]
        obstacle = manifest.path(manifest.chunks()[1])
        obstacle.mkdir()  # a chunk that cannot be put in place
        run = local.run(DEPLOYMENT, **asked)
        assert "1 of 3 chunks failed: chunk-00001." in local.wait(run, "FAILED")["message"]
        done = manifest.path(manifest.chunks()[0]).stat().st_mtime_ns
        obstacle.rmdir()
        local.retry(run)
        local.wait(run, "COMPLETED")
    assert done == manifest.path(manifest.chunks()[0]).stat().st_mtime_ns
    tables = tmp_path / "data" / "tables"
    rows = read_table(tables / "memes.parquet", MEMES).to_pylist()
    assert [*SAID.values(), ""] == [row["text"].upper() for row in rows]
    assert ["toxic", "non_toxic", "non_toxic"] == [row["label"] for row in rows]
    assert 2 == read_table(tables / "memes.rejected.parquet", MEMES_REJECTED).num_rows
    assert (tmp_path / "data" / "reports" / "read-memes" / "report.html").is_file()
