"""The steps of evaluate-adapter, as tasks: plan, predict chunk by chunk, report, put into use."""

from __future__ import annotations

import hashlib
from itertools import groupby
from os.path import lexists
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from tasks.chunks.lock import only_run
from tasks.chunks.manifest import Chunk, Manifest
from tasks.engines.shared import Shared
from tasks.evaluation.plan import Data, Held, Mode, Subject
from tasks.models.device import Device
from tasks.models.examples import Columns
from tasks.models.label_sets import LabelSets
from tasks.options import LOCAL, REMOTE
from tasks.plan import check_restarts, run_chunks, shown, working_on
from tasks.scoring.report import Report
from tasks.scoring.verdict import Metric, Verdict
from tasks.settings import Settings
from tasks.storage.root import DataRoot
from tasks.storage.schemas import PREDICTIONS

if TYPE_CHECKING:
    from tasks.models.predict import Classifier
    from tasks.scoring.baselines import TextBaseline

__all__ = [
    "Metric",
    "Mode",
    "has_adapter",
    "plan_evaluation",
    "predict",
    "promote_adapter",
    "report_evaluation",
]


class Plan(NamedTuple):
    """An evaluation before it begins: who is asked about what, the adapter first, and which one is in use."""

    subjects: tuple[Subject, ...]
    data: Data
    adapter: Path
    previous: Path | None
    in_use: Path | None
    notes: tuple[str, ...]


class Told(NamedTuple):
    """A report, and the verdict in it."""

    report: Report
    verdict: Verdict | None


@task(task_run_name="plan", **LOCAL)
def plan_evaluation(
    adapter: str,
    dataset: str,
    split: str,
    baseline: str | None,
    images: Path | None,
    mode: Mode,
    ablations: bool,
    chunk_size: int,
    device: Device,
    restarts: int,
) -> Plan:
    """Find adapter and dataset, hold both against what they were, and find or make every job."""
    from tasks.evaluation.plan import answers_of, data_of, plan, subjects_of, trained_elsewhere
    from tasks.evaluation.promote import CURRENT, current, find_adapter
    from tasks.models.adapter import read_adapter
    from tasks.splits.build import check_version, find_version
    from tasks.splits.card import equal_bytes

    check_restarts(restarts)
    root, logger = DataRoot(Settings().data), get_run_logger()
    folder = find_adapter(root.adapters, adapter)
    record = read_adapter(folder)
    answers_of(record, folder.name)
    own, notes = "/".join((record.dataset["name"], record.dataset["version"])), []
    version = find_version(root.datasets, dataset or own)
    certificate = check_version(version)
    in_use, previous = current(root.adapters), None
    if baseline == CURRENT and in_use is None:
        notes.append("No adapter is in use yet, so there is nothing to compare with and no verdict.")
    elif baseline:
        previous = find_adapter(root.adapters, baseline)
        if previous == folder:
            previous = None
            notes.append("The adapter is the one to compare with, so there is no verdict.")
        elif baseline == CURRENT and read_adapter(previous).label_sets != record.label_sets:
            notes.append(f"{previous.name} is in use and answers other labels, so there is no verdict.")
            previous = None
    data = data_of(version, certificate, split, images, record)
    its = (previous, read_adapter(previous)) if previous else None
    notes += [*trained_elsewhere([(folder, record), *([its] if its else [])], data), *equal_bytes(certificate)]
    for note in notes:
        logger.warning("%s", note)
    subjects = plan(subjects_of(folder, record, its, data, mode, ablations, device), data, root.jobs, chunk_size)
    logger.info("%s on %s, %s: %d models to ask.", folder.name, data.name, split, len(subjects))
    return Plan(tuple(subjects), data, folder, previous, in_use, tuple(notes))


def predict(plan: Plan, restarts: int) -> None:
    """Every job, one after the other: what is done is found, and one model at a time is in memory.

    Raises:
        ChunksFailed: Some chunks failed; says which, and what to press.
    """
    for _, alike in groupby(plan.subjects, lambda subject: (subject.role == "text", subject.model)):
        try:
            for subject in alike:
                for job in subject.jobs.values():
                    with working_on(job.folder):
                        if job.pending(PREDICTIONS):
                            open_model(subject, plan.data)
                        more = {"subject": subject, "data": plan.data}
                        run_chunks(predict_chunk, job, PREDICTIONS, None, False, restarts, **more)
        finally:
            _models.close()
            _fitted.close()


