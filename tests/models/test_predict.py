from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL.Image import Image

from tasks.models.examples import Example
from tasks.models.label_sets import LabelSets
from tasks.models.predict import BatchTooLarge, Classifier, LookAt, open_classifier, predict_rows
from tasks.models.prompts import prompt_for
from tasks.models.tree import PromptTooLong
from tasks.storage.errors import PermanentError
from tasks.storage.schemas import PREDICTIONS
from tests.models.conftest import Toys
from tests.models.made import FAMILIES, MANY, ONE, adapter, cpu, example, image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images, and one that is cut off."""
    for row in range(5):
        image(40 + 10 * row, 60, seed=row).save(tmp_path / f"{row}.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "0.png").read_bytes()[:200])
    return tmp_path


def _classifier(base: Path, batch: int = 2, **options: Any) -> Classifier:
    return open_classifier(cpu(base, **options), MANY, prompt_for(MANY), batch)


def _rows(
    texts: Sequence[str] = ("a much longer text than the others", "", "nan", "four", "a red square"),
) -> list[Example]:
    return [example(10 + row, text, f"{row}.png", ("sexist",)) for row, text in enumerate(texts)]


class Counting:
    """A classifier that remembers what it was shown, and has room for so many rows."""

    sees = True
    name = "counting/1"
    label_sets = MANY

    def __init__(self, room: int, batch: int = 4, longest: int = 1_000) -> None:
        self.room, self.batch, self.longest = room, batch, longest
        self.shown: list[tuple[str, ...]] = []
        self.images: list[Image | None] = []

    halve = Classifier.halve

    def score(self, texts: Sequence[str], images: Sequence[Image | None]) -> Any:
        if len(texts) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if long := [at for at, text in enumerate(texts) if len(text) > self.longest]:
            raise PromptTooLong(long, self.longest)
        self.shown.append(tuple(texts))
        self.images += images
        return np.array([[-float(len(text))] * 8 for text in texts])


def _predict(classifier: Any, rows: Sequence[Example], folder: Path, **how: Any) -> list[dict[str, Any]]:
    return predict_rows(rows, folder, classifier, "score", how.pop("look_at", "both"), **how)


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_come_out_in_order_with_exact_probabilities(toys: Toys, folder: Path, name: str) -> None:
    classifier = _classifier(toys(name))
    found = predict_rows(_rows(), folder, classifier, "score", "both")
    table = pa.Table.from_pylist(found, PREDICTIONS.columns)
    assert [10, 11, 12, 13, 14] == table["row"].to_pylist()
    assert [None] * 5 == table["error"].to_pylist()
    for row in found:
        assert 8 == len(row["log_probabilities"])
        assert math.isclose(sum(map(math.exp, row["log_probabilities"])), row["valid"])
        assert list(MANY.sets[int(np.argmax(row["log_probabilities"]))]) == row["answer"]
        assert ["sexist"] == row["labels"]
    again = predict_rows(_rows()[2:3], folder, classifier, "score", "both")
    np.testing.assert_allclose(found[2]["log_probabilities"], again[0]["log_probabilities"], atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_generated_text_is_kept_and_what_cannot_be_read_is_a_failure(toys: Toys, folder: Path, name: str) -> None:
    found = predict_rows(_rows(), folder, _classifier(toys(name)), "generate", "both")
    table = pa.Table.from_pylist(found, PREDICTIONS.columns)
    assert [None] * 5 == table["answer"].to_pylist()  # random weights write no JSON
    assert [None] * 5 == table["log_probabilities"].to_pylist()
    assert [None] * 5 == table["error"].to_pylist()
    assert all("strict classifier" not in row["generated"] for row in found)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("[]", ()),
        ('["sexist"]', ("sexist",)),
        (' ["sexist", "racist"]\n', ("racist", "sexist")),
        ("", None),
        ("none", None),
        ("null", None),
        ('"sexist"', None),
        ('{"sexist": true}', None),
        ("['sexist']", None),
        ('["sexist"', None),
        ('["sexist"] because', None),
        ('The labels are ["racist", "sexist"]: []', None),
        ('["Sexist"]', None),
        ('["sexist", "sexist"]', None),
        ('["kind"]', None),
        ("[1]", None),
        ("[[]]", None),
        ("[" * 100_000, None),
    ],
)
def test_an_answer_is_one_array_of_known_labels_and_nothing_else(
    toys: Toys, text: str, parsed: tuple[str, ...] | None
) -> None:
    assert parsed == Classifier.parse(Counting(1), text)  # type: ignore[arg-type]


def test_an_allowed_answer_is_never_cut(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    room: list[int] = []

    def written(model: Any, family: Any, inputs: Any, most: int) -> list[str]:
        room.append(most)
        return [""]

    monkeypatch.setattr("tasks.models.predict.generate", written)
    long = LabelSets.these([[], ["разжигание ненависти", "призывы к насилию", "издевательство", "оскорбление"]])
    for sets in (ONE, long):
        classifier = open_classifier(cpu(toys("mistral")), sets, prompt_for(sets), 1)
        classifier.generate(["x"], [None])
    assert [64, classifier.tree.longest] == room
    assert 64 < room[-1]


def test_an_empty_array_is_a_failure_where_one_label_is_asked_for(toys: Toys) -> None:
    classifier = open_classifier(cpu(toys("mistral")), ONE, prompt_for(ONE), 1)
    assert classifier.parse("[]") is None
    assert ("toxic",) == classifier.parse('["toxic"]')
    assert classifier.parse('["toxic", "non_toxic"]') is None


def test_an_image_that_cannot_be_read_is_rejected_by_name_and_the_others_are_not(folder: Path) -> None:
    rows = [example(0, "a", "0.png"), example(1, "b", "cut.png"), example(2, "c", "none.png"), example(3, "d", "1.png")]
    rows.append(example(4, "e", "../outside.png"))
    found = _predict(Counting(9), rows, folder)
    assert [None, "damaged", "missing", None, "outside"] == [row["error"] for row in found]
    assert found[1]["message"].startswith(f"Row 1: {folder / 'cut.png'} is cut off or damaged")
    assert found[1]["log_probabilities"] is None
    assert [-1.0] * 8 == found[3]["log_probabilities"]


@pytest.mark.parametrize("look_at", ["both", "text", "image"])
def test_the_same_rows_are_rejected_whatever_the_model_looks_at(folder: Path, look_at: LookAt) -> None:
    rows = [example(0, "a", "0.png"), example(1, "b", "cut.png")]
    assert [None, "damaged"] == [row["error"] for row in _predict(Counting(9), rows, folder, look_at=look_at)]


def test_text_alone_is_shown_with_a_grey_image_and_an_image_alone_without_text(folder: Path) -> None:
    text, seen = Counting(9), Counting(9)
    _predict(text, [example(0, "a", "0.png"), example(1, "b")], folder, look_at="text")
    _predict(seen, [example(0, "a", "0.png")], folder, look_at="image")
    assert [("a", "b")] == text.shown
    assert [[(2 * 224 * 112, (128, 128, 128))]] * 2 == [each.getcolors() for each in text.images if each]
    assert [("",)] == seen.shown
    assert [(60, 40)] == [each.size for each in seen.images if each]


def test_a_model_of_text_alone_opens_no_image_and_cannot_look_at_one(toys: Toys, tmp_path: Path) -> None:
    classifier = _classifier(toys("mistral"))
    (row,) = _predict(classifier, [example(0, "a", "none.png")], tmp_path)
    assert row["error"] is None
    with pytest.raises(PermanentError, match="takes no images"):
        _predict(classifier, [example(0, "a")], tmp_path, look_at="image")


def test_rows_of_like_length_are_asked_together(folder: Path) -> None:
    classifier = Counting(9, batch=2)
    _predict(classifier, _rows(["aaaa", "a", "aaa", "", "aa"]), folder)
    assert [("", "a"), ("aa", "aaa"), ("aaaa",)] == classifier.shown


def test_half_the_batch_is_taken_where_the_gpu_has_no_room_and_it_is_said(folder: Path) -> None:
    classifier, said = Counting(room=2, batch=4), list[str]()
    found = _predict(classifier, _rows(["aaaa", "a", "aaa", "", "aa"]), folder, warn=said.append)
    assert [-4.0, -1.0, -3.0, 0.0, -2.0] == [row["log_probabilities"][0] for row in found]
    assert ["The GPU had no room for 4 rows at once: going on with 2."] == said
    assert [("", "a"), ("aa", "aaa"), ("aaaa",)] == classifier.shown


def test_the_batch_is_halved_until_it_fits_and_one_row_must(folder: Path) -> None:
    classifier, said = Counting(room=1, batch=7), list[str]()
    assert 5 == len(_predict(classifier, _rows(["aaaa", "a", "aaa", "", "aa"]), folder, warn=said.append))
    assert [(7, 3), (3, 1)] == [tuple(map(int, re.findall(r"\d+", each))) for each in said]
    assert 1 == classifier.batch
    with pytest.raises(BatchTooLarge, match=r"no room for a single row\. Take a larger GPU"):
        _predict(Counting(room=0, batch=2), _rows(), folder, warn=lambda said: None)


def test_a_prompt_that_is_too_long_is_rejected_and_the_others_are_not(folder: Path) -> None:
    found = _predict(Counting(9, longest=3), _rows(["aaaa", "a", "aaa", "aaaaa", "aa"]), folder)
    assert ["too-long", None, None, "too-long", None] == [row["error"] for row in found]
    assert "Row 13 has a prompt of more than 3 tokens" in found[3]["message"]
    assert [-1.0, -3.0, -2.0] == [found[at]["log_probabilities"][0] for at in (1, 2, 4)]
    everything = _predict(Counting(9, longest=0), _rows(["aaaa", "a", "b", "c", "d"]), folder)
    assert ["too-long"] * 5 == [row["error"] for row in everything]


def test_no_rows_are_no_rows(folder: Path) -> None:
    assert [] == _predict(Counting(9), [], folder)


def test_a_model_that_computes_no_numbers_is_refused(toys: Toys, folder: Path) -> None:
    classifier = _classifier(toys("mistral"))
    classifier._model.lm_head.weight.data.fill_(math.nan)
    with pytest.raises(PermanentError, match="computes no numbers"):
        _predict(classifier, _rows(), folder)


def test_a_name_differs_with_everything_that_an_answer_depends_on(toys: Toys, tmp_path: Path) -> None:
    base = toys("qwen2_vl")
    variants: list[dict[str, Any]] = [
        {},
        {"dtype": "bfloat16"},
        {"load_in_4bit": True},
        {"max_pixels": 84 * 84},
        {"adapter": adapter(tmp_path / "adapter", base)},
    ]
    names = {_classifier(base, **options).name for options in variants}
    names.add(open_classifier(cpu(base), ONE, prompt_for(ONE), 1).name)
    names.add(_classifier(toys("qwen2_5_vl")).name)
    assert 7 == len(names)
