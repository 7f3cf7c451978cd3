"""What a process is asking, others leave alone; what a dead one was asking they do not."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.remote.claims import SharedClaims
from tasks.remote.journal import Answer, Journal
from tasks.remote.once import Claims, Once
from tasks.storage.errors import DiskFull

_DIES = """
import os, signal, sys
from pathlib import Path
from tasks.remote.claims import SharedClaims

assert SharedClaims(Path(sys.argv[1])).take([b"1", b"2"])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def one(tmp_path: Path) -> Iterator[SharedClaims]:
    claims = SharedClaims(tmp_path / "asking")
    yield claims
    claims.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[SharedClaims]:
    claims = SharedClaims(tmp_path / "asking")
    yield claims
    claims.close()


def test_one_key_is_claimed_by_one(one: SharedClaims, other: SharedClaims) -> None:
    assert [b"1", b"2"] == one.take([b"1", b"2"])
    assert [b"3"] == other.take([b"2", b"3"])
    assert [] == one.take([b"3"])

    one.release([b"2"])

    assert [b"2"] == other.take([b"1", b"2"])
    assert [b"1"] == one.take([b"1"]), "its own already"


def test_what_is_closed_or_dead_is_free_and_leaves_no_file(
    one: SharedClaims, other: SharedClaims, tmp_path: Path
) -> None:
    folder = tmp_path / "asking"
    died = subprocess.run([sys.executable, "-c", _DIES, folder], check=False, timeout=60)
    assert -signal.SIGKILL == died.returncode
    assert b"31\n32\n" == next(path for path in folder.iterdir() if path.name != "lock").read_bytes()
    other.take([b"3"])
    other.close()

    assert [b"1", b"2", b"3"] == one.take([b"1", b"2", b"3"])

    one.close()
    assert [folder / "lock"] == list(folder.iterdir())


def test_a_full_disk_is_named_and_what_was_claimed_before_stays_so(
    one: SharedClaims, other: SharedClaims, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite
    one.take([b"1"])
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", lambda file, content, at: write(file, content[:7], at))
        with pytest.raises(DiskFull, match="No space left on the disk"):
            one.take([b"2", b"3"])

    assert [b"3"] == other.take([b"1", b"2", b"3"]), "2 had room"
    assert [b"2"] == one.take([b"2"])


def test_two_runs_at_once_ask_each_question_once(tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def work() -> None:
        journals = [Journal(tmp_path / "answers.sqlite") for _ in range(2)]
        first, second = map(Once, journals)
        asks, goes_on = (asyncio.Event(), asyncio.Event()), asyncio.Event()

        async def ask(once: Once, claims: Claims) -> None:
            asked.extend(claims.missing)
            asks[once is second].set()
            if once is first:
                await goes_on.wait()
            for key in claims.missing:
                await once.put({key: Answer(key.decode())}, [])
                claims.futures[key].set_result(Answer(key.decode()))

        one = asyncio.ensure_future(first.answers([b"1", b"2"], "", lambda claims: ask(first, claims)))
        await asks[0].wait()
        two = asyncio.ensure_future(second.answers([b"2", b"3"], "", lambda claims: ask(second, claims)))
        await asks[1].wait()
        await asyncio.sleep(0.2)  # it has looked for 2 a few times by now
        assert not two.done()
        goes_on.set()
        assert {b"1": Answer("1"), b"2": Answer("2")} == await one
        assert {b"2": Answer("2"), b"3": Answer("3")} == await two
        first.close()
        second.close()
        for journal in journals:
            journal.close()

    asyncio.run(asyncio.wait_for(work(), 60))

    assert [b"1", b"2", b"3"] == asked


def test_what_another_run_gave_up_is_asked_by_the_one_that_waits(tmp_path: Path) -> None:
    async def work() -> dict[bytes, Answer]:
        journals = [Journal(tmp_path / "answers.sqlite") for _ in range(2)]
        first, second = map(Once, journals)
        asks, fails = asyncio.Event(), asyncio.Event()

        async def fail(_: Claims) -> None:
            asks.set()
            await fails.wait()
            raise RuntimeError

        async def ask(claims: Claims) -> None:
            for key in claims.missing:
                claims.futures[key].set_result(Answer("two"))

        one = asyncio.ensure_future(first.answers([b"1"], "", fail))
        await asks.wait()
        two = asyncio.ensure_future(second.answers([b"1"], "", ask))
        await asyncio.sleep(0.1)
        fails.set()
        with pytest.raises(RuntimeError):
            await one
        answers = await two
        first.close()
        second.close()
        for journal in journals:
            journal.close()
        return answers

    assert {b"1": Answer("two")} == asyncio.run(asyncio.wait_for(work(), 60))
