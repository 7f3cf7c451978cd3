"""Writes go in together, and nobody gets an answer before it is on the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tasks.remote import once as module
from tasks.remote.journal import Answer, Call, Hold, Journal
from tasks.remote.once import COMPANY, Once
from tasks.storage.errors import DiskFull

HOLD = Hold("job", "mistral", 0.25, ("job",), 100.0)


class Counting(Journal):
    """Knows its transactions, and fails the next one when told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.transactions: list[int] = []
        self.is_full = False

    def put(
        self, answers: Mapping[bytes, Answer], calls: Sequence[Call] = (), holds: Sequence[Hold] = ()
    ) -> list[int | None]:
        if self.is_full:
            self.is_full = False
            raise DiskFull("full")
        ids = super().put(answers, calls, holds)
        self.transactions.append(len(answers))
        return ids


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Counting]:
    journal = Counting(tmp_path / "answers.sqlite")
    yield journal
    journal.close()


def _call(hold: int | None) -> Call:
    return Call(1.0, "job", "mistral", 1, 10, 600.0, "answered", 0.125, hold)


async def _turns() -> None:
    """Let the loop do what is ready, a few times over."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_answers_that_come_one_after_the_other_go_into_one_transaction(
    journal: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_LINGER_SECONDS", 0.5)

    async def work() -> None:
        once = Once(journal)
        await once.put({b"0": Answer("0")}, [_call(None)])  # calls take long
        holds = await asyncio.gather(*(once.hold(HOLD) for _ in range(COMPANY + 2)))
        journal.transactions.clear()
        puts = []
        for key, hold in zip((b"1", b"2"), holds, strict=False):
            puts.append(asyncio.ensure_future(once.put({key: Answer("a")}, [_call(hold)])))
            await _turns()
            assert {} == journal.get([key]), "not used before it is kept"
            assert not puts[-1].done()
        await asyncio.gather(*puts)
        once.close()

    asyncio.run(work())

    assert [2] == journal.transactions
    assert {b"1", b"2"} == journal.get([b"1", b"2"]).keys()


def test_a_call_without_company_is_written_down_at_once(journal: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_LINGER_SECONDS", 600.0)

    async def work() -> None:
        once = Once(journal)
        for key in (b"1", b"2", b"3"):
            await once.put({key: Answer("a")}, [_call(await once.hold(HOLD))])
        once.close()

    asyncio.run(asyncio.wait_for(work(), 30))

    assert [0, 1] * 3 == journal.transactions


def test_all_that_wait_are_told_of_a_full_disk_and_the_next_write_goes_through(journal: Counting) -> None:
    journal.is_full = True

    async def work() -> list[object]:
        once = Once(journal)
        told = await asyncio.gather(*(once.put({}, [_call(None)]) for _ in range(2)), return_exceptions=True)
        await once.put({b"1": Answer("a")}, [])
        once.close()
        return list(told)

    assert [DiskFull, DiskFull] == [type(error) for error in asyncio.run(work())]
    assert [1] == journal.transactions


def test_a_hold_that_nobody_waits_for_any_more_is_given_back(journal: Counting) -> None:
    async def work() -> None:
        once = Once(journal)
        holds = [asyncio.ensure_future(once.hold(HOLD)) for _ in range(2)]
        await asyncio.sleep(0)  # both wait for the writer
        holds[0].cancel()
        assert await holds[1] is not None
        once.close()

    asyncio.run(work())

    assert (0.0, 0.25) == journal.spent(["job"])
