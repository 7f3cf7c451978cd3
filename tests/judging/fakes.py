"""Services that answer by a function, and count what they are asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tasks.chat.protocol import Account, Question, Reply

Judging = Callable[[str, str, str], str | Reply]
_DATA = re.compile(r"<(request|joke_A|joke_B)>\n(.*?)\n</\1>", re.DOTALL)


@dataclass
class FakeJudge:
    """Says who wins by ``decide(request, first, second)``; a ``Reply`` is given as it is."""

    decide: Judging
    name: str = "fake"
    asked: list[Question] = field(default_factory=list)

    def ask(self, questions: Sequence[Question], *, account: Account, fresh: str = "") -> list[Reply]:
        """Answer every question."""
        self.asked += questions
        return [self._reply(question) for question in questions]

    def _reply(self, question: Question) -> Reply:
        request, first, second = texts_of(question)
        said = self.decide(request, first, second)
        if isinstance(said, Reply):
            return said
        return Reply(json.dumps({"reason": f"I say {said}.", "winner": said}), model="fake-1", cost_usd=0.001)


@dataclass
class FakeWriter:
    """Writes by a function of the request."""

    tell: Callable[[str], str | Reply]
    name: str = "fake"

    def ask(self, questions: Sequence[Question], *, account: Account, fresh: str = "") -> list[Reply]:
        """Answer every question."""
        told = [self.tell(question.messages[-1][1]) for question in questions]
        return [each if isinstance(each, Reply) else Reply(each, model="fake-w", cost_usd=0.002) for each in told]


def texts_of(question: Question) -> tuple[str, str, str]:
    """Request, first and second text as the judge gets them."""
    request, first, second = (text for _, text in _DATA.findall(question.messages[1][1]))
    return request, first, second


def longer(request: str, first: str, second: str) -> str:
    """A judge that likes length alone."""
    return "tie" if len(first) == len(second) else "A" if len(first) > len(second) else "B"
