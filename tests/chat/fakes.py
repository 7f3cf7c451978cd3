"""A chat that does as it is told, and counts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

from pydantic import BaseModel

from tasks.chat.asker import Asker
from tasks.chat.prices import Price, Prices
from tasks.chat.protocol import Account, Completion, Limits, Question, Reply
from tasks.remote.journal import Journal

ACCOUNT = Account("job", ("job",))
PRICES = Prices(
    Path("prices.json"),
    {"m": Price(input_usd=1.0, output_usd=1.0, as_of=date(2026, 11, 20), source="a test", verified=True)},
)


class Shout(BaseModel):
    """What the fake answers where JSON is asked for."""

    text: str


class FakeChat:
    """Upper-cases the last message; one token per character.

    Args:
        do: Called with each question; raises, or returns the text to answer instead.
        at_once: Of its limits.
        finish: Of its completions.
    """

    name = "fake"

    def __init__(
        self, do: Callable[[Question], str | None] = lambda question: None, at_once: int = 8, finish: str = "stop"
    ) -> None:
        self.limits = Limits(at_once=at_once)
        self.do = do
        self.finish = finish
        self.questions: list[Question] = []

    @property
    def asked(self) -> Counter[str]:
        """How often each last message was asked, pings left out."""
        return Counter(text for text in self.texts if text != "ping")

    @property
    def texts(self) -> list[str]:
        """The last messages, in order."""
        return [question.messages[-1][1] for question in self.questions]

    async def complete(self, question: Question) -> Completion:
        self.questions.append(question)
        await asyncio.sleep(0)
        text = self.do(question)
        message = question.messages[-1][1]
        if text is None:
            text = message.upper() if question.answer is None else Shout(text=message.upper()).model_dump_json()
        return Completion(text, self.finish, "fake-1", len(message), len(text))

    async def aclose(self) -> None:
        pass


def question(text: str, answer: type[BaseModel] | None = None, max_tokens: int = 100) -> Question:
    return Question("m", (("user", text),), "test/1", answer, max_tokens=max_tokens)


def ask(
    chat: FakeChat, journal: Journal, questions: Sequence[Question], account: Account = ACCOUNT, fresh: str = ""
) -> list[Reply]:
    asker = Asker(chat, journal, PRICES)
    try:
        return asker.ask(questions, account=account, fresh=fresh)
    finally:
        asker.close()
