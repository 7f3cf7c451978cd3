"""How good an adapter is, whether it is better than the one in use, and which of two writers a judge prefers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.compare import (
    collect_comparison,
    estimate_cost,
    judge_pairs,
    plan_comparison,
    plan_judging,
    report_comparison,
    write,
)
from tasks.evaluate import (
    Metric,
    Mode,
    has_adapter,
    plan_evaluation,
    predict,
    promote_adapter,
    report_evaluation,
)
from tasks.models.device import Device
from tasks.plan import (
    Dollars,
    budget_now,
    check_name,
    chunk_runner,
    estimated,
    nothing_to_do,
    pausing_at_the_budget,
)
from tasks.services import Asking, asking


@flow(name="evaluate-adapter", task_runner=chunk_runner(at_once=1))
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
        images: The folder that the images' paths are below; the dataset's source, or the adapter's own, when empty.
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


@flow(name="compare-jokes", task_runner=chunk_runner())
def compare_jokes(
    dataset: str,
    model_a: str,
    model_b: str,
    judge: str,
    split: str = "test",
    column: str = "messages",
    prompt: str = "",
    variety: str = "Chilean Spanish",
    temperature: float = 0.7,
    max_tokens: int = 400,
    seed: int = 0,
    mode: Asking = "online",
    budget_usd: Dollars | None = None,
    estimate: bool = False,
    chunk_size: int = 50,
    device: Device = "cuda",
    load_in_4bit: bool = False,
    human: Path | None = None,
    force: bool = False,
    name: str = "",
    restarts: int = 0,
) -> Path | State[Any]:
    """Let two models write the same jokes, and a third one judge them blind. Press Retry to do only what is missing.

    Args:
        dataset: Name of a dataset, name/version where it has several, or a folder.
        model_a: An adapter in adapters/, a model on the hub or in a folder, or chat:model of a service.
        model_b: What it is compared with, as model_a.
        judge: Who judges, as chat:model, such as mistral:mistral-large-4; best of another family than the two.
        split: Which requests are written about.
        column: Conversations, of which the last answer is left out; or texts such as keywords, with a prompt.
        prompt: What is asked about each text, with {text} where it belongs; empty for conversations.
        variety: The language as it is spoken where the jokes are for, in English.
        temperature: Of both writers, 0 to 2; the judge has 0.
        max_tokens: Of a joke; one that does not end by then cannot be judged.
        seed: Of both writers; another one is another comparison.
        mode: batch asks services through their batch API, at half the price and in hours instead of minutes.
        budget_usd: What it may cost in all, over all its runs; at it the run pauses and asks for more. Empty: no end.
        estimate: Only say what it would cost: calls, tokens, dollars. Nothing is asked.
        chunk_size: Requests per chunk; another size is another job, with the answers of this one.
        device: Of models that are not services: cuda; cpu is for toy models.
        load_in_4bit: Quantise base models; adapters are held as they were trained.
        human: People's choices, as CSV or Parquet with id (of a pair), choice (a, b, tie, neither) and user.
        force: Do all chunks again although they are done; what a service has answered is not asked again.
        name: The table's name; the two models' with "-against-" when empty.
        restarts: Counted by the automation that starts a crashed run again; leave it 0.

    Returns:
        The report's folder.
    """
    check_name(name or "compared")
    with asking():
        asked, sampling = {"column": column, "prompt": prompt}, (temperature, max_tokens, seed)
        comparison = plan_comparison(
            dataset,
            split,
            (model_a, model_b),
            judge,
            asked,
            variety,
            sampling,
            device,
            load_in_4bit,
            chunk_size,
            restarts,
            mode,
            estimate,
        )
        if estimate:
            return estimated(estimate_cost(comparison, mode))
        budget = budget_now(budget_usd)
        with pausing_at_the_budget():
            write(comparison, budget, mode, force, restarts)
            judging = plan_judging(comparison, chunk_size)
            judge_pairs(judging, comparison, budget, mode, force, restarts)
        tables = collect_comparison(comparison, judging, name)
        return report_comparison(judging, tables, human).folder
