from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.scoring import metrics
from tasks.scoring.figures import rule_of
from tasks.scoring.metrics import Tally
from tasks.scoring.predictions import Predictions, from_marginals
from tasks.scoring.thresholds import Thresholds, decide
from tasks.scoring.verdict import OtherRows, Verdict, compare, mcnemar
from tests.scoring.drawn import draw, every, predictions

THRESHOLDS = Thresholds(("label 0", "label 1", "label 2"), 0.5, (0.5, 0.5, 0.5), 100, {})


def worse(model: Predictions, spoiled: int, seed: int = 0) -> Predictions:
    """The same model, whose probabilities of some rows are those of other rows."""
    random = np.random.default_rng(seed)
    rows = random.choice(len(model), spoiled, replace=False)
    posterior = from_marginals(model.marginals, model.space)
    posterior[rows] = posterior[random.permutation(len(model))[:spoiled]]
    return model.instead(posterior)


def judged(new: Predictions, old: Predictions, minimal: float = 0.0) -> Verdict:
    return compare((new, THRESHOLDS), (old, THRESHOLDS), "f1_micro", minimal)


def f1_micro(model: Predictions) -> float:
    tally = metrics.tally(model.true_labels, decide(model, rule_of("f1_micro", model), THRESHOLDS))
    return float(metrics.f1_micro(Tally.read(tally.columns().sum(axis=0, keepdims=True)))[0])


def test_a_better_model_passes_a_worse_one_fails_and_few_rows_tell_nothing() -> None:
    good = draw(np.random.default_rng(1), 1_000)
    bad = worse(good, 600)
    assert "pass" == judged(good, bad).outcome
    assert "fail" == judged(bad, good).outcome
    few = np.arange(40)
    verdict = judged(bad.at(few), good.at(few), minimal=-0.15)
    assert "not enough evidence" == verdict.outcome
    assert verdict.rows_needed is not None
    assert "about" in str(verdict)


def test_the_same_model_twice_is_not_enough_evidence_and_has_no_n() -> None:
    model = draw(np.random.default_rng(2), 200)
    verdict = judged(model, model)
    assert "not enough evidence" == verdict.outcome
    assert (None, None) == (verdict.rows_needed, verdict.detectable)  # no row differs, so nothing says how rows vary
    assert "F1 micro +0.0000 (" in str(verdict)
    assert 1.0 == verdict.mcnemar.p
    value, low, high = verdict.differences["f1_micro"]
    assert (0.0, -high) == (value, low)
    assert 0 < high < 0.03


def test_where_nothing_is_true_and_nothing_predicted_there_is_no_evidence() -> None:
    silent = predictions(np.zeros((30, 3), bool), np.full((30, 3), 0.01), tuple(map(str, range(30))), every())
    verdict = judged(silent, silent)
    assert ("not enough evidence", None, None) == (verdict.outcome, verdict.rows_needed, verdict.detectable)
    assert "F1 micro does not exist on these 30 rows" in str(verdict)
    assert {"value": None, "interval_95": None} == verdict.plain()["differences"]["f1_micro"]
    assert 0.0 == verdict.differences["subset_accuracy"].value


def test_the_least_difference_asked_for_moves_the_bar() -> None:
    good = draw(np.random.default_rng(3), 1_000)
    bad = worse(good, 400)
    gap = judged(good, bad).differences["f1_micro"].value
    assert "fail" == judged(good, bad, minimal=gap + 0.1).outcome
    assert "pass" == judged(bad, good, minimal=-gap - 0.1).outcome


def test_about_the_n_that_is_named_shows_the_difference_in_80_of_100_test_sets() -> None:
    random = np.random.default_rng(5)
    population = draw(random, 60_000, most=1, alike=0)
    other = worse(population, 6_000)
    start = np.sort(random.choice(len(population), 3_000, replace=False))
    gap = f1_micro(population) - f1_micro(other)
    spread = judged(population.at(start), other.at(start)).detectable
    assert spread is not None
    rows = int(3_000 * (spread / gap) ** 2)
    passed = [
        "pass" == judged(population.at(some), other.at(some)).outcome
        for some in (np.sort(random.choice(len(population), rows, replace=False)) for _ in range(30))
    ]
    assert pytest.approx(0.8, abs=0.2) == np.mean(passed)


