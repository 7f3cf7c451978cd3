"""Metrics equal scikit-learn's to 1e-12, for whatever Hypothesis draws: ties, empty labels, weights."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tasks.scoring import metrics
from tasks.scoring.metrics import Tally, ranking

sklearn = pytest.importorskip("sklearn.metrics")
calibration = pytest.importorskip("sklearn.calibration")

FEWER = settings(max_examples=60)

SHAPES = st.tuples(st.integers(1, 30), st.integers(2, 4))
TWO = SHAPES.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape)))
# Few values, so that scores are often equal.
SCORED = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        arrays(bool, n),
        arrays(float, n, elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0])),
        arrays(float, n, elements=st.sampled_from([0.0, 1.0, 2.0, 3.0])),
    )
)


def same(expected: Any, actual: Any) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


@FEWER
@given(TWO, st.sampled_from([0.0, 1.0, np.nan]))
def test_metrics_of_decisions_are_those_of_scikit_learn(
    both: tuple[NDArray[np.bool_], NDArray[np.bool_]], zero_division: float
) -> None:
    truth, predicted = both
    counts = metrics.total(metrics.tally(truth, predicted))
    expected: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for average in ("micro", "macro", None):
            three = sklearn.precision_recall_fscore_support(
                truth, predicted, average=average, zero_division=zero_division
            )
            expected[str(average)] = three[:3]
    same(expected["None"][0], metrics.precision(counts, zero_division))
    same(expected["None"][1], metrics.recall(counts, zero_division))
    same(expected["None"][2], metrics.f1(counts, zero_division))
    same(expected["micro"][2], metrics.f1_micro(counts, zero_division))
    same(expected["macro"][2], metrics.f1_macro(counts, zero_division))
    same(sklearn.accuracy_score(truth, predicted), metrics.subset_accuracy(counts))
    same(sklearn.hamming_loss(truth, predicted), metrics.hamming_loss(counts))
    tables = sklearn.multilabel_confusion_matrix(truth, predicted)
    np.testing.assert_array_equal(tables[:, 1, 1], counts.hits)
    np.testing.assert_array_equal(tables[:, 0, 1], counts.extra)
    np.testing.assert_array_equal(tables[:, 1, 0], counts.missed)


@FEWER
@given(SCORED)
def test_ranking_metrics_are_those_of_scikit_learn_with_ties(
    scored: tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]],
) -> None:
    truth, scores, weights = scored
    found = ranking(truth, scores)
    measures = (sklearn.roc_auc_score, sklearn.average_precision_score)
    exist = (truth.any() and not truth.all(), truth.any())
    for measure, exists, value, slopes in zip(measures, exist, found[:2], found[2:], strict=True):
        assert exists != np.isnan(value)
        if exists:
            same(measure(truth, scores), value)
            # A little more or less weight for each row moves it as far as the rows' slopes say.
            more, less = (measure(truth, scores, sample_weight=1 + step * weights) for step in (1e-4, -1e-4))
            np.testing.assert_allclose((more - less) / 2e-4, slopes @ weights, atol=1e-5)


@FEWER
@given(SCORED)
def test_reliability_is_that_of_scikit_learn(
    scored: tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]],
) -> None:
    truth, scores, _ = scored
    true, predicted = calibration.calibration_curve(truth, scores, n_bins=10)
    bins = metrics.reliability(truth, scores, bins=10)
    used = bins.n > 0
    same(true, (bins.true / np.maximum(bins.n, 1))[used])
    same(predicted, (bins.predicted / np.maximum(bins.n, 1))[used])


@FEWER
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_a_confusion_matrix_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs).T
    expected = sklearn.confusion_matrix(truth, predicted, labels=range(4))
    np.testing.assert_array_equal(expected, metrics.confusion(truth, predicted, 4))


def test_an_unread_answer_is_no_class() -> None:
    assert [[1, 0], [0, 0]] == metrics.confusion(np.array([0, 1]), np.array([0, -1]), 2).tolist()


@FEWER
@given(TWO)
def test_a_tally_survives_its_columns(both: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> None:
    counts = metrics.tally(*both)
    for before, after in zip(counts, Tally.read(counts.columns()), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_label_that_neither_is_nor_is_predicted_is_left_out_of_the_mean() -> None:
    truth = np.array([[True, False], [True, False]])
    counts = metrics.total(metrics.tally(truth, np.array([[True, False], [False, False]])))
    assert pytest.approx(2 / 3) == float(metrics.f1_macro(counts))
    assert pytest.approx(1 / 3) == float(metrics.f1_macro(counts, zero_division=0))  # scikit-learn's default
    assert pytest.approx(5 / 6) == float(metrics.f1_macro(counts, zero_division=1))  # the predecessor's
    assert np.isnan(metrics.f1(counts)[1])


def test_calibration_error_is_the_weighted_distance_of_the_bins() -> None:
    truth = np.array([True, False, False, False, True])
    bins = metrics.reliability(truth, np.array([0.5, 0.5, 0.5, 0.5, 0.9]), bins=10)
    assert (4 * abs(0.5 - 0.25) + 0.1) / 5 == pytest.approx(metrics.calibration_error(bins))


def test_abstention_answers_rows_that_are_equally_sure_together() -> None:
    curve = metrics.abstention(np.array([True, False, True, False]), np.array([0.9, 0.5, 0.9, 0.5]))
    assert [0.5, 1.0] == curve.coverage.tolist()
    assert [0.9, 0.5] == curve.confidence.tolist()
    assert [1.0, 0.5] == curve.accuracy.tolist()
