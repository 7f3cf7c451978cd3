"""Find a table, run a job's chunks, pause at the budget: the same for every job."""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar
from uuid import UUID

import httpx
from prefect import Task, get_run_logger, runtime, unmapped
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.exceptions import PrefectException
from prefect.flow_runs import suspend_flow_run
from prefect.futures import PrefectFuture, as_completed
from prefect.input import RunInput
from prefect.states import Completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.tasks import exponential_backoff
from pydantic import Field

from tasks.chat.protocol import BudgetReached
from tasks.chunks.lock import only_run
from tasks.chunks.manifest import Chunk, Manifest
from tasks.engines.shared import Shared
from tasks.pages.page import Table
from tasks.pages.words import duration
from tasks.settings import Settings
from tasks.storage.errors import PermanentError
from tasks.storage.root import DataRoot
from tasks.storage.schemas import TableSchema

P = ParamSpec("P")
R = TypeVar("R")

# A cap of NaN would hold nothing back: no sum is larger.
Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]

MAX_RESTARTS = 3
_NAMED = 10  # chunks named in a message
_MAX_NAME = 120  # bytes: a file system takes 255, and what is written aside has more in its name


class ChunksFailed(Exception):
    """Some chunks failed; the others are done and kept."""


class TooManyCrashes(PermanentError):
    """The run was started again after crashes as often as it may be."""


def chunk_runner(at_once: int | None = None) -> TaskRunner[PrefectFuture[Any]]:
    """Threads for chunks: as many as the settings say, or one where a GPU has one model that is asked in batches.

    Always with a number: the default is unlimited.
    """
    runner: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=at_once or Settings().chunk_threads)
    return runner


def patient(task: Task[P, R]) -> Task[P, R]:
    """The task, tried again after an error that may pass as often and as late as the settings say."""
    settings = Settings()
    return task.with_options(
        retries=settings.chunk_retries, retry_delay_seconds=exponential_backoff(settings.chunk_retry_seconds)
    )


def check_restarts(restarts: int) -> None:
    """End a run that the automation has started again too often.

    Raises:
        TooManyCrashes: More than ``MAX_RESTARTS`` restarts.
    """
    if restarts > MAX_RESTARTS:
        raise TooManyCrashes(
            f"This job crashed and was started again {MAX_RESTARTS} times. Look at the crashed runs' logs and at the "
            "worker's memory, then run the deployment again: finished chunks are kept."
        )


def check_name(name: str) -> None:
    """End a run whose tables cannot be called so before it does anything.

    Raises:
        PermanentError: It is no part of a file's name.
    """
    if not re.fullmatch(r"\w[\w .-]*", name) or len(name.encode()) > _MAX_NAME:
        raise PermanentError(
            f"`name` is {name!r}, which cannot begin a file's name. Use letters, digits, '-', '_', '.' and spaces, such as "
            f"'llava', up to {_MAX_NAME} bytes."
        )


def nothing_to_do(reason: str) -> State[Any]:
    """End a flow run as Completed, seen as "Skipped" with its reason: a schedule or a trigger came too early."""
    return Completed(name="Skipped", message=reason)


def estimated(told: str) -> State[Any]:
    """End a flow run as Completed, seen as "Estimated" with what it would cost: nothing was asked."""
    return Completed(name="Estimated", message=told)


@contextmanager
def working_on(folder: Path, *shared: Shared[*tuple[Any, ...], Any]) -> Iterator[None]:
    """Hold the lock of a job's folder, and let go of what its chunks share at the end."""
    with only_run(folder), ExitStack() as at_the_end:
        for each in shared:
            at_the_end.callback(each.close)
        yield


