"""One chunk of requests, written by a contestant.

::

    {"row": 17, …, "messages": [{"role": "user", "content": "Write a joke … about: suegra. …"}]}
      ->  {…, "text": "Mi suegra …", "written_by": "mistral-small-2603", "cost_usd": 0.00004, "error": None, …}

A text that was cut off because it did not end is no text, whoever wrote it: half a joke loses against any whole one.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tasks.chat.protocol import CUT, REFUSED, UNANSWERED, UNREADABLE, Account, Engine, Question, Reply
from tasks.judging.contestants import Local, Sampling

if TYPE_CHECKING:
    from tasks.models.messages import Conversation

PROMPT = "write-joke/1"
BATCH = 16  # conversations at once on a local model
TOO_LONG = "too-long"

# Why there is no text, for every code that a table may hold.
REASONS = {
    REFUSED: "the service will not take the request",
    CUT: "the text did not end within max_tokens, and half a joke cannot be judged",
    UNREADABLE: "the service sent something else than a text",
    UNANSWERED: "the service fails on this request while it answers others",
    TOO_LONG: "the request does not fit into the model",
}


class Writer(Protocol):
    """Who writes the next turn of conversations."""

    @property
    def name(self) -> str:
        """As the report calls it."""

    def write(self, conversations: Sequence[Conversation]) -> list[Reply]:
        """One reply per conversation, in order."""


class ServiceWriter:
    """A model of a chat service.

    Args:
        engine: Asks it, through the journal.
        model: As the service names it.
        sampling: How texts are drawn.
        account: Who pays.
    """

    def __init__(self, engine: Engine, model: str, sampling: Sampling, account: Account) -> None:
        self._engine, self._model, self._sampling, self._account = engine, model, sampling, account

    @property
    def name(self) -> str:
        """Service and model."""
        return f"{self._engine.name}:{self._model}"

    def write(self, conversations: Sequence[Conversation]) -> list[Reply]:
        """Ask the service; what the journal knows is not asked again."""
        return self._engine.ask(questions(conversations, self._model, self._sampling), account=self._account)


def questions(conversations: Sequence[Conversation], model: str, sampling: Sampling) -> list[Question]:
    """What a service is asked for these conversations."""
    temperature, max_tokens, seed = sampling
    return [
        Question(
            model,
            tuple((turn["role"], turn["content"]) for turn in conversation),
            PROMPT,
            temperature=temperature,
            max_tokens=max_tokens,
            seed=seed,
        )
        for conversation in conversations
    ]


class LocalWriter:
    """A chat model on this machine; any thread may call, one writes at a time.

    Args:
        who: Which model.
        sampling: How texts are drawn; each depends on the seed and its own conversation alone.
        batch: Conversations at once.

    Raises:
        NoGpu: ``device`` is cuda and there is none.
        BadModel: There is no such model, or none that writes.
        BadAdapter: The adapter does not fit it.
    """

    def __init__(self, who: Local, sampling: Sampling, batch: int = BATCH) -> None:
        from tasks.models.load import ModelOptions, load_chat

        options = ModelOptions(
            base_model=who.base_model,
            adapter=who.adapter,
            dtype=who.dtype,  # type: ignore[arg-type]  # as the record has it
            load_in_4bit=who.load_in_4bit,
            device=who.device,
        )
        self._loaded = load_chat(options)
        self._sampling, self._batch, self._lock = sampling, batch, threading.Lock()
        path = who.adapter or Path(who.base_model)
        self._name = path.name if path.is_dir() else who.base_model

    @property
    def name(self) -> str:
        """Adapter or base model; a toy says so."""
        return f"toy:{self._name}" if self._loaded.toy else self._name

    def write(self, conversations: Sequence[Conversation]) -> list[Reply]:
        """Write, conversations of like length together; half as many where the GPU has no room."""
        order = sorted(
            range(len(conversations)), key=lambda at: sum(len(turn["content"]) for turn in conversations[at])
        )
        replies: dict[int, Reply] = {}
        with self._lock:
            while len(replies) < len(order):
                places = order[len(replies) : len(replies) + self._batch]
                some = self._some([conversations[at] for at in places])
                replies.update(zip(places, some, strict=False))
        return [replies[at] for at in range(len(conversations))]

    def _some(self, conversations: Sequence[Conversation]) -> list[Reply]:
        """Replies to some, or to none of them after the batch was halved."""
        import torch

        from tasks.models.tree import PromptTooLong

        try:
            return self._generated(conversations)
        except PromptTooLong as error:
            fits = [each for at, each in enumerate(conversations) if at not in error.at]
            rest = iter(self._generated(fits) if fits else [])
            return [
                Reply(None, TOO_LONG, f"The request {error}", self.name) if at in error.at else next(rest)
                for at in range(len(conversations))
            ]
        except torch.OutOfMemoryError:
            if self._batch == 1:
                raise
            self._batch //= 2
        torch.cuda.empty_cache()  # here, where the exception no longer holds the tensors
        return []

    def _generated(self, conversations: Sequence[Conversation]) -> list[Reply]:
        from tasks.models.generate import Sampling as Drawing
        from tasks.models.generate import generate_chat

        temperature, most, seed = self._sampling
        drawing = Drawing(max_new_tokens=most, temperature=temperature, seed=seed)
        return [
            Reply(text, None, "", self.name, asked, written)
            if finish == "stop"
            else Reply(
                None, CUT, f"The text did not end within {most:,} tokens: {text[:80]!r}…", self.name, asked, written
            )
            for text, finish, asked, written in generate_chat(
                self._loaded.model, self._loaded.family, conversations, drawing
            )
        ]


def write_rows(rows: Sequence[Mapping[str, Any]], writer: Writer) -> list[dict[str, Any]]:
    """The finished rows of a chunk.

    Args:
        rows: Rows of ``REQUESTS``.
        writer: Who is asked.

    Returns:
        Rows of ``WRITTEN``, as many and in the same order.

    Raises:
        TransientError: The service does not answer.
        PermanentError: It refuses whatever it is asked.
        BudgetReached: The next question could cost more than is left.
    """
    replies = writer.write([row["messages"] for row in rows])
    return [
        {
            **row,
            "text": reply.text,
            "written_by": reply.model,
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens,
            "cost_usd": reply.cost_usd,
            "error": reply.refusal,
            "message": f"Row {row['row']}: {reply.message}" if reply.refusal else None,
        }
        for row, reply in zip(rows, replies, strict=True)
    ]
