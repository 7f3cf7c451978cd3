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

import pyarrow as pa

from tasks.chat.protocol import CUT, REFUSED, Account, Engine, Question, Reply
from tasks.judging.contestants import Local, Sampling
from tasks.storage.errors import PermanentError
from tasks.storage.schemas import WRITTEN
from tasks.storage.tables import open_table, origin, write_table

if TYPE_CHECKING:
    from tasks.models.messages import Conversation

PROMPT = "write-joke/1"
BATCH = 16  # conversations at once on a local model
_REFUSED = "rejected"  # in the footer


class AllRefused(PermanentError):
    """The service refuses everything: that is not the requests' fault."""


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
        """Write, conversations of like length together."""
        from tasks.models import generate

        temperature, max_tokens, seed = self._sampling
        sampling = generate.Sampling(max_new_tokens=max_tokens, temperature=temperature, seed=seed)
        order = sorted(
            range(len(conversations)), key=lambda at: sum(len(turn["content"]) for turn in conversations[at])
        )
        replies: dict[int, Reply] = {}
        with self._lock:
            for start in range(0, len(order), self._batch):
                places = order[start : start + self._batch]
                some = [conversations[at] for at in places]
                written = generate.generate_chat(self._loaded.model, self._loaded.family, some, sampling)
                for at, (text, finish, prompt_tokens, completion_tokens) in zip(places, written, strict=True):
                    cut = finish == "length"
                    replies[at] = Reply(
                        None if cut else text,
                        CUT if cut else None,
                        f"The text did not end within {max_tokens:,} tokens; it begins {text[:80]!r}." if cut else "",
                        self.name,
                        prompt_tokens,
                        completion_tokens,
                    )
        return [replies[at] for at in range(len(conversations))]


def write_rows(rows: Sequence[Mapping[str, Any]], writer: Writer) -> list[dict[str, Any]]:
    """The finished rows of a chunk.

    Args:
        rows: Rows of ``REQUESTS``.
        writer: Who is asked.

    Returns:
        Rows of ``WRITTEN``, as many and in the same order.

    Raises:
        AllRefused: The service refuses every single one of several requests.
        TransientError: It does not answer.
        BudgetReached: The next question could cost more than is left.
    """
    replies = writer.write([row["messages"] for row in rows])
    if len(replies) > 1 and all(reply.refusal == REFUSED for reply in replies):
        raise AllRefused(f"{writer.name} refuses all {len(replies)} requests of this chunk. {replies[0].message}")
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


def write_chunk(rows: Sequence[Mapping[str, Any]], path: Path, job: str) -> Path:
    """Put a chunk's file in place.

    Raises:
        DiskFull: No room; nothing is left behind.
    """
    made = {"job": job, _REFUSED: sum(row["error"] is not None for row in rows)}
    return write_table(pa.Table.from_pylist(list(rows), WRITTEN.columns), path, WRITTEN, made)


def refused(path: Path) -> int:
    """How many requests of a chunk have no text; only the footer is read."""
    with open_table(path, WRITTEN) as file:
        return int(origin(file)[_REFUSED])
