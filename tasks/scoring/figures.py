"""All figures of one model on one split, each under the rule that suits it, with its interval.

One of them, as ``report.json`` holds it::

    "f1_micro": {"value": 0.6184, "interval_95": [0.607, 0.6295], "rule": "one threshold", "n": 10000, "groups": 9871}
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.scoring import metrics
from tasks.scoring.intervals import (
    Groups,
    Interval,
    calibration_interval,
    f1_interval,
    f1_macro_interval,
    mean_interval,
    plain,
    ranking_intervals,
    row_interval,
    share_interval,
)
from tasks.scoring.metrics import BINS, Bins, Tally
from tasks.scoring.predictions import Predictions
from tasks.scoring.thresholds import RULES, Rule, Thresholds, decide

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

VERSION = "metrics/3"

# The rule that each metric of decisions is reported under.
OWN_RULE: dict[str, Rule] = {
    "f1_micro": "one threshold",
    "f1_macro": "threshold per label",
    "subset_accuracy": "likeliest set",
    "hamming_loss": "likelier than not",
}
NAMES = {
    "f1_micro": "F1 micro",
    "f1_macro": "F1 macro",
    "subset_accuracy": "Subset accuracy",
    "hamming_loss": "Hamming loss",
    "auroc": "AUROC, mean of labels",
    "average_precision": "Average precision, mean of labels",
    "brier": "Brier score",
    "calibration_error": "Expected calibration error",
    "log_loss": "Log loss of the right set, nats",
}
SMALLER_IS_BETTER = {"hamming_loss", "brier", "calibration_error", "log_loss"}


def rules_of(predictions: Predictions) -> tuple[Rule, ...]:
    """The rules that differ for these predictions."""
    if predictions.probabilities is None:
        return ("written answer",)
    return ("likeliest set",) if predictions.space.is_single else RULES


def rule_of(metric: str, predictions: Predictions) -> Rule:
    """The rule that a metric is reported under."""
    rules = rules_of(predictions)
    own = OWN_RULE[metric]
    return own if own in rules else rules[0]


def measure(predictions: Predictions, thresholds: Thresholds) -> dict[str, Any]:
    """Every figure of one model, with 95 % intervals by groups.

    Args:
        predictions: Of the split that is reported.
        thresholds: Tuned elsewhere and taken as given: the intervals do not hold what tuning them adds.

    Returns:
        ``n``, ``groups``, ``metrics``, ``every_rule``, ``labels`` and, where there are probabilities, ``reliability`` and
        ``abstention``; as JSON takes it, with None for what does not exist.
    """
    groups = Groups.of(predictions.groups)
    sample = _Sample(predictions, thresholds, groups)
    found = sample.counted() | (sample.of_probabilities() if predictions.probabilities is not None else {})
    told = {key: plain(each) for key, each in found.items()}
    return {
        "n": len(predictions),
        "groups": groups.n,
        "metrics": {
            **{
                name: told[rule_of(name, predictions), name] | {"rule": rule_of(name, predictions)} for name in OWN_RULE
            },
            **{name: told["", name] for name in (*_RANKED, *_OF_PROBABILITIES) if ("", name) in told},
        },
        "every_rule": {rule: {name: told[rule, name] for name in OWN_RULE} for rule in rules_of(predictions)},
        "labels": sample.labels(told),
        **(
            {"reliability": _bins(predictions), "abstention": _curve(predictions)}
            if predictions.probabilities is not None
            else {}
        ),
    }


Key = tuple[str, ...]


class _Sample:
    """What is summed or ranked of one model's rows."""

    def __init__(self, predictions: Predictions, thresholds: Thresholds, groups: Groups) -> None:
        self.predictions, self.thresholds, self.groups = predictions, thresholds, groups
        self.chosen = {rule: decide(predictions, rule, thresholds) for rule in rules_of(predictions)}

    def counted(self) -> dict[Key, Interval]:
        """Every figure of decisions."""
        found: dict[Key, Interval] = {}
        for rule, labels in self.chosen.items():
            counts = metrics.tally(self.predictions.true_labels, labels).columns()
            hits, extra, missed, exact, rows = Tally.read(self.groups.sums(counts))
            wrong = (extra + missed).sum(axis=1)
            found[rule, "f1_micro"] = f1_interval(*(each.sum(axis=1) for each in (hits, extra, missed)))
            found[rule, "f1_macro"] = f1_macro_interval(hits, extra, missed)
            found[rule, "subset_accuracy"] = share_interval(exact, rows)
            found[rule, "hamming_loss"] = share_interval(wrong, rows * hits.shape[1])
            if rule == rule_of("f1_macro", self.predictions):
                for label, h, e, m in zip(self.predictions.space.labels, hits.T, extra.T, missed.T, strict=True):
                    found["label", label, "precision"] = share_interval(h, h + e)
                    found["label", label, "recall"] = share_interval(h, h + m)
                    found["label", label, "f1"] = f1_interval(h, e, m)
        return found

    def of_probabilities(self) -> dict[Key, Interval]:
        """Every figure of probabilities."""
        found: dict[Key, Interval] = {}
        truth, marginals, labels = (
            self.predictions.true_labels,
            self.predictions.marginals,
            self.predictions.space.labels,
        )
        ranked = [
            ranking_intervals(truth[:, at], metrics.ranking(truth[:, at], marginals[:, at]), self.groups)
            for at in range(len(labels))
        ]
        for at, name in enumerate(_RANKED):
            mine = [each[at] for each in ranked]
            found |= {("label", label, name): each for label, (each, _) in zip(labels, mine, strict=True)}
            found["", name] = mean_interval([each for each, _ in mine], [pulled for _, pulled in mine])
        sums = np.empty((self.groups.n, 2 + 2 * BINS))
        for at, column in enumerate(_probability_columns(self.predictions)):
            sums[:, at] = self.groups.sums(column[:, None])[:, 0]
        squares, logs, *_ = sums.T
        rows = np.bincount(self.groups.codes).astype(float)
        found["", "brier"] = row_interval(squares, rows, "share")
        found["", "log_loss"] = row_interval(logs, rows, "loss")
        bins = Bins(rows[:, None] * len(labels), *np.split(sums[:, 2:], 2, axis=1))
        found["", "calibration_error"] = calibration_interval(bins)
        return found

    def labels(self, told: dict[Key, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Each label's figures, threshold and two-by-two table."""
        counts = metrics.total(
            metrics.tally(self.predictions.true_labels, self.chosen[rule_of("f1_macro", self.predictions)])
        )
        found: dict[str, dict[str, Any]] = {}
        for at, label in enumerate(self.predictions.space.labels):
            hits, extra, missed = (int(each[at]) for each in counts[:3])
            mine: dict[str, Any] = {key[-1]: each for key, each in told.items() if key[:2] == ("label", label)}
            mine |= {"rows": hits + missed, "groups": self._true_in(at)}
            mine |= {"hits": hits, "extra": extra, "missed": missed}
            mine["neither"] = len(self.predictions) - hits - extra - missed
            if rule_of("f1_macro", self.predictions) == "threshold per label":
                mine["threshold"] = self.thresholds.per_label[at]
            found[label] = mine
        return found

    def _true_in(self, label: int) -> int:
        return len(np.unique(self.groups.codes[self.predictions.true_labels[:, label]]))


_RANKED = ("auroc", "average_precision")
_OF_PROBABILITIES = ("brier", "calibration_error", "log_loss")


def _probability_columns(predictions: Predictions) -> Iterator[Floats]:
    """``[rows]`` each: squared error, log loss, per bin its decisions' probabilities, and how many of them came true."""
    truth, marginals = predictions.true_labels, predictions.marginals
    yield ((marginals - truth) ** 2).mean(axis=1)
    yield -np.log(np.maximum(predictions.scored.of_truth, np.finfo(float).tiny))
    bins = metrics.bin_of(marginals)
    for values in (marginals, truth.astype(float)):
        for number in range(BINS):
            # One label after the other, as the rows are summed: a sum by pairs has other last bits.
            yield np.where(bins == number, values, 0.0).cumsum(axis=1)[:, -1]


def _bins(predictions: Predictions) -> list[dict[str, float | int]]:
    bins = metrics.reliability(predictions.true_labels, predictions.marginals)
    return [
        {"n": int(n), "predicted": predicted / n, "true": true / n}
        for n, predicted, true in zip(*(each.tolist() for each in bins), strict=True)
        if n
    ]


def _curve(predictions: Predictions) -> list[dict[str, float]]:
    """The abstention curve at every twentieth of the rows, or where it has fewer points, at each."""
    right = predictions.answer == predictions.truth
    curve = metrics.abstention(right, predictions.scored.highest)
    wanted = np.searchsorted(curve.coverage, np.arange(1, 21) / 20 - 1e-9)
    return [
        {"coverage": float(coverage), "confidence": float(confidence), "accuracy": float(accuracy)}
        for coverage, confidence, accuracy in zip(*(each[np.unique(wanted)] for each in curve), strict=True)
    ]
