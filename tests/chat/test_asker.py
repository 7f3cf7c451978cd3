"""Questions are asked once, validated, paid under a cap, and kept."""

from __future__ import annotations

import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.chat.asker import READINGS, Asker
from tasks.chat.prices import PriceUnknown, most_prompt_tokens
from tasks.chat.protocol import (
    CUT,
    REFUSED,
    UNANSWERED,
    UNREADABLE,
    Account,
    BudgetReached,
    Question,
    Reply,
    UnknownModel,
)
from tasks.remote.errors import BadAnswer, Denied, NoAnswer, TooLarge, Unreachable
from tasks.remote.journal import Hold, Journal
from tests.chat.fakes import ACCOUNT, PRICES, FakeChat, Shout, ask, question

pytestmark = pytest.mark.usefixtures("_no_pauses")


def _texts(replies: list[Reply]) -> list[str | None]:
    return [reply.text for reply in replies]


def _outcomes(journal: Journal) -> list[str]:
    return [call.outcome for call in journal.calls()]


def test_equal_questions_are_asked_once_and_answered_in_order(journal: Journal) -> None:
    chat = FakeChat()

    replies = ask(chat, journal, [question("a"), question("b"), question("a")])

    assert ["A", "B", "A"] == _texts(replies)
    assert {"a": 1, "b": 1} == chat.asked


def test_what_the_journal_knows_is_not_asked_again_and_keeps_its_cost(journal: Journal) -> None:
    first = ask(FakeChat(), journal, [question("abc")])
    chat = FakeChat()

    assert first == ask(chat, journal, [question("abc")])
    assert [] == chat.questions
    assert [Reply("ABC", model="fake-1", prompt_tokens=3, completion_tokens=3, cost_usd=6e-6)] == first


def test_fresh_asks_again_once_on_each_occasion(journal: Journal) -> None:
    ask(FakeChat(), journal, [question("a", Shout)])
    chat = FakeChat(lambda _: "no JSON")
    for occasion in ("monday", "monday", "friday", "monday"):
        (reply,) = ask(chat, journal, [question("a", Shout)], fresh=occasion)

    assert (UNREADABLE, 2 * READINGS) == (reply.refusal, len(chat.questions))
    assert [reply] == ask(FakeChat(), journal, [question("a", Shout)])


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"prompt": "test/2"},
        {"answer": Shout},
        {"temperature": 0.5},
        {"max_tokens": 99},
        {"seed": 1},
        {"messages": (("system", "a"),)},
    ],
)
def test_whatever_decides_the_reply_makes_another_question(change: dict[str, object]) -> None:
    assert question("a").identity != replace(question("a"), **change).identity  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [None, Shout])
def test_a_question_keeps_the_key_under_which_it_was_paid(answer: type[Shout] | None) -> None:
    asked = Question("m", (("system", '¿"a", ñ?'), ("user", "[1]")), "test/1", answer, 0.7, 9, 3)
    schema = ["Shout", Shout.model_json_schema()] if answer else None
    parts = ["m", [["system", '¿"a", ñ?'], ["user", "[1]"]], "test/1", schema, 0.7, 9, 3]
    assert json.dumps(parts, ensure_ascii=False, sort_keys=True) == asked.identity