@task(task_run_name="open {subject.name}", **LOCAL)
def open_model(subject: Subject, data: Data) -> None:
    """Load a model, or train the one of texts: what is wrong with it is said before its first chunk."""
    _ = _texts(subject, data) if subject.role == "text" else _models(subject.model)


@task(task_run_name="{manifest.job} {chunk.name}", **REMOTE)
def predict_chunk(chunk: Chunk, manifest: Manifest, subject: Subject, data: Data) -> Path:
    """Ask one model about one chunk and put its file in place."""
    from tasks.evaluation import chunk as chunks

    if subject.role == "text":
        return chunks.predict_texts(chunk, manifest, subject, _texts(subject, data))
    return chunks.predict_chunk(chunk, manifest, subject, data, _models(subject.model), get_run_logger().warning)


@task(task_run_name="report", **LOCAL)
def report_evaluation(plan: Plan, metric: Metric, minimal_difference: float) -> Told:
    """Tune thresholds, compare, and show it as HTML and as a Markdown artifact."""
    from tasks.evaluation.gather import gather
    from tasks.scoring.report import write_report

    folder = (
        DataRoot(Settings().data).reports / f"evaluate-{plan.adapter.name}-{_digest(plan, metric, minimal_difference)}"
    )
    evaluation = gather(plan.subjects, plan.data, folder, metric, minimal_difference, plan.notes)
    report = write_report(folder, evaluation)
    shown(create_markdown_artifact, key=f"evaluate-{plan.adapter.name}", markdown=report.markdown)
    logger = get_run_logger()
    if evaluation.verdict:
        logger.info("Verdict: %s", evaluation.verdict)
    logger.info("Report: %s", report.html)
    return Told(report, evaluation.verdict)


@task(task_run_name="promote", **LOCAL)
def promote_adapter(plan: Plan, told: Told, asked: bool) -> None:
    """Move ``adapters/current`` if the verdict or the user says so, and write it down."""
    from tasks.evaluation.promote import current, decide, promote

    adapters, logger = DataRoot(Settings().data).adapters, get_run_logger()
    with only_run(adapters, wait=True):
        now = current(adapters)
        if now == plan.adapter:
            logger.info("%s is in use already.", plan.adapter.name)
            return
        passed = told.verdict is not None and told.verdict.outcome == "pass"
        moves, why, forced = decide(plan.previous if passed else None, now, asked)
        if not moves:
            logger.info("%s is not put into use: %s.", plan.adapter.name, why)
            return
        details = {"verdict": told.verdict.outcome if told.verdict else None, "toy": plan.subjects[0].record.toy}
        promote(adapters, plan.adapter, told.report.folder, why, forced=forced, details=details)
        logger.log(
            30 if forced else 20, "%s is in use now%s: %s.", plan.adapter.name, ", forced" if forced else "", why
        )


def has_adapter(adapter: str) -> bool:
    """Whether an alias is there yet; where it leads to, and anything else than an alias, is looked for by the plan."""
    from tasks.evaluation.promote import CURRENT, LATEST

    return adapter not in (LATEST, CURRENT) or lexists(DataRoot(Settings().data).adapters / adapter)


def _open(held: Held) -> Classifier:
    from tasks.evaluation.chunk import open_model

    return open_model(held)


def _fit(train: Path, columns: Columns, label_sets: LabelSets) -> TextBaseline | None:
    from tasks.evaluation.chunk import fit_texts

    return fit_texts(train, columns, label_sets)


_models = Shared(_open)
_fitted = Shared(_fit)


def _texts(subject: Subject, data: Data) -> TextBaseline | None:
    return _fitted(data.path("train"), subject.record.columns, subject.label_sets)


def _digest(plan: Plan, metric: Metric, minimal_difference: float) -> str:
    jobs = [job.job for subject in plan.subjects for job in subject.jobs.values()]
    return hashlib.sha256(f"{jobs} {plan.previous} {metric} {minimal_difference}".encode()).hexdigest()[:8]
