"""Figures of methods against each other: equal to scikit-learn's, and no more decimals than n carries."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.pages.words import carried
from tasks.zeroshot.compare import Method, baselines, compare

LABELS = ["toxic", "non_toxic", "other"]


Numbers = NDArray[np.int64]


@pytest.fixture
def drawn() -> tuple[Numbers, list[Method]]:
    rng = np.random.default_rng(0)
    gold = rng.choice(3, 200, p=[0.5, 0.3, 0.2])
    noisy = np.where(rng.random(200) < 0.7, gold, rng.choice(3, 200))
    return gold, [Method("a", "", noisy), Method("b", "", rng.choice(2, 200))]


def test_figures_are_those_of_scikit_learn(drawn: tuple[Numbers, list[Method]]) -> None:
    from sklearn import metrics

    gold, methods = drawn
    found = compare(gold, methods, LABELS, [str(n) for n in range(200)])
    for method in methods:
        mine = found["methods"][method.name]
        answers, classes = method.answers, range(len(LABELS))
        wanted = metrics.precision_recall_fscore_support(gold, answers, labels=classes, zero_division=np.nan)
        assert metrics.accuracy_score(gold, answers) == pytest.approx(mine["accuracy"]["value"], abs=1e-12)
        assert metrics.confusion_matrix(gold, answers, labels=classes).tolist() == mine["confusion"]
        for at, label in enumerate(LABELS):
            for name, values in zip(("precision", "recall", "f1"), wanted, strict=False):
                value = mine["classes"][label][name]["value"]
                assert (None if np.isnan(values[at]) else pytest.approx(values[at], abs=1e-12)) == value
        for share in (mine["accuracy"], mine["macro"]["f1"], *(each["recall"] for each in mine["classes"].values())):
            low, high = share["interval_95"]
            assert 0 <= low <= share["value"] <= high <= 1
            assert high - low < 0.4


def test_mc_nemar_counts_what_just_one_has_right(drawn: tuple[Numbers, list[Method]]) -> None:
    gold, methods = drawn
    (pair,) = compare(gold, methods, LABELS, [str(n) for n in range(200)])["mcnemar"]
    one, other = (each.answers == gold for each in methods)
    assert (one & ~other).sum() == pair["only_one"]
    assert (other & ~one).sum() == pair["only_other"]
    assert pair["p"] < 0.001


def test_copies_of_an_image_count_once() -> None:
    gold, answers = np.repeat([0, 1] * 5, 4), np.zeros(40, int)

    def width(groups: list[str]) -> float:
        low, high = compare(gold, [Method("a", "", answers)], LABELS[:2], groups)["methods"]["a"]["accuracy"][
            "interval_95"
        ]
        return float(high - low)

    assert width([str(n // 4) for n in range(40)]) > 1.7 * width([str(n) for n in range(40)])


def test_the_best_that_text_alone_can_do_is_a_baseline() -> None:
    gold = np.array([0] * 23 + [1] * 15 + [0] * 3 + [1] * 10)
    has_text = np.array([True] * 38 + [False] * 13)
    majority, text = baselines(gold, has_text, ["toxic", "non_toxic"])
    assert "always toxic" == majority.what
    assert "toxic where there is text, non_toxic where there is none" == text.what
    # The predecessor's 51 memes: 26 and 33 of 51 (facts counted by hand).
    assert [26, 33] == [(gold == each.answers).sum() for each in (majority, text)]


def test_one_row_and_a_class_that_never_occurs_have_figures() -> None:
    found = compare(np.array([0]), [Method("a", "", np.array([0]))], LABELS, ["x"])["methods"]["a"]
    assert (1.0, 1) == (found["accuracy"]["value"], found["accuracy"]["n"])
    assert found["classes"]["other"]["f1"]["value"] is None
    assert [0.0, 1.0] == found["accuracy"]["interval_95"]


@pytest.mark.parametrize(
    ("share", "n", "expected"),
    [
        (0.575, 40, "57 %"),
        (0.5714, 999, "57 %"),
        (0.5714, 1000, "57.1 %"),
        (0.57144, 10_000, "57.14 %"),
        (0.0, 0, "0 %"),
    ],
)
def test_a_share_has_no_more_decimals_than_its_n_carries(share: float, n: int, expected: str) -> None:
    assert expected == carried(share, n)
