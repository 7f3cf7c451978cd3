"""From a dataset to an adapter on a real Prefect server and a worker of the pool gpu; the training is killed once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.models.adapter import read_adapter
from tasks.splits.build import Dataset
from tasks.training.checkpoints import SEAL
from tests.flows.local_prefect import LocalPrefect, until

DEPLOYMENT = "finetune-lora/mmhs150k"
SETTINGS = {
    "r": 2,
    "bf16": False,
    "learning_rate": 1e-2,
    "max_steps": 60,
    "per_device_train_batch_size": 4,
    "logging_steps": 5,
    "eval_steps": 5,
}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, deployed: Path) -> Iterator[LocalPrefect]:
    env = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with LocalPrefect(tmp_path_factory.mktemp("finetune"), deployed, **env) as local:
        local.without_triggers()
        local.start_worker("gpu")
        yield local


@pytest.fixture(scope="module")
def squares(local: LocalPrefect) -> tuple[Dataset, Path]:
    from tests.training.toy import dataset

    return dataset(local.folder.parent.parent, 60)


@pytest.fixture(scope="module")
def asked(squares: tuple[Dataset, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The parameters of a small run on the CPU."""
    from data.samples import toy_models

    base = toy_models.paligemma(tmp_path_factory.mktemp("base"))
    return {
        "dataset": "squares",
        "base_model": str(base),
        "preset": "",
        "images": str(squares[1]),
        "settings": SETTINGS,
        "device": "cpu",
        "name": "toy",
    }


def _trainer(local: LocalPrefect) -> psutil.Process:
    for each in local.ours():
        with suppress(psutil.NoSuchProcess):  # another one that has just ended
            if "tasks.training.child" in each.cmdline():
                return each
    raise AssertionError("nothing is being trained")


def test_a_killed_training_goes_on_after_retry_and_is_found_by_a_new_run(
    local: LocalPrefect, asked: dict[str, Any]
) -> None:
    data = local.folder.parent
    run = local.run(DEPLOYMENT, **asked)
    until(lambda: list(data.glob(f"jobs/finetune-lora-*/checkpoints/checkpoint-10/{SEAL}")))
    _trainer(local).kill()
    assert "The training ended with SIGKILL" in local.wait(run, "FAILED")["message"]

    local.retry(run)
    local.wait(run, "COMPLETED")
    local.wait_for_log(run, "60 steps from step ")
    assert 1 == sum("60 steps from step " in line for line in local.logs(run)), "it went on from a checkpoint"
    (adapter,) = data.glob("adapters/toy-*")
    assert read_adapter(adapter).toy
    assert adapter.samefile(data / "adapters" / "latest")
    assert local.wait_for_log(run, "60 of 60: loss")
    keys = {artifact["key"] for artifact in local.post("/artifacts/filter", {})}
    assert {"training-squares", f"adapter-{adapter.name}", "progress"} <= keys

    again = local.run(DEPLOYMENT, **asked)
    local.wait(again, "COMPLETED")
    assert local.wait_for_log(again, "is trained already")
    assert [adapter] == list(data.glob("adapters/toy-*"))


def test_a_cancelled_run_leaves_no_process_behind(local: LocalPrefect, asked: dict[str, Any]) -> None:
    run = local.run(DEPLOYMENT, **{**asked, "settings": {**SETTINGS, "max_steps": 5_000}})
    local.wait_for_log(run, "5,000 steps from the beginning")
    trainer = _trainer(local)
    local.post(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}, "force": True})
    local.wait(run, "CANCELLED")
    trainer.wait(60)


def test_a_run_that_cannot_be_says_why(local: LocalPrefect, asked: dict[str, Any]) -> None:
    run = local.run(DEPLOYMENT, **{**asked, "device": "cuda"})
    assert 'set device="cpu", which is for toy models' in local.wait(run, "FAILED")["message"]
    run = local.run(DEPLOYMENT, **{**asked, "dataset": "circles"})
    assert "There is no dataset 'circles'" in local.wait(run, "FAILED")["message"]
    run = local.run(DEPLOYMENT, **{**asked, "preset": "mmhs-paligemma2"})
    assert "optim=paged_adamw_8bit needs a GPU, and device is cpu." in local.wait(run, "FAILED")["message"]
