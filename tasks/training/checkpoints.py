"""Checkpoints that are whole, or none.

::

    jobs/finetune-lora-3f2a…/checkpoints/
      checkpoint-120/adapter_model.safetensors, optimizer.pt, scheduler.pt, rng_state.pth, trainer_state.json, …
                     whole.json                size and SHA-256 of each of them; written last
      torn/checkpoint-130-1/                   found without it, or changed since: moved here, never used

The Trainer writes file by file into the folder under its final name, so a kill in between leaves a folder that looks like
a checkpoint. It counts only when ``whole.json`` is there and agrees with every file.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from tasks.storage.errors import PermanentError
from tasks.storage.files import fingerprints, flush_folder, move, sha256, write_bytes

SEAL = "whole.json"
STATE = "trainer_state.json"
ADAPTER = "adapter_model.safetensors"
PROCESSOR = "processor"  # a folder in each checkpoint


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole checkpoint."""

    folder: Path
    step: int

    def state(self) -> dict[str, Any]:
        """What the Trainer knew: steps, curve, best metric."""
        state: dict[str, Any] = json.loads((self.folder / STATE).read_bytes())
        return state

    @property
    def is_last(self) -> bool:
        """Whether the training had come to its end."""
        control = self.state()["stateful_callbacks"]["TrainerControl"]["args"]
        return bool(control["should_training_stop"])


def seal(folder: Path) -> None:
    """Say that a checkpoint is whole. Everything in it has been written."""
    write_bytes(folder / SEAL, json.dumps(fingerprints(folder), indent=2).encode())


def whole(folder: Path) -> list[Checkpoint]:
    """The whole checkpoints of a folder, oldest first; the others are moved to ``torn/``."""
    found = []
    for path in sorted(folder.glob("checkpoint-*"), key=_step):
        if _is_whole(path):
            found.append(Checkpoint(path, _step(path)))
        else:
            _move_away(path)
    return found


def sealed(folder: Path) -> Path | None:
    """The newest sealed checkpoint of a folder that ``whole`` has swept; None where there is none."""
    found = [path for path in folder.glob("checkpoint-*") if (path / SEAL).is_file()]
    return max(found, key=_step, default=None)


def is_done(folder: Path) -> bool:
    """Whether the newest sealed checkpoint is the last one; no file is held against its hash."""
    newest = sealed(folder)
    return newest is not None and Checkpoint(newest, _step(newest)).is_last


def torn(folder: Path) -> list[str]:
    """Names of the torn checkpoints that were moved away."""
    return sorted(path.name for path in (folder / "torn").glob("checkpoint-*"))


def best(checkpoints: list[Checkpoint]) -> Checkpoint:
    """The best of the whole checkpoints, as the newest of them says.

    Raises:
        PermanentError: It is gone.
    """
    step = checkpoints[-1].state()["best_global_step"]
    for each in checkpoints:
        if each.step == step:
            return each
    folder = checkpoints[-1].folder.parent
    raise PermanentError(
        f"{folder}: the best checkpoint, checkpoint-{step}, is gone or was damaged. Move {folder.parent} away and run "
        "again: it is trained anew."
    )


def rotate(folder: Path, keep: int, best_step: int | None) -> None:
    """Remove all but the newest sealed checkpoints and the best one. Only what was sealed is counted and removed."""
    sealed = sorted((path for path in folder.glob("checkpoint-*") if (path / SEAL).is_file()), key=_step)
    for path in sealed[:-keep]:
        if _step(path) != best_step:
            (path / SEAL).unlink()  # first, so that what a kill leaves of it does not count
            flush_folder(path)
            shutil.rmtree(path)


def _step(path: Path) -> int:
    found = re.fullmatch(r"checkpoint-(\d+)", path.name)
    return int(found[1]) if found else -1


def _is_whole(folder: Path) -> bool:
    try:
        files = json.loads((folder / SEAL).read_bytes())
    except (OSError, ValueError):
        return False
    return all(
        (path := folder / name).is_file() and path.stat().st_size == told["bytes"] and sha256(path) == told["sha256"]
        for name, told in files.items()
    )


def _move_away(path: Path) -> None:
    aside = path.parent / "torn"
    aside.mkdir(exist_ok=True)
    free = next(place for n in count(1) if not (place := aside / f"{path.name}-{n}").exists())
    move(path, free)