def test_what_few_groups_cannot_tell_is_not_said_to_be_shown_by_as_many_rows() -> None:
    told = []
    for seed in range(40):
        model = draw(np.random.default_rng(seed), 8 + seed % 9)
        verdict = compare((worse(model, 4, seed), THRESHOLDS), (model, THRESHOLDS), "f1_macro")
        value, _, high = verdict.differences["f1_macro"]
        if verdict.detectable is not None:
            assert verdict.detectable > high - value
            if verdict.rows_needed is not None:
                told.append(verdict.outcome)
                assert (verdict.outcome == "not enough evidence") <= (verdict.rows_needed > verdict.n)
    assert "not enough evidence" in told


def test_a_verdict_holds_no_floats_of_every_count_of_every_row() -> None:
    model = draw(np.random.default_rng(10), 20_000, most=1)
    tracemalloc.start()
    judged(model, model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000 * len(model)  # 88 counts, each once as a float, would be 704 beside all else


def test_rows_that_only_one_could_be_scored_on_are_left_out_and_counted() -> None:
    model = draw(np.random.default_rng(6), 100)
    verdict = judged(model, model.at(model.rows[5:]))
    assert (len(model) - 5, 5) == (verdict.n, verdict.only_one)


def test_models_that_were_asked_something_else_are_not_compared() -> None:
    model = draw(np.random.default_rng(7), 50)
    with pytest.raises(OtherRows, match="no row in common"):
        judged(model, replace(model, rows=model.rows + 1_000))
    with pytest.raises(OtherRows, match="other labels for the two models"):
        judged(model, replace(model, truth=(model.truth + 1) % 8))
    with pytest.raises(OtherRows, match="other labels or groups"):
        judged(model, replace(model, groups=pa.array([f"{group}?" for group in model.groups])))


@given(st.integers(0, 60), st.integers(0, 60))
def test_exact_mcnemar_is_the_binomial_test(only_new: int, only_old: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    new = np.array([True] * only_new + [False] * only_old + [True])
    old = np.array([False] * only_new + [True] * only_old + [True])
    found = mcnemar(new, old, np.arange(len(new)))
    expected = stats.binomtest(only_new, only_new + only_old).pvalue if only_new + only_old else 1.0
    assert (only_new, only_old, "exact McNemar test") == (found.only_new, found.only_old, found.how)
    assert pytest.approx(expected, abs=1e-12) == found.p


def test_mcnemar_of_rows_that_come_in_groups_is_not_fooled_by_copies() -> None:
    random = np.random.default_rng(8)
    apart = random.random(60) < 0.65  # what 60 images say; a fair coin would not be far off
    alone = mcnemar(apart, ~apart, np.arange(60))
    copies = mcnemar(np.repeat(apart, 5), np.repeat(~apart, 5), np.arange(300) // 5)
    assert 5 * alone.only_new == copies.only_new
    assert pytest.approx(alone.p, rel=0.5) == copies.p
    assert mcnemar(np.repeat(apart, 5), np.repeat(~apart, 5), np.arange(300)).p < copies.p / 50


def test_when_nothing_differs_a_wrong_pass_is_rare() -> None:
    random, passed, sets = np.random.default_rng(9), 0, 100
    for _ in range(sets):
        truth = random.random((200, 3)) < 0.4
        one, other = (
            predictions(
                truth, np.clip(truth * 0.3 + 0.7 * random.random((200, 3)), 0, 1), tuple(map(str, range(200))), SPACE
            )
            for _ in range(2)
        )
        passed += "pass" == judged(one, other).outcome
    assert passed / sets <= 0.06


def test_when_nothing_differs_few_unequal_groups_seldom_say_that_something_does() -> None:
    # Quantiles of draws said so of 8 %.
    random, apart, sets = np.random.default_rng(10), 0, 400
    for _ in range(sets):
        sizes = np.minimum(1 + random.pareto(1.2, 17).astype(int), 30)
        groups = np.repeat(np.arange(17), sizes)
        truth = random.random((17, 3))[groups] + random.random((len(groups), 3)) < 0.8
        one, other = (
            predictions(
                truth,
                np.clip(truth * 0.3 + 0.35 * (random.random((17, 3))[groups] + random.random((len(groups), 3))), 0, 1),
                tuple(map(str, groups)),
                SPACE,
            )
            for _ in range(2)
        )
        _, low, high = judged(one, other).differences["f1_macro"]
        apart += not low <= 0 <= high
    assert apart / sets <= 0.06


SPACE = draw(np.random.default_rng(0), 2).space
