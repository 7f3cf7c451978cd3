"""A planned job to its end: from the newest whole checkpoint, with half the batch where the memory is not enough."""

from __future__ import annotations

from collections.abc import Callable

from tasks.storage.errors import PermanentError
from tasks.training.checkpoints import Checkpoint, whole
from tasks.training.launch import Event, NotEnoughMemory, launch
from tasks.training.plan import Plan
from tasks.training.sizes import Sizes, halve


def finished(plan: Plan) -> list[Checkpoint]:
    """The whole checkpoints of a training that came to its end, oldest first; none of one that did not.

    Torn checkpoints are moved away.
    """
    checkpoints = whole(plan.checkpoints)
    return checkpoints if checkpoints and checkpoints[-1].is_last else []


def train(
    plan: Plan,
    told: Callable[[Event], None],
    halved: Callable[[Sizes], None],
    start: Callable[[Plan, Callable[[Event], None]], None] = launch,
) -> list[Checkpoint]:
    """Train what is missing.

    Args:
        plan: The job; the caller holds its lock.
        told: Called with every event.
        halved: Called when the memory was not enough and the batch was halved.
        start: Runs the training processes to their end.

    Returns:
        The whole checkpoints, oldest first.

    Raises:
        OutOfMemory: Half the batch was too large as well.
        PermanentError: What the training refused.
        TransientError: What may pass.
        TrainingFailed: A process died.
    """
    if checkpoints := finished(plan):
        return checkpoints
    try:
        start(plan, told)
    except NotEnoughMemory as error:
        halved(halve(plan, str(error)))
        return train(plan, told, halved, start)
    if checkpoints := finished(plan):
        return checkpoints
    raise PermanentError(f"{plan.job} ended without a last checkpoint. See {plan.folder / 'train.log'}.")
