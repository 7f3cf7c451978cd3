"""The report of an evaluation, read back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
import pytest

from tasks.scoring.baselines import constant_answers
from tasks.scoring.predictions import Predictions
from tasks.scoring.published import MMHS_TEST, published_for
from tasks.scoring.report import CountsDiffer, Evaluation, Model, worst_rows, write_report
from tasks.scoring.thresholds import Thresholds, tune
from tasks.scoring.verdict import compare
from tests.scoring.drawn import draw, every, one_of, predictions

MMHS = ("racist", "sexist", "homophobe", "religion", "otherhate")


def evaluated(**changed: Any) -> Evaluation:
    validation, test = draw(np.random.default_rng(1), 150), draw(np.random.default_rng(2), 200)
    test = replace(test, rejected=Counter({"damaged": 2, "no-label": 1}))
    thresholds = tune(validation, validation.space.labels, {})
    written = replace(test, probabilities=None, answer=np.where(np.arange(len(test)) % 10, test.answer, -1))
    models = [
        Model("adapter", "adapter", test, thresholds),
        *(
            Model(name, "constant", each, tune(None, test.space.labels, {}))
            for name, each in constant_answers(test.space, validation.truth, test).items()
        ),
        Model("adapter, as it writes", "written", written, thresholds),
    ]
    given: dict[str, Any] = {
        "title": "cats",
        "split": "test",
        "rows": len(test) + 3,
        "adapter": models[0],
        "others": models[1:],
        "validation": validation,
        "versions": {"prompt": "moderation/1@3f2a", "transformers": "5.23.0"},
        "reasons": {"damaged": "the image is cut off"},
    }
    return Evaluation(**{**given, **changed})


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_bytes())
    return found


def test_every_figure_has_its_n_its_interval_and_its_rule(tmp_path: Path) -> None:
    evaluation = evaluated()
    report = write_report(tmp_path, evaluation)
    figures = read(tmp_path)
    mine = figures["models"]["adapter"]
    assert "one threshold" == mine["metrics"]["f1_micro"]["rule"]
    for name in ("f1_micro", "f1_macro", "subset_accuracy", "hamming_loss", "auroc", "average_precision", "brier"):
        low, high = mine["metrics"][name]["interval_95"]
        assert 0 < low < mine["metrics"][name]["value"] < high < 1
    assert len(evaluation.adapter.predictions) == mine["n"]
    assert 200 == mine["groups"]
    assert 20 == len(mine["abstention"])
    page = report.html.read_text("utf-8")
    for text in ("always no label", "always all labels", "the most frequent answer", "as it writes", "not readable"):
        assert text in page
    assert "Label by label" in page
    assert 3 == page.count("<svg ")  # reliability, abstention, threshold


def test_what_a_reader_has_to_know_stands_before_the_figures(tmp_path: Path) -> None:
    report = write_report(tmp_path, evaluated(notes=["Nobody looked whether rows are the same."]))
    for text, figures in ((report.html.read_text("utf-8"), "All models"), (report.markdown, "| model |")):
        assert text.index("Nobody looked") < text.index(figures)
        assert 1 == text.count("Nobody looked")


def test_a_split_without_any_label_is_reported(tmp_path: Path) -> None:
    names = tuple(map(str, range(40)))
    silent = predictions(np.zeros((40, 3), bool), np.full((40, 3), 0.01), names, every())
    untuned = tune(None, silent.space.labels, {})
    constant = constant_answers(silent.space, silent.truth, silent)
    models = [
        Model("adapter", "adapter", silent, untuned),
        *(Model(name, "constant", each, untuned) for name, each in constant.items()),
    ]
    verdict = compare((silent, untuned), (silent, untuned))
    given = evaluated(adapter=models[0], others=models[1:], rows=40, validation=None, verdict=verdict)
    report = write_report(tmp_path, given)
    mine, others = (read(tmp_path)["models"][name] for name in ("adapter", "always all labels"))
    assert (None, 1.0) == tuple(mine["metrics"][name]["value"] for name in ("f1_micro", "subset_accuracy"))
    assert {"value": None, "interval_95": None} == others["adapter_is_better_by"]
    assert "F1 micro does not exist on these 40 rows" in report.html.read_text("utf-8")


def test_rows_in_are_rows_scored_plus_rows_rejected_by_reason(tmp_path: Path) -> None:
    evaluation = evaluated()
    write_report(tmp_path, evaluation)
    figures = read(tmp_path)
    assert figures["rows"] == figures["scored"] + sum(each["rows"] for each in figures["rejected"].values())
    assert {"rows": 2, "reason": "the image is cut off"} == figures["rejected"]["damaged"]
    assert "nothing can be right" in figures["rejected"]["no-label"]["reason"]
    with pytest.raises(CountsDiffer, match="Nothing was written"):
        write_report(tmp_path / "again", replace(evaluation, rows=evaluation.rows + 1))
    assert not (tmp_path / "again").exists()


def test_equal_predictions_give_equal_bytes(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        write_report(tmp_path / folder, evaluated())
    assert (tmp_path / "one" / "report.json").read_bytes() == (tmp_path / "other" / "report.json").read_bytes()
    assert (tmp_path / "one" / "report.html").read_bytes() == (tmp_path / "other" / "report.html").read_bytes()


def test_a_page_that_would_be_the_same_is_not_drawn_again(tmp_path: Path) -> None:
    given = evaluated()
    first = write_report(tmp_path, given)
    before = first.html.stat()
    write_report(tmp_path, given)
    assert before.st_ino == first.html.stat().st_ino
    write_report(tmp_path, replace(given, worst=[("data:image/jpeg;base64,", "says cat, is dog")]))
    assert "says cat, is dog" in first.html.read_text("utf-8")


def test_a_baseline_that_always_answers_nothing_has_the_figures_that_follow(tmp_path: Path) -> None:
    write_report(tmp_path, evaluated())
    figures = read(tmp_path)["models"]
    labels = figures["adapter"]["labels"]
    n = figures["adapter"]["n"]
    shares = [each["rows"] / n for each in labels.values()]
    nothing, everything = figures["always no label"]["metrics"], figures["always all labels"]["metrics"]
    assert pytest.approx(sum(shares) / 3) == nothing["hamming_loss"]["value"]
    assert 0 == nothing["f1_micro"]["value"]
    assert pytest.approx(2 * sum(shares) / (3 + sum(shares))) == everything["f1_micro"]["value"]
    assert 0.5 == nothing["auroc"]["value"]
    assert figures["always no label"]["adapter_is_better_by"]["interval_95"][0] > 0.4


def test_unread_answers_are_counted_with_their_interval(tmp_path: Path) -> None:
    write_report(tmp_path, evaluated())
    unread = read(tmp_path)["models"]["adapter, as it writes"]["unread"]
    assert pytest.approx(0.1, abs=0.01) == unread["share"]
    low, high = unread["interval_95"]
    assert low < 0.1 < high


def test_a_verdict_stands_first_and_a_toy_model_is_called_one(tmp_path: Path) -> None:
    evaluation = evaluated(toy=True)
    adapter, nothing = evaluation.adapter, next(iter(evaluation.others))
    verdict = compare((adapter.predictions, adapter.thresholds), (nothing.predictions, nothing.thresholds))
    report = write_report(tmp_path, replace(evaluation, verdict=verdict))
    page = report.html.read_text("utf-8")
    assert "Toy model: cats on test" in page
    assert page.index("A toy model") < page.index("Verdict: pass") < page.index("All models")
    assert "Verdict: **pass**" in report.markdown
    assert "Toy model" in report.markdown


def test_classes_that_exclude_each_other_get_a_confusion_matrix(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    shares = random.dirichlet([1, 1, 1], 90)
    truth = np.eye(3, dtype=bool)[[random.choice(3, p=each) for each in shares]]
    rows = predictions(truth, shares, tuple(map(str, range(90))), one_of())
    model = Model("adapter", "adapter", rows, tune(None, rows.space.labels, {}))
    report = write_report(tmp_path, evaluated(adapter=model, others=[], rows=90, validation=None))
    figures = read(tmp_path)
    right = sum(figures["confusion"][at][at] for at in range(3))
    assert 90 == sum(map(sum, figures["confusion"]))
    assert pytest.approx(right / 90) == figures["models"]["adapter"]["metrics"]["subset_accuracy"]["value"]
    assert "Accuracy" in report.html.read_text("utf-8")
    assert "threshold" not in report.html.read_text("utf-8").lower()


def test_the_worst_errors_are_those_whose_truth_was_held_least_likely() -> None:
    truth = np.array([[True, False, False], [False, True, False], [False, False, False], [True, False, False]])
    shares = np.array([[0.9, 0.1, 0.1], [0.9, 0.01, 0.1], [0.6, 0.1, 0.1], [0.1, 0.1, 0.2]])
    rows = predictions(truth, shares, ("a", "b", "c", "d"), every())
    found = worst_rows(rows, most=2)
    assert [1, 3] == [row for row, _ in found]
    assert found[0][1].startswith("says cat (0.8")
    assert "is dog (" in found[0][1]


def mmhs(n: int, shares: tuple[float, ...], labels: tuple[str, ...] = MMHS) -> Predictions:
    truth = np.zeros((n, 5), bool)
    for at, share in enumerate(shares):
        truth[: round(share * n), at] = True
    return predictions(truth, np.full((n, 5), 0.3), tuple(map(str, range(n))), every(labels))


def test_published_figures_are_shown_for_the_rows_that_they_were_made_on_alone(tmp_path: Path) -> None:
    test = mmhs(9_998, (0.392, 0.178, 0.127, 0.023, 0.241))
    assert MMHS_TEST == published_for("test", test)
    by_name = ("homophobe", "otherhate", "racist", "religion", "sexist")  # as finetune-lora finds them in a dataset
    assert MMHS_TEST == published_for("test", mmhs(9_998, (0.127, 0.241, 0.392, 0.023, 0.178), by_name))
    assert () == published_for("validation", test)
    assert () == published_for("test", mmhs(5_000, (0.392, 0.178, 0.127, 0.023, 0.241)))
    assert () == published_for("test", mmhs(9_998, (0.326, 0.12, 0.076, 0.015, 0.156)))  # another vote
    model = Model("adapter", "adapter", test, Thresholds(MMHS, 0.2, (0.2,) * 5, 10, {}))
    report = write_report(tmp_path, evaluated(adapter=model, others=[], rows=9_998, validation=None))
    assert "Published: PaliGemma 2 3B, LoRA" in report.html.read_text("utf-8")
    assert 3 == len(read(tmp_path)["published"])


def test_models_are_asked_for_one_after_the_other_and_let_go_of(tmp_path: Path) -> None:
    alive: WeakSet[Predictions] = WeakSet()
    test = evaluated().adapter.predictions

    def others() -> Iterator[Model]:
        for number in range(3):
            mine = replace(test)
            alive.add(mine)
            yield Model(f"model {number}", "previous", mine, tune(None, test.space.labels, {}))
            del mine
            assert len(alive) <= 1

    write_report(tmp_path, evaluated(others=others()))
    assert 4 == len(read(tmp_path)["models"])
