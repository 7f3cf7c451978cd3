"""The text-only baseline of evaluate-adapter on labelled texts, cross-validated, with intervals.

    python -m bench.baseline FOLDER [--folds 10] [--seed 0]

FOLDER holds one or more of train.csv, val.csv and test.csv with the columns `text`, `image_path` and `labels`, as the
predecessor wrote them. The rows go through `prepare-mmhs` and `build-splits`, whose groups then make the folds:
what shares an image stands in one fold. Each fold is answered by a classifier trained on the others, with thresholds tuned
on the others' answers to rows that they had not seen either. So nothing is scored that was looked at, and every row once.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.mmhs.prepare import prepare
from tasks.models.examples import Columns, Example, read_examples
from tasks.models.label_sets import LabelSets
from tasks.scoring.baselines import TextBaseline, constant_answers
from tasks.scoring.figures import NAMES, OWN_RULE, measure
from tasks.scoring.predictions import LabelSpace, Predictions, Probabilities
from tasks.scoring.thresholds import RULES, decide, tune
from tasks.splits.build import Wanted, build

LABELS = ("racist", "sexist", "homophobe", "religion", "otherhate")
COLUMNS = Columns(("text",), "image", "labels")


def read(folder: Path, data: Path) -> list[Example]:
    """The rows, prepared and grouped."""
    prepared = prepare(folder, data / "tables")
    print(f"{prepared.rows:,} rows, {prepared.delivered:,} taken, refused: {dict(prepared.errors)}")
    dataset = build(prepared.table, data / "datasets", "mmhs", Wanted(("image",), official="ignore"))
    print(f"dataset {dataset.folder.name}, leaks found: {dataset.certificate['leaks']['found']}")
    return [row for path in sorted((dataset.folder / "data").iterdir()) for row in read_examples(path, COLUMNS)]


def unseen(rows: list[Example], fold: NDArray[np.int64], space: LabelSpace) -> Predictions:
    """Every row, answered by a classifier that was trained on other folds."""
    texts = np.array([row.text for row in rows], dtype=object)
    truth = np.array([space.numbers[frozenset(row.labels or ())] for row in rows], np.intp)
    posterior = np.zeros((len(rows), len(space.sets)))
    for number in range(fold.max() + 1):
        held = fold == number
        posterior[held] = TextBaseline(texts[~held].tolist(), truth[~held], space).posterior(texts[held].tolist())
    groups, ones = pa.array([row.group for row in rows]), np.ones(len(rows))
    shares = Probabilities.of(posterior, truth, space)
    return Predictions(space, np.arange(len(rows)), groups, truth, shares, posterior.argmax(axis=1), ones, Counter())


def nested(predictions: Predictions, fold: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Per rule the labels of every row, thresholds tuned on the other folds."""
    for rule in RULES:
        labels = np.zeros_like(predictions.true_labels)
        for number in range(fold.max() + 1):
            held = fold == number
            thresholds = tune(predictions.at(np.flatnonzero(~held)), predictions.space.labels, {})
            labels[held] = decide(predictions.at(np.flatnonzero(held)), rule, thresholds)
        yield rule, labels


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    label_sets = LabelSets.every(LABELS)
    space = LabelSpace(label_sets.labels, label_sets.sets)
    with tempfile.TemporaryDirectory() as data:
        rows = read(asked.folder, Path(data))
    keys = [hashlib.sha256(f"{asked.seed}/{row.group}".encode()).digest() for row in rows]
    fold = np.array([int.from_bytes(key[:8], "big") % asked.folds for key in keys])
    start = time.process_time()
    predictions = unseen(rows, fold, space)
    print(f"{asked.folds} classifiers trained in {time.process_time() - start:.0f} s of CPU")
    prior = Counter(predictions.truth.tolist())
    constant = constant_answers(space, predictions.truth, predictions)
    print(f"rows {len(rows):,}, the most frequent answer {space.sets[prior.most_common(1)[0][0]]}")
    told = {rule: as_answers(predictions, labels) for rule, labels in nested(predictions, fold)}
    for name, rule in OWN_RULE.items():
        show(NAMES[name], measure(told[rule], tune(None, LABELS, {}))["metrics"][name], rule)
    whole = measure(predictions, tune(None, LABELS, {}))
    for name in ("auroc", "average_precision"):
        show(NAMES[name], whole["metrics"][name], "")
    for label, found in whole["labels"].items():
        show(f"AUROC {label}", found["auroc"], f"{found['rows']:,} rows")
    everything = measure(constant["always all labels"], tune(None, LABELS, {}))["metrics"]
    show("F1 micro of always all labels", everything["f1_micro"], "")
    show("F1 macro of always all labels", everything["f1_macro"], "")


def as_answers(predictions: Predictions, labels: NDArray[np.bool_]) -> Predictions:
    """These labels as if they had been written."""
    numbers = {tuple(row): number for number, row in enumerate(predictions.space.membership.tolist())}
    answer = np.array([numbers[tuple(row)] for row in labels.tolist()], np.intp)
    return replace(predictions, probabilities=None, answer=answer)


def show(name: str, found: Mapping[str, Any], note: str) -> None:
    """One figure with its interval."""
    low, high = found["interval_95"]
    print(f"{name:38} {found['value']:.4f} ({low:.4f} to {high:.4f})  {note}")


if __name__ == "__main__":
    main()
