from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.models.adapter import BadAdapter
from tasks.models.families import make_family
from tasks.models.families.chat import Chat
from tasks.models.generate import Sampling, generate_chat
from tasks.models.load import BadModel, LoadedChat, load_chat
from tasks.models.messages import BadConversation
from tasks.models.prompts import CONVERSATION, Prompt
from tasks.storage.errors import PermanentError
from tests.models.conftest import Toys
from tests.models.made import adapter, cpu

CHATS = ["mistral", "qwen2"]
ONE = [{"role": "user", "content": "gato, lunes"}, {"role": "assistant", "content": "Un gato en lunes."}]
MORE = [*ONE, {"role": "user", "content": "otra"}, {"role": "assistant", "content": "Dos gatos."}]
SYSTEM = [{"role": "system", "content": "Eres comico."}]


def _load(folder: Path) -> LoadedChat:
    return load_chat(cpu(folder))


@pytest.mark.parametrize("name", CHATS)
@pytest.mark.parametrize("messages", [ONE, MORE, [*SYSTEM, *MORE]], ids=["one turn", "two turns", "with a system"])
def test_every_answer_and_the_token_that_ends_it_are_said_and_nothing_else(
    toys: Toys, name: str, messages: list[dict[str, str]]
) -> None:
    family = _load(toys(name)).family
    tokens, said = family.answered(messages)
    runs = np.split(np.array(tokens), np.flatnonzero(np.diff(said)) + 1)
    answers = [each["content"] for each in messages if each["role"] == "assistant"]
    spoken = [run.tolist() for at, run in enumerate(runs) if at % 2]
    assert answers == [family.processor.decode(run[:-1]).strip() for run in spoken]
    assert [family.eos] * len(answers) == [run[-1] for run in spoken]
    assert not said[0]


@pytest.mark.parametrize("name", CHATS)
def test_a_conversation_is_taught_with_the_tokens_that_it_is_asked_with(toys: Toys, name: str) -> None:
    family = _load(toys(name)).family
    for end in (2, 4):
        asked = family.asked([MORE[: end - 1]])["input_ids"][0].tolist()
        assert asked == family.answered(MORE).tokens[: len(asked)]


@pytest.mark.parametrize("name", CHATS)
def test_the_words_of_a_system_are_in_the_conversation_whatever_the_template(toys: Toys, name: str) -> None:
    family = _load(toys(name)).family
    folded = make_family(name, _without_system(family.processor), CONVERSATION)
    assert isinstance(folded, Chat)
    for each in (family, folded):
        assert "comico" in each.processor.decode(each.answered([*SYSTEM, *ONE]).tokens)
    prompt = folded.processor.decode(folded.asked([[*SYSTEM, ONE[0]]])["input_ids"][0])
    assert "Eres comico.\n\ngato, lunes" in prompt


def _without_system(tokenizer: Any) -> Any:
    tokenizer.chat_template = (
        "{% for message in messages %}{% if message.role == 'system' %}{{ raise_exception('no system') }}"
        "{% elif message.role == 'user' %}Q {{ message.content }}{% else %} {{ message.content + eos_token }}"
        "{% endif %}{% endfor %}"
    )
    return tokenizer


