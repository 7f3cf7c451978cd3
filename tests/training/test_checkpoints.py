from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.storage.errors import PermanentError
from tasks.training.checkpoints import SEAL, best, rotate, seal, sealed, torn, whole


def make(folder: Path, step: int, best_step: int = 1, stopping: bool = False) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "adapter_model.safetensors").write_bytes(b"weights" * step)
    control = {"TrainerControl": {"args": {"should_training_stop": stopping}}}
    (path / "trainer_state.json").write_text(json.dumps({"best_global_step": best_step, "stateful_callbacks": control}))
    seal(path)
    return path


def test_whole_checkpoints_are_found_oldest_first(tmp_path: Path) -> None:
    for step in (100, 9, 20):
        make(tmp_path, step, stopping=step == 100)
    found = whole(tmp_path)
    assert [9, 20, 100] == [each.step for each in found]
    assert [False, False, True] == [each.is_last for each in found]
    assert tmp_path / "checkpoint-100" == sealed(tmp_path)


@pytest.mark.parametrize("damage", ["no seal", "half a seal", "cut", "changed", "missing"])
def test_a_torn_checkpoint_is_moved_away(tmp_path: Path, damage: str) -> None:
    make(tmp_path, 1)
    path = make(tmp_path, 2)
    weights = path / "adapter_model.safetensors"
    if damage == "no seal":
        (path / SEAL).unlink()
    elif damage == "half a seal":
        (path / SEAL).write_bytes((path / SEAL).read_bytes()[:40])
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "changed":
        weights.write_bytes(b"w" * weights.stat().st_size)
    else:
        weights.unlink()
    assert [1] == [each.step for each in whole(tmp_path)]
    assert ["checkpoint-2-1"] == torn(tmp_path)
    make(tmp_path, 2).joinpath(SEAL).unlink()
    whole(tmp_path)
    assert ["checkpoint-2-1", "checkpoint-2-2"] == torn(tmp_path)


def test_old_checkpoints_go_but_the_best_and_those_without_a_seal(tmp_path: Path) -> None:
    for step in range(1, 6):
        make(tmp_path, step)
    make(tmp_path, 6).joinpath(SEAL).unlink()
    rotate(tmp_path, 2, best_step=2)
    assert [2, 4, 5, 6] == sorted(int(path.name.split("-")[1]) for path in tmp_path.iterdir())


def test_the_best_one_is_what_the_newest_says(tmp_path: Path) -> None:
    make(tmp_path, 1)
    make(tmp_path, 2, best_step=1)
    assert 1 == best(whole(tmp_path)).step
    make(tmp_path, 3, best_step=9)
    with pytest.raises(PermanentError, match="the best checkpoint, checkpoint-9, is gone or was damaged"):
        best(whole(tmp_path))
