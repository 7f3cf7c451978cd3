"""Texts are asked once, packed, halved, journaled."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from tasks.remote import retry
from tasks.remote.errors import Denied, Echoed, Misaligned, TooLarge, Unreachable
from tasks.remote.journal import Answer, Call, Journal
from tasks.storage.errors import DiskFull
from tasks.translators.packing import Asker, packs
from tasks.translators.protocol import Limits


class Engine:
    """Upper-cases, counts what it is asked, and fails when told to."""

    name = "engine/1"

    def __init__(self, fail: Callable[[Sequence[str]], None] = lambda texts: None, **limits: int) -> None:
        self.limits = Limits(**limits)
        self.fail = fail
        self.requests: list[list[str]] = []

    @property
    def asked(self) -> Counter[str]:
        return Counter(text for request in self.requests for text in request)

    async def translate(self, texts: Sequence[str]) -> list[str]:
        self.requests.append(list(texts))
        await asyncio.sleep(0)
        self.fail(texts)
        return [text.upper() for text in texts]

    async def aclose(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE_SECONDS", 0.0)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "answers.sqlite")


def _ask(engine: Engine, journal: Journal, texts: Sequence[str], fresh: str = "") -> dict[str, Answer]:
    asker = Asker(engine, journal, "en", "es")
    try:
        return asker.ask(texts, job="job", fresh=fresh)
    finally:
        asker.close()


def test_packs_keep_every_limit_and_every_text() -> None:
    texts = [("ñandú " * n).strip() for n in range(1, 80)] + ["x" * 5_000]
    limits = Limits(max_chars=900, max_items=7, max_bytes=1_500)

    packed = list(packs(texts, limits))

    assert texts == [text for pack in packed for text in pack]
    for pack in packed[:-1]:
        assert len(pack) <= 7
        assert len("\n".join(pack)) <= 900
        assert len(quote_plus("\n".join(pack))) <= 1_500


def test_a_conversation_that_does_not_fit_whole_goes_into_the_next_pack() -> None:
    texts = ["a1", "a2", "b1", "b2", "b3", "c1", "d1", "d2", "d3", "d4", "d5", "e1"]
    starts = {text for text in texts if text.endswith("1")}

    assert [
        ["a1", "a2"],
        ["b1", "b2", "b3", "c1"],
        ["d1", "d2", "d3", "d4"],  # larger than a pack
        ["d5", "e1"],
    ] == list(packs(texts, Limits(max_items=4), starts))


def test_equal_texts_are_asked_once(journal: Journal) -> None:
    engine = Engine()

    answers = _ask(engine, journal, ["a", "b", "a", "a"])

    assert {"a": Answer("A"), "b": Answer("B")} == answers
    assert [["a", "b"]] == engine.requests


def test_what_the_journal_knows_is_not_asked_again(journal: Journal) -> None:
    _ask(Engine(), journal, ["a", "b"])
    engine = Engine()

    answers = _ask(engine, journal, ["a", "b", "c"])

    assert {"a": Answer("A"), "b": Answer("B"), "c": Answer("C")} == answers
    assert [["c"]] == engine.requests


def test_fresh_asks_again(journal: Journal) -> None:
    _ask(Engine(), journal, ["a"])
    engine = Engine()
    _ask(engine, journal, ["a"], fresh="once")

    assert [["a"]] == engine.requests


def test_chunks_in_flight_ask_a_shared_text_once(journal: Journal) -> None:
    engine = Engine(max_items=2)
    asker = Asker(engine, journal, "en", "es")
    texts = [[f"{thread}-{n}" for n in range(20)] + ["shared"] * 3 + ["both"] for thread in range(4)]
    answers: list[dict[str, Answer]] = []
    threads = [threading.Thread(target=lambda some=some: answers.append(asker.ask(some, job="j"))) for some in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asker.close()

    assert len(answers) == 4
    assert all(answer["shared"] == Answer("SHARED") for answer in answers)
    assert set(engine.asked.values()) == {1}


def test_a_pack_that_is_too_large_is_halved_until_it_fits(journal: Journal) -> None:
    def fail(texts: Sequence[str]) -> None:
        if len(texts) > 3:
            raise TooLarge("too much")

    texts = [str(n) for n in range(20)]

    assert {text: Answer(text) for text in texts} == _ask(Engine(fail), journal, texts)


def test_a_text_that_the_service_never_takes_is_refused_alone_and_not_asked_again(journal: Journal) -> None:
    def fail(texts: Sequence[str]) -> None:
        if "poison" in texts:
            raise TooLarge("no")

    texts = ["a", "b", "poison", "c"]
    expected = {"a": Answer("A"), "b": Answer("B"), "poison": Answer(None, "refused"), "c": Answer("C")}

    assert expected == _ask(Engine(fail), journal, texts)
    again = Engine(fail)
    assert expected == _ask(again, journal, texts)
    assert again.requests == []


def test_a_text_that_always_fails_while_others_pass_is_left_unanswered(journal: Journal) -> None:
    def fail(texts: Sequence[str]) -> None:
        if "poison" in texts:
            raise Unreachable("503")

    texts = ["a", "b", "poison", "c"]
    engine = Engine(fail, max_items=1)

    answers = _ask(engine, journal, texts)

    assert answers == {
        "a": Answer("A"),
        "b": Answer("B"),
        "poison": Answer(None, "unanswered"),
        "c": Answer("C"),
    }


def test_a_text_that_is_echoed_every_time_has_its_echo_as_answer(journal: Journal) -> None:
    def fail(texts: Sequence[str]) -> None:
        if texts == ["Thomas the Tank Engine"]:
            raise Echoed("the same")

    answers = _ask(Engine(fail, max_items=1), journal, ["a", "Thomas the Tank Engine"])

    assert {"a": Answer("A"), "Thomas the Tank Engine": Answer("Thomas the Tank Engine")} == answers


def test_one_request_with_a_text_that_always_fails_delivers_the_others(journal: Journal) -> None:
    def fail(texts: Sequence[str]) -> None:
        if "poison" in texts:
            raise Unreachable("503")

    for texts in (["a", "b", "poison", "c"], ["poison", "d"]):
        answers = _ask(Engine(fail), journal, texts)

        good = {text: Answer(text.upper()) for text in texts if text != "poison"}
        assert answers == {**good, "poison": Answer(None, "unanswered")}


def test_the_only_text_left_is_told_from_an_outage_by_one_that_was_answered_before(journal: Journal) -> None:
    _ask(Engine(), journal, ["a"])

    def fail(texts: Sequence[str]) -> None:
        if "poison" in texts:
            raise Unreachable("503")

    assert {"a": Answer("A"), "poison": Answer(None, "unanswered")} == _ask(Engine(fail), journal, ["a", "poison"])


def test_a_service_that_is_away_fails_the_chunk_and_keeps_what_came_before(journal: Journal) -> None:
    _ask(Engine(), journal, ["a"])

    def fail(texts: Sequence[str]) -> None:
        raise Unreachable("no connection")

    with pytest.raises(Unreachable):
        _ask(Engine(fail), journal, ["a", "b"])
    engine = Engine()
    _ask(engine, journal, ["a", "b"])
    assert [["b"]] == engine.requests


def test_a_service_that_denies_us_is_asked_once(journal: Journal) -> None:
    def fail(texts: Sequence[str]) -> None:
        raise Denied("no")

    engine = Engine(fail)
    with pytest.raises(Denied):
        _ask(engine, journal, ["a"])
    assert [["a"]] == engine.requests


def test_misaligned_answers_are_halved(journal: Journal) -> None:
    def fail(texts: Sequence[str]) -> None:
        if len(texts) > 1:
            raise Misaligned("merged")

    assert {"a": Answer("A"), "b": Answer("B")} == _ask(Engine(fail), journal, ["a", "b"])


def test_an_answer_with_half_of_a_character_costs_its_text_alone(journal: Journal) -> None:
    class Torn(Engine):
        async def translate(self, texts: Sequence[str]) -> list[str]:
            return [text.replace("😀", "\ud83d") for text in await super().translate(texts)]

    answers = _ask(Torn(), journal, ["a", "b 😀", "c"])

    assert {"a": Answer("A"), "b 😀": Answer(None, "unanswered"), "c": Answer("C")} == answers


def test_answers_under_way_when_another_request_fails_are_kept(journal: Journal) -> None:
    def fail(texts: Sequence[str]) -> None:
        if "bad" in texts:
            raise Denied("no")

    with pytest.raises(Denied):
        _ask(Engine(fail, max_items=1, at_once=3), journal, ["a", "bad", "c"])
    engine = Engine()
    _ask(engine, journal, ["a", "c"])

    assert engine.requests == []


def test_every_request_stands_in_the_list_of_calls(journal: Journal) -> None:
    _ask(Engine(max_items=2), journal, ["a", "bb", "ccc"])

    assert [(2, 3, "answered"), (1, 3, "answered")] == [(c.texts, c.chars, c.outcome) for c in journal.calls("job")]


def test_answers_that_wait_for_the_disk_are_written_together(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    put, all_have_come = journal.put, threading.Event()

    def slow(answers: Mapping[bytes, Answer], calls: Sequence[Call] = ()) -> None:
        if not written:
            all_have_come.wait(60)
        written.append(len(calls))
        put(answers, calls)

    def come(texts: Sequence[str]) -> None:
        if len(engine.requests) == 8:
            all_have_come.set()

    engine = Engine(come, max_items=1)
    monkeypatch.setattr(journal, "put", slow)
    texts = [f"text {n}" for n in range(8)]

    assert texts == [(answer.text or "").lower() for answer in _ask(engine, journal, texts).values()]
    assert (8, len(journal.calls("job"))) == (sum(written), 8)
    assert len(written) < 8


def test_a_disk_that_is_full_fails_all_that_waited_for_it(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(answers: Mapping[bytes, Answer], calls: Sequence[Call] = ()) -> None:
        raise DiskFull("No space left on the disk for the journal.")

    monkeypatch.setattr(journal, "put", full)
    with pytest.raises(DiskFull, match="No space left"):
        _ask(Engine(max_items=1), journal, ["one", "two", "three"])