def run_chunks(
    task: Task[..., Any],
    manifest: Manifest,
    schema: TableSchema,
    numbers: Sequence[int] | None,
    force: bool,
    restarts: int,
    **more: Any,
) -> list[Chunk]:
    """Run a task for every chunk that is missing, show progress, and wait for all of them.

    Args:
        task: Called with a chunk, the manifest and ``more``; writes the chunk's file.
        manifest: The job; the caller holds its lock.
        schema: The shape of a chunk's file.
        numbers: Chunks to do, or None for all.
        force: Do these chunks again although they are done.
        restarts: How often the automation has started this run again; a forced run forces only once, also where it was
            retried or resumed.
        more: What each chunk's task gets besides, by name.

    Returns:
        The job's chunks that are still missing afterwards, because they were not among ``numbers``.

    Raises:
        ChunksFailed: Some failed; says how many, which, and what to press.
        BudgetReached: Some were stopped by the budget; the others are done and kept.
    """
    logger = get_run_logger()
    if force and restarts == 0 and (runtime.flow_run.run_count or 1) == 1 and not _entered():
        manifest.set_aside(numbers)
    chosen, pending = manifest.chosen(numbers), manifest.pending(schema, numbers)
    logger.info("%s: %d chunks to do, %d done.", manifest.job, len(pending), len(chosen) - len(pending))
    progress = _Progress(manifest.job, chosen, pending)
    # Millions of small objects without cycles come and go: walking them and Prefect's took a tenth of the CPU.
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    others: dict[str, Any] = {name: unmapped(value) for name, value in more.items()}
    futures = patient(task).map(pending, unmapped(manifest), **others)
    chunk_of = {future.task_run_id: chunk for future, chunk in zip(futures, pending, strict=True)}
    failed: dict[str, str] = {}
    stopped: BudgetReached | None = None
    for future in as_completed(list(futures)):
        future.wait()  # before `state`: until then the state is the server's, and late
        chunk = chunk_of[future.task_run_id]
        if future.state.is_completed():
            manifest.aside(chunk).unlink(missing_ok=True)
            progress.done(chunk)
        else:
            failed[chunk.name] = future.state.message or future.state.name or "no message"
            stopped = stopped or _budget_reached(future.state)
    if stopped:
        raise stopped
    if failed:
        _report_failures(manifest, failed)
    return manifest.pending(schema)


def _budget_reached(state: State[Any]) -> BudgetReached | None:
    try:
        state.result()
    except BudgetReached as error:
        return error
    except Exception:  # noqa: BLE001  # any other failure is reported with its chunk
        return None
    return None


def _report_failures(manifest: Manifest, failed: dict[str, str]) -> None:
    rows = [{"chunk": name, "error": failed[name]} for name in sorted(failed)]
    shown(
        create_table_artifact,
        key="failed-chunks",
        table=rows,
        description=f"{manifest.job}: press Retry on the flow run to do only these.",
    )
    names = ", ".join(sorted(failed)[:_NAMED]) + (", …" if len(failed) > _NAMED else "")
    raise ChunksFailed(
        f"{len(failed)} of {len(manifest.chunks())} chunks failed: {names}. The others are done and kept. "
        f"Press Retry on this flow run to do only what is missing. First error: {rows[0]['error']}"
    )


class _Progress:
    """Rows, rate and time left, in the log and as a progress artifact."""

    def __init__(self, job: str, chosen: Sequence[Chunk], pending: Sequence[Chunk]) -> None:
        self._logger = get_run_logger()
        self._started = time.monotonic()
        self._rows = sum(chunk.stop - chunk.start for chunk in chosen)
        self._here = 0
        self._before = self._rows - sum(chunk.stop - chunk.start for chunk in pending)
        self._artifact: UUID | None = None
        if pending:
            self._artifact = shown(
                create_progress_artifact,
                progress=100 * self._before / max(self._rows, 1),
                key="progress",
                description=f"{job}: {self._rows:,} rows",
            )

    def done(self, chunk: Chunk) -> None:
        """One more chunk is on the disk."""
        self._here += chunk.stop - chunk.start
        rows = self._before + self._here
        rate = self._here / max(time.monotonic() - self._started, 1e-3)
        left = (self._rows - rows) / rate
        text = f"{rows:,} of {self._rows:,} rows, {rate:,.1f} rows/s, {duration(left)} left"
        self._logger.info("%s done: %s", chunk.name, text)
        if self._artifact is not None:
            shown(
                update_progress_artifact,
                artifact_id=self._artifact,
                progress=round(100 * rows / self._rows, 1),
                description=text,
            )


