"""Batch sizes, and what becomes of them when the memory is not enough: halved once, and written down.

``jobs/finetune-lora-3f2a…/smaller.json``::

    {"batch": 4, "accumulation": 4, "eval_batch": 12}      of 8, 2 and 24: a step has 16 rows as before
"""

from __future__ import annotations

import json
from typing import NamedTuple

from tasks.storage.errors import PermanentError, TornFile
from tasks.storage.files import write_bytes
from tasks.training.plan import Plan

FILE = "smaller.json"


class OutOfMemory(PermanentError):
    """The memory was not enough, with half the batch neither."""


class Sizes(NamedTuple):
    """Rows at once, batches per step, and rows at once while evaluating; on each device."""

    batch: int
    accumulation: int
    eval_batch: int


def read_sizes(plan: Plan) -> Sizes:
    """The sizes to train with: what was asked for, or the halves of it.

    Raises:
        TornFile: What was written down is damaged.
    """
    path = plan.folder / FILE
    if not path.exists():
        return asked(plan)
    try:
        return Sizes(**json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise TornFile(f"{path} is damaged ({error}). Remove it, and run again.") from error


def asked(plan: Plan) -> Sizes:
    """The sizes that the settings have."""
    settings = plan.settings
    return Sizes(
        settings.per_device_train_batch_size, settings.gradient_accumulation_steps, settings.per_device_eval_batch_size
    )


def halve(plan: Plan, message: str) -> Sizes:
    """Half the rows at once and as many more batches per step, so that a step has as many rows as before.

    Args:
        plan: The job.
        message: What the device said.

    Raises:
        OutOfMemory: They were halved before, or there is one row at once already.
    """
    before = asked(plan)
    if (plan.folder / FILE).exists() or before.batch == before.eval_batch == 1:
        batch = read_sizes(plan).batch
        at_once = "one row" if batch == 1 else f"{batch} rows"
        raise OutOfMemory(
            f"The memory is not enough for {at_once} at once, after halving. Set gradient_checkpointing=true, then "
            f"load_in_4bit=true, a smaller max_pixels or a smaller per_device_train_batch_size, or take a larger GPU. "
            f"Finished checkpoints are kept. It said: {message}"
        )
    # The largest divisor up to a half, so that a step keeps its rows: 12 becomes 6, 9 becomes 3, 7 becomes 1.
    batch = next(size for size in range(max(before.batch // 2, 1), 0, -1) if before.batch % size == 0)
    smaller = Sizes(batch, before.accumulation * before.batch // batch, max(before.eval_batch // 2, 1))
    write_bytes(plan.folder / FILE, json.dumps(smaller._asdict()).encode())
    return smaller
