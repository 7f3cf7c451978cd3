"""Metrics of classification.

Every function takes arrays whose last axis is what it sums over; what stands before is carried along::

    tally(truth, predicted)      [rows, labels]  ->  Tally of [rows, ...], one entry per row
    f1_macro(tally)              [..., labels]   ->  [...]
    ranking(truth, scores)       [rows]          ->  AUROC, average precision, and what each row has to do with them

Equal to scikit-learn's to 1e-12 where it has them (tests/scoring/test_metrics.py). What 0/0 means is said by
``zero_division``, as there: a label that neither is nor is predicted has no precision, recall and F1. NaN, our default,
leaves it out of a mean; 0 is scikit-learn's default; 1 is what the predecessor took.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[Any]  # counts, or with weights sums of them
Bools = NDArray[np.bool_]

BINS = 15  # of calibration, as Guo et al. 2017 (arXiv:1706.04599) have them


class Tally(NamedTuple):
    """Counts, summed over rows or not; with weights they are no whole numbers.

    Args:
        hits: ``[..., labels]`` true and predicted.
        extra: ``[..., labels]`` predicted, not true.
        missed: ``[..., labels]`` true, not predicted.
        exact: ``[...]`` rows whose set of labels is exactly right.
        rows: ``[...]``.
    """

    hits: Numbers
    extra: Numbers
    missed: Numbers
    exact: Numbers
    rows: Numbers

    def columns(self) -> Numbers:
        """All of it side by side, ``[..., 3 * labels + 2]``; ``Tally.read`` takes it apart again."""
        return np.concatenate(
            [self.hits, self.extra, self.missed, self.exact[..., None], self.rows[..., None]], axis=-1
        )

    @classmethod
    def read(cls, columns: Numbers) -> Tally:
        """What ``columns`` gave."""
        n = (columns.shape[-1] - 2) // 3
        hits, extra, missed = (columns[..., at * n : (at + 1) * n] for at in range(3))
        return cls(hits, extra, missed, columns[..., -2], columns[..., -1])


def tally(truth: Bools, predicted: Bools) -> Tally:
    """Counts of each row.

    Args:
        truth: ``[rows, labels]``.
        predicted: ``[rows, labels]``.
    """
    exact = (truth == predicted).all(axis=1)
    return Tally(
        (truth & predicted).astype(np.uint8),
        (~truth & predicted).astype(np.uint8),
        (truth & ~predicted).astype(np.uint8),
        exact.astype(np.uint8),
        np.ones(len(truth), np.uint8),
    )


def total(counts: Tally) -> Tally:
    """Counts of all rows together."""
    return Tally(*(each.sum(axis=0) for each in counts))


def precision(counts: Tally, zero_division: float = np.nan) -> Floats:
    """Per label, ``[..., labels]``."""
    return _ratio(counts.hits, counts.hits + counts.extra, zero_division)


def recall(counts: Tally, zero_division: float = np.nan) -> Floats:
    """Per label, ``[..., labels]``."""
    return _ratio(counts.hits, counts.hits + counts.missed, zero_division)


def f1(counts: Tally, zero_division: float = np.nan) -> Floats:
    """Per label, ``[..., labels]``."""
    return _ratio(2 * counts.hits, 2 * counts.hits + counts.extra + counts.missed, zero_division)


def f1_micro(counts: Tally, zero_division: float = np.nan) -> Floats:
    """Of all labels' decisions thrown together."""
    hits, extra, missed = (each.sum(axis=-1) for each in (counts.hits, counts.extra, counts.missed))
    return _ratio(2 * hits, 2 * hits + extra + missed, zero_division)


def f1_macro(counts: Tally, zero_division: float = np.nan) -> Floats:
    """The mean of the labels' F1."""
    return mean(f1(counts, zero_division))


def subset_accuracy(counts: Tally) -> Floats:
    """Share of rows whose set of labels is exactly right; accuracy, where there is one label per row."""
    return _ratio(counts.exact, counts.rows, np.nan)


def hamming_loss(counts: Tally) -> Floats:
    """Share of wrong decisions among all labels of all rows."""
    wrong = (counts.extra + counts.missed).sum(axis=-1)
    return _ratio(wrong, counts.rows * counts.hits.shape[-1], np.nan)


