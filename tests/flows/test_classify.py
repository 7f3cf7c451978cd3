"""classify-memes on a real server and worker, with toy models: a chunk fails, Retry does only that one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.chunks.manifest import Manifest, read_manifest
from tasks.cli import main
from tasks.settings import CHECKOUT
from tasks.storage.root import DataRoot
from tasks.storage.schemas import CLIP_ANSWERS, MEMES_CLASSIFIED, MEMES_UNCLASSIFIED, VLM_ANSWERS
from tasks.storage.tables import read_table
from tests.flows.local_prefect import LocalPrefect
from tests.zeroshot.walk import folder_of_shapes, table_of_memes

DEPLOYMENT = "classify-memes/russian"
_TOYS = """
import sys
from pathlib import Path
from data.samples import toy_models
toy_models.qwen2_5_vl(Path(sys.argv[1]) / "qwen")
toy_models.clip(Path(sys.argv[1]) / "clip")
"""


def _jobs(root: DataRoot) -> tuple[Manifest, Manifest]:
    found = {folder.name.rpartition("-")[0]: read_manifest(folder) for folder in root.jobs.iterdir()}
    vlm, clip = found["classify-vlm"], found["classify-clip"]
    assert vlm is not None
    assert clip is not None
    return vlm, clip


def test_memes_are_classified_and_a_retry_does_only_what_is_missing(
    tmp_path: Path, deployed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # In a process of its own: torch need not stay in this one.
    subprocess.run(
        [sys.executable, "-c", _TOYS, str(tmp_path)], cwd=CHECKOUT, check=True, env={**os.environ, "PYTHONPATH": "."}
    )
    root = DataRoot(tmp_path / "data")
    table_of_memes(tmp_path / "memes", folder_of_shapes(tmp_path / "memes"), root)
    asked = {"vlm": str(tmp_path / "qwen"), "clip": str(tmp_path / "clip"), "device": "cpu", "chunk_size": 4}
    offline = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with LocalPrefect(tmp_path, deployed, TRASVASE_CHUNK_RETRIES="0", **offline) as local:
        local.start_worker("gpu")
        wrong = local.run(DEPLOYMENT, **{**asked, "clip": asked["vlm"]})
        assert "is a 'qwen2_5_vl' and no CLIP" in local.wait(wrong, "FAILED")["message"]
        assert not root.jobs.exists()

        local.wait(local.run(DEPLOYMENT, **asked, chunks=[0]), "COMPLETED")
        vlm, clip = _jobs(root)
        assert [1] == [chunk.number for chunk in vlm.pending(VLM_ANSWERS)]
        assert [1] == [chunk.number for chunk in clip.pending(CLIP_ANSWERS)]
        obstacle = clip.path(clip.chunks()[1])
        obstacle.mkdir()  # a chunk that cannot be put in place
        run = local.run(DEPLOYMENT, **asked)
        assert "1 of 2 chunks failed: chunk-00001." in local.wait(run, "FAILED")["message"]
        done = {path: path.stat().st_mtime_ns for job in (vlm, clip) for path in job.folder.glob("chunks/*.parquet")}
        obstacle.rmdir()
        local.retry(run)
        local.wait(run, "COMPLETED")
        keys = {artifact["key"] for artifact in local.post("/artifacts/filter", {})}
        assert "classify-memes" in keys
    done.pop(obstacle)
    assert done == {path: path.stat().st_mtime_ns for path in done}
    rows = read_table(root.tables / "memes-classified.parquet", MEMES_CLASSIFIED).to_pylist()
    assert [0, 1, 2, 3, 4, 5] == [row["row"] for row in rows]
    rejected = read_table(root.tables / "memes-classified.rejected.parquet", MEMES_UNCLASSIFIED).to_pylist()
    assert [("cut.png", "damaged")] == [(row["path"], row["error"]) for row in rejected]
    figures = json.loads((root.reports / "classify-memes" / "report.json").read_bytes())
    assert figures["toy"]
    assert {"VLM", "CLIP", "CLIP with text", "majority", "text or none"} == figures["comparison"]["methods"].keys()
    assert 5 == figures["comparison"]["n"]
    monkeypatch.setenv("TRASVASE_DATA", str(root.path))
    for job in (vlm, clip):
        assert 0 == main(["verify", str(job.folder)]), capsys.readouterr().out
