"""How tasks are run: retry of a chunk has its one place here.

A request is retried in ``tasks/remote`` (seconds), a chunk here (minutes), a run by a person or by the automation.
"""

from __future__ import annotations

from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from tasks.storage.errors import TransientError


def is_transient(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether a failed task may pass next time: decided by the error's type."""
    try:
        state.result()
    except TransientError:
        return True
    except Exception:  # noqa: BLE001  # whatever it is, it will not pass by itself
        return False
    return False


# With result persistence a retried run would get its old plan back; the disk is the memory (docs/decisions.md).
LOCAL: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}

# How often and how late is a setting (TRASVASE_CHUNK_RETRIES, …_SECONDS): run_chunks puts it in. With jitter, so that
# chunks in flight do not come back together.
REMOTE: dict[str, Any] = {**LOCAL, "retry_jitter_factor": 0.5, "retry_condition_fn": is_transient}