def confusion(truth: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """How often each class was taken for each.

    Args:
        truth: ``[rows]``, numbers of classes.
        predicted: ``[rows]``; what is no class, such as -1 for an unread answer, is left out.
        classes: How many there are.

    Returns:
        ``[classes, classes]``, the true class first.
    """
    known = (predicted >= 0) & (predicted < classes)
    counts = np.bincount(truth[known] * classes + predicted[known], minlength=classes * classes)
    return counts.reshape(classes, classes)


class Ranking(NamedTuple):
    """How well one label's scores order the rows, and what each row has to do with it.

    Args:
        auroc: How likely a row with the label scores above one without, ties counted half; NaN where all or none have it.
        average_precision: NaN where no row has the label (0 in scikit-learn).
        of_auroc: ``[rows]``, by how much the AUROC rises with the weight of each row (its derivative); 0 where it is NaN.
        of_average_precision: The same of average precision.
    """

    auroc: float
    average_precision: float
    of_auroc: Floats
    of_average_precision: Floats


def ranking(truth: Bools, scores: Floats) -> Ranking:
    """AUROC and average precision of one label.

    Args:
        truth: ``[rows]``.
        scores: ``[rows]``.
    """
    values, run = np.unique(-scores, return_inverse=True)  # runs of equal scores, the highest first
    positives = np.bincount(run, truth, len(values))
    rows = np.bincount(run, minlength=len(values))
    hits, seen = np.cumsum(positives), np.cumsum(rows)
    p, q = float(truth.sum()), float((~truth).sum())
    nothing = np.zeros(len(truth))
    if not p:
        return Ranking(np.nan, np.nan, nothing, nothing)
    precise = hits / seen
    average = float((positives * precise).sum()) / p
    # A row counts for every positive that scores no higher: the more of them are right, the more precise each is.
    gain, loss = (np.cumsum(each[::-1])[::-1] for each in (positives / seen, positives * precise / seen))
    of_average = np.where(truth, (precise - average + gain)[run], 0.0) - loss[run]
    if not q:
        return Ranking(np.nan, average, nothing, of_average / p)
    # What a row with the label beats of the others, or one without it does not of those with it, ties counted half.
    beats = 1 - (seen - hits - (rows - positives) / 2) / q
    beaten = (hits - positives / 2) / p
    area = float((positives * beats).sum()) / p
    return Ranking(area, average, np.where(truth, (beats[run] - area) / p, (beaten[run] - area) / q), of_average / p)


class Bins(NamedTuple):
    """Decisions by predicted probability, in bins of equal width.

    Args:
        n: ``[..., bins]`` decisions.
        predicted: ``[..., bins]`` sums of their probabilities.
        true: ``[..., bins]`` how many of them came true.
    """

    n: Floats
    predicted: Floats
    true: Floats


def bin_of(probabilities: Floats, bins: int = BINS) -> NDArray[np.intp]:
    """The bin of each probability: ``(k / bins, (k + 1) / bins]``, and 0 in the first one."""
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], probabilities)


def reliability(truth: Bools, probabilities: Floats, bins: int = BINS) -> Bins:
    """How often what was predicted came true, over all labels and rows together.

    Args:
        truth: Any shape.
        probabilities: The same shape, 0 to 1.
        bins: How many.
    """
    at = bin_of(probabilities.ravel(), bins)
    sums = (np.bincount(at, weight, bins) for weight in (None, probabilities.ravel(), truth.ravel().astype(float)))
    n, predicted, true = (each.astype(float) for each in sums)
    return Bins(n, predicted, true)


def calibration_error(bins: Bins) -> Floats:
    """Expected calibration error: mean distance between predicted and true share, weighted by decisions.

    It is never below 0, and above it by chance even for a perfect model: compare it between models, at equal n.
    """
    return _ratio(np.abs(bins.predicted - bins.true).sum(axis=-1), bins.n.sum(axis=-1), np.nan)


class Abstention(NamedTuple):
    """What remains when the rows that a model is least sure of are left to people.

    Args:
        coverage: ``[points]`` shares of rows that the model answers, ascending to 1.
        confidence: ``[points]`` what it must at least be sure of to answer.
        accuracy: ``[points]`` share of those that are exactly right.
    """

    coverage: Floats
    confidence: Floats
    accuracy: Floats


def abstention(right: Bools, confidence: Floats) -> Abstention:
    """The curve of accuracy over coverage; rows that a model is equally sure of are answered together.

    Args:
        right: ``[rows]`` whether the answer is right.
        confidence: ``[rows]`` how sure the model is of it.
    """
    order = np.argsort(-confidence, kind="stable")
    sure = confidence[order]
    ends = np.flatnonzero(np.append(np.diff(sure) != 0, True))
    answered = ends + 1
    return Abstention(answered / len(right), sure[ends], np.cumsum(right[order])[ends] / answered)


def mean(values: Floats) -> Floats:
    """The mean over the last axis of what is a number; NaN where nothing is."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1).astype(float), np.nan)


def _ratio(above: Numbers, below: Numbers, zero_division: float) -> Floats:
    above, below = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    ratios: Floats = np.divide(above, below, out=np.full(below.shape, zero_division, float), where=below > 0)
    return ratios
