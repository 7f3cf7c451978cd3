"""A finished training into an adapter that stands for itself.

::

    adapters/mmhs-paligemma2-3b-pt-224-3f2a9c01d7b4/
      adapter_model.safetensors, adapter_config.json    as PEFT writes them, of the best checkpoint
      tokenizer.json, preprocessor_config.json, …       the processor, with its sizes of images
      trasvase.json                                     what it was made of (tasks/models/adapter.py)
      curve.json, loss.svg, learning-rate.svg           the Trainer's history, and drawn
      rejected.json                                     refused rows, where there are any
      README.md                                         the model card; its example runs in this folder
    adapters/latest, adapters/latest-chat               links to the newest one that gives labels, and that writes

The folder appears whole, by rename, and is never written again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tasks.models.adapter import AdapterRecord, read_adapter, write_record
from tasks.storage.errors import PermanentError
from tasks.storage.files import point, whole_folder, write_bytes
from tasks.training.card import model_card
from tasks.training.checkpoints import ADAPTER, PROCESSOR, Checkpoint, best
from tasks.training.environment import PACKAGES
from tasks.training.plan import Plan, rejected_rows
from tasks.training.progress import picture, plots

LATEST, LATEST_CHAT = "latest", "latest-chat"


def adapter_folder(plan: Plan, adapters: Path, name: str) -> Path:
    """Where the adapter of a job stands, or will stand.

    Args:
        plan: The job.
        adapters: The folder of adapters.
        name: What the user calls it; dataset and base model when empty.

    Raises:
        PermanentError: The name cannot be a folder's.
    """
    base = re.sub(r"[^\w.-]+", "-", plan.base.name.rstrip("/").rpartition("/")[2])
    called = name or f"{plan.source.name}-{base}"
    if not re.fullmatch(r"\w[\w.-]*", called):
        raise PermanentError(f"name={called!r} cannot be a folder's name. Use letters, digits, '-', '_' and '.'.")
    return adapters / f"{called}-{plan.digest}"


def package(plan: Plan, folder: Path, finished: Callable[[Plan], list[Checkpoint]]) -> Path:
    """Make the adapter of a finished training, or find it.

    Args:
        plan: The job.
        folder: Where it is to stand.
        finished: Finds the whole checkpoints, oldest first.

    Raises:
        PermanentError: The folder holds something else, or was changed.
    """
    if folder.exists():
        read_adapter(folder)
    else:
        _write(plan, finished(plan), folder)
    # evaluate-adapter measures the latest one as soon as it can, and can measure labels alone.
    point(folder.parent / (LATEST if plan.label_sets else LATEST_CHAT), folder)
    return folder


def _write(plan: Plan, checkpoints: list[Checkpoint], folder: Path) -> None:
    taken, state = best(checkpoints), checkpoints[-1].state()
    known = state["stateful_callbacks"]["Reporter"]["args"]
    points, rejected = state["log_history"], rejected_rows(plan)
    chosen = next(point for point in points if "eval_loss" in point and point["step"] == taken.step)
    with whole_folder(folder) as aside:
        write_bytes(aside / ADAPTER, (taken.folder / ADAPTER).read_bytes())
        # PEFT writes where the base model lay in this machine's cache, and others look for it by that.
        config = json.loads((taken.folder / "adapter_config.json").read_bytes())
        write_bytes(aside / "adapter_config.json", _json(config | {"base_model_name_or_path": plan.base.place}))
        for path in sorted((taken.folder / PROCESSOR).iterdir()):
            write_bytes(aside / path.name, path.read_bytes())
        write_bytes(aside / "curve.json", _json(points))
        for name, plot in plots(points).items():
            write_bytes(aside / f"{name}.svg", picture(plot))
        if rejected:
            write_bytes(aside / "rejected.json", _json(rejected))
        card = model_card(plan, folder.name, known, chosen, state["global_step"], rejected)
        write_bytes(aside / "README.md", card.encode())
        write_record(aside, _record(plan, known))


def _record(plan: Plan, known: Mapping[str, Any]) -> AdapterRecord:
    settings, environment = plan.settings, dict(known["environments"][-1])
    return AdapterRecord(
        base_model=plan.base.name,
        base_digest=plan.base.digest,
        family=known["family"],
        prompt=plan.prompt,
        label_sets=plan.label_sets.plain() if plan.label_sets else None,
        columns=plan.columns,
        min_pixels=settings.min_pixels,
        max_pixels=settings.max_pixels,
        dtype=settings.dtype,
        load_in_4bit=settings.load_in_4bit,
        dataset={"name": plan.source.name, "version": plan.source.version},
        settings=settings.model_dump(mode="json"),
        seed=settings.seed,
        versions={name: environment.pop(name) for name in PACKAGES if name in environment},
        environment={**environment, "job": plan.job, "processes": plan.processes, "seconds": known["seconds"]},
        images=str(plan.source.images) if plan.columns.image else None,
        toy=plan.base.toy,
    )


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=2, ensure_ascii=False).encode()
