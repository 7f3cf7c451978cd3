"""How good an adapter is, and whether it is better than the one in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.evaluate import (
    Device,
    Metric,
    Mode,
    has_adapter,
    nothing_to_do,
    one_at_a_time,
    plan_evaluation,
    predict,
    promote_adapter,
    report_evaluation,
)


@flow(name="evaluate-adapter", task_runner=one_at_a_time())
def evaluate_adapter(
    adapter: str = "latest",
    dataset: str = "",
    split: str = "test",
    baseline: str | None = None,
    images: Path | None = None,
    mode: Mode = "score",
    ablations: bool = True,
    chunk_size: int = 256,
    device: Device = "cuda",
    promote: bool = False,
    metric: Metric = "f1_micro",
    minimal_difference: float = 0.0,
    restarts: int = 0,
) -> Path | State[Any]:
    """Measure an adapter against baselines and the adapter in use. Press Retry to do only what is missing.

    Args:
        adapter: latest, current, a name in adapters/, or a folder that finetune-lora left.
        dataset: Name of a dataset, name/version where it has several, or a folder; the adapter's own when empty.
        split: What is reported; thresholds are always tuned on validation.
        baseline: Adapter to beat: current, a name or a folder; no verdict when empty.
        images: The folder that the images' paths are below; the dataset's source when empty.
        mode: score all answers; generate lets the model write them too and counts what cannot be read.
        ablations: Also show the adapter the text alone, and the image alone.
        chunk_size: Rows per chunk; another size is another job.
        device: cuda; cpu is for toy models.
        promote: Put the adapter into use whatever the verdict; if another one is in use, the log calls it forced.
        metric: What the verdict rests on.
        minimal_difference: By how much it must be better for a pass; a little below 0 asks that it is not worse.
        restarts: Counted by the automation that starts a crashed run again; leave it 0.

    Returns:
        The report's folder. A pass against the adapter in use moves adapters/current. Skipped where there is none yet.
    """
    if not has_adapter(adapter):
        return nothing_to_do(f"There is no {adapter} adapter yet. Run finetune-lora, or name one: adapter=…")
    plan = plan_evaluation(adapter, dataset, split, baseline, images, mode, ablations, chunk_size, device, restarts)
    predict(plan, restarts)
    told = report_evaluation(plan, metric, minimal_difference)
    promote_adapter(plan, told, promote)
    return told.report.folder
