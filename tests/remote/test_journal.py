"""The journal keeps what was paid."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path

import pytest

from tasks.remote.journal import Answer, Call, Hold, Journal, key_of
from tasks.storage.errors import NotWritable, TornFile


def test_an_answer_comes_back_under_what_was_asked(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "answers.sqlite")
    journal.put({key_of("google", "bus"): Answer("autobús"), key_of("google", "x"): Answer(None, "refused")})

    found = journal.get([key_of("google", "bus"), key_of("google", "x"), key_of("apertium", "bus")])

    assert {
        key_of("google", "bus"): Answer("autobús"),
        key_of("google", "x"): Answer(None, "refused"),
    } == found


def test_the_parts_of_a_key_do_not_run_together() -> None:
    assert key_of("a", "bc") != key_of("ab", "c")


def test_more_keys_than_one_query_takes_are_found(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "answers.sqlite")
    answers = {key_of(str(n)): Answer(str(n)) for n in range(1_201)}
    journal.put(answers)

    assert answers == journal.get(list(answers))


def test_calls_are_kept_by_job(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "answers.sqlite")
    mine = Call(2.0, "mine", "google/4.0.2", 3, 40, 0.2, "answered", 0.01)
    other = Call(1.0, "other", "google/4.0.2", 1, 10, 0.1, "Throttled")
    journal.put({}, [mine])
    journal.put({}, [other])

    assert [mine] == journal.calls("mine")
    assert [other, mine] == journal.calls()


def test_what_a_job_s_chunks_have_asked_is_the_job_s(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "answers.sqlite")
    names = ("mine", "mine/chunk-00000", "mine/chunk-00001", "mine-2", "mine0", "min")
    journal.put({}, [Call(1.0 + n, name, "s", 1, 9, 0.1, "answered", 2.0**n) for n, name in enumerate(names)])
    journal.put({}, (), [Hold("mine/chunk-00001", "s", 0.5, ("mine",), 7.5)])
    assert [None] == journal.put({}, (), [Hold("mine/chunk-00001", "s", 0.5, ("mine",), 7.5)])
    assert ((7.0, 0.5), (4.0, 0.5)) == (journal.spent(["mine"]), journal.spent(["mine/chunk-00001"]))
    assert [3, 1, 1] == [len(journal.calls(name)) for name in ("mine", "mine/chunk-00000", "min")]


def test_a_hold_is_settled_by_its_call(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "answers.sqlite")
    one, two = journal.put({}, (), [Hold("mine", "mistral", 0.5, ("mine",)), Hold("mine", "mistral", 0.25, ("mine",))])
    assert (0.0, 0.75) == journal.spent(["mine"])

    journal.put({}, [Call(1.0, "mine", "mistral", 1, 10, 0.1, "answered", 0.125, one)])
    assert (0.125, 0.25) == journal.spent(["mine"])
    assert 0.375 == journal.spent(["mine"]).usd

    assert two is not None
    journal.release([two])
    assert (0.125, 0.0) == journal.spent(["mine"])


def test_what_does_not_fit_under_its_cap_is_not_held(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "answers.sqlite")
    journal.put(
        {}, [Call(1.0, "other", "mistral", 1, 10, 0.1, "answered", 0.5), Call(1.0, "else", "m", 1, 1, 1, "x", 9)]
    )

    def hold(usd: float) -> Hold:
        return Hold("mine", "mistral", usd, ("mine", "other"), 1.0)

    ids = journal.put({}, (), [hold(0.25), hold(0.5), hold(0.25), hold(0.01)])

    assert [False, True, False, True] == [held is None for held in ids]
    assert (0.5, 0.5) == journal.spent(["mine", "other"])


def test_what_another_process_spends_is_seen(tmp_path: Path) -> None:
    here, there = Journal(tmp_path / "answers.sqlite"), Journal(tmp_path / "answers.sqlite")
    for number in range(3):
        there.put({}, [Call(1.0, "mine", "mistral", 1, 10, 0.1, "answered", 0.25)])
        assert (0.25 * (number + 1), 0.0) == here.spent(["mine"])


def test_an_answer_survives_kill_9_right_after_it_was_stored(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    child = os.fork()
    if child == 0:
        Journal(path).put({key_of("bus"): Answer("autobús")})
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)

    assert {key_of("bus"): Answer("autobús")} == Journal(path).get([key_of("bus")])


def test_two_processes_may_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    Journal(path).close()
    children = []
    for number in range(2):
        child = os.fork()
        if child == 0:
            journal = Journal(path)
            for n in range(200):
                journal.put({key_of(str(number), str(n)): Answer("x")})
            os._exit(0)
        children.append(child)

    assert [0, 0] == [os.waitpid(child, 0)[1] for child in children]
    with sqlite3.connect(path) as db:
        assert (400,) == db.execute("SELECT count(*) FROM answers").fetchone()


def test_a_damaged_journal_is_named_with_the_next_step(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_bytes(b"this is no database" * 100)

    with pytest.raises(TornFile, match=r"answers\.sqlite is damaged: .*Move it away and retry"):
        Journal(path)


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file")

    with pytest.raises((NotWritable, FileExistsError), match="journal"):
        Journal(tmp_path / "journal" / "answers.sqlite")
