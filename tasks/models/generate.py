"""What a model writes by itself: an answer beside the scores of all answers, or the next turn of a conversation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import transformers
from torch import Tensor

from tasks.models.families.chat import Chat
from tasks.models.families.protocol import Family
from tasks.models.messages import Conversation
from tasks.models.tree import check_room


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn.

    Args:
        max_new_tokens: Where a text is cut that does not end.
        temperature: 0 for the likeliest token each time.
        top_p: Only the likeliest tokens that together have so much probability.
        seed: Of the draws; without a meaning at temperature 0.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={self.max_new_tokens} leaves no room for an answer. Give 1 or more.")
        if self.temperature < 0:
            raise ValueError(f"temperature={self.temperature} is negative. Give 0 for the likeliest token, or more.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p} is not above 0 and at most 1.")


class Written(NamedTuple):
    """A text, how it ended, and the tokens of question and text; the one that ends it counts."""

    text: str
    finish: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


@torch.inference_mode()
def generate(model: Any, family: Family, inputs: dict[str, Tensor], max_new_tokens: int) -> list[str]:
    """Write answers, the likeliest token each time.

    Args:
        model: A model of the family, with or without an adapter, in evaluation mode.
        family: Which token ends an answer.
        inputs: What ``family.inputs`` gave.
        max_new_tokens: Where an answer is cut that does not end.

    Returns:
        One text per row, without the prompt.

    Raises:
        PromptTooLong: A prompt leaves no room for so many tokens.
    """
    return _texts(family, _new_tokens(model, family, inputs, max_new_tokens, []))


@torch.inference_mode()
def generate_chat(model: Any, family: Chat, conversations: Sequence[Conversation], sampling: Sampling) -> list[Written]:
    """Write the next turn of conversations, all at once.

    A text that is drawn depends on the seed and its own conversation alone, not on those beside it, as far as the
    model's arithmetic does (in bfloat16 another batch may turn a near tie). The same conversation twice gives the same
    text twice: ask with another seed for another one.

    Args:
        model: As ``load_chat`` gives it.
        family: Its family.
        conversations: Each ends with the user's turn; as many as the memory takes together.
        sampling: How tokens are drawn.

    Raises:
        BadConversation: One ends otherwise, or the model's chat template refuses it.
        PromptTooLong: A conversation leaves no room for so many tokens.
    """
    inputs = family.asked(conversations)
    both = zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    prompts = [ids[mask.bool()].tolist() for ids, mask in both]
    warpers: list[Any] = []
    if sampling.temperature:
        warpers.append(transformers.TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_p < 1:
            warpers.append(transformers.TopPLogitsWarper(sampling.top_p))
        warpers.append(_Drawn(prompts, sampling.seed))
    new = _new_tokens(model, family, inputs, sampling.max_new_tokens, warpers)
    written = []
    for text, tokens, prompt in zip(_texts(family, new), new.tolist(), prompts, strict=True):
        ended = family.eos in tokens
        count = tokens.index(family.eos) + 1 if ended else len(tokens)
        written.append(Written(text, "stop" if ended else "length", len(prompt), count))
    return written


class _Drawn:
    """Gumbel noise of each row's own: the likeliest token with it is a draw from the row's probabilities."""

    def __init__(self, prompts: Sequence[Sequence[int]], seed: int) -> None:
        self._generators = [
            torch.Generator().manual_seed(int(hashlib.sha256(f"{seed} {prompt}".encode()).hexdigest()[:15], 16))
            for prompt in prompts
        ]

    def __call__(self, _ids: Tensor, scores: Tensor) -> Tensor:
        uniform = torch.stack([torch.rand(scores.shape[1], generator=each) for each in self._generators])
        # Never 0 nor 1, of which the logarithms are infinite.
        noise = -torch.log(-torch.log(uniform.double().clamp(1e-12, 1 - 1e-12)))
        return scores.double() + noise.to(scores.device)


def _new_tokens(model: Any, family: Family, inputs: dict[str, Tensor], most: int, warpers: Sequence[Any]) -> Tensor:
    """What is written behind the prompts, ``[B, N]``."""
    check_room(model, inputs["attention_mask"], most, "max_position_embeddings")
    likeliest = transformers.GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,  # a model's own default would count the prompt's labels as repeated
        max_new_tokens=most,
        eos_token_id=[family.eos],
        pad_token_id=_tokenizer(family).pad_token_id,
    )
    written: Tensor = model.generate(
        **{name: value.to(model.device) for name, value in inputs.items()},
        generation_config=likeliest,
        logits_processor=transformers.LogitsProcessorList(warpers),
    )
    return written[:, inputs["input_ids"].shape[1] :]


def _texts(family: Family, tokens: Tensor) -> list[str]:
    return [text.strip() for text in _tokenizer(family).batch_decode(tokens, skip_special_tokens=True)]


def _tokenizer(family: Family) -> Any:
    return getattr(family.processor, "tokenizer", family.processor)
