"""evaluate-adapter on a real server and worker: Retry, promotion, verdict, a dataset that was changed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tasks.chunks.manifest import Manifest, read_manifest
from tasks.storage.schemas import PREDICTIONS
from tests.evaluation.made import Made, make
from tests.flows.local_prefect import LocalPrefect, until

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
DEPLOYMENT = "evaluate-adapter/mmhs150k"
ASKED: dict[str, Any] = {"device": "cpu", "chunk_size": 20, "ablations": False, "metric": "f1_macro"}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, deployed: Path) -> Iterator[LocalPrefect]:
    folder = tmp_path_factory.mktemp("evaluation")
    env = {
        "TRASVASE_CHUNK_RETRIES": "0",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
    }
    with LocalPrefect(folder, deployed, **env) as local:
        local.start_worker("gpu")
        yield local


@pytest.fixture(scope="module")
def toy(local: LocalPrefect, tmp_path_factory: pytest.TempPathFactory) -> Made:
    import torch

    from data.samples.toy_models import mistral

    torch.set_num_threads(1)
    return make(local.folder.parent.parent, mistral(tmp_path_factory.mktemp("toys") / "base"))


def jobs(toy: Made) -> list[Manifest]:
    found = (read_manifest(folder) for folder in sorted((toy.data / "jobs").iterdir()))
    return [job for job in found if job is not None]


def promotions(toy: Made) -> list[dict[str, Any]]:
    path = toy.data / "adapters" / "promotions.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_schedule_that_comes_too_early_is_skipped(local: LocalPrefect) -> None:
    run = local.run(DEPLOYMENT)
    state = local.wait(run, "COMPLETED")
    assert ("Skipped", "There is no latest adapter yet.") == (state["name"], state["message"].split(" Run ")[0])


def test_retry_does_only_what_is_missing(local: LocalPrefect, toy: Made) -> None:
    first = local.run(DEPLOYMENT, adapter=toy.worse.name, baseline="current", **ASKED)
    local.wait(first, "COMPLETED")
    local.wait_for_log(first, "there is nothing to compare with")
    local.wait_for_log(first, "none is in use: set promote=true to begin")
    job = next(job for job in jobs(toy) if job.kind == "predict" and job.parameters["adapter"] and job.rows == 60)
    assert not job.pending(PREDICTIONS)
    kept = {chunk.number: job.path(chunk).stat().st_mtime_ns for chunk in job.chunks()}
    obstacle = job.path(job.chunks()[1])
    obstacle.unlink()
    obstacle.mkdir()  # a chunk that cannot be put in place
    run = local.run(DEPLOYMENT, adapter=toy.worse.name, baseline="current", **ASKED)
    assert "1 of 3 chunks failed: chunk-00001." in local.wait(run, "FAILED")["message"]
    obstacle.rmdir()
    local.retry(run)
    local.wait(run, "COMPLETED")
    now = {chunk.number: job.path(chunk).stat().st_mtime_ns for chunk in job.chunks()}
    assert [1] == [number for number, when in now.items() if when != kept[number]]
    (report,) = (toy.data / "reports").iterdir()
    assert {"report.html", "report.json", "thresholds.json"} == {path.name for path in report.iterdir()}
    keys = {artifact["key"] for artifact in local.post("/artifacts/filter", {})}
    assert f"evaluate-{toy.worse.name}" in keys


def test_current_moves_on_a_pass_and_a_forced_move_is_called_one(local: LocalPrefect, toy: Made) -> None:
    current = toy.data / "adapters" / "current"
    begun = local.run(DEPLOYMENT, adapter=toy.worse.name, baseline=None, promote=True, **ASKED)
    local.wait(begun, "COMPLETED")
    assert toy.worse == current.resolve()
    better = local.run(DEPLOYMENT, **ASKED)  # latest against current, as the deployment has it
    local.wait(better, "COMPLETED")
    local.wait_for_log(better, "Verdict: pass")
    assert toy.better == current.resolve()
    worse = local.run(DEPLOYMENT, adapter=toy.worse.name, **ASKED)
    local.wait(worse, "COMPLETED")
    local.wait_for_log(worse, "only a pass against the one in use moves it")
    assert toy.better == current.resolve()
    forced = local.run(DEPLOYMENT, adapter=toy.worse.name, promote=True, **ASKED)
    local.wait(forced, "COMPLETED")
    assert toy.worse == current.resolve()
    assert [(False, None), (False, "pass"), (True, "fail")] == [
        (line["forced"], line["verdict"]) for line in promotions(toy)
    ]


def test_what_cannot_be_says_why(local: LocalPrefect, toy: Made) -> None:
    run = local.run(DEPLOYMENT, adapter="nothing", **ASKED)
    assert "There is no adapter 'nothing'. Give a folder, or a name in" in local.wait(run, "FAILED")["message"]
    run = local.run(DEPLOYMENT, **{**ASKED, "split": "validation"})
    assert "Thresholds are tuned on validation" in local.wait(run, "FAILED")["message"]
    run = local.run(DEPLOYMENT, adapter=toy.better.name, **{**ASKED, "device": "cuda", "baseline": None})
    assert "This worker has no GPU that torch sees" in local.wait(run, "FAILED")["message"]
    path = toy.dataset / "data" / "test-00000-of-00001.parquet"
    whole = path.read_bytes()
    pq.write_table(pq.read_table(path).slice(1), path)
    run = local.run(DEPLOYMENT, **ASKED)
    assert (
        "was changed after it had been written: data/test-00000-of-00001.parquet"
        in local.wait(run, "FAILED")["message"]
    )
    path.write_bytes(whole)


def test_an_adapter_that_was_just_trained_is_measured_by_itself(
    local: LocalPrefect, toy: Made, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from data.samples import toy_models
    from tests.training.toy import dataset

    base = toy_models.paligemma(tmp_path_factory.mktemp("seeing"))
    _, images = dataset(toy.data.parent, 60)
    settings = {"r": 2, "bf16": False, "max_steps": 4, "per_device_train_batch_size": 4, "eval_steps": 4}
    asked = {"dataset": "squares", "base_model": str(base), "preset": "", "images": str(images), "settings": settings}
    run = local.run("finetune-lora/mmhs150k", **asked, device="cpu", name="squares")
    local.wait(run, "COMPLETED")
    found = until(
        lambda: [each for each in local.runs(DEPLOYMENT) if each["parameters"].get("images") == str(images)],
        lambda: "no run was set off",
    )
    assert "cpu" == found[0]["parameters"]["device"]
    local.wait(found[0]["id"], "COMPLETED")
    (adapter,) = (toy.data / "adapters").glob("squares-*")
    (report,) = (toy.data / "reports").glob(f"evaluate-{adapter.name}-*")
    notes = json.loads((report / "report.json").read_bytes())["notes"]
    assert ["no verdict" in note for note in notes] == [True]  # none is in use, or one that answers other labels
