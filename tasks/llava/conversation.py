"""A row of LLaVA's format, checked and typed.

One row as it comes::

    {"id": "000000033471", "image": "000000033471.jpg", "conversations": [
        {"from": "human", "value": "<image>\\nWhat are the colors of the bus?"},
        {"from": "gpt", "value": "The bus is white and red."}]}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# Columns in which published tables keep the translations of `conversations`.
TARGET_COLUMNS = ("translated", "conversations_translated", "translated_raw")


class Turn(NamedTuple):
    """What one side said. The role is structure and never travels to a translator."""

    role: str
    value: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """One row of the source.

    Args:
        row: Position in the source, from 0. The key: ``id`` is not unique in the real data.
        id: The source's id as text, or None where the row has none.
        image: File name, or None where the row has none.
        turns: What was said, in order.
        extra: The row's other fields as JSON text, or None; they come back in the output.
    """

    row: int
    id: str | None
    image: str | None
    turns: tuple[Turn, ...]
    extra: str | None = None
