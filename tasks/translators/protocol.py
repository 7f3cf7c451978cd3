"""What a translator is: texts in, as many texts out, in order.

A translator is one file in this folder. It declares ``Options`` (a pydantic model; each field is read from the
environment as ``TRASVASE_<NAME>_<FIELD>``) and ``open_translator(options, source, target)``. The file's name is the
name that users type. See ``shouting.py`` for the shortest one. One that asks a chat's model (``Prompted``) declares
``DEFAULT_MODEL`` too, and ``open_translator`` takes the model that users type after a colon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from tasks.chat.protocol import Chat, Question


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may carry, and how many requests may be under way.

    Args:
        max_chars: Characters of text in one request, line breaks between texts included.
        max_items: Texts in one request.
        max_bytes: Bytes of one request's text once percent-encoded.
        at_once: Requests under way at the same time, over all chunks of the process.
        rate: Requests per second to begin with; None asks as fast as the answers come.
        max_rate: Requests per second that the gate may climb to while all goes well.
    """

    max_chars: int = 4_500
    max_items: int = 128
    max_bytes: int = 12_000
    at_once: int = 8
    rate: float | None = None
    max_rate: float | None = None


class Translator(Protocol):
    """One engine for one pair of languages."""

    @property
    def name(self) -> str:
        """Name and version, such as ``google/4.0.2``. Enters the journal's key and the ``translator`` column."""

    @property
    def limits(self) -> Limits:
        """How texts are packed and paced for this engine."""

    async def translate(self, texts: Sequence[str]) -> list[str]:
        """Translate one request's texts: single lines, never empty, within ``limits``.

        Returns:
            As many texts as came in, in the same order.

        Raises:
            TransientError: It may pass next time (Throttled, Unreachable, BadAnswer, Misaligned).
            PermanentError: It will not (TooLarge: send less at once; Denied: change a setting).
        """

    async def aclose(self) -> None:
        """Let go of connections, processes and models."""


@runtime_checkable
class Prompted(Protocol):
    """A translator that is a prompt: ``tasks/chat`` paces, pays and journals its questions (``prompted.py``)."""

    @property
    def name(self) -> str:
        """Service, model, version of the prompt, temperature. Enters the journal's key and the ``translator`` column."""

    @property
    def limits(self) -> Limits:
        """How texts are packed."""

    @property
    def chat(self) -> Chat:
        """Who is asked."""

    @property
    def model(self) -> str:
        """What its questions cost is this model's price."""

    def question(self, conversations: Sequence[Sequence[str]], attempt: int) -> Question:
        """One question for some lines, those of a conversation together; another attempt is another question."""

    def read(self, text: str, lines: int) -> list[str]:
        """As many translations as lines were asked, in order.

        Raises:
            Misaligned: The reply cannot be laid beside what was asked.
        """
