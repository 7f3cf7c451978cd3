from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.chunks.lock import only_run
from tasks.cli import main
from tasks.cli.status import lock_holder, statuses
from tasks.storage.root import DataRoot
from tests.cli.small_job import make_job


def test_a_finished_job_is_done(root: DataRoot, job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if job.name in line)
    assert line.split()[1:8] == ["done", "rows.json", "7", "4", "of", "4", "2"]


def test_an_unfinished_job_names_its_missing_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRASVASE_DATA", str(tmp_path))
    manifest = make_job(DataRoot(tmp_path), chunks=[0, 3])
    assert main(["status", manifest.job]) == 0
    shown = capsys.readouterr().out
    assert f"{manifest.job}: unfinished" in shown
    assert "missing        chunk-00001, chunk-00002" in shown
    assert "press Retry on its flow run" in shown


def test_what_was_asked_and_rejected_is_counted(root: DataRoot, job: Path) -> None:
    (status,) = statuses([job], root)
    assert status.rejected == 2  # one row that is none, one that the translator refused
    assert (status.chunks, status.done, status.missing) == (4, 4, [])
    assert status.requests > status.failed_requests > 0
    assert (status.texts, status.chars) == (16, 237)


@pytest.mark.parametrize("part", [slice(None), slice(20), slice(-12, -6)])
def test_a_job_is_found_by_the_beginning_of_its_name_or_digest(
    job: Path, part: slice, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", job.name[part]]) == 0
    assert capsys.readouterr().out.startswith(f"{job.name}: done")


def test_an_unknown_job_ends_with_2_and_names_those_there_are(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "nonsense"]) == 2
    assert job.name in capsys.readouterr().err


def test_a_torn_chunk_and_one_set_aside_are_told(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chunks = job / "chunks"
    (chunks / "chunk-00000.parquet").write_bytes(b"PAR1")
    (chunks / "chunk-00001.parquet").rename(chunks / "chunk-00001.parquet.aside")
    assert main(["status", "--json"]) == 1
    (status,) = json.loads(capsys.readouterr().out)
    assert status["missing"] == ["chunk-00000", "chunk-00001"]
    assert (status["damaged"], status["aside"]) == (["chunk-00000"], ["chunk-00001"])


def test_a_job_that_was_not_planned_to_its_end_is_told(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (job / "manifest.json").unlink()
    assert main(["status", job.name]) == 0
    assert "not planned" in capsys.readouterr().out


def test_a_torn_manifest_is_damage(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (job / "manifest.json").write_text("{")
    assert main(["status", job.name]) == 1
    assert f"{job / 'manifest.json'} is not a manifest" in capsys.readouterr().out


def test_a_run_that_holds_the_lock_is_seen_and_not_disturbed(root: DataRoot, job: Path) -> None:
    assert lock_holder(job) is None
    with only_run(job):
        (status,) = statuses([job], root)
        assert status.state == "running"
        assert status.holder is not None
        assert status.holder.startswith("process ")
    assert lock_holder(job) is None


def test_an_empty_root_says_how_to_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRASVASE_DATA", str(tmp_path))
    assert main(["status"]) == 0
    assert "make run" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
