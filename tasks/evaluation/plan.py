"""An adapter and a dataset into jobs of predictions: who is asked, about which split, and how.

One job per model, split and way of asking::

    jobs/predict-3f2a9c01d7b4/      the adapter on validation, from which thresholds come
         predict-77b0e4c1a9f3/      the adapter on the test split
         predict-…                  the same with the text alone, with the image alone, as it writes; the base model; the
                                    adapter that is in use now
         predict-text-0d44a8beaf22/ TF-IDF + logistic regression, trained on the train split's texts

A job is named by all that decides its answers: weights, prompt, allowed answers, how the model is held, what it looks at,
rows, and the content of their images. A base model is asked once for all adapters on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from tasks.chunks.manifest import Manifest, Source, check_chunk_size, plan_rows
from tasks.models.adapter import AdapterRecord
from tasks.models.device import Device
from tasks.models.examples import Columns, Example, digest_of, image_digests, json_list, read_examples
from tasks.models.label_sets import LabelSets, UnknownLabel
from tasks.models.prompts import Prompt
from tasks.scoring import baselines
from tasks.storage.errors import PermanentError
from tasks.storage.schemas import EXAMPLES

VERSION = "predict/1"
TRAINED_ON, TUNED_ON = "train", "validation"
KIND, TEXT_KIND = "predict", "predict-text"
_TEXTS = 2_000  # rows per chunk of the classifier of texts: whatever the chunk size, since it has no need of small ones
_AT_ONCE = 1_000  # rows in memory

Mode = Literal["score", "generate"]
LookAt = Literal["both", "text", "image"]
Role = Literal["adapter", "previous", "base", "ablation", "written", "text"]


class BadEvaluation(PermanentError):
    """An adapter and a dataset that do not go together."""


class Data(NamedTuple):
    """A version of a dataset that was held against its certificate.

    Args:
        folder: The version's.
        certificate: Its certificate.
        split: What is reported.
        images: What the images' paths are below; None where there are none.
    """

    folder: Path
    certificate: Mapping[str, Any]
    split: str
    images: Path | None

    @property
    def name(self) -> str:
        """Dataset and version."""
        return f"{self.certificate['dataset']}/{self.certificate['version']}"

    def path(self, split: str) -> Path:
        """The file of a split."""
        return self.folder / _name(split)

    def source(self, split: str) -> Source:
        """The file as its certificate has it."""
        told = self.certificate["files"][_name(split)]
        return Source(str(self.path(split)), told["sha256"], told["bytes"])

    def has(self, split: str) -> bool:
        """Whether the version has this split, with rows."""
        return _name(split) in self.certificate["files"]


class Held(NamedTuple):
    """A model in memory: weights, how they are held, and what it is asked."""

    base_model: str
    base_digest: str
    adapter: Path | None
    dtype: str
    load_in_4bit: bool
    device: Device
    min_pixels: int | None
    max_pixels: int | None
    label_sets: LabelSets
    prompt: Prompt


@dataclass(frozen=True)
class Subject:
    """One model, asked in one way.

    Args:
        name: As the report calls it.
        role: What it is there for.
        record: Of the adapter, whose prompt and answers hold also without it.
        adapter: Its folder; None for the base model alone, and for the classifier of texts.
        mode: Scored, or as it writes.
        look_at: What it gets to see.
        device: Where it is computed.
        jobs: By split.
    """

    name: str
    role: Role
    record: AdapterRecord
    adapter: Path | None
    mode: Mode
    look_at: LookAt
    device: Device
    jobs: Mapping[str, Manifest]

    @property
    def label_sets(self) -> LabelSets:
        """The allowed answers."""
        return answers_of(self.record, self.name)

    @property
    def model(self) -> Held:
        """What has to be in memory for it; equal for all that ask the same model."""
        record = self.record
        return Held(
            record.base_model,
            record.base_digest,
            self.adapter,
            record.dtype,
            record.load_in_4bit,
            self.device,
            record.min_pixels,
            record.max_pixels,
            self.label_sets,
            record.prompt,
        )


def answers_of(record: AdapterRecord, name: str) -> LabelSets:
    """The answers that an adapter was trained to give.

    Raises:
        BadEvaluation: It was trained to write text.
    """
    if record.label_sets is None:
        raise BadEvaluation(
            f"{name} was trained to write text, not to choose labels, so nothing can be scored here. compare-jokes lets a "
            "judge compare what it writes with another model's; or name an adapter that gives labels."
        )
    return LabelSets.read(record.label_sets)


def data_of(
    folder: Path, certificate: Mapping[str, Any], split: str, images: Path | None, record: AdapterRecord | None = None
) -> Data:
    """What is to be evaluated on.

    Args:
        folder: A version of a dataset that was held against its certificate.
        certificate: The certificate.
        split: What is reported.
        images: What the images' paths are below. When None the folder that the dataset was made from; or, where that was a
            zip, the one that the adapter was trained with.
        record: Of the adapter, if there is one.

    Raises:
        BadEvaluation: The split is not there, or is the one that thresholds are tuned on; or there is no such folder.
    """
    known = [certificate["source"].get("path")]
    if record and record.dataset["name"] == certificate["dataset"]:
        known.append(record.images)
    where = images or next((Path(each) for each in known if each and Path(each).is_dir()), None)
    if where and not where.is_dir():
        raise BadEvaluation(f"images={where} is no folder. Give the one that the images' paths are below.")
    data = Data(folder, certificate, split, where and where.absolute())
    if split == TUNED_ON:
        raise BadEvaluation(f"Thresholds are tuned on {TUNED_ON}, so nothing can be reported on it. Take split=test.")
    if not data.has(split):
        there = ", ".join(name for name in certificate["splits"])
        raise BadEvaluation(f"{folder} has no rows in {split!r}. It has: {there}.")
    return data


def subjects_of(
    adapter: Path,
    record: AdapterRecord,
    previous: tuple[Path, AdapterRecord] | None,
    data: Data,
    mode: Mode,
    ablations: bool,
    device: Device,
) -> list[Subject]:
    """Who is asked: models that are the same but for what they look at stand together, so that each is loaded once.

    Raises:
        BadEvaluation: The two adapters answer other labels, were trained to write text, or on just these rows.
    """
    for folder, its in ((adapter, record), *([previous] if previous else [])):
        if data.split == TRAINED_ON and _own(its) == data.name:
            raise BadEvaluation(
                f"{folder} was trained on {TRAINED_ON} of {data.name}, so nothing can be reported on it. Take split=test."
            )
    asked = Subject(adapter.name, "adapter", record, adapter, "score", "both", device, {})
    subjects = [asked]
    if ablations and record.columns.text and record.columns.image:
        alone: tuple[LookAt, ...] = ("text", "image")
        subjects += [
            replace(asked, name=f"{adapter.name}, {look_at} alone", role="ablation", look_at=look_at)
            for look_at in alone
        ]
    if mode == "generate":
        subjects.append(replace(asked, name=f"{adapter.name}, as it writes", role="written", mode="generate"))
    subjects.append(replace(asked, name=f"{_called(record.base_model)}, no adapter", role="base", adapter=None))
    if previous:
        folder, its = previous
        if answers_of(its, folder.name).plain() != answers_of(record, adapter.name).plain():
            raise BadEvaluation(
                f"{folder} answers {its.label_sets}, and {adapter} {record.label_sets}, so they cannot be compared. "
                "Leave `baseline` empty."
            )
        name = folder.name if folder.name != adapter.name else str(folder)  # two models under one name would be one
        subjects.append(replace(asked, name=name, role="previous", record=its, adapter=folder))
    # Of rows whose labels it has seen a classifier says nothing.
    if record.columns.text and data.has(TRAINED_ON) and data.split != TRAINED_ON:
        subjects.append(replace(asked, name=baselines.TEXT_ONLY, role="text", adapter=None))
    return subjects


def trained_elsewhere(adapters: Iterable[tuple[Path, AdapterRecord]], data: Data) -> list[str]:
    """What a reader has to know of adapters that may have been trained on rows that they are asked about."""
    return [
        f"{folder.name} was trained on {_own(record)} and is asked about {data.name}: whether rows of the two are the same "
        "was not looked at."
        for folder, record in adapters
        if _own(record) != data.name
    ]


class _Rows(NamedTuple):
    """The rows of a split, and a digest of their images."""

    table: pa.Table
    images: str | None


def plan(subjects: Sequence[Subject], data: Data, jobs: Path, chunk_size: int) -> list[Subject]:
    """Find or make the subjects' jobs.

    Args:
        subjects: Who is asked, the adapter first.
        data: About what.
        jobs: The folder of jobs.
        chunk_size: Rows per chunk.

    Raises:
        BadEvaluation: A row has a label that is none of the allowed ones, a split has no labels or none of its images is
            there, or the chunk size is none.
        DiskFull: No room; no job is made.
    """
    check_chunk_size(chunk_size, "row", 256)
    splits = [split for split in (TUNED_ON, data.split) if data.has(split)]
    wanted = {(subject.record.columns, split): subject.label_sets for subject in subjects for split in splits}
    read = {(columns, split): _read(columns, split, sets, data) for (columns, split), sets in wanted.items()}
    if data.has(TRAINED_ON):  # baselines learn from it, when the models have been asked
        train = data.path(TRAINED_ON)
        _check_labels(read_examples(train, subjects[0].record.columns), subjects[0].label_sets, train)
    return [
        _plan(subject, {s: read[subject.record.columns, s] for s in splits}, data, jobs, chunk_size)
        for subject in subjects
    ]


def _plan(subject: Subject, read: Mapping[str, _Rows], data: Data, jobs: Path, chunk_size: int) -> Subject:
    made = {}
    for split, rows in read.items():
        if subject.role == "written" and split != data.split:
            continue  # there is nothing to tune
        if subject.role == "text":
            seen, size, kind = _seen_by_text(subject, data), _TEXTS, TEXT_KIND
        else:
            seen, size, kind = _seen(subject, rows.images), chunk_size, KIND
        made[split] = plan_rows(kind, data.source(split), *seen, size, rows.table, EXAMPLES, jobs)
    return replace(subject, jobs=made)


def _read(columns: Columns, split: str, label_sets: LabelSets, data: Data) -> _Rows:
    """Look at every row once, some at a time."""
    path, folder = data.path(split), data.images
    if columns.image and folder is None:
        raise BadEvaluation("The images lie somewhere. Give the folder that their paths are below: images=…")

    pieces, labelled, rows = [], False, read_examples(path, columns)
    while some := list(islice(rows, _AT_ONCE)):
        _check_labels(some, label_sets, path)
        labelled = labelled or any(row.labels is not None for row in some)
        pieces.append(pa.RecordBatch.from_pylist([_plain(row) for row in some], EXAMPLES.columns))
    if pieces and not labelled:
        step = "Fill it" + (f", or leave {TUNED_ON} out (thresholds are 0.5 then)" if split == TUNED_ON else "")
        raise BadEvaluation(
            f"{path}: no row of {split} has anything in {columns.labels!r}, so nothing there can be right or wrong. "
            f"{step}, and build the splits again."
        )
    table = pa.Table.from_batches(pieces, EXAMPLES.columns)
    if not columns.image:
        return _Rows(table, None)
    # Of what the images are, so that other images are other jobs; one that is missing counts as such.
    shown = image_digests(folder or Path(), read_examples(path, Columns((), columns.image, "")))
    digest = digest_of(json_list(shown))
    if pieces and digest == digest_of(json_list([""] * len(table))):
        raise BadEvaluation(
            f"None of the {len(table):,} images is there, such as {folder}/{table['image'][0]}. Give the folder that "
            "their paths are below: images=…"
        )
    return _Rows(table, digest)


def _seen(subject: Subject, images: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    """All that decides what a model answers."""
    record = subject.record
    parameters = {
        "base": record.base_digest,
        "adapter": record.digest if subject.adapter else None,
        "prompt": record.prompt.key,
        "label_sets": subject.label_sets.plain(),
        "columns": [list(record.columns.text), record.columns.image, record.columns.labels],
        "pixels": [record.min_pixels, record.max_pixels],
        "dtype": record.dtype,
        "load_in_4bit": record.load_in_4bit,
        "device": subject.device,
        "mode": subject.mode,
        "look_at": subject.look_at,
        "images": images,
    }
    return parameters, {"code": VERSION, "family": record.family, "transformers": version("transformers")}


def _seen_by_text(subject: Subject, data: Data) -> tuple[dict[str, Any], dict[str, str]]:
    columns = subject.record.columns
    parameters = {
        "train": data.source("train").sha256,
        "label_sets": subject.label_sets.plain(),
        "columns": [list(columns.text), columns.labels],
    }
    return parameters, {"code": baselines.VERSION, "scikit-learn": version("scikit-learn")}


def _check_labels(rows: Iterable[Example], label_sets: LabelSets, path: Path) -> None:
    for row in rows:
        try:
            _ = row.labels is None or label_sets.number(row.labels)
        except UnknownLabel as error:
            raise BadEvaluation(
                f"{path}, row {row.row}: {error} The adapter was trained with other answers."
            ) from error


def _plain(row: Example) -> dict[str, Any]:
    return {**row._asdict(), "labels": None if row.labels is None else list(row.labels)}


def _own(record: AdapterRecord) -> str:
    return f"{record.dataset['name']}/{record.dataset['version']}"


def _name(split: str) -> str:
    return f"data/{split}-00000-of-00001.parquet"


def _called(base_model: str) -> str:
    """A base model's name: on the hub, or its folder's."""
    return Path(base_model).name if Path(base_model).is_dir() else base_model


def has_words(texts: Sequence[str]) -> bool:
    """Whether there is anything that a classifier of texts could learn from."""
    return any(re.search(r"\w\w", text) for text in texts)
