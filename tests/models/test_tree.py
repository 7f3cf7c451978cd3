"""The tree of answers against the answers one at a time, on real classes with random weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tasks.models.families.protocol import Family
from tasks.models.label_sets import LabelSets
from tasks.models.tree import AnswerTree, PromptTooLong, ScorerDisagrees, score, self_check, teacher_forced
from tasks.storage.errors import PermanentError
from tests.models.conftest import Toys
from tests.models.made import FAMILIES, MANY, ONE, SOME, TEXTS, images, load_toy, lora


def _both(model: Any, family: Family, label_sets: LabelSets) -> tuple[Tensor, Tensor]:
    tree = AnswerTree(label_sets, family)
    inputs = family.inputs(TEXTS, images(family, len(TEXTS)))
    return teacher_forced(model, family, inputs, tree), score(model, family, inputs, tree)


@pytest.mark.parametrize("label_sets", [MANY, ONE, SOME], ids=["many", "one", "some"])
@pytest.mark.parametrize("name", FAMILIES)
def test_scores_are_those_of_the_answers_one_at_a_time(toys: Toys, name: str, label_sets: LabelSets) -> None:
    loaded = load_toy(toys(name), label_sets)
    for weight in loaded.model.parameters():
        weight.data.mul_(2)  # as they come, all answers of one length are about as likely
    forced, scored = _both(loaded.model, loaded.family, label_sets)
    assert (len(TEXTS), len(label_sets.sets)) == tuple(scored.shape)
    assert torch.float64 == scored.dtype
    torch.testing.assert_close(scored, forced, atol=1e-4, rtol=0)
    assert (scored.exp().sum(1) <= 1).all()
    assert float(scored.std(1).min()) > 0.1


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_under_an_adapter_are_those_of_the_answers_one_at_a_time(toys: Toys, name: str) -> None:
    loaded = load_toy(toys(name))
    _, before = _both(loaded.model, loaded.family, MANY)
    adapted = lora(loaded.model, loaded.family)
    forced, scored = _both(adapted, loaded.family, MANY)
    torch.testing.assert_close(scored, forced, atol=1e-4, rtol=0)
    assert float((scored - before).abs().max()) > 0.1


@pytest.mark.parametrize("name", FAMILIES)
def test_a_row_scores_the_same_alone_and_in_a_batch(toys: Toys, name: str) -> None:
    loaded = load_toy(toys(name))
    family, tree = loaded.family, AnswerTree(MANY, loaded.family)
    seen = images(family, len(TEXTS))
    together = score(loaded.model, family, family.inputs(TEXTS, seen), tree)
    alone = [
        score(loaded.model, family, family.inputs([text], [one]), tree) for text, one in zip(TEXTS, seen, strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=0)


def test_one_allowed_answer_is_scored_too(toys: Toys) -> None:
    only = LabelSets(("red",), (("red",),))
    loaded = load_toy(toys("mistral"), only)
    forced, scored = _both(loaded.model, loaded.family, only)
    torch.testing.assert_close(scored, forced, atol=1e-4, rtol=0)


def test_answers_share_their_beginnings(toys: Toys) -> None:
    family = load_toy(toys("qwen2_vl")).family
    tree = AnswerTree(LabelSets.every(list("abcde")), family)
    assert len(tree.tokens) < sum(map(len, tree.sequences)) / 2
    assert 32 == len({tuple(tokens) for tokens in tree.sequences})


def test_answers_that_are_the_same_tokens_are_refused(toys: Toys) -> None:
    family = load_toy(toys("mistral")).family
    family.answer_tokens = lambda answer: [5, 6, family.eos]  # type: ignore[method-assign]
    with pytest.raises(PermanentError, match="cannot tell all answers apart"):
        AnswerTree(ONE, family)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_self_check_passes_in_both_precisions(toys: Toys, name: str) -> None:
    for dtype, most in (("float32", 1e-4), ("bfloat16", 0.1)):
        loaded = load_toy(toys(name), dtype=dtype)
        tree = AnswerTree(MANY, loaded.family)
        difference = self_check(loaded.model, loaded.family, TEXTS[:2], images(loaded.family, 2), tree)
        assert 0 <= difference < most


@pytest.mark.parametrize("name", FAMILIES)
def test_a_self_check_finds_answers_in_the_wrong_place(toys: Toys, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_toy(toys(name))
    family = loaded.family
    right = family.positions
    monkeypatch.setattr(family, "positions", lambda *args: (right(*args)[0], right(*args)[1] + 40))
    with pytest.raises(ScorerDisagrees, match=r"rounding of torch\.float32 explains"):
        self_check(loaded.model, family, TEXTS[:2], images(family, 2), AnswerTree(MANY, family))


def test_a_prompt_that_the_model_has_no_room_for_is_named(toys: Toys) -> None:
    loaded = load_toy(toys("mistral"))
    loaded.model.config.max_position_embeddings = 300
    inputs = loaded.family.inputs(["short", "long " * 300, "short"], [None] * 3)
    with pytest.raises(PromptTooLong, match="all that the model has room for") as raised:
        score(loaded.model, loaded.family, inputs, AnswerTree(MANY, loaded.family))
    assert (1,) == raised.value.at
