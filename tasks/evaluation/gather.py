"""Jobs of predictions into what is reported: each model with its own thresholds, baselines, verdict, worst errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.evaluation.chunk import space_of
from tasks.evaluation.plan import TRAINED_ON, TUNED_ON, Data, Subject
from tasks.models.examples import Example, open_image, read_examples
from tasks.pictures import decode
from tasks.pictures.decode import BadImage
from tasks.pictures.thumbnail import thumbnail
from tasks.scoring.baselines import constant_answers
from tasks.scoring.predictions import Predictions, read_predictions
from tasks.scoring.report import Evaluation, Model, worst_rows
from tasks.scoring.thresholds import Thresholds, read_thresholds, tune, write_thresholds
from tasks.scoring.verdict import Metric, Verdict, compare

REASONS = {
    **decode.REASONS,
    "missing": "the image is not there",
    "outside": "the image's path leads out of the images' folder",
    "too-long": "the prompt does not fit into the model",
}
_NOTES = {
    "ablation": "what it sees is taken away, without training it again",
    "base": "the model below the adapter, asked the same",
    "previous": "what the verdict is against",
    "text": "trained on the train split's texts",
    "written": "an answer that cannot be read counts as no label",
}
_KINDS = {"text": "baseline"}
_TEXT = 160  # characters of a row's text below its picture


def gather(
    subjects: Sequence[Subject], data: Data, folder: Path, metric: Metric, minimal: float, notes: Sequence[str]
) -> Evaluation:
    """Read all predictions, tune thresholds on validation, and compare.

    Args:
        subjects: Who was asked, the adapter first; their jobs are done.
        data: About what.
        folder: Of the report; the adapter's thresholds are left there.
        metric: What decides the verdict.
        minimal: The least difference that passes.
        notes: What a reader has to know.

    Raises:
        NothingScored: No row of a split could be scored.
        OtherRows: The two adapters cannot be compared.
    """
    tuned = {subject.name: _thresholds(subject, data) for subject in subjects}
    adapter = subjects[0]
    stored = write_thresholds(folder / "thresholds.json", tuned[adapter.name])
    tuned[adapter.name] = read_thresholds(stored, valid_for(adapter, data))
    validation = _read(adapter, TUNED_ON) if TUNED_ON in adapter.jobs else None
    mine = _model(adapter, data, tuned)
    return Evaluation(
        adapter.name,
        data.split,
        adapter.jobs[data.split].rows,
        mine,
        _others(subjects, data, tuned, mine.predictions, validation),
        validation,
        versions(adapter, data),
        _verdict(mine, subjects, data, tuned, metric, minimal),
        metric,
        worst(adapter, data, mine.predictions),
        notes,
        REASONS,
        adapter.record.toy,
    )


def _model(subject: Subject, data: Data, tuned: Mapping[str, Thresholds]) -> Model:
    predictions, note = _read(subject, data.split), _NOTES.get(subject.role, "")
    return Model(subject.name, _KINDS.get(subject.role, subject.role), predictions, tuned[subject.name], note)


def _others(
    subjects: Sequence[Subject],
    data: Data,
    tuned: Mapping[str, Thresholds],
    adapters: Predictions,
    validation: Predictions | None,
) -> Iterator[Model]:
    """All but the adapter, each read when it is asked for; baselines last."""
    for subject in subjects[1:]:
        yield _model(subject, data, tuned)
    space, train = adapters.space, _train(subjects[0], data)
    tried = constant_answers(space, train, validation) if validation else {}
    for name, answers in constant_answers(space, train, adapters).items():
        yield Model(name, "constant", answers, tune(tried.get(name), space.labels, {}), "looks at nothing")


def valid_for(subject: Subject, data: Data) -> dict[str, str]:
    """What a model's thresholds hold for."""
    job = next(iter(subject.jobs.values()))
    told = {
        name: str(job.parameters.get(name))
        for name in ("base", "adapter", "prompt", "dtype", "load_in_4bit", "look_at")
    }
    return {**told, **job.versions, "dataset": data.name}


def versions(adapter: Subject, data: Data) -> dict[str, str]:
    """What was done with what, by name."""
    record, split = adapter.record, data.source(data.split)
    return {
        "adapter": f"{adapter.adapter}, weights {record.digest}",
        "base model": f"{record.base_model}, weights {record.base_digest}",
        "dataset": data.name,
        "trained on": "/".join(record.dataset.values()),
        "split": f"{data.split}, SHA-256 {split.sha256}",
        "prompt": record.prompt.key,
        "precision": record.dtype + (", 4-bit base" if record.load_in_4bit else ""),
        **adapter.jobs[data.split].versions,
        **{f"job, {name}": job.job for name, job in adapter.jobs.items()},
    }


def worst(adapter: Subject, data: Data, predictions: Predictions) -> list[tuple[str, str]]:
    """Pictures of the worst errors, with text and answers; nothing where rows have no images."""
    wrong = dict(worst_rows(predictions))
    if data.images is None or not adapter.record.columns.image:
        return []
    rows = [row for row in read_examples(data.path(data.split), adapter.record.columns) if row.row in wrong]
    by_row = {row.row: row for row in rows}
    return [
        (picture, f"row {row}: {words}. {by_row[row].text[:_TEXT]}")
        for row, words in wrong.items()
        if (picture := _picture(data.images, by_row[row]))
    ]


def _picture(images: Path, row: Example) -> str | None:
    try:
        return thumbnail(open_image(images, row))
    except BadImage:
        return None


def _thresholds(subject: Subject, data: Data) -> Thresholds:
    validation = _read(subject, TUNED_ON) if TUNED_ON in subject.jobs else None
    return tune(validation, subject.label_sets.labels, valid_for(subject, data))


def _read(subject: Subject, split: str) -> Predictions:
    job = subject.jobs[split]
    return read_predictions((job.path(chunk) for chunk in job.chunks()), space_of(subject.label_sets), split)


def _train(adapter: Subject, data: Data) -> Any:
    """The right sets of the train split; of the next one where there is none, or none that has labels."""
    columns, label_sets = adapter.record.columns, adapter.label_sets
    splits = (
        [label_sets.number(row.labels) for row in read_examples(data.path(name), columns) if row.labels is not None]
        for name in (TRAINED_ON, TUNED_ON, data.split)
        if data.has(name)
    )
    return np.array(next(filter(None, splits)), np.intp)


def _verdict(
    mine: Model,
    subjects: Sequence[Subject],
    data: Data,
    tuned: Mapping[str, Thresholds],
    metric: Metric,
    minimal: float,
) -> Verdict | None:
    previous = next((subject for subject in subjects if subject.role == "previous"), None)
    if previous is None:
        return None
    its = (_read(previous, data.split), tuned[previous.name])
    return compare((mine.predictions, mine.thresholds), its, metric, minimal)
