"""The answers of one chunk: of a model, or of the classifier of texts."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.chunks.file import write_chunk
from tasks.chunks.manifest import Chunk, Manifest
from tasks.evaluation.plan import Data, Held, Subject, has_words
from tasks.models.examples import Columns, Example, read_examples
from tasks.models.label_sets import LabelSets
from tasks.scoring.baselines import TextBaseline
from tasks.scoring.predictions import LabelSpace
from tasks.storage.schemas import EXAMPLES, PREDICTIONS
from tasks.storage.tables import read_group

if TYPE_CHECKING:
    from tasks.models.predict import Classifier

BATCH = 32  # rows at once; a GPU without room for them gets fewer


def open_model(held: Held) -> Classifier:
    """Load a model.

    Raises:
        PermanentError: There is no GPU, or the model or the adapter is not taken.
    """
    from tasks.models.load import ModelOptions
    from tasks.models.predict import open_classifier

    options = ModelOptions(
        base_model=held.base_model,
        adapter=held.adapter,
        dtype=held.dtype,  # type: ignore[arg-type]  # as the record has it
        load_in_4bit=held.load_in_4bit,
        device=held.device,
        min_pixels=held.min_pixels,
        max_pixels=held.max_pixels,
        base_digest=held.base_digest,
    )
    return open_classifier(options, held.label_sets, held.prompt, BATCH)


def predict_chunk(
    chunk: Chunk, manifest: Manifest, subject: Subject, data: Data, model: Classifier, warn: Callable[[str], object]
) -> Path:
    """Ask a model about one chunk and put its file in place."""
    from tasks.models.predict import predict_rows

    rows = _examples(manifest, chunk)
    images = data.images or Path()
    answers = predict_rows(rows, images, model, subject.mode, subject.look_at, warn)
    return write_chunk(answers, chunk, manifest, PREDICTIONS)


def fit_texts(train: Path, columns: Columns, label_sets: LabelSets) -> TextBaseline | None:
    """Train the classifier of texts on a train split; None where that has nothing to learn from."""
    texts, truth = [], array("q")
    for row in read_examples(train, columns):
        if row.labels is not None:
            texts.append(row.text)
            truth.append(label_sets.number(row.labels))
    return TextBaseline(texts, np.array(truth, np.intp), space_of(label_sets)) if has_words(texts) else None


def predict_texts(chunk: Chunk, manifest: Manifest, subject: Subject, model: TextBaseline | None) -> Path:
    """Answer one chunk by its texts and put its file in place."""
    rows, sets = _examples(manifest, chunk), subject.label_sets.sets
    shares = model.posterior([row.text for row in rows]) if model else np.full((len(rows), len(sets)), 1 / len(sets))
    answers = [
        {
            "row": row.row,
            "id": row.id,
            "group": row.group,
            "labels": None if row.labels is None else list(row.labels),
            "log_probabilities": np.log(each).tolist(),
            "valid": 1.0,
            "answer": list(sets[int(each.argmax())]),
        }
        for row, each in zip(rows, np.clip(shares, 1e-300, 1), strict=True)
    ]
    return write_chunk(answers, chunk, manifest, PREDICTIONS)


def space_of(label_sets: LabelSets) -> LabelSpace:
    """The allowed answers, as scoring takes them."""
    return LabelSpace(label_sets.labels, label_sets.sets)


def _examples(manifest: Manifest, chunk: Chunk) -> list[Example]:
    rows = read_group(manifest.rows_path, EXAMPLES, chunk.number).to_pylist()
    return [Example(**{**row, "labels": None if row["labels"] is None else tuple(row["labels"])}) for row in rows]
