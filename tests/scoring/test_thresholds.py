from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.scoring import metrics
from tasks.scoring.thresholds import (
    OtherModel,
    Thresholds,
    best_threshold,
    decide,
    read_thresholds,
    tune,
    write_thresholds,
)
from tasks.storage.errors import TornFile
from tests.scoring.drawn import LABELS, every, one_of, predictions

VALID_FOR = {"adapter": "a1", "transformers": "5.23.0", "prompt": "mmhs/1"}


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.9])), min_size=1, max_size=12))
def test_no_other_threshold_is_better(rows: list[tuple[bool, float]]) -> None:
    truth, scores = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])

    def f1(threshold: float) -> float:
        return float(metrics.f1(metrics.total(metrics.tally(truth[:, None], (scores > threshold)[:, None])))[0])

    found = best_threshold(truth, scores)
    if not truth[scores > 0].any():
        assert found == 0.5
    else:
        assert f1(found) >= max(f1(value) for value in (0, 0.1, 0.3, 0.5, 0.7, 0.95))


def test_the_best_threshold_of_true_probabilities_is_half_of_the_best_f1() -> None:
    random = np.random.default_rng(5)
    scores = random.beta(0.6, 1.4, 400_000)
    truth = random.random(len(scores)) < scores
    threshold = best_threshold(truth, scores)
    best = metrics.f1(metrics.total(metrics.tally(truth[:, None], (scores > threshold)[:, None])))[0]
    assert best / 2 == pytest.approx(threshold, abs=0.01)


def test_each_rule_is_best_for_its_metric() -> None:
    random = np.random.default_rng(3)
    shares = random.beta(0.6, [1.2, 2.0, 3.5], (16_000, 3))  # probabilities that are right
    truth = random.random(shares.shape) < shares
    validation, test = (
        predictions(truth[part], shares[part], tuple(map(str, range(8_000))), every())
        for part in (slice(8_000), slice(8_000, None))
    )
    thresholds = tune(validation, validation.space.labels, VALID_FOR)

    def all_of(rule: str) -> tuple[float, ...]:
        counts = metrics.total(metrics.tally(test.true_labels, decide(test, rule, thresholds)))  # type: ignore[arg-type]
        return tuple(
            float(metric(counts))
            for metric in (metrics.f1_micro, metrics.f1_macro, metrics.subset_accuracy, metrics.hamming_loss)
        )

    found = {
        rule: all_of(rule) for rule in ("one threshold", "threshold per label", "likeliest set", "likelier than not")
    }
    assert found["one threshold"][0] >= max(found["likeliest set"][0], found["likelier than not"][0]) + 0.02
    assert found["threshold per label"][1] >= max(found["likeliest set"][1], found["likelier than not"][1]) + 0.02
    assert found["likeliest set"][2] >= max(found["one threshold"][2], found["threshold per label"][2]) + 0.02
    assert found["likelier than not"][3] <= min(found["one threshold"][3], found["threshold per label"][3]) - 0.01


def test_a_label_that_validation_has_no_row_of_keeps_one_half() -> None:
    truth = np.array([[True, False, False], [False, True, False]])
    shares = np.array([[0.3, 0.1, 0.2], [0.1, 0.6, 0.2]])
    thresholds = tune(predictions(truth, shares, ("a", "b"), every()), LABELS, {})
    assert pytest.approx((0.2, 0.35, 0.5)) == thresholds.per_label
    assert 2 == thresholds.rows


def test_without_validation_every_threshold_is_one_half() -> None:
    assert Thresholds(LABELS, 0.5, (0.5, 0.5, 0.5), 0, VALID_FOR) == tune(None, LABELS, VALID_FOR)


def test_classes_that_exclude_each_other_are_answered_by_the_likeliest_whatever_the_thresholds() -> None:
    shares = np.array([[0.5, 0.3, 0.2], [0.2, 0.35, 0.45]])
    rows = predictions(np.array([[True, False, False], [False, True, False]]), shares, ("a", "b"), one_of())
    never = Thresholds(LABELS, 0.99, (0.99, 0.99, 0.99), 9, {})
    assert [[True, False, False], [False, False, True]] == decide(rows, "threshold per label", never).tolist()


def test_thresholds_come_back_and_are_refused_for_anything_else(tmp_path: Path) -> None:
    stored = Thresholds(LABELS, 0.25, (0.2, 0.3, 0.4), 500, VALID_FOR)
    path = write_thresholds(tmp_path / "thresholds.json", stored)
    assert stored == read_thresholds(path, VALID_FOR)
    with pytest.raises(OtherModel, match=r"transformers '5\.23\.0', now '5\.17\.0'\. Evaluate the adapter again"):
        read_thresholds(path, VALID_FOR | {"transformers": "5.17.0"})
    with pytest.raises(OtherModel, match="adapter 'a1', now 'b2'"):
        read_thresholds(path, VALID_FOR | {"adapter": "b2"})
    path.write_text('{"labels": ["cat"')
    with pytest.raises(TornFile, match="holds no thresholds"):
        read_thresholds(path, VALID_FOR)
