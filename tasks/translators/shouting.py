"""The offline translator: upper-cases, so that anyone sees at once that something was done, and what.

>>> import asyncio
>>> shouting = open_translator(Options(), "en", "es")
>>> asyncio.run(shouting.translate(["What are the colors of the bus?"]))
['WHAT ARE THE COLORS OF THE BUS?']
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from tasks.translators.protocol import Limits, Translator


class Options(BaseModel):
    """Nothing to choose."""


class ShoutingTranslator:
    """Upper-cases. Deterministic, offline, and visibly not the input."""

    name = "shouting/1"
    limits = Limits()

    async def translate(self, texts: Sequence[str]) -> list[str]:
        return [text.upper() for text in texts]

    async def aclose(self) -> None:
        """Nothing is held."""


def open_translator(options: Options, source: str, target: str) -> Translator:
    """Any pair of languages will do."""
    return ShoutingTranslator()
