"""Conversations as Mistral, TRL, LLaMA-Factory and ms-swift write them, one in each row of a column ``messages``::

[{"role": "system", "content": "You are …"},           may be left out
 {"role": "user", "content": "gato, lunes"},
 {"role": "assistant", "content": "…"}]                user and assistant by turns
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.types as kinds

from tasks.storage.errors import PermanentError
from tasks.storage.tables import open_parquet

_BATCH = 1_000

Conversation = Sequence[Mapping[str, Any]]
MESSAGES = "messages"  # the column's name, as those tools have it
ROLES = ("system", "user", "assistant")


class BadConversation(PermanentError):
    """A conversation that no model can be asked or taught.

    Args:
        code: Why, such as ``turns``.
        message: What is wrong, beginning in the middle of a sentence whose subject is the row.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Talk(NamedTuple):
    """One row of a split: its position, its id, and what was said, unchecked."""

    row: int
    id: str
    messages: Conversation | None


def read_talks(path: Path) -> Iterator[Talk]:
    """The conversations of one split, in order; never more than a batch in memory.

    Raises:
        TornFile: The file is damaged.
    """
    with open_parquet(path) as file:
        columns = [MESSAGES, *(name for name in ("id",) if name in file.schema_arrow.names)]
        row = 0
        for batch in file.iter_batches(_BATCH, columns=columns):
            for values in batch.to_pylist():
                yield Talk(row, str(values.get("id") or ""), values[MESSAGES])
                row += 1


class Talks:
    """The conversations of one split by their positions, in memory as the file has them."""

    def __init__(self, path: Path) -> None:
        with open_parquet(path) as file:
            batches = file.iter_batches(_BATCH, columns=[MESSAGES], use_threads=False)
            kind = file.schema_arrow.field(MESSAGES).type
            self._messages = pa.chunked_array([batch.column(0) for batch in batches], kind)

    def __len__(self) -> int:
        return len(self._messages)

    def __getitem__(self, row: int) -> Conversation:
        return self._messages[row].as_py() or ()


def has_conversations(schema: pa.Schema) -> bool:
    """Whether a table's column ``messages`` holds lists of roles and contents."""
    at = schema.get_field_index(MESSAGES)
    if at < 0 or not (kinds.is_list(schema.field(at).type) or kinds.is_large_list(schema.field(at).type)):
        return False
    turn = schema.field(at).type.value_type
    return kinds.is_struct(turn) and all(turn.get_field_index(name) >= 0 for name in ("role", "content"))


def check_conversation(messages: Conversation | None, last: str) -> None:
    """Refuse what is no conversation, or ends with somebody else's turn.

    Args:
        messages: Roles and contents in order.
        last: Whose turn the last one must be: ``user`` where the model is asked, ``assistant`` where it is taught.

    Raises:
        BadConversation: With the code ``no-messages``, ``role``, ``no-text`` or ``turns``.
    """
    if not messages:
        raise BadConversation("no-messages", "has no messages.")
    turns = messages[1:] if messages[0].get("role") == "system" else messages
    for at, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise BadConversation("role", f"has the role {role!r} in message {at}. Roles are {', '.join(ROLES)}.")
        if not isinstance(content, str) or not content.strip():
            raise BadConversation("no-text", f"has no text in message {at}, the {role}'s.")
    expected = ["user", "assistant"] * (len(turns) // 2 + 1)
    if not turns or [message["role"] for message in turns] != expected[: len(turns)]:
        said = ", ".join(str(message["role"]) for message in messages)
        raise BadConversation(
            "turns", f"has the turns {said}. After one system message at most, user and assistant alternate."
        )
    if turns[-1]["role"] != last:
        raise BadConversation("turns", f"ends with the {turns[-1]['role']}'s turn. It must end with the {last}'s.")