def test_chunks_in_flight_ask_a_shared_question_once(journal: Journal) -> None:
    chat = FakeChat(at_once=2)
    asker = Asker(chat, journal, PRICES)
    answers: list[list[Reply]] = []

    def chunk(number: int) -> None:
        some = [question(f"{number}-{n}") for n in range(20)] + [question("shared")]
        answers.append(asker.ask(some, account=ACCOUNT))

    threads = [threading.Thread(target=chunk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asker.close()

    assert ["SHARED"] * 4 == [replies[-1].text for replies in answers]
    assert {1} == set(chat.asked.values())


def test_an_answer_is_valid_for_its_schema_before_it_is_taken(journal: Journal) -> None:
    (reply,) = ask(FakeChat(), journal, [question("a", Shout)])

    assert Shout(text="A") == Shout.model_validate_json(reply.text or "")


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```", "\n```json\n{}\n```\n"])
def test_a_fence_around_json_is_taken_off(journal: Journal, fence: str) -> None:
    chat = FakeChat(lambda question: fence.replace("{}", '{"text": "A"}'))

    assert ['{"text": "A"}'] == _texts(ask(chat, journal, [question("a", Shout)]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Claro, aquí tienes:", "Invalid JSON"),
        ('{"text": "A"', "Invalid JSON"),
        ('{"joke": "A"}', "text: Field required"),
        ('{"text": 1}', "text: Input should be a valid string"),
        ("", "Invalid JSON"),
        ("__import__('os')", "Invalid JSON"),
    ],
)
def test_an_answer_that_is_not_the_json_is_asked_again_and_then_given_up(
    journal: Journal, text: str, said: str
) -> None:
    chat = FakeChat(lambda question: text)

    (reply,) = ask(chat, journal, [question("abc", Shout)])

    assert (None, UNREADABLE) == (reply.text, reply.refusal)
    assert "Not the JSON of Shout that was asked for: " in reply.message
    assert said in reply.message
    assert READINGS == len(chat.questions)
    assert [0, 1, 2] == [asked.seed for asked in chat.questions]
    assert [UNREADABLE] * READINGS == _outcomes(journal)
    assert READINGS * 3 == reply.prompt_tokens
    assert pytest.approx(sum(call.cost_usd for call in journal.calls())) == reply.cost_usd
    again = FakeChat()
    assert [reply] == ask(again, journal, [question("abc", Shout)])
    assert [] == again.questions


def test_an_unreadable_answer_is_paid_with_the_readable_one_after_it(journal: Journal) -> None:
    chat = FakeChat(lambda question: "no JSON" if question.seed == 0 else None)

    (reply,) = ask(chat, journal, [question("abc", Shout)])

    assert '{"text":"ABC"}' == reply.text
    assert (6, "") == (reply.prompt_tokens, reply.message)
    assert pytest.approx(sum(call.cost_usd for call in journal.calls())) == reply.cost_usd


def test_an_answer_that_was_cut_is_the_last_word(journal: Journal) -> None:
    chat = FakeChat(finish="length")

    (reply,) = ask(chat, journal, [question("abc", Shout)])
    ask(chat, journal, [question("abc", Shout)])

    assert (None, CUT, 3) == (reply.text, reply.refusal, reply.prompt_tokens)
    assert "The answer did not fit into 100 tokens (finish_reason length)." == reply.message
    assert {"abc": 1} == chat.asked


def test_a_question_that_the_service_never_takes_is_refused_alone_and_not_asked_again(journal: Journal) -> None:
    def refuse(asked: Question) -> None:
        if asked.messages[-1][1] == "poison":
            raise TooLarge("400: too long")

    questions = [question(text) for text in ("a", "poison", "b")]
    replies = ask(FakeChat(refuse), journal, questions)
    again = FakeChat(refuse)

    assert ["A", None, "B"] == _texts(replies)
    assert (REFUSED, "400: too long") == (replies[1].refusal, replies[1].message)
    assert replies == ask(again, journal, questions)
    assert [] == again.questions


def test_a_service_that_refuses_everything_ends_the_chunk_instead_of_refusing_its_rows(journal: Journal) -> None:
    def refuse(asked: Question) -> None:
        raise TooLarge("400: response_format is not supported")

    with pytest.raises(TooLarge, match="response_format is not supported"):
        ask(FakeChat(refuse), journal, [question(text) for text in "abc"])
    assert ["A"] == _texts(ask(FakeChat(), journal, [question("a")]))


@pytest.mark.parametrize("setting", [{"max_tokens": 101}, {"answer": Shout}])
def test_a_setting_that_one_prompt_alone_has_ends_the_chunk_although_the_service_takes_others(
    journal: Journal, setting: dict[str, Any]
) -> None:
    strange = [replace(question(text, **setting), prompt="other/1") for text in "abc"]

    def refuse(asked: Question) -> None:
        if asked.prompt == "other/1":
            raise TooLarge("400: not with this setting")

    chat = FakeChat(refuse)
    with pytest.raises(TooLarge, match="not with this setting"):
        ask(chat, journal, [question("a"), *strange])
    assert ["A"] == _texts(ask(FakeChat(), journal, [question("a")]))
    assert 3 == sum(reply.text is not None for reply in ask(FakeChat(), journal, strange))


def test_every_text_refused_is_the_texts_fault_where_a_word_is_answered(journal: Journal) -> None:
    def refuse(asked: Question) -> None:
        if asked.messages[-1][1] != "ping":
            raise TooLarge("400: not such a text")

    chat = FakeChat(refuse)
    replies = ask(chat, journal, [question("a"), question("b")])

    assert [(REFUSED, "400: not such a text")] * 2 == [(reply.refusal, reply.message) for reply in replies]
    assert 1 == chat.texts.count("ping")


def test_an_outage_ends_the_chunk_and_keeps_what_came_before(journal: Journal) -> None:
    ask(FakeChat(), journal, [question("a")])

    def away(asked: Question) -> None:
        raise Unreachable("503")

    with pytest.raises(Unreachable):
        ask(FakeChat(away), journal, [question("a"), question("b"), question("c")])
    chat = FakeChat()
    ask(chat, journal, [question("a"), question("b")])
    assert {"b": 1} == chat.asked


def test_a_question_that_always_fails_while_others_pass_is_left_unanswered_for_another_day(journal: Journal) -> None:
    def fail(asked: Question) -> None:
        if asked.messages[-1][1] == "poison":
            raise Unreachable("503")

    questions = [question(text) for text in ("a", "poison", "b")]
    replies = ask(FakeChat(fail), journal, questions)

    assert ["A", None, "B"] == _texts(replies)
    assert (UNANSWERED, "503") == (replies[1].refusal, replies[1].message)
    assert ["A", "POISON", "B"] == _texts(ask(FakeChat(), journal, questions))


def test_the_only_question_is_told_from_an_outage_by_one_word(journal: Journal) -> None:
    def fail(asked: Question) -> None:
        if asked.messages[-1][1] == "poison":
            raise Unreachable("503")

    chat = FakeChat(fail)
    (reply,) = ask(chat, journal, [question("poison")])

    assert UNANSWERED == reply.refusal
    assert "ping" == chat.texts[-1]
    assert "ping" == _outcomes(journal)[-1]


@pytest.mark.parametrize("error", [Denied("no key"), UnknownModel("retired")])
def test_a_service_that_does_not_serve_us_is_asked_once(journal: Journal, error: Exception) -> None:
    def deny(asked: Question) -> None:
        raise error

    chat = FakeChat(deny, at_once=1)
    with pytest.raises(type(error)):
        ask(chat, journal, [question(text) for text in "abc"])
    assert 1 == len(chat.questions)


def test_answers_under_way_when_another_question_fails_are_kept(journal: Journal) -> None:
    def deny(asked: Question) -> None:
        if asked.messages[-1][1] == "bad":
            raise Denied("no")

    with pytest.raises(Denied):
        ask(FakeChat(deny, at_once=3), journal, [question("a"), question("bad"), question("c")])
    chat = FakeChat()
    ask(chat, journal, [question("a"), question("c")])

    assert not chat.questions


def test_a_call_is_written_down_with_what_it_cost(journal: Journal) -> None:
    ask(FakeChat(), journal, [question("abc")])

    (call,) = journal.calls("job")
    assert ("fake", 1, 3, "answered", 6e-6) == (call.service, call.texts, call.chars, call.outcome, call.cost_usd)
    assert (6e-6, 0.0) == journal.spent(["job"])


@pytest.mark.parametrize("error", [NoAnswer("cut off"), BadAnswer("no bill")])
def test_a_call_whose_bill_nobody_saw_counts_with_its_highest_cost(journal: Journal, error: Exception) -> None:
    first = True

    def fail(asked: Question) -> None:
        nonlocal first
        if first:
            first = False
            raise error

    (reply,) = ask(FakeChat(fail), journal, [question("abc")])

    highest = PRICES.of("m").highest(question("abc"))
    assert [highest, 6e-6] == [call.cost_usd for call in journal.calls()]
    assert 6e-6 == reply.cost_usd


def test_an_unknown_price_is_told_before_anything_is_sent(journal: Journal) -> None:
    chat = FakeChat()
    with pytest.raises(PriceUnknown, match=r"No price for the model 'dear'.*Add a line to prices.json.*\"dear\": \{"):
        ask(chat, journal, [question("a"), replace(question("b"), model="dear")])
    assert [] == chat.questions


class TestBudget:
    """The cap is checked before each call, over all runs."""

    @staticmethod
    def _account(cap: float) -> Account:
        return Account("job", ("job", "other"), cap)

    def test_the_budget_is_reached_in_mid_run_with_every_answer_kept(self, journal: Journal) -> None:
        questions = [question(str(n)) for n in range(100)]
        cap = 20 * 2e-6 + PRICES.of("m").highest(question("10"))  # some twenty answers

        with pytest.raises(BudgetReached, match=r"budget_usd is 0\.0002\. Answers so far are kept\. Raise budget_usd"):
            ask(FakeChat(), journal, questions, self._account(cap))

        spent = journal.spent(["job"])
        assert 0 == spent.held_usd
        assert cap - PRICES.of("m").highest(question("10")) < spent.usd <= cap
        paid = len(journal.calls())
        assert 15 <= paid <= 21
        chat = FakeChat()
        assert [str(n) for n in range(100)] == _texts(ask(chat, journal, questions, self._account(1.0)))
        assert 100 == paid + len(chat.questions)

    def test_a_budget_of_nothing_asks_nothing(self, journal: Journal) -> None:
        chat = FakeChat()
        with pytest.raises(BudgetReached, match=r"0\.0000 USD are spent.*budget_usd is 0\.0000"):
            ask(chat, journal, [question("a")], self._account(0.0))
        assert [] == chat.questions

    def test_what_the_journal_knows_is_given_without_a_budget(self, journal: Journal) -> None:
        ask(FakeChat(), journal, [question("a")])

        assert ["A"] == _texts(ask(FakeChat(), journal, [question("a")], self._account(0.0)))

    def test_jobs_that_share_a_cap_count_together(self, journal: Journal) -> None:
        ask(FakeChat(), journal, [question("a" * 100)], Account("other", ("other",)))

        with pytest.raises(BudgetReached):
            ask(FakeChat(), journal, [question("b")], self._account(200e-6))
        assert ["B"] == _texts(ask(FakeChat(), journal, [question("b")], Account("job", ("job",), 200e-6)))

    def test_calls_under_way_are_waited_for_before_the_budget_counts_as_reached(self, journal: Journal) -> None:
        highest = PRICES.of("m").highest(question("a"))
        chat = FakeChat(at_once=8)

        replies = ask(chat, journal, [question(letter) for letter in "abcdefgh"], self._account(1.5 * highest))

        assert list("ABCDEFGH") == _texts(replies)

    def test_what_a_kill_9_held_counts_as_spent(self, journal: Journal, tmp_path: Path) -> None:
        journal.close()
        child = os.fork()
        if child == 0:
            forked = Journal(tmp_path / "answers.sqlite")
            forked.put({}, (), [Hold("job", "fake", 0.25, ("job",), 1.0)])
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        resumed = Journal(tmp_path / "answers.sqlite")

        assert (0.0, 0.25) == resumed.spent(["job"])
        with pytest.raises(
            BudgetReached, match=r"0\.2500 USD are spent, 0\.2500 of it for calls that were cut off, or"
        ):
            ask(FakeChat(), resumed, [question("a")], self._account(0.25))

    def test_an_error_gives_its_hold_back(self, journal: Journal) -> None:
        def deny(asked: Question) -> None:
            raise Denied("no")

        with pytest.raises(Denied):
            ask(FakeChat(deny), journal, [question("a")], self._account(1.0))
        assert (0.0, 0.0) == journal.spent(["job"])

    def test_no_call_costs_more_than_it_held(self) -> None:
        texts = ["a", "ñandú", "🐦" * 10, "", "x" * 5_000]
        for text in texts:
            asked = question(text, Shout)
            schema = json.dumps(Shout.model_json_schema())
            assert len(text.encode()) + len(schema) <= most_prompt_tokens(asked)
