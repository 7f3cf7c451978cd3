"""An engine that answers from a function: what a model says, without a model, a journal or a price."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import BaseModel

from tasks.chat.protocol import Account, Question, Reply

ACCOUNT = Account("job", ("job",))


class Answering:
    """An ``Engine``.

    Args:
        answer: The reply to a question; a model of pydantic stands for its JSON, a code of the protocol for a refusal.
    """

    name = "fake"

    def __init__(self, answer: Callable[[Question], BaseModel | str | Reply]) -> None:
        self._answer = answer
        self.asked: list[Question] = []
        self.fresh: list[Question] = []

    def ask(self, questions: Sequence[Question], *, account: Account, fresh: str = "") -> list[Reply]:
        assert account == ACCOUNT
        self.asked += questions
        self.fresh += questions if fresh else []
        return [self._reply(question) for question in questions]

    def _reply(self, question: Question) -> Reply:
        said = self._answer(question)
        if isinstance(said, Reply):
            return said
        if isinstance(said, BaseModel):
            return Reply(said.model_dump_json(), model="fake-1", cost_usd=0.01)
        return Reply(None, said, "It will not.", "fake-1", cost_usd=0.01)
