from __future__ import annotations

from typing import Any

import pytest

from tasks.models.label_sets import LabelSets
from tasks.models.prompts import Prompt, prompt_for
from tasks.storage.errors import PermanentError
from tests.models.conftest import Toys
from tests.models.made import FAMILIES, MANY, SEEING, TEXTS, image, images, load_toy


def _tokenizer(family: Any) -> Any:
    return getattr(family.processor, "tokenizer", family.processor)


def _prompts(family: Any, inputs: Any) -> list[str]:
    kept = [ids[mask.bool()] for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]
    return [_tokenizer(family).decode(ids) for ids in kept]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_prompt_holds_the_question_and_the_row_and_ends_where_the_answer_begins(toys: Toys, name: str) -> None:
    family = load_toy(toys(name)).family
    inputs = family.inputs(["nan", "a red square"], images(family, 2))
    first, second = _prompts(family, inputs)
    assert '["racist", "sexist", "homophobe"]' in first
    assert "nan" in first
    assert "a red square" in second
    assert (inputs["attention_mask"][:, -1] == 1).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_an_empty_text_puts_no_word_into_the_prompt(toys: Toys, name: str) -> None:
    family = load_toy(toys(name)).family
    (prompt,) = _prompts(family, family.inputs([""], images(family, 1)))
    assert "nan" not in prompt.lower()
    assert "None" not in prompt


@pytest.mark.parametrize("name", FAMILIES)
def test_an_answer_ends_with_the_token_that_ends_a_turn_and_with_no_other_special_one(toys: Toys, name: str) -> None:
    family = load_toy(toys(name)).family
    tokens = family.answer_tokens('["racist", "sexist"]')
    assert tokens[-1] == family.eos
    assert '["racist", "sexist"]' == _tokenizer(family).decode(tokens[:-1]).strip()
    assert family.eos not in tokens[:-1]


@pytest.mark.parametrize("name", SEEING)
def test_a_text_cannot_add_an_image_or_end_its_turn(toys: Toys, name: str) -> None:
    family = load_toy(toys(name)).family
    tokenizer = _tokenizer(family)
    plain, hostile = (
        family.inputs([text], [image()])["input_ids"][0].tolist() for text in ("word", "word " + " ".join(TEXTS[3:]))
    )
    for token in ("<image>", "<|image_pad|>", "<|im_end|>", "<|vision_start|>", "<end_of_utterance>", "<eos>"):
        number = tokenizer.convert_tokens_to_ids(token)
        if number in tokenizer.added_tokens_decoder:
            assert plain.count(number) == hostile.count(number), token


@pytest.mark.parametrize("name", FAMILIES)
def test_a_label_with_a_special_token_is_refused(toys: Toys, name: str) -> None:
    family = load_toy(toys(name)).family
    token = str(_tokenizer(family).eos_token)
    with pytest.raises(PermanentError, match="special token"):
        family.answer_tokens(f'["{token}"]')


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl"])
def test_a_budget_of_pixels_bounds_the_tokens_of_an_image(toys: Toys, name: str) -> None:
    small, large = (
        load_toy(toys(name), min_pixels=28 * 28, max_pixels=side * side).family.inputs([""], [image(500, 500)])
        for side in (56, 112)
    )
    assert (4, 16) == tuple(int(inputs["image_grid_thw"].prod()) // 4 for inputs in (small, large))


@pytest.mark.parametrize("name", SEEING)
def test_every_shape_of_image_that_is_opened_is_taken(toys: Toys, name: str) -> None:
    from tasks.pictures.decode import MAX_ASPECT, MIN_SIDE

    family = load_toy(toys(name)).family
    long = MAX_ASPECT * MIN_SIDE
    inputs = family.inputs(["", "", ""], [image(MIN_SIDE, MIN_SIDE), image(MIN_SIDE, long), image(long, MIN_SIDE)])
    assert 3 == len(inputs["input_ids"])


def test_smolvlm_takes_the_root_of_a_budget_as_the_longest_side(toys: Toys) -> None:
    squares = [
        load_toy(toys("smolvlm"), max_pixels=side * side).family.inputs([""], [image(90, 90)])["pixel_values"].shape[1]
        for side in (16, 64)
    ]
    assert [1, 5] == squares


@pytest.mark.parametrize(("name", "message"), [("paligemma", "one size"), ("mistral", "no images")])
def test_a_family_without_a_budget_refuses_one(toys: Toys, name: str, message: str) -> None:
    with pytest.raises(PermanentError, match=message):
        load_toy(toys(name), max_pixels=1_000)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_known_before_its_model_is_loaded(toys: Toys, name: str) -> None:
    from tasks.models.load import find

    assert load_toy(toys(name)).family.name == find(str(toys(name))).family


def test_a_model_without_a_chat_template_is_refused(toys: Toys) -> None:
    from transformers import AutoTokenizer

    from tasks.models.families import make_family

    tokenizer = AutoTokenizer.from_pretrained(toys("mistral"))
    tokenizer.chat_template = None
    with pytest.raises(PermanentError, match="instruct version"):
        make_family("mistral", tokenizer, prompt_for(MANY))


@pytest.mark.parametrize("template", ["{{ raise_exception('no') }}", ""])
def test_where_a_template_has_no_turn_for_the_system_its_words_stand_before_the_user(toys: Toys, template: str) -> None:
    from transformers import AutoTokenizer

    from tasks.models.families import make_family

    tokenizer = AutoTokenizer.from_pretrained(toys("mistral"))
    tokenizer.chat_template = (
        "{% for message in messages %}{% if message.role == 'system' %}"
        + template
        + "{% elif message.role == 'user' %}"
        "[INST] {{ message.content }}[/INST]{% else %} {{ message.content }}</s>{% endif %}{% endfor %}"
    )
    family = make_family("mistral", tokenizer, Prompt("p/1", "Judge.", "Text: {text}"))
    (prompt,) = _prompts(family, family.inputs(["hello"], [None]))
    assert "[INST] Judge.\n\nText: hello[/INST]" == prompt.strip()


def test_a_prompt_says_whether_one_some_or_no_label_may_be_given() -> None:
    from tasks.models.prompts import RUSSIAN_MODERATION

    assert "exactly one label" in prompt_for(LabelSets.one_of(["a", "b"])).system
    assert "nothing ([])" in prompt_for(LabelSets.every(["a", "b"])).system
    some = prompt_for(LabelSets(("a", "b"), (("a",), ("a", "b")))).system
    assert "every label that applies" in some
    assert "nothing ([])" not in some
    assert '["токсичный"]' in prompt_for(LabelSets.every(["токсичный"]), RUSSIAN_MODERATION).system


def test_prompts_of_one_name_and_other_labels_have_other_keys() -> None:
    first, second = (prompt_for(LabelSets.every([label])) for label in "ab")
    assert first.name == second.name
    assert first.key != second.key
