"""Conversations as Mistral, TRL, LLaMA-Factory and ms-swift write them, one in each row of a column ``messages``::

[{"role": "system", "content": "You are …"},           may be left out
 {"role": "user", "content": "gato, lunes"},
 {"role": "assistant", "content": "…"}]                user and assistant by turns
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.storage.errors import PermanentError

Conversation = Sequence[Mapping[str, Any]]
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
