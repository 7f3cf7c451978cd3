"""From a dataset and a base model to an adapter."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from tasks.finetune import LoraSettings, Preset, package_adapter, plan_training, train_adapter
from tasks.models.device import Device
from tasks.plan import working_on

DEFAULTS = LoraSettings()


@flow(name="finetune-lora")
def finetune_lora(
    dataset: str,
    base_model: str = "",
    settings: LoraSettings = DEFAULTS,
    preset: Preset = "",
    images: Path | None = None,
    labels: list[str] | None = None,
    label_sets: list[list[str]] | None = None,
    text_columns: list[str] | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    completion_column: str = "",
    device: Device = "cuda",
    processes: int = 0,
    name: str = "",
    restarts: int = 0,
) -> Path:
    """Train a LoRA adapter. Press Retry on a failed run to go on from its newest whole checkpoint.

    Args:
        dataset: Name of a dataset, name/version where it has several, or a folder that build-splits made.
        base_model: Name on the Hub, such as google/paligemma2-3b-pt-224, or a folder; the preset's when empty.
        settings: How to train, under PEFT's and the Trainer's names.
        preset: Values of the predecessor's runs for every setting that you do not set (in a form: leave at its default).
        images: The folder that the images' paths are below; the dataset's source when empty.
        labels: All labels in their order; those of the dataset when empty.
        label_sets: The allowed answers, such as [[], ["racist"], ["racist", "sexist"]]; every set of up to 8 labels, or
            each label alone where rows have one, when empty.
        text_columns: Columns whose texts are shown; text (prompt with completions) when empty.
        image_column: Column with the images' paths; image or path when empty.
        label_column: Column with a list of labels, or with one; labels or label when empty.
        completion_column: Column with free answers instead of labels, for chat models; conversations in a column messages
            need no name.
        device: cuda; cpu is for toy models.
        processes: Processes that share each step, one per GPU; 0 for all GPUs of the worker.
        name: Of the adapter; dataset and base model when empty.
        restarts: Counted by the automation that starts a crashed run again; leave it 0.

    Returns:
        The adapter's folder. With the same parameters again it is found, and nothing is trained.
    """
    plan = plan_training(
        dataset,
        base_model,
        settings,
        preset,
        images,
        labels,
        label_sets,
        text_columns,
        image_column,
        label_column,
        completion_column,
        device,
        processes,
        restarts,
    )
    with working_on(plan.folder):
        train_adapter(plan, name)
        return package_adapter(plan, name)
