"""From probabilities to labels: each metric has its own best rule, and thresholds are tuned on validation only.

    F1 micro          one threshold for all labels, tuned
    F1 macro          a threshold per label, tuned
    subset accuracy   the likeliest set
    Hamming loss      labels that are likelier than not

For probabilities that are right the last two need no tuning, and the best threshold for F1 is half of the best F1 (Lipton,
Elkan and Narayanaswamy 2014, arXiv:1402.1892). Where each row has one label, all of them answer the likeliest class.

``thresholds.json`` says for which model they hold. They hold for no other, nor for another version of transformers:
its 5.23 began to cap the logits of PaliGemma 2, which moved probabilities of sets by up to 0.5 nats on a tiny model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tasks.scoring.predictions import Predictions
from tasks.storage.errors import PermanentError, TornFile
from tasks.storage.files import write_bytes

VERSION = "thresholds/1"
UNTUNED = 0.5

Rule = Literal["likeliest set", "likelier than not", "one threshold", "threshold per label", "written answer"]
RULES: tuple[Rule, ...] = ("likeliest set", "likelier than not", "one threshold", "threshold per label")

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class OtherModel(PermanentError):
    """Thresholds that were tuned for another model or another version of the software."""


@dataclass(frozen=True)
class Thresholds:
    """Above which probability a label is predicted.

    Args:
        labels: In the order of ``per_label``.
        overall: One for all labels, for F1 micro.
        per_label: One each, for F1 macro.
        rows: Rows of validation that they were tuned on; 0 where there are none, and all of them are 0.5.
        valid_for: What they hold for: adapter, transformers, prompt, dataset and what else decides probabilities.
    """

    labels: tuple[str, ...]
    overall: float
    per_label: tuple[float, ...]
    rows: int
    valid_for: Mapping[str, str]


def tune(validation: Predictions | None, labels: tuple[str, ...], valid_for: Mapping[str, str]) -> Thresholds:
    """Choose thresholds on the validation split.

    Args:
        validation: Predictions with probabilities; None where there is no such split: then all thresholds are 0.5.
        labels: All labels.
        valid_for: What they will hold for.

    Returns:
        The thresholds with the highest F1. A label that validation has no row of keeps 0.5.
    """
    if validation is None:
        return Thresholds(labels, UNTUNED, (UNTUNED,) * len(labels), 0, dict(valid_for))
    truth, marginals = validation.true_labels, validation.marginals
    per_label = tuple(best_threshold(truth[:, at], marginals[:, at]) for at in range(len(labels)))
    overall = best_threshold(truth.ravel(), marginals.ravel())
    return Thresholds(labels, overall, per_label, len(validation), dict(valid_for))


def best_threshold(truth: Bools, scores: Floats) -> float:
    """The threshold with the highest F1, midway between two scores; the higher one where two are as good.

    Args:
        truth: ``[decisions]``.
        scores: ``[decisions]``, probabilities.

    Returns:
        From 0 to 1; 0.5 where nothing is true or nothing has a probability, since then no threshold is better than another.
    """
    values, f1 = threshold_curve(truth, scores)
    return float(values[int(f1.argmax())]) if f1.any() else UNTUNED


def threshold_curve(truth: Bools, scores: Floats) -> tuple[Floats, Floats]:
    """F1 at every threshold that makes a difference.

    Args:
        truth: ``[decisions]``.
        scores: ``[decisions]``, probabilities.

    Returns:
        Thresholds, descending, and the F1 of predicting what lies above each; nothing is predicted at a probability of 0.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.flatnonzero(np.append(np.diff(ordered) != 0, True) & (ordered > 0))
    if not ends.size:
        return np.array([UNTUNED]), np.array([0.0])
    hits = np.cumsum(truth[order])[ends]
    below = np.append(ordered[ends[1:]], 0.0)
    # Midway, so that the last bits of a sum decide nothing. Below the lowest score all are predicted: half of it.
    return (ordered[ends] + below) / 2, 2 * hits / (ends + 1 + truth.sum())


def decide(predictions: Predictions, rule: Rule, thresholds: Thresholds) -> Bools:
    """The labels that a rule predicts, ``[rows, labels]``."""
    if rule in ("likeliest set", "written answer") or predictions.space.is_single:
        return predictions.answered_labels
    if rule == "likelier than not":
        return predictions.marginals > UNTUNED
    if rule == "one threshold":
        return predictions.marginals > thresholds.overall
    return predictions.marginals > np.array(thresholds.per_label)


def write_thresholds(path: Path, thresholds: Thresholds) -> Path:
    """Store thresholds with what they hold for."""
    content = {"code": VERSION, **asdict(thresholds)}
    return write_bytes(path, json.dumps(content, indent=2, ensure_ascii=False).encode())


def read_thresholds(path: Path, valid_for: Mapping[str, str]) -> Thresholds:
    """Read thresholds that are to be used now.

    Args:
        path: ``thresholds.json``.
        valid_for: What they must hold for.

    Raises:
        OtherModel: They were tuned for something else; the message says what differs.
        TornFile: The file is missing or damaged.
    """
    try:
        content = json.loads(path.read_bytes())
        stored = Thresholds(
            tuple(content["labels"]),
            float(content["overall"]),
            tuple(map(float, content["per_label"])),
            int(content["rows"]),
            dict(content["valid_for"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TornFile(f"{path} holds no thresholds ({error!r}). Evaluate the adapter again.") from error
    names = sorted({*stored.valid_for, *valid_for})
    differ = [name for name in names if stored.valid_for.get(name) != valid_for.get(name)]
    if content.get("code") != VERSION:
        raise OtherModel(f"{path} is {content.get('code')!r}, not {VERSION!r}. Evaluate the adapter again.")
    if differ:
        told = "; ".join(f"{name} {stored.valid_for.get(name)!r}, now {valid_for.get(name)!r}" for name in differ)
        raise OtherModel(f"{path} was tuned for something else: {told}. Evaluate the adapter again to tune new ones.")
    return stored