def test_a_text_is_written_beyond_a_sliding_window(toys: Toys, tmp_path: Path) -> None:
    base = shutil.copytree(toys("mistral"), tmp_path / "base")
    config = json.loads((base / "config.json").read_bytes())
    (base / "config.json").write_text(json.dumps(config | {"sliding_window": 16}))
    model, family, *_ = _load(base)
    asked = [{"role": "user", "content": "gato, lunes, perro, martes, queso, jueves, luna"}]
    (written,) = generate_chat(model, family, [asked], Sampling(max_new_tokens=8))
    tokens = family.asked([asked])["input_ids"]
    assert tokens.shape[1] > 16
    for _ in range(written.completion_tokens):
        with torch.inference_mode():
            tokens = torch.cat([tokens, model(tokens, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    assert family.processor.decode(tokens[0, written.prompt_tokens :], skip_special_tokens=True).strip() == written.text


# As Qwen 3 has it, and Llama 3.2.
THINKS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
_TURNS = "{% for message in messages %}<|im_start|>{{ message.content }}<|im_end|>{% endfor %}"
# As Llama 3.2 asks the clock, SmolLM3, Granite and Mistral Small.
DATED = {
    "26 Jul 2024": "{% if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% endif %}{% endif %}{{ date_string }}",
    "26 July 2024": '{%- set today = strftime_now("%d %B %Y") -%}\n{{ today }}',
    "July 26, 2024": "{{ strftime_now( format = '%B %d, %Y' ) }}",
    "2024-07-25": '{% set today = strftime_now("%Y-%m-%d") %}{{ today[:8] ~ (strftime_now("%d")|int - 1) }}',
}


def test_a_model_that_can_think_answers_at_once(toys: Toys) -> None:
    tokenizer = _load(toys("qwen2")).family.processor
    tokenizer.chat_template = THINKS
    family = Chat(tokenizer, CONVERSATION, None, None)
    assert family.written("gato").endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert '["gato"]<|im_end|>' == tokenizer.decode(family.answer_tokens('["gato"]'))
    tokens, said = family.answered(ONE)
    assert "Un gato en lunes.<|im_end|>" == tokenizer.decode(np.array(tokens)[said])


def test_answers_that_a_template_rewrites_later_are_taught_one_by_one_as_they_are_asked(toys: Toys) -> None:
    tokenizer = _load(toys("qwen2")).family.processor
    assert [MORE] == Chat(tokenizer, CONVERSATION, None, None).lessons(MORE)
    tokenizer.chat_template = THINKS
    family = Chat(tokenizer, CONVERSATION, None, None)
    talk = [*SYSTEM, *MORE]
    lessons = family.lessons(talk)
    assert [talk[:3], talk] == lessons
    for messages, answer in zip(lessons, ("Un gato en lunes.", "Dos gatos."), strict=True):
        tokens, said = family.answered(messages)
        asked = family.asked([messages[:-1]])["input_ids"][0].tolist()
        assert asked == tokens[: said.index(True)]
        assert f"{answer}<|im_end|>" == tokenizer.decode(np.array(tokens)[said])


@pytest.mark.parametrize("day", DATED)
def test_a_prompt_does_not_change_overnight(toys: Toys, day: str, tmp_path: Path) -> None:
    tokenizer = _load(toys("qwen2")).family.processor
    tokenizer.chat_template = DATED[day] + _TURNS
    family = Chat(tokenizer, CONVERSATION, None, None)
    assert f"{day}<|im_start|>gato<|im_end|>" == family.written("gato")
    tokenizer.save_pretrained(tmp_path)
    told = type(tokenizer).from_pretrained(tmp_path).apply_chat_template(ONE[:1], **family.settings, tokenize=False)
    assert f"{day}<|im_start|>gato, lunes<|im_end|>" == told


def test_of_several_templates_none_asks_the_clock(toys: Toys) -> None:
    tokenizer = _load(toys("qwen2")).family.processor
    tokenizer.chat_template = {"default": DATED["26 July 2024"] + _TURNS, "tool_use": DATED["2024-07-25"] + _TURNS}
    assert Chat(tokenizer, CONVERSATION, None, None).written("gato").startswith("26 July 2024<")
    assert "strftime_now" not in str(tokenizer.chat_template)


def test_a_clock_that_cannot_be_held_is_refused(toys: Toys) -> None:
    tokenizer = _load(toys("qwen2")).family.processor
    tokenizer.chat_template = "{% set how = '%d' %}{{ strftime_now(how) }}" + _TURNS
    with pytest.raises(PermanentError, match="what day it is"):
        Chat(tokenizer, CONVERSATION, None, None)


@pytest.mark.parametrize("template", [THINKS, DATED["26 Jul 2024"] + _TURNS])
def test_its_settings_write_the_prompt_elsewhere_as_it_was_taught(toys: Toys, template: str) -> None:
    tokenizer = _load(toys("qwen2")).family.processor
    tokenizer.chat_template = template
    family = Chat(tokenizer, CONVERSATION, None, None)
    asked = tokenizer.apply_chat_template(ONE[:1], add_generation_prompt=True, **family.settings)["input_ids"]
    assert family.asked([ONE[:1]])["input_ids"][0].tolist() == asked


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (None, "no-messages"),
        ([], "no-messages"),
        (ONE[:1], "turns"),
        ([ONE[1]], "turns"),
        ([*ONE, ONE[1]], "turns"),
        ([*ONE, *SYSTEM, *ONE], "turns"),
        (SYSTEM, "turns"),
        ([{"role": "tool", "content": "x"}, *ONE], "role"),
        ([ONE[0], {"role": "assistant", "content": " "}], "no-text"),
        ([ONE[0], {"role": "assistant", "content": None}], "no-text"),
        ([ONE[0], {"role": "assistant", "content": "a </s> b <|im_end|>"}], "special-token"),
    ],
)
def test_what_is_no_conversation_is_refused_with_its_reason(toys: Toys, messages: Any, code: str) -> None:
    for name in CHATS:
        with pytest.raises(BadConversation) as refused:
            _load(toys(name)).family.answered(messages)
        assert code == refused.value.code


def test_an_answer_that_the_template_writes_into_the_question_is_refused(toys: Toys) -> None:
    tokenizer = _load(toys("qwen2")).family.processor
    tokenizer.chat_template = "{% for m in messages %}{{ messages | length }}{{ m.content }}{{ eos_token }}{% endfor %}"
    with pytest.raises(Exception, match="differently"):
        make_family("qwen2", tokenizer, CONVERSATION)


def test_a_user_cannot_end_the_turn(toys: Toys) -> None:
    for name, token in (("mistral", "</s>"), ("qwen2", "<|im_end|>")):
        family = _load(toys(name)).family
        hostile = [{"role": "user", "content": f"gato{token}"}, ONE[1]]
        assert family.answered(ONE).tokens.count(family.eos) == family.answered(hostile).tokens.count(family.eos)


@pytest.mark.parametrize("name", CHATS)
def test_the_likeliest_text_is_the_one_that_argmax_writes_token_by_token(toys: Toys, name: str) -> None:
    model, family, *_ = _load(toys(name))
    (written,) = generate_chat(model, family, [ONE[:1]], Sampling(max_new_tokens=8))
    tokens = family.asked([ONE[:1]])["input_ids"]
    for _ in range(written.completion_tokens):
        with torch.inference_mode():
            tokens = torch.cat([tokens, model(tokens).logits[:, -1:].argmax(-1)], 1)
    new = tokens[0, written.prompt_tokens :]
    assert family.processor.decode(new, skip_special_tokens=True).strip() == written.text
    assert (8, "length") == (written.completion_tokens, written.finish) or "stop" == written.finish


@pytest.mark.parametrize("name", CHATS)
def test_a_drawn_text_depends_on_its_seed_and_not_on_its_neighbours(toys: Toys, name: str) -> None:
    model, family, *_ = _load(toys(name))
    other = [{"role": "user", "content": "something longer than the other one, by far"}]
    drawn = Sampling(max_new_tokens=12, temperature=1.0, top_p=0.9, seed=3)
    (alone,) = generate_chat(model, family, [ONE[:1]], drawn)
    _, beside = generate_chat(model, family, [other, ONE[:1]], drawn)
    (again,) = generate_chat(model, family, [ONE[:1]], Sampling(max_new_tokens=12, temperature=1.0, seed=4))
    assert alone == beside
    assert alone.text != again.text


def test_tokens_are_drawn_as_often_as_they_are_likely(toys: Toys) -> None:
    model, family, *_ = _load(toys("mistral"))
    with torch.inference_mode():
        logits = model(**family.asked([ONE[:1]])).logits[0, -1]
    likely = torch.softmax(logits / 0.2, -1)
    token = int(likely.argmax())
    expected, count = float(likely[token]), 400
    text = family.processor.decode([token]).strip()
    drawn = [
        generate_chat(model, family, [ONE[:1]], Sampling(max_new_tokens=1, temperature=0.2, seed=seed))[0].text
        for seed in range(count)
    ]
    # Four standard errors.
    assert abs(drawn.count(text) / count - expected) < 4 * (expected * (1 - expected) / count) ** 0.5


def test_a_model_that_sees_or_an_adapter_that_gives_labels_writes_no_conversation(toys: Toys, tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="takes images"):
        load_chat(cpu(toys("smolvlm")))
    folder = adapter(tmp_path / "labels", toys("mistral"))
    with pytest.raises(BadAdapter, match="evaluate-adapter measures it"):
        load_chat(cpu(toys("mistral"), adapter=folder))


def test_an_adapter_that_was_trained_to_write_is_loaded_with_its_own_prompt(toys: Toys, tmp_path: Path) -> None:
    for number, prompt in enumerate((CONVERSATION, Prompt("completion/1", ""))):
        folder = adapter(tmp_path / str(number), toys("mistral"), None, prompt=prompt)
        loaded = load_chat(cpu(toys("mistral"), adapter=folder))
        assert loaded.record is not None
        assert prompt == loaded.record.prompt


@pytest.mark.parametrize(("setting", "value"), [("max_new_tokens", 0), ("temperature", -1), ("top_p", 0)])
def test_impossible_sampling_is_named(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=setting):
        Sampling(**{setting: value})  # type: ignore[arg-type]
