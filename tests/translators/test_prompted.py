"""Texts go to a chat in whole conversations, are paid once, and come back by their keys."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest
from pydantic import BaseModel

from tasks.chat.asker import Asker
from tasks.chat.prices import Price, Prices
from tasks.chat.protocol import BudgetReached, Completion, Question
from tasks.chat.protocol import Limits as Pace
from tasks.remote import retry
from tasks.remote.errors import Misaligned, TooLarge
from tasks.remote.journal import Answer, Journal
from tasks.translators.packing import questions
from tasks.translators.prompted import PromptedAsker
from tasks.translators.protocol import Limits

MODEL = "some-model"
PRICE = Price(input_usd=1.0, output_usd=2.0, as_of="2026-11-20", source="a test", verified=True)


class Lines(BaseModel):
    """What a reply must be."""

    lines: list[str]


class Shouting:
    """A chat that upper-cases every line it is asked, unless told otherwise."""

    name = "shouting"
    limits = Pace(at_once=4)

    def __init__(self, answer: Callable[[list[str]], list[str]] | None = None) -> None:
        self.asked: list[list[list[str]]] = []
        self._answer = answer or (lambda lines: [line.upper() for line in lines])

    async def complete(self, question: Question) -> Completion:
        if question.messages[-1][1] == "ping":
            return Completion("pong", "stop", MODEL, 1, 1)
        conversations = json.loads(question.messages[-1][1])
        self.asked.append(conversations)
        lines = self._answer([line for conversation in conversations for line in conversation])
        return Completion(json.dumps({"lines": lines}), "stop", MODEL, 100, 50)

    async def aclose(self) -> None:
        pass


class Prompt:
    """The shortest one."""

    name = "prompt/1"
    model = MODEL

    def __init__(self, chat: Shouting, **limits: int) -> None:
        self.chat = chat
        self.limits = Limits(**limits)

    def question(self, conversations: Sequence[Sequence[str]], attempt: int) -> Question:
        asked = json.dumps(conversations)
        return Question(MODEL, (("user", asked),), "prompt/1", Lines, max_tokens=100, seed=attempt)

    def read(self, text: str, lines: int) -> list[str]:
        given = Lines.model_validate_json(text).lines
        if len(given) != lines:
            raise Misaligned(f"{len(given)} lines for {lines}")
        return given


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE_SECONDS", 0.0)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "answers.sqlite")


def _asker(chat: Shouting, journal: Journal, cap_usd: float | None = None, **limits: int) -> PromptedAsker:
    engine = Asker(chat, journal, Prices(Path("prices.json"), {MODEL: PRICE}))
    return PromptedAsker(Prompt(chat, **limits), engine, journal, "en", "es", cap_usd)


def _ask(
    chat: Shouting,
    journal: Journal,
    texts: Sequence[str],
    starts: Collection[str] = (),
    fresh: str = "",
    attempt: int = 0,
    **limits: int,
) -> dict[str, Answer]:
    return _asker(chat, journal, **limits).ask(texts, job="job", starts=starts, fresh=fresh, attempt=attempt)


def test_conversations_travel_whole_and_apart(journal: Journal) -> None:
    chat = Shouting()

    answers = _ask(chat, journal, ["a1", "a2", "b1", "b2", "b3"], {"a1", "b1"}, max_items=4)

    assert {text: Answer(text.upper()) for text in ("a1", "a2", "b1", "b2", "b3")} == answers
    assert [[["a1", "a2"]], [["b1", "b2", "b3"]]] == chat.asked

    chat = Shouting()
    _ask(chat, journal, ["c1", "c2", "d1"], {"c1", "d1"}, max_items=4)
    assert [[["c1", "c2"], ["d1"]]] == chat.asked


def test_a_text_is_paid_once_and_its_cost_is_the_job_s(journal: Journal) -> None:
    _ask(Shouting(), journal, ["a", "b"])
    chat = Shouting()

    assert {"b": Answer("B"), "c": Answer("C")} == _ask(chat, journal, ["b", "c"])

    assert [[["c"]]] == chat.asked
    calls = journal.calls("job")
    assert [("shouting", 1, "answered")] * 2 == [(call.service, call.texts, call.outcome) for call in calls]
    assert pytest.approx(2 * (100 * 1.0 + 50 * 2.0) / 1e6) == sum(call.cost_usd for call in calls)


def test_fresh_asks_again_and_a_second_attempt_asks_each_text_alone(journal: Journal) -> None:
    chat = Shouting()
    _ask(chat, journal, ["a", "b"])
    _ask(chat, journal, ["a", "b"], fresh="once")
    _ask(chat, journal, ["b"], fresh="once")
    _ask(chat, journal, ["a", "b"], attempt=1)

    assert [[["a", "b"]], [["a", "b"]]] == chat.asked[:2]
    assert [[["a"]], [["b"]]] == sorted(chat.asked[2:])


def test_an_answer_that_does_not_match_is_asked_in_halves_until_one_text_is_left(journal: Journal) -> None:
    chat = Shouting(lambda lines: lines[1:] if "odd" in lines else [line.upper() for line in lines])

    answers = _ask(chat, journal, ["a", "b", "odd", "c"])

    assert {"a": Answer("A"), "b": Answer("B"), "odd": Answer(None, "unanswered"), "c": Answer("C")} == answers
    again = Shouting()
    assert Answer("ODD") == _ask(again, journal, ["a", "odd"], fresh="once")["odd"]


def test_what_the_service_refuses_is_its_last_word(journal: Journal) -> None:
    def refuse(lines: list[str]) -> list[str]:
        if "poison" in lines:
            raise TooLarge("no")
        return [line.upper() for line in lines]

    answers = _ask(Shouting(refuse), journal, ["a", "poison", "b"])

    assert {"a": Answer("A"), "poison": Answer(None, "refused"), "b": Answer("B")} == answers
    again = Shouting()
    assert answers == _ask(again, journal, ["a", "poison", "b"])
    assert [] == again.asked


def test_chunks_in_flight_ask_a_shared_text_once(journal: Journal) -> None:
    chat = Shouting()
    asker = _asker(chat, journal, max_items=2)
    answers: list[dict[str, Answer]] = []
    texts = [[f"{thread}-{n}" for n in range(6)] + ["shared"] for thread in range(3)]
    threads = [threading.Thread(target=lambda some=some: answers.append(asker.ask(some, job="j"))) for some in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    asked = [line for conversations in chat.asked for conversation in conversations for line in conversation]
    assert sorted({text for some in texts for text in some}) == sorted(asked)
    assert [Answer("SHARED")] * 3 == [some["shared"] for some in answers]


def test_the_cap_holds_and_what_came_before_it_is_kept(journal: Journal) -> None:
    chat = Shouting()
    texts = [f"text {number}" for number in range(40)]

    with pytest.raises(BudgetReached, match="Raise budget_usd"):
        _asker(chat, journal, cap_usd=0.003, max_items=1).ask(texts, job="job")

    spent = journal.spent(["job"])
    assert 0 == spent.held_usd
    assert 0 < spent.calls_usd <= 0.003
    paid = len(chat.asked)
    assert 0 < paid < 40
    answers = _asker(chat, journal, cap_usd=1.0, max_items=1).ask(texts, job="job")
    assert {text: Answer(text.upper()) for text in texts} == answers
    assert 40 == len(chat.asked)


def test_a_service_that_refuses_everything_is_not_the_lines_fault(journal: Journal) -> None:
    class Refusing(Shouting):
        async def complete(self, question: Question) -> Completion:
            raise TooLarge("no such parameter: response_format")

    with pytest.raises(TooLarge, match="no such parameter"):
        _ask(Refusing(), journal, ["a", "b", "c"])

    assert {"a": Answer("A"), "b": Answer("B"), "c": Answer("C")} == _ask(Shouting(), journal, ["a", "b", "c"])


def test_killed_before_any_write_no_line_that_was_paid_is_asked_again_though_packs_are_cut_otherwise(
    tmp_path: Path,
) -> None:
    for write in range(1, 100):
        folder = tmp_path / str(write)
        folder.mkdir()
        if _translate(folder, write, items=4) == 0:
            break
        journal = Journal(folder / "answers.sqlite")
        paid = [call for call in journal.calls("job") if call.outcome == "answered"]
        lines = journal.get(list(questions("prompt/1", "en", "es", 0, _lines(folder)).values()))
        journal.close()
        assert 4 * len(paid) == len(lines), f"write {write}: paid and not known"
        assert 0 == _translate(folder, 100, items=5)
        again = Counter(_lines(folder))
        assert 12 == len(again)
        assert again.total() <= 12 + 4, f"write {write}: more than what was under way is asked again"
    assert write > 3, "nothing was killed"


def _translate(folder: Path, write: int, items: int) -> int:
    command = [sys.executable, "-m", "tests.translators.dying_prompted"]
    paths = [folder / "answers.sqlite", folder / "asked"]
    ended = subprocess.run([*command, *map(str, (*paths, write, items))], check=False, timeout=300).returncode
    assert ended in (0, -signal.SIGKILL)
    return ended


def _lines(folder: Path) -> list[str]:
    log = folder / "asked"
    return log.read_text().splitlines() if log.exists() else []
