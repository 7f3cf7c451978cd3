"""The walk through batches: the same jokes at half the price, and nothing left to ask online."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.chat.asker import Asker
from tasks.chat.batch import BatchAsker
from tasks.chat.mistral import Options, open_chat
from tasks.chat.mistral_batch import open_batches
from tasks.chat.prices import read_prices
from tasks.chat.protocol import BudgetReached
from tasks.remote.journal import Journal
from tasks.settings import CHECKOUT
from tasks.storage.schemas import JOKES
from tasks.storage.tables import read_table
from tests.jokes.walk import Walked, walk
from tests.standin import MistralBatchStandIn

SAMPLES = CHECKOUT / "data" / "samples" / "transcripts"


def _walk(data: Path, engine: Asker | BatchAsker, budget: float | None = None) -> Walked:
    return walk(SAMPLES, data, engine, model="mistral-small-2603", sizes=(900, 200), chunk_size=20, budget=budget)


def test_batches_give_the_same_jokes_at_half_the_price_and_leave_nothing_to_ask(tmp_path: Path) -> None:
    with MistralBatchStandIn() as standin:
        chat = open_chat(Options(url=standin.url))
        online = Asker(chat, Journal(tmp_path / "online" / "journal" / "answers.sqlite"), read_prices())
        expected = _walk(tmp_path / "online", online)
        standin.reset()
        data = tmp_path / "batch"
        journal = Journal(data / "journal" / "answers.sqlite")
        batches = BatchAsker(open_batches(chat), journal, read_prices(), first_pause_seconds=0.01)
        with pytest.raises(BudgetReached):
            _walk(data, batches, budget=0.001)
        walked = _walk(data, batches)
        assert 0 == standin.stats()["requests"], "nothing went to the chat"
        again = _walk(data, Asker(chat, journal, read_prices()))
        assert 0 == standin.stats()["requests"]
        assert 0 == standin.stats()["paid_again"]
        assert walked.tables.table.read_bytes() == again.tables.table.read_bytes()
        online.close()
    columns = ["id", "text", "levels", "corrected_text", "quality", "rewritten_text", "keep", "reason"]
    tables = [read_table(each.tables.table, JOKES, [*columns, "cost_usd"]) for each in (expected, walked)]
    assert tables[0].select(columns).equals(tables[1].select(columns))
    costs = [sum(table["cost_usd"].to_pylist()) for table in tables]
    assert pytest.approx(costs[0] / 2) == costs[1]
