"""Text that becomes tokens: what a user wrote stays text, and an answer follows its prompt as the chat template has it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from tasks.models.messages import BadConversation, Conversation, check_conversation
from tasks.models.prompts import Prompt
from tasks.storage.errors import PermanentError

Message = dict[str, Any]

# Qwen 3 and others think before they answer unless they are told not to.
_SETTINGS = {"enable_thinking": False}

_DAY = datetime(2024, 7, 26)  # noqa: DTZ001  # the one that Llama's templates fall back on
_CLOCK = re.compile(r"""strftime_now\(\s*(?:format\s*=\s*)?(["'])(.*?)\1\s*\)""")


class Answered(NamedTuple):
    """A conversation's tokens, and which of them the model is to say: each answer and the token that ends it."""

    tokens: list[int]
    said: list[bool]


class Turns:
    """Prompts and answers of a model with a chat template.

    Args:
        speaker: The processor or tokenizer whose template it is. The template is changed so that it is always the same day
            in it, and what is saved with an adapter has it so.
        tokenizer: Its tokenizer.
        prompt: The question.
        say: A turn's content from its text and whether the image stands in it: a string, or a list of parts.

    Raises:
        PermanentError: There is no template, none that an answer could follow, or one whose clock cannot be held.

    Attributes:
        settings: What the template is told besides the turns.
    """

    def __init__(self, speaker: Any, tokenizer: Any, prompt: Prompt, say: Callable[[str, bool], Any]) -> None:
        if not speaker.chat_template:
            raise PermanentError(
                "The model has no chat template, so nothing says how it is asked. Take its instruct version."
            )
        several = speaker.chat_template
        speaker.chat_template = (
            {name: timeless(each) for name, each in several.items()} if isinstance(several, dict) else timeless(several)
        )
        self._speaker, self._tokenizer, self._prompt, self._say = speaker, tokenizer, prompt, say
        self.settings = {name: value for name, value in _SETTINGS.items() if name in str(speaker.chat_template)}
        self._special = Special(tokenizer)

    def prompt(self, text: str, image: bool) -> str:
        """One row's prompt, up to where the answer begins."""
        return self._render(self._asked(text, image), add_generation_prompt=True)

    def answer(self, answer: str) -> list[int]:
        """The answer's tokens as they follow a prompt, the token that ends the turn last.

        Raises:
            PermanentError: A special token stands in the answer, or the template changes what stands before it.
        """
        if self._special.inert(answer) != answer:
            raise PermanentError(f"The answer {answer!r} holds a special token of the model. Rename the label.")
        asked = self._asked("x", False)
        before = self._render(asked, add_generation_prompt=True)
        after = self._render([*asked, {"role": "assistant", "content": self._say(answer, False)}])
        start, whole = self._encode(before), self._encode(after)
        if whole[: len(start)] != start:
            raise PermanentError("The model's chat template writes an answered prompt differently from an open one.")
        rest = whole[len(start) :]
        end = next((at for at, token in enumerate(rest) if token in self._special.ids), None)
        return [*rest, self._tokenizer.eos_token_id] if end is None else rest[: end + 1]

    def open(self, messages: Conversation) -> str:
        """A conversation that ends with the user's turn, up to where the answer begins.

        Raises:
            BadConversation: It does not, or the template refuses it.
        """
        check_conversation(messages, "user")
        return self._rendered(self.placed(messages), add_generation_prompt=True)

    def lessons(self, messages: Conversation) -> list[Conversation]:
        """What teaches all answers of a conversation: the conversation itself; or, where the template writes an answer
        otherwise once another turn follows, one for each answer, which ends with it.

        Raises:
            BadConversation: It does not end with an answer.
        """
        check_conversation(messages, "assistant")
        if not self._rewrites:
            return [messages]
        return [messages[: at + 1] for at, message in enumerate(messages) if message["role"] == "assistant"]

    def answered(self, messages: Conversation) -> Answered:
        """A lesson. Every answer in it is said, as in most of the field; of several for one conversation, the last alone.

        Raises:
            BadConversation: It does not end with an answer, an answer holds a special token, or the template writes a
                prompt that was answered differently from an open one, so that the model would never be asked as it was
                taught.
        """
        check_conversation(messages, "assistant")
        placed = self.placed(messages)
        whole = self._encode(self._rendered(placed))
        said = [False] * len(whole)
        last = len(placed) - 1
        for at, message in enumerate(placed):
            if message["role"] != "assistant" or (self._rewrites and at < last):
                continue
            before = self._encode(self._rendered(placed[:at], add_generation_prompt=True))
            after = self._encode(self._rendered(placed[: at + 1]))
            if whole[: len(before)] != before or whole[: len(after)] != after:
                raise BadConversation(
                    "template", f"is written differently by the model's chat template once message {at} has been said."
                )
            if self._end not in whole[len(before) : len(after)]:
                if at < last:
                    raise BadConversation("template", f"has message {at}, whose end the chat template does not mark.")
                whole, said = [*whole, self._end], [*said, False]
            stop = whole.index(self._end, len(before)) + 1
            said[len(before) : stop] = [True] * (stop - len(before))
        return Answered(whole, said)

    def placed(self, messages: Conversation) -> list[Message]:
        """The turns as the template takes them: what users wrote is inert, answers are as they are."""
        for at, message in enumerate(messages):
            if message["role"] == "assistant" and self._special.inert(message["content"]) != message["content"]:
                raise BadConversation("special-token", f"has a special token of the model in message {at}, an answer.")
        system = messages[0]["content"] if messages[0]["role"] == "system" else ""
        first, *others = messages[1:] if system else messages
        rest = [
            self._message(
                each["role"],
                each["content"] if each["role"] == "assistant" else self._special.inert(each["content"]),
                False,
            )
            for each in others
        ]
        return [*self._opened(system, first["content"], False), *rest]

    def _asked(self, text: str, image: bool) -> list[Message]:
        return self._opened(self._prompt.system, self._prompt.ask(text), image)

    def _opened(self, system: str, user: str, image: bool) -> list[Message]:
        """The first turn, with the system's before it; or in it, where the template has no turn for the system."""
        system, user = self._special.inert(system), self._special.inert(user)
        if not system:
            return [self._message("user", user, image)]
        if self._hears_system:
            return [self._message("system", system, False), self._message("user", user, image)]
        return [self._message("user", f"{system}\n\n{user}", image)]

    @cached_property
    def _end(self) -> int:
        """The token that ends an answer; none has it inside, for special tokens are refused in answers."""
        return self.answer("[]")[-1]

    @cached_property
    def _rewrites(self) -> bool:
        """Qwen 3 answers with an empty thought before its words, and takes it out of all answers but the last."""
        from jinja2 import TemplateError

        turns = [self._message(role, "x", False) for role in ("user", "assistant", "user", "assistant")]
        try:
            before, whole = self._render(turns[:1], add_generation_prompt=True), self._render(turns)
        except TemplateError:
            return False
        return not whole.startswith(before)

    @cached_property
    def _hears_system(self) -> bool:
        """Some templates refuse a system's turn, some drop it, Mistral's as soon as there is an answer."""
        from jinja2 import TemplateError

        asked = [self._message("system", "hearing", False), self._message("user", "x", False)]
        try:
            return all(
                "hearing" in self._render(each) for each in (asked, [*asked, self._message("assistant", "x", False)])
            )
        except TemplateError:
            return False

    def _message(self, role: str, text: str, image: bool) -> Message:
        return {"role": role, "content": self._say(text, image)}

    def _rendered(self, messages: Sequence[Message], **how: bool) -> str:
        from jinja2 import TemplateError

        try:
            return self._render(messages, **how)
        except TemplateError as error:
            raise BadConversation("template", f"is refused by the model's chat template: {error}") from error

    def _render(self, messages: Sequence[Message], **how: bool) -> str:
        return cast(str, self._speaker.apply_chat_template(list(messages), tokenize=False, **self.settings, **how))

    def _encode(self, text: str) -> list[int]:
        return cast(list[int], self._tokenizer(text, add_special_tokens=False)["input_ids"])


class Templated:
    """A family that is asked through the model's own chat template; children say what their model takes.

    Args:
        processor: The processor or tokenizer whose template it is.
        prompt: The question.
        say: A turn's content, as ``Turns`` takes it.
    """

    sees: bool

    def __init__(self, processor: Any, prompt: Prompt, say: Callable[[str, bool], Any]) -> None:
        self.processor = processor
        self._turns = Turns(processor, getattr(processor, "tokenizer", processor), prompt, say)
        self.eos = self._turns.answer("[]")[-1]

    def written(self, text: str) -> str:
        return self._turns.prompt(text, self.sees)

    def answer_tokens(self, answer: str) -> list[int]:
        return self._turns.answer(answer)

    def extended(self, inputs: dict[str, Tensor], tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        return follow(inputs, tokens, mask)

    def positions(self, model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return counted(inputs["attention_mask"])


class Special:
    """The tokens that mean something to a model, such as ``<image>`` or ``<|im_end|>``."""

    def __init__(self, tokenizer: Any) -> None:
        added = tokenizer.added_tokens_decoder
        self.ids = frozenset(number for number, token in added.items() if token.special)
        names = sorted((str(added[number]) for number in self.ids), key=len, reverse=True)
        self._names = re.compile("|".join(map(re.escape, names)) or r"(?!)")

    def inert(self, text: str) -> str:
        """The same text with a space in each special token, so that nobody can end the turn or add an image with it."""
        return self._names.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


def timeless(template: str) -> str:
    """A chat template in which it is always the same day.

    SmolLM3, Granite, Llama and others tell the model today's date, so what was trained and what is measured would differ.

    Raises:
        PermanentError: It asks the clock for something that does not stand in the template.
    """
    held = _CLOCK.sub(lambda found: f"{found[1]}{_DAY.strftime(found[2])}{found[1]}", template)
    if "strftime_now(" in held:
        raise PermanentError(
            "The model's chat template asks what day it is in a way that cannot be held, so prompts would change "
            "overnight. Write a date in its place, in a copy of the model."
        )
    return held


def parts(text: str, image: bool) -> list[dict[str, str]]:
    """A turn's content for models that see: the text, left out where there is none, then the image."""
    said = [{"type": "text", "text": text}] if text.strip() or not image else []
    return [*said, {"type": "image"}] if image else said


def follow(inputs: dict[str, Tensor], tokens: Tensor, mask: Tensor, **types: int) -> dict[str, Tensor]:
    """Prompts with answers behind them.

    Args:
        inputs: The prompts, ``[B, P]``.
        tokens: The answers, ``[B, K]``, padded on the right.
        mask: ``[B, K]``, 1 where ``tokens`` counts.
        types: What other ``[B, P]`` entries go on with, such as ``token_type_ids=1``.
    """
    mask = mask.to(inputs["attention_mask"].dtype)
    more = {"input_ids": tokens, "attention_mask": mask}
    more |= {name: torch.full_like(tokens, kind) for name, kind in types.items()}
    longer = {name: torch.cat([inputs[name], new.to(inputs[name].dtype)], 1) for name, new in more.items()}
    return {**inputs, **longer}


def counted(mask: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
    """Positions that leave the padding out, ``[B, P]``, and those of the next token, ``[B]``."""
    positions = (mask.cumsum(-1) - 1).clamp(min=0) + first
    return positions, positions[:, -1] + 1
