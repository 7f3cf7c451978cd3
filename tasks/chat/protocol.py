"""What a chat service is: a conversation in, one reply out, or a typed error.

A chat is one file in this folder. It declares ``Options`` (a pydantic model; each field is read from the environment as
``TRASVASE_<NAME>_<FIELD>``) and ``open_chat(options)``. The file's name is what users type before a colon::

    mistral:mistral-small-2603     ->  tasks/chat/mistral.py, asked for that model
    scripted:upper                 ->  tasks/chat/scripted.py, offline

Who wants answers asks ``tasks/chat/asker.py`` or ``tasks/chat/batch.py``: both are an ``Engine``, and both write every
answer into the journal before it is used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel

from tasks.remote.allowance import Allowance
from tasks.storage.errors import PermanentError

Role = Literal["system", "user", "assistant"]

# Codes of a reply that is none; anything else is an error that ends the chunk.
REFUSED = "refused"  # the service will not take this question (400, 413, 422); its last word
CUT = "length"  # the answer did not fit into max_tokens; its last word for this question: ask for less
UNREADABLE = "unreadable"  # not the JSON that was asked for, every time it was asked
UNANSWERED = "unanswered"  # the service fails on this question while it answers others


@cache
def schema_of(answer: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of an answer, made once: it takes longer than all else that a question costs here."""
    return answer.model_json_schema()


_to_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


@cache
def _named_schema(answer: type[BaseModel] | None) -> str:
    return _to_json(None if answer is None else [answer.__name__, schema_of(answer)])


Kind = tuple[str, str]  # model and prompt: questions that differ in their texts alone

# What begins the name of who answered where no model was asked: reports say so.
NO_MODEL = {
    "recorded-": "answers of a recording, not of a model that was asked now",
    "scripted-": "answers of a script that looks at nothing: no model was asked",
}


@dataclass(frozen=True)
class Question:
    """One conversation that waits for its next turn. Equal questions have equal keys, and are paid for once.

    Args:
        model: The model as the service names it, such as ``mistral-small-2603``.
        messages: Role and content, in order.
        prompt: Name and version of the prompt, such as ``extract-jokes/1``: enters the key.
        answer: What the reply must be, as JSON; None for free text. Its name and schema are sent and enter the key.
        temperature: Of the sampling.
        max_tokens: Of the reply.
        seed: Of the sampling; another seed is another question.
    """

    model: str
    messages: tuple[tuple[Role, str], ...]
    prompt: str
    answer: type[BaseModel] | None = None
    temperature: float = 0.0
    max_tokens: int = 4_000
    seed: int = 0

    @cached_property
    def identity(self) -> str:
        """All that decides the reply, as a list in JSON with sorted keys; the service's name is not part of it."""
        before = _to_json([self.model, self.messages, self.prompt])
        after = _to_json([self.temperature, self.max_tokens, self.seed])
        return f"{before[:-1]}, {_named_schema(self.answer)}, {after[1:]}"

    @property
    def kind(self) -> Kind:
        """What it has in common with all questions of its prompt to its model."""
        return self.model, self.prompt

    @property
    def chars(self) -> int:
        """Characters of all messages."""
        return sum(len(content) for _, content in self.messages)


@dataclass(frozen=True, slots=True)
class Completion:
    """What a service sent for one question.

    Args:
        text: The assistant's turn; JSON where the question asks for it, not yet looked at.
        finish: Why it ended: ``stop``, ``length`` or another word of the service.
        model: The model that the service says has answered; a recording says so here.
        prompt_tokens: As the service counted them.
        completion_tokens: As the service counted them.
        allowance: What the service said that it allows.
    """

    text: str
    finish: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    allowance: Allowance | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be under way.

    Args:
        at_once: Requests at the same time, over all chunks of the process.
        rate: Requests per second to begin with; None learns it from the service's headers.
        max_rate: Requests per second that are never exceeded.
        tokens_per_minute: Prompt and reply; None learns it from the service's headers.
    """

    at_once: int = 16
    rate: float | None = None
    max_rate: float | None = None
    tokens_per_minute: int | None = None


class Chat(Protocol):
    """One service."""

    @property
    def name(self) -> str:
        """Who answers: ``mistral``, or ``mistral@http://…`` for a compatible server. Part of the journal's key."""

    @property
    def limits(self) -> Limits:
        """How it is paced."""

    async def complete(self, question: Question) -> Completion:
        """Ask once.

        Raises:
            TransientError: It may pass next time (Throttled, Unreachable, BadAnswer).
            PermanentError: It will not (TooLarge: send less; Denied: change a setting or top up; UnknownModel).
        """

    async def aclose(self) -> None:
        """Let go of connections."""


@runtime_checkable
class Keyed(Protocol):
    """A chat that needs a key to be asked. Its name and limits are there without: an estimate takes no more."""

    def check_key(self) -> None:
        """Look at the key as it is set; nothing is sent.

        Raises:
            Denied: It is missing, or cannot be one.
        """


@dataclass(frozen=True, slots=True)
class Account:
    """Who asks, and what it may cost.

    Args:
        job: The job that asks; its calls are listed under this name.
        jobs: All jobs that share the cap, such as the two of one walk; this one is among them.
        cap_usd: What they may cost in all, over all runs of theirs; None for no cap.
    """

    job: str
    jobs: tuple[str, ...]
    cap_usd: float | None = None


class BudgetReached(PermanentError):
    """The next question could cost more than is left of the cap. Answers so far are kept."""


class UnknownModel(PermanentError):
    """The service does not know the model, or has retired it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of one question.

    Args:
        text: The assistant's turn, valid for ``Question.answer`` where there is one; None where there is no reply.
        refusal: None, or the code of why there is none: ``REFUSED``, ``CUT``, ``UNREADABLE`` or ``UNANSWERED``.
        message: For people, where there is none.
        model: The model that answered, as the service says; empty where none did.
        prompt_tokens: Of all attempts at this question that were paid for.
        completion_tokens: Of all attempts at this question that were paid for.
        cost_usd: Of all attempts at this question, when they were paid; what the journal knew keeps its cost.
    """

    text: str | None
    refusal: str | None = None
    message: str = ""
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


class Engine(Protocol):
    """Asks questions through the journal: online, or in batches at half the price."""

    @property
    def name(self) -> str:
        """The chat's name."""

    def ask(self, questions: Sequence[Question], *, account: Account, fresh: str = "") -> list[Reply]:
        """Get a reply to every question; blocks the calling thread. Any thread may call.

        Args:
            questions: Equal ones are asked once.
            account: Who asks, and what it may cost.
            fresh: Name of an occasion: ask again what the journal knows, but for what was asked on this very occasion.

        Returns:
            As many replies, in order.

        Raises:
            TransientError: The service does not answer; what came before is in the journal.
            PermanentError: The service does not serve us at all (Denied, UnknownModel).
            BudgetReached: The next question could cost more than is left; what came before is in the journal.
        """