class RaisedBudget(RunInput):
    """What the form asks for when a run that paused at its budget is resumed."""

    budget_usd: Dollars


_PAUSED = "budget-"  # how keys of these pauses begin


def budget_now(budget_usd: float | None) -> float | None:
    """The budget as it stands: what was entered when this run was last resumed, else its parameter."""
    entered = _entered()
    return entered[-1].budget_usd if entered else budget_usd


def _entered() -> list[RaisedBudget]:
    """What was entered each time that this run was resumed, the last one last."""
    with get_client(sync_client=True) as client:
        inputs = client.filter_flow_run_input(UUID(runtime.flow_run.id), f"suspended-{_PAUSED}", 200, set())
    found = {each.key: each.decoded_value for each in inputs if each.key.endswith("-response")}
    return [RaisedBudget(**found[key]) for key in sorted(found)]


@contextmanager
def pausing_at_the_budget() -> Iterator[None]:
    """Suspend the flow run where its budget does not let it ask any more: its process ends, all that is done is kept.

    Resume asks for a higher budget and goes on where it was. A run without a deployment cannot be resumed: it fails.

    Raises:
        BudgetReached: The run has no deployment.
    """
    try:
        yield
    except BudgetReached as error:
        told = (
            f"{error} Resume on this flow run asks for the new one; a new run with a higher budget_usd goes on as well."
        )
        get_run_logger().error("%s", told)
        if runtime.deployment.id is None:
            raise
        shown(create_markdown_artifact, key="budget", markdown=told)
        # Prefect lets no key pause twice, and a run that is resumed counts as the same attempt.
        key = f"{_PAUSED}{time.time_ns()}"
        try:
            suspend_flow_run(wait_for_input=RaisedBudget.with_initial_data(description=told), key=key)
        finally:
            # A heartbeat on its way may reach the server after the pause: then silence would look like a crash. This
            # goes the same way, after it.
            emit_event(
                "prefect.flow-run.budget-reached", {"prefect.resource.id": f"prefect.flow-run.{runtime.flow_run.id}"}
            )
        raise  # it did not suspend


def find_table(table: Path) -> Path:
    """The table that is meant: a path, or a name under ``tables/``.

    Raises:
        PermanentError: There is none.
    """
    tables = DataRoot(Settings().data).tables
    for path in (table, tables / f"{table}.parquet"):
        if path.is_file():
            return path.absolute()
    there = ", ".join(sorted(path.stem for path in tables.glob("*.parquet"))) or "none yet"
    raise PermanentError(f"There is no table {table}. Give a path, or a name under {tables}: {there}.")


def show_cost(name: str, cost: Table) -> None:
    """Show what a run has paid for, as an artifact beside its report's."""
    shown(create_table_artifact, key=f"{name}-cost", table=cost.records(), description="What it has cost")


def shown(call: Any, **what: Any) -> Any:
    """Show something in the UI. A server that is away costs the picture, not the run.

    Args:
        call: Makes or updates an artifact.
        what: Its arguments; of a ``key`` what no key may have becomes a dash: names come from users.
    """
    if "key" in what:
        what["key"] = re.sub("[^a-z0-9]+", "-", what["key"].lower()).strip("-")
    try:
        return call(**what)
    except (httpx.HTTPError, PrefectException) as error:
        get_run_logger().warning("The Prefect server did not take %s (%s).", what.get("key", "progress"), error)
        return None
