"""The walk of flows/evaluation.py without Prefect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tasks.evaluation import chunk as chunks
from tasks.evaluation.gather import gather
from tasks.evaluation.plan import Data, Mode, Subject, data_of, plan, subjects_of
from tasks.models.adapter import read_adapter
from tasks.scoring.report import Evaluation, Report, write_report
from tasks.splits.build import check_version
from tasks.storage.schemas import PREDICTIONS

Asked = Callable[[Subject, str], object]


class Walked(NamedTuple):
    """What a walk leaves."""

    subjects: list[Subject]
    data: Data
    evaluation: Evaluation
    report: Report


def walk(
    data: Path,
    adapter: Path,
    dataset: Path,
    previous: Path | None = None,
    mode: Mode = "score",
    ablations: bool = True,
    chunk_size: int = 32,
    metric: Any = "f1_macro",
    images: Path | None = None,
    told: Asked = lambda subject, chunk: None,
) -> Walked:
    """Plan, predict what is missing, gather and report; ``told`` hears of every chunk that is done here."""
    certificate = check_version(dataset)
    asked = data_of(dataset, certificate, "test", images)
    its = (previous, read_adapter(previous)) if previous else None
    found = subjects_of(adapter, read_adapter(adapter), its, asked, mode, ablations, "cpu")
    subjects = plan(found, asked, data / "jobs", chunk_size)
    for subject in subjects:
        model: Any = None
        for job in subject.jobs.values():
            for chunk in job.pending(PREDICTIONS):
                if subject.role == "text":
                    model = model or chunks.fit_texts(asked.path("train"), subject.record.columns, subject.label_sets)
                    chunks.predict_texts(chunk, job, subject, model)
                else:
                    model = model or chunks.open_model(subject.model)
                    chunks.predict_chunk(chunk, job, subject, asked, model, lambda _: None)
                told(subject, chunk.name)
    folder = data / "reports" / f"evaluate-{adapter.name}"
    evaluation = gather(subjects, asked, folder, metric, 0.0, [])
    return Walked(subjects, asked, evaluation, write_report(folder, evaluation))
