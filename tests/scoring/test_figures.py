"""All figures of a model, held against scikit-learn and against each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.scoring.figures import measure
from tasks.scoring.predictions import Predictions, from_marginals
from tasks.scoring.thresholds import Thresholds
from tests.scoring.drawn import draw, every, one_of, predictions

sklearn: Any = pytest.importorskip("sklearn.metrics")
THRESHOLDS = Thresholds(("label 0", "label 1", "label 2"), 0.4, (0.3, 0.4, 0.5), 100, {})


@pytest.fixture(scope="module")
def model() -> Predictions:
    return draw(np.random.default_rng(11), 250)


def test_every_figure_is_that_of_scikit_learn_under_its_rule(model: Predictions) -> None:
    found = measure(model, THRESHOLDS)["metrics"]
    truth, likely = model.true_labels, model.marginals
    one, each = likely > 0.4, likely > [0.3, 0.4, 0.5]
    expected = {
        "f1_micro": sklearn.f1_score(truth, one, average="micro"),
        "f1_macro": sklearn.f1_score(truth, each, average="macro"),
        "subset_accuracy": np.mean(model.answer == model.truth),
        "hamming_loss": sklearn.hamming_loss(truth, likely > 0.5),
        "auroc": sklearn.roc_auc_score(truth, likely, average="macro"),
        "average_precision": sklearn.average_precision_score(truth, likely, average="macro"),
        "brier": np.mean([sklearn.brier_score_loss(truth[:, at], likely[:, at]) for at in range(3)]),
        "log_loss": sklearn.log_loss(model.truth, from_marginals(likely, model.space), labels=range(8)),
    }
    assert pytest.approx(expected, abs=1e-12) == {name: found[name]["value"] for name in expected}
    for name, each_found in found.items():
        low, high = each_found["interval_95"]
        assert low < each_found["value"] < high, name


def test_where_there_is_one_label_per_row_all_follows_from_the_likeliest_class() -> None:
    random = np.random.default_rng(12)
    shares = random.dirichlet([1, 1, 1], 200)
    truth = np.eye(3, dtype=bool)[[random.choice(3, p=each) for each in shares]]
    rows = predictions(truth, shares, tuple(map(str, range(200))), one_of())
    found = measure(rows, THRESHOLDS)["metrics"]
    right, said = truth.argmax(axis=1), shares.argmax(axis=1)
    assert pytest.approx(sklearn.accuracy_score(right, said)) == found["subset_accuracy"]["value"]
    assert pytest.approx(found["subset_accuracy"]["interval_95"], abs=1e-3) == found["f1_micro"]["interval_95"]
    assert pytest.approx(sklearn.f1_score(right, said, average="macro")) == found["f1_macro"]["value"]
    assert pytest.approx(sklearn.roc_auc_score(right, shares, multi_class="ovr")) == found["auroc"]["value"]


def test_each_label_says_in_how_many_groups_it_is_true(model: Predictions) -> None:
    found = measure(model, THRESHOLDS)["labels"]
    for label, true in zip(model.space.labels, model.true_labels.T, strict=True):
        groups = {group for group, is_true in zip(model.groups.to_pylist(), true, strict=True) if is_true}
        assert (len(groups), int(true.sum())) == (found[label]["groups"], found[label]["rows"])


def test_a_label_that_is_nowhere_has_no_figure_and_is_left_out_of_the_means() -> None:
    truth = np.array([[True, False, False], [False, True, False]] * 20)
    likely = np.array([[0.8, 0.2, 0.1], [0.3, 0.6, 0.1]] * 20)
    found = measure(predictions(truth, likely, tuple(map(str, range(40))), every()), THRESHOLDS)
    assert {"value": None, "interval_95": None} == found["labels"]["bird"]["f1"]
    assert 1.0 == found["metrics"]["f1_macro"]["value"]
    low, high = found["metrics"]["f1_macro"]["interval_95"]
    share = 0.025 ** (1 / 20)  # of right answers, at least; both labels might err together
    assert (pytest.approx(2 * share / (1 + share), abs=0.01), pytest.approx(1.0)) == (low, high)


def test_rows_of_one_group_count_as_one_draw(model: Predictions) -> None:
    five = replace(model.take(np.tile(np.arange(len(model)), 5)), rows=np.arange(5 * len(model)))
    alone, copies = (measure(each, THRESHOLDS)["metrics"]["auroc"] for each in (model, five))
    assert pytest.approx(alone["value"]) == copies["value"]
    assert pytest.approx(alone["interval_95"], abs=0.01) == copies["interval_95"]


def test_rows_of_a_single_group_have_figures_and_intervals_that_promise_next_to_nothing(model: Predictions) -> None:
    found = measure(replace(model, groups=pa.array(["one"] * len(model))), THRESHOLDS)["metrics"]
    many = measure(model, THRESHOLDS)["metrics"]
    assert pytest.approx({name: each["value"] for name, each in many.items()}) == {
        name: each["value"] for name, each in found.items()
    }
    assert found.pop("log_loss")["interval_95"] is None
    assert all(high - low > 0.9 for low, high in (each["interval_95"] for each in found.values()))


def test_written_answers_have_figures_of_decisions_alone(model: Predictions) -> None:
    written = replace(model, probabilities=None, answer=np.where(np.arange(len(model)) % 4, model.answer, -1))
    found = measure(written, THRESHOLDS)
    assert {"f1_micro", "f1_macro", "subset_accuracy", "hamming_loss"} == set(found["metrics"])
    assert "written answer" == found["metrics"]["f1_micro"]["rule"]
    right = (written.answer == written.truth) & (written.answer >= 0)
    # What cannot be read counts as no label, which is right where there is none.
    nothing = (written.answer < 0) & (written.truth == 0)
    assert pytest.approx(np.mean(right | nothing)) == found["metrics"]["subset_accuracy"]["value"]
