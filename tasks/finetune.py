"""The steps of finetune-lora, as tasks: plan, train in processes of their own, package."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact

from tasks.models.device import Device
from tasks.options import LOCAL
from tasks.plan import check_restarts, shown
from tasks.settings import Settings
from tasks.storage.root import DataRoot
from tasks.training.lora import LoraSettings, choose
from tasks.training.plan import Plan

__all__ = ["LoraSettings", "Preset", "package_adapter", "plan_training", "train_adapter"]

Preset = Literal["", "mmhs-paligemma2", "mmhs-qwen2vl", "vina-mistral-7b"]

_SHOW_EVERY = 10  # seconds between two updates of the page


@task(task_run_name="plan", **LOCAL)
def plan_training(
    dataset: str,
    base_model: str,
    settings: LoraSettings,
    preset: str,
    images: Path | None,
    labels: Sequence[str] | None,
    label_sets: Sequence[Sequence[str]] | None,
    text_columns: Sequence[str] | None,
    image_column: str | None,
    label_column: str | None,
    completion_column: str,
    device: Device,
    processes: int,
    restarts: int,
) -> Plan:
    """Find or make the job: dataset held against its certificate, every image opened."""
    from tasks.splits.build import check_version, find_version
    from tasks.training.devices import count_processes
    from tasks.training.plan import choose_columns, find_base, plan, source_of

    check_restarts(restarts)
    chosen = choose(base_model, settings, preset)
    processes = count_processes(device, processes)
    root = DataRoot(Settings().data)
    folder = find_version(root.datasets, dataset)
    source = source_of(folder, check_version(folder), images)
    base = find_base(chosen.base_model)
    columns = choose_columns(source, base, text_columns, image_column, label_column, completion_column)
    planned = plan(
        root.jobs,
        source,
        base,
        chosen.settings,
        labels,
        columns,
        bool(completion_column),
        device,
        processes,
        label_sets,
    )
    refused = sum(sum(reasons.values()) for reasons in planned.rejected.values())
    get_run_logger().info(
        "%s: %s, %s rows to train on, %s to choose on, %s refused (%s).",
        planned.job,
        base.name,
        f"{planned.rows['train']:,}",
        f"{planned.rows['validation']:,}",
        f"{refused:,}",
        planned.examples_path,
    )
    return planned


@task(task_run_name="train", **LOCAL)
def train_adapter(plan: Plan, name: str) -> None:
    """Train from the newest whole checkpoint; what is finished is found."""
    from tasks.training.checkpoints import torn
    from tasks.training.package import adapter_folder
    from tasks.training.run import finished, train

    logger = get_run_logger()
    folder = adapter_folder(plan, DataRoot(Settings().data).adapters, name)
    if folder.exists() or finished(plan):
        logger.info("%s is trained already.", plan.job)
        return
    if away := torn(plan.checkpoints):
        logger.warning(
            "Torn checkpoints, never used: %s. Remove %s when you like.", ", ".join(away), "checkpoints/torn"
        )
    page = _Page(plan)
    train(
        plan,
        page.take,
        lambda sizes: logger.warning(
            "The memory was not enough. Going on with %d rows at once and %d batches per step: a step has as many rows "
            "as before.",
            sizes.batch,
            sizes.accumulation,
        ),
    )


@task(task_run_name="package", **LOCAL)
def package_adapter(plan: Plan, name: str) -> Path:
    """Put the best checkpoint in place as an adapter, with its card."""
    from tasks.training.package import adapter_folder, package
    from tasks.training.run import finished

    folder = package(plan, adapter_folder(plan, DataRoot(Settings().data).adapters, name), finished)
    card = (folder / "README.md").read_text("utf-8").split("---\n", 2)[2]
    shown(create_markdown_artifact, key=f"adapter-{folder.name}", markdown=card)
    get_run_logger().info("Adapter: %s", folder)
    return folder


class _Page:
    """Log, progress bar, curve and evaluations while it trains."""

    def __init__(self, plan: Plan) -> None:
        from tasks.training.progress import Progress, history

        self._logger = get_run_logger()
        self._progress = Progress(plan, history(plan))
        self._key = f"training-{plan.source.name}"
        self._bar: UUID | None = shown(create_progress_artifact, progress=0, key="progress", description=plan.job)
        self._last = time.monotonic()

    def take(self, event: Mapping[str, Any]) -> None:
        """Show one event."""
        if words := self._progress.take(event):
            self._logger.info("%s", words)
        evaluated = event["event"] == "evaluation"
        if not evaluated and time.monotonic() - self._last < _SHOW_EVERY:
            return
        self._last = time.monotonic()
        if self._bar is not None:
            shown(
                update_progress_artifact,
                artifact_id=self._bar,
                progress=self._progress.percent,
                description=self._progress.words,
            )
        shown(create_markdown_artifact, key=self._key, markdown=self._progress.markdown())
