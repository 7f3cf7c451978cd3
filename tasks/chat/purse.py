"""One purse for all chunks of a run: when it is empty for one of them, no other asks any more.

Without it a chunk whose questions happen to be shorter would go on alone, and leave the run's budget spent in crumbs.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.chat.protocol import Account, BudgetReached, Engine, Question, Reply


class Purse:
    """An ``Engine`` that asks another one until its budget is reached for the first time.

    Args:
        engine: Who is asked.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._empty: BudgetReached | None = None

    @property
    def name(self) -> str:
        """The chat's name."""
        return self._engine.name

    def ask(self, questions: Sequence[Question], *, account: Account, fresh: str = "") -> list[Reply]:
        """Get a reply to every question; see ``Engine.ask``."""
        if self._empty:
            raise self._empty
        try:
            return self._engine.ask(questions, account=account, fresh=fresh)
        except BudgetReached as error:
            self._empty = error
            raise
