"""Batches: half the price, nothing submitted twice, whatever dies or fails on the way."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel

from tasks.chat.asker import Asker
from tasks.chat.batch import AfterBatches, BatchAsker, BatchFailed, BatchUnderWay, _Taking
from tasks.chat.mistral import Options, open_chat
from tasks.chat.mistral_batch import open_batches
from tasks.chat.prices import PriceUnknown, read_prices
from tasks.chat.protocol import Account, BudgetReached, Chat, Question, Reply, UnknownModel
from tasks.chat.replies import key_of_question
from tasks.chat.scripted import Options as ScriptedOptions
from tasks.chat.scripted import open_chat as open_scripted
from tasks.remote.errors import Denied, Unreachable
from tasks.remote.journal import Journal
from tasks.remote.loop import run
from tasks.storage.errors import DiskFull, PermanentError
from tests.chat.dying_batch import JOB, MODEL, QUESTIONS, STEPS
from tests.standin import MistralBatchStandIn

pytestmark = pytest.mark.usefixtures("_no_pauses")


class Answer(BaseModel):
    """What a reply must be."""

    text: str


@pytest.fixture(scope="module")
def server() -> Iterator[MistralBatchStandIn]:
    with MistralBatchStandIn() as standin:
        yield standin


@pytest.fixture
def standin(server: MistralBatchStandIn) -> MistralBatchStandIn:
    server.reset()
    return server


def questions(*words: str, model: str = MODEL, answer: type[BaseModel] | None = None) -> list[Question]:
    return [Question(model, (("user", f"say {word}"),), "say/1", answer, max_tokens=50) for word in words]


@cache
def open_asker(url: str, journal: Journal) -> BatchAsker:
    return BatchAsker(open_batches(_open_chat(url)), journal, read_prices(), lambda _: None, 0.0, 0.0, 0.0)


@cache
def _open_chat(url: str) -> Chat:
    return open_chat(Options(url=url))


def ask(
    standin: MistralBatchStandIn,
    journal: Journal,
    asked: list[Question],
    account: Account = JOB,
    fresh: str = "",
) -> list[Reply]:
    return open_asker(standin.url, journal).ask(asked, account=account, fresh=fresh)


def test_every_question_is_answered_in_one_batch_at_half_the_price(
    standin: MistralBatchStandIn, journal: Journal
) -> None:
    standin.switch(looks=3, shuffle=1)
    asked = questions("one", "two", "three", "one")

    replies = ask(standin, journal, asked)

    assert ["SAY ONE", "SAY TWO", "SAY THREE", "SAY ONE"] == [reply.text for reply in replies]
    assert {f"recorded-{MODEL}"} == {reply.model for reply in replies}
    stats = standin.stats()
    assert (1, 1, 3, 0) == (stats["uploads"], stats["batches"], stats["lines"], stats["paid_again"])
    price = read_prices().of(MODEL)
    costs = [price.cost(reply.prompt_tokens, reply.completion_tokens) / 2 for reply in replies]
    assert pytest.approx(costs) == [reply.cost_usd for reply in replies]
    (call,) = journal.calls("job")
    assert (f"mistral@{standin.url} batch", 3, "answered") == (call.service, call.texts, call.outcome)
    assert pytest.approx(sum(costs[:3])) == call.cost_usd == pytest.approx(journal.spent(["job"]).usd)
    assert [] == journal.open_batches(f"mistral@{standin.url}")


def test_what_was_asked_online_is_not_asked_in_a_batch_and_the_other_way_round(
    standin: MistralBatchStandIn, journal: Journal
) -> None:
    online = Asker(_open_chat(standin.url), journal, read_prices())
    first = online.ask(questions("one"), account=JOB)

    both = ask(standin, journal, questions("one", "two"))

    assert first[0] == both[0]
    assert 1 == standin.stats()["lines"]
    assert both == online.ask(questions("one", "two"), account=JOB)
    assert 1 == standin.stats()["requests"]


def test_each_model_has_a_batch_of_its_own_and_a_rerun_has_none(standin: MistralBatchStandIn, journal: Journal) -> None:
    asked = questions("one", "two") + questions("one", model="mistral-medium-3.5")

    first = ask(standin, journal, asked)

    assert 2 == standin.stats()["batches"]
    assert first == ask(standin, journal, asked)
    assert 2 == standin.stats()["batches"]
    assert 3 == len(ask(standin, journal, asked, fresh="once"))
    assert 4 == standin.stats()["batches"]


def test_a_line_that_fails_is_asked_in_the_next_batch_and_given_up_after_the_third(
    standin: MistralBatchStandIn, journal: Journal
) -> None:
    standin.switch(fail="bad")
    good, bad = ask(standin, journal, questions("good", "bad"))

    assert "SAY GOOD" == good.text
    assert (None, "unanswered") == (bad.text, bad.refusal)
    assert "status 503" in bad.message
    assert 3 == standin.stats()["batches"]
    standin.switch(fail=None)
    assert "SAY BAD" == ask(standin, journal, questions("good", "bad"))[1].text
    assert 0 == standin.stats()["paid_again"]


def test_lines_that_fail_now_and_then_are_all_answered_and_none_is_paid_twice(
    standin: MistralBatchStandIn, journal: Journal
) -> None:
    standin.switch(p_line=0.05, shuffle=1)
    words = [f"word {number}" for number in range(200)]

    replies = ask(standin, journal, questions(*words))

    assert [f"SAY {word.upper()}" for word in words] == [reply.text for reply in replies]
    stats = standin.stats()
    assert 2 <= stats["batches"] <= 3
    assert (200, 0) == (stats["answered"], stats["paid_again"])


def test_a_line_that_fails_is_given_up_although_all_others_are_known(
    standin: MistralBatchStandIn, journal: Journal
) -> None:
    ask(standin, journal, questions("good"))
    standin.switch(fail="bad")

    good, bad = ask(standin, journal, questions("good", "bad"))

    assert ("SAY GOOD", "unanswered") == (good.text, bad.refusal)


def test_when_every_line_fails_it_is_the_service_and_the_chunk_is_tried_again(
    standin: MistralBatchStandIn, journal: Journal
) -> None:
    standin.switch(p_line=1)
    with pytest.raises(Unreachable, match="fails on every line of its batches: status 500"):
        ask(standin, journal, questions("one", "two"))
    assert 0 == journal.spent(["job"]).usd


def test_what_the_service_refuses_and_what_is_cut_are_last_words(
    standin: MistralBatchStandIn, journal: Journal
) -> None:
    standin.switch(refuse="bad", long="long")
    asked = questions("good", "bad", "long")

    replies = ask(standin, journal, asked)

    assert [None, "refused", "length"] == [reply.refusal for reply in replies]
    assert replies[2].cost_usd > 0
    assert 1 == standin.stats()["batches"]
    assert replies == ask(standin, journal, asked)
    assert 1 == standin.stats()["batches"]


def test_a_batch_whose_every_line_is_refused_is_the_texts_fault_where_a_word_is_answered(
    standin: MistralBatchStandIn, journal: Journal
) -> None:
    standin.switch(refuse="say")
    asked = questions("one", "two")

    replies = ask(standin, journal, asked)

    assert ["refused", "refused"] == [reply.refusal for reply in replies]
    assert (2, 3) == (standin.stats()["batches"], standin.stats()["lines"])
    assert replies == ask(standin, journal, asked)
    assert 2 == standin.stats()["batches"]


def test_a_service_that_refuses_a_word_too_refuses_no_question(standin: MistralBatchStandIn, journal: Journal) -> None:
    standin.switch(refuse="user")
    said = "refuses every line of its batches to mistral-small-2603, one with a single word too: status 400"
    with pytest.raises(PermanentError, match=said):
        ask(standin, journal, questions("one", "two"))
    assert (2, 0) == (standin.stats()["batches"], journal.spent(["job"]).usd)

    standin.switch(refuse="")
    assert ["SAY ONE", "SAY TWO"] == [reply.text for reply in ask(standin, journal, questions("one", "two"))]


def test_an_answer_that_cannot_be_read_is_asked_again_with_another_seed_and_every_reading_is_paid(
    standin: MistralBatchStandIn, journal: Journal
) -> None:
    standin.switch(garbage="odd")
    plain, odd = ask(standin, journal, questions("plain", "odd", answer=Answer))

    assert plain.refusal is None
    assert "unreadable" == odd.refusal
    assert 3 == standin.stats()["batches"]
    assert pytest.approx(plain.cost_usd + odd.cost_usd) == journal.spent(["job"]).usd
    assert odd.completion_tokens == 3 * 11


def test_a_line_that_stands_in_no_file_is_asked_again(standin: MistralBatchStandIn, journal: Journal) -> None:
    standin.switch(drop="lost")
    replies = ask(standin, journal, questions("good", "lost"))

    assert ["SAY GOOD", None] == [reply.text for reply in replies]
    assert "has no line for it" in replies[1].message


@pytest.mark.parametrize("fault", ["damaged", "short"])
def test_a_file_of_answers_that_comes_damaged_is_fetched_again_and_not_paid_again(
    standin: MistralBatchStandIn, journal: Journal, fault: str
) -> None:
    standin.switch(**{fault: 2})
    words = ["one", "two", "three", "four"]

    replies = ask(standin, journal, questions(*words))

    assert [f"SAY {word.upper()}" for word in words] == [reply.text for reply in replies]
    stats = standin.stats()
    assert (3, 1, 0) == (stats["downloads"], stats["batches"], stats["paid_again"])
    assert pytest.approx(sum(reply.cost_usd for reply in replies)) == journal.spent(["job"]).usd


@pytest.mark.parametrize("fault", ["damaged", "short"])
@pytest.mark.parametrize(("deleted", "batches"), [(False, 1), (True, 2)])
def test_a_file_of_answers_that_stays_damaged_ends_the_run_and_is_lost_only_when_it_is_deleted(
    standin: MistralBatchStandIn, journal: Journal, fault: str, deleted: bool, batches: int
) -> None:
    standin.switch(**{fault: 100})
    asked = questions("one", "two", "three", "four")

    said = r"The file (\S+) of batch job-1 came damaged 3 times.* [123] of 4 answers are there.*delete the file at"
    with pytest.raises(Unreachable, match=said) as error:
        ask(standin, journal, asked)
    with pytest.raises(Unreachable, match=said):
        _online(standin, journal, "three", "four")

    assert (1, 0) == (standin.stats()["batches"], standin.stats()["requests"])
    found = journal.get([key_of_question(f"mistral@{standin.url}", question) for question in asked])
    assert 0 < len(found) < len(asked)
    standin.switch(**{fault: 0})
    if deleted:
        run(open_batches(_open_chat(standin.url)).delete(str(error.value).split()[2]))
    assert ["SAY ONE", "SAY TWO", "SAY THREE", "SAY FOUR"] == [reply.text for reply in ask(standin, journal, asked)]
    assert batches == standin.stats()["batches"]


def test_lines_that_nobody_asked_for_are_passed_over(standin: MistralBatchStandIn, journal: Journal) -> None:
    asker = open_asker(standin.url, journal)
    left = asker._missing(questions("one"))
    asker._submit(left, JOB)
    (batch,) = journal.open_batches(asker.name)
    taking, places = _Taking(batch, left, asker._batches, read_prices(), set()), {batch.keys[0]: 0}

    for line in (b"\n", b'{"custom_id": "ffff"}\n', b'{"custom_id": "no hex"}\n'):
        assert not taking.read(line, places)
    assert ([], 1) == (taking.torn, len(places))
    for line in (b"[]\n", b'{"object": "error"}\n', b'{"custom_id": "ff'):
        assert not taking.read(line, places)
    assert 3 == len(taking.torn)


@pytest.mark.parametrize(("end", "answered"), [("FAILED", 0), ("TIMEOUT_EXCEEDED", 2), ("CANCELLED", 2)])
def test_a_batch_that_ends_early_gives_what_it_has_and_the_rest_is_submitted_once_more(
    standin: MistralBatchStandIn, journal: Journal, end: str, answered: int
) -> None:
    standin.switch(end=end, ends=1)
    words = ["one", "two", "three", "four"]

    replies = ask(standin, journal, questions(*words))

    assert [f"SAY {word.upper()}" for word in words] == [reply.text for reply in replies]
    stats = standin.stats()
    assert (2, 8 - answered, 0) == (stats["batches"], stats["lines"], stats["paid_again"])


def test_batches_that_end_early_twice_are_an_error_that_says_so_and_what_came_is_kept(
    standin: MistralBatchStandIn, journal: Journal
) -> None:
    standin.switch(end="TIMEOUT_EXCEEDED", ends=2)
    words = ["one", "two", "three", "four"]

    with pytest.raises(
        BatchFailed, match="ended 2 batches without answering 1 of their questions: batch job-2 ended as"
    ):
        ask(standin, journal, questions(*words))

    replies = ask(standin, journal, questions(*words))
    assert [f"SAY {word.upper()}" for word in words] == [reply.text for reply in replies]
    assert (3, 0) == (standin.stats()["batches"], standin.stats()["paid_again"])


def test_a_batch_that_the_service_has_lost_is_submitted_again_and_counts_as_paid(
    standin: MistralBatchStandIn, journal: Journal
) -> None:
    asker = open_asker(standin.url, journal)
    asker._submit(asker._missing(questions("one", "two")), JOB)
    (batch,) = journal.open_batches(asker.name)
    journal.note_batch(batch.digest, "job-that-is-no-more")

    replies = ask(standin, journal, questions("one", "two"))

    assert ["SAY ONE", "SAY TWO"] == [reply.text for reply in replies]
    assert 2 == standin.stats()["batches"]
    paid = batch.highest_usd + sum(reply.cost_usd for reply in replies)
    assert pytest.approx(paid) == journal.spent(["job"]).usd


def test_a_batch_of_another_account_is_left_to_it_and_not_submitted_again(
    standin: MistralBatchStandIn, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker = open_asker(standin.url, journal)
    asker._submit(asker._missing(questions("one")), JOB)
    (batch,) = journal.open_batches(asker.name)
    standin.reset()  # an account that has neither the batch nor its file

    with pytest.raises(PermanentError, match=r"submitted with the key of another account\. Set that key"):
        ask(standin, journal, questions("one"))

    assert 0 == standin.stats()["creates"]
    assert [batch.digest] == [each.digest for each in journal.open_batches(asker.name)]
    monkeypatch.setattr("tasks.chat.batch.KEPT_DAYS", 0)
    assert ["SAY ONE"] == [reply.text for reply in ask(standin, journal, questions("one"))]


def _online(standin: MistralBatchStandIn, journal: Journal, *words: str) -> list[str | None]:
    asker = Asker(_open_chat(standin.url), journal, read_prices())
    online = AfterBatches(asker, journal, lambda: open_asker(standin.url, journal))
    return [reply.text for reply in online.ask(questions(*words), account=JOB)]


def test_what_an_ended_batch_has_answered_is_not_asked_one_by_one(
    standin: MistralBatchStandIn, journal: Journal
) -> None:
    asker = open_asker(standin.url, journal)
    asker._submit(asker._missing(questions("one", "two", "lost")), JOB)
    standin.switch(drop="lost")

    assert ["SAY TWO", "SAY THREE", "SAY LOST"] == _online(standin, journal, "two", "three", "lost")

    stats = standin.stats()
    assert (1, 2, 0) == (stats["batches"], stats["requests"], stats["paid_again"])
    assert ["SAY ONE"] == _online(standin, journal, "one")
    assert 2 == standin.stats()["requests"]
    assert [] == journal.open_batches(asker.name)


def test_what_a_batch_works_on_is_not_asked_one_by_one(standin: MistralBatchStandIn, journal: Journal) -> None:
    asker = open_asker(standin.url, journal)
    asker._submit(asker._missing(questions("one", "two")), JOB)
    standin.switch(looks=1)

    with pytest.raises(BatchUnderWay, match=r"still works on some .*Run with mode=batch, which waits"):
        _online(standin, journal, "two")

    assert 0 == standin.stats()["requests"]
    assert ["SAY THREE"] == _online(standin, journal, "three"), "no batch holds it"
    assert ["SAY ONE", "SAY TWO"] == _online(standin, journal, "one", "two")
    assert (1, 1) == (standin.stats()["requests"], standin.stats()["batches"])


def test_a_service_that_is_away_for_a_while_is_waited_for(standin: MistralBatchStandIn, journal: Journal) -> None:
    standin.switch(blind=20, looks=2)
    assert ["SAY ONE"] == [reply.text for reply in ask(standin, journal, questions("one"))]


def test_a_service_that_stays_away_ends_the_run_and_the_next_one_collects(
    standin: MistralBatchStandIn, journal: Journal
) -> None:
    standin.switch(blind=10**6)
    with pytest.raises(Unreachable):
        ask(standin, journal, questions("one"))
    standin.switch(blind=0)

    assert ["SAY ONE"] == [reply.text for reply in ask(standin, journal, questions("one"))]
    assert 1 == standin.stats()["batches"]


@pytest.mark.parametrize("switches", [{"slow_files": 3}, {"state": "VALIDATING", "looks": 3}])
def test_a_batch_that_has_not_ended_is_never_submitted_again(
    standin: MistralBatchStandIn, journal: Journal, switches: dict[str, str | float]
) -> None:
    standin.switch(**switches)
    assert ["SAY ONE"] == [reply.text for reply in ask(standin, journal, questions("one"))]
    assert (1, 0) == (standin.stats()["batches"], standin.stats()["paid_again"])


def test_the_files_of_a_batch_that_was_cancelled_are_waited_for(standin: MistralBatchStandIn, journal: Journal) -> None:
    standin.switch(end="CANCELLED", ends=1, slow_files=3)
    assert 4 == len(ask(standin, journal, questions("one", "two", "three", "four")))
    assert (2, 6, 0) == tuple(standin.stats()[name] for name in ("batches", "lines", "paid_again"))


def test_a_full_disk_after_the_submission_submits_nothing_twice(
    standin: MistralBatchStandIn, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise DiskFull("No space left")

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "note_batch", full)
        with pytest.raises(DiskFull):
            ask(standin, journal, questions("one"))

    assert ["SAY ONE"] == [reply.text for reply in ask(standin, journal, questions("one"))]
    assert (1, 0) == (standin.stats()["batches"], standin.stats()["paid_again"])


def test_a_file_of_lines_that_is_gone_is_uploaded_again(standin: MistralBatchStandIn, journal: Journal) -> None:
    standin.switch(deaf=6)
    with pytest.raises(Unreachable):
        ask(standin, journal, questions("one"))
    (batch,) = journal.open_batches(open_asker(standin.url, journal).name)
    journal.note_batch_file(batch.digest, "file-that-is-gone")

    assert ["SAY ONE"] == [reply.text for reply in ask(standin, journal, questions("one"))]
    assert (2, 1) == (standin.stats()["uploads"], standin.stats()["batches"])


def test_half_a_character_costs_its_own_question_alone(standin: MistralBatchStandIn, journal: Journal) -> None:
    whole, half = ask(standin, journal, questions("whole", "half \ud83d"))

    assert ("SAY WHOLE", "refused") == (whole.text, half.refusal)
    assert "half of a character" in half.message
    assert 1 == standin.stats()["lines"]


def test_an_answer_to_the_submission_that_is_lost_submits_nothing_twice(
    standin: MistralBatchStandIn, journal: Journal
) -> None:
    standin.switch(lose=1, late=3)  # and the service takes its time to list it
    assert 2 == len(ask(standin, journal, questions("one", "two")))
    assert (1, 1) == (standin.stats()["creates"], standin.stats()["batches"])


def test_a_service_that_takes_no_batch_now_is_asked_again(standin: MistralBatchStandIn, journal: Journal) -> None:
    standin.switch(deaf=2)
    assert 2 == len(ask(standin, journal, questions("one", "two")))
    assert (3, 1) == (standin.stats()["creates"], standin.stats()["batches"])


def test_a_batch_that_cannot_be_submitted_leaves_no_hold_or_is_found_later(
    standin: MistralBatchStandIn, journal: Journal
) -> None:
    standin.switch(deaf=6)
    with pytest.raises(Unreachable):
        ask(standin, journal, questions("one", "two"))
    assert journal.spent(["job"]).held_usd > 0  # it may have been created

    assert 2 == len(ask(standin, journal, questions("one", "two")))
    assert 1 == standin.stats()["batches"]
    assert 0 == journal.spent(["job"]).held_usd


def test_the_budget_is_checked_before_anything_is_sent(standin: MistralBatchStandIn, journal: Journal) -> None:
    asked = questions("one", "two")
    price = read_prices().of(MODEL)
    needed = sum(price.highest(question, batch=True) for question in asked)

    with pytest.raises(BudgetReached, match=r"its 2 questions can cost 0\.0000\d* USD at most.*Nothing was submitted"):
        ask(standin, journal, asked, Account("job", ("job",), 0.99 * needed))

    assert (0, 0) == (standin.stats()["uploads"], standin.stats()["creates"])
    assert 0 == journal.spent(["job"]).usd
    replies = ask(standin, journal, asked, Account("job", ("job",), 1.01 * needed))
    assert ["SAY ONE", "SAY TWO"] == [reply.text for reply in replies]


@pytest.mark.parametrize("number", range(1, 6))
def test_the_budget_that_is_told_is_enough(standin: MistralBatchStandIn, journal: Journal, number: int) -> None:
    asked = questions(*map(str, range(number)))
    with pytest.raises(BudgetReached) as error:
        ask(standin, journal, asked, Account("job", ("job",), 0.0))
    told = re.search(r"Raise budget_usd to ([\d.]+) or more", str(error.value))
    assert told is not None
    assert number == len(ask(standin, journal, asked, Account("job", ("job",), float(told[1]))))


def test_what_the_jobs_of_an_account_have_cost_counts(standin: MistralBatchStandIn, journal: Journal) -> None:
    ask(standin, journal, questions("one"), Account("first", ("first", "second")))
    spent = journal.spent(["first"]).usd
    needed = read_prices().of(MODEL).highest(questions("two")[0], batch=True)

    with pytest.raises(BudgetReached):
        ask(standin, journal, questions("two"), Account("second", ("first", "second"), needed + 0.5 * spent))


def test_a_model_without_a_price_is_named_before_anything_is_sent(
    standin: MistralBatchStandIn, journal: Journal
) -> None:
    with pytest.raises(PriceUnknown, match="No price for the model 'unheard-of'"):
        ask(standin, journal, questions("one", model="unheard-of"))
    assert 0 == standin.stats()["uploads"]


def test_a_model_that_the_service_has_not_is_named_and_nothing_is_held(
    standin: MistralBatchStandIn, journal: Journal
) -> None:
    standin.switch(models="mistral-medium-3.5")
    with pytest.raises(UnknownModel, match="does not list the model 'mistral-small-2603'"):
        ask(standin, journal, questions("one"))
    assert 0 == journal.spent(["job"]).usd
    assert [] == journal.open_batches(f"mistral@{standin.url}")


def test_a_wrong_key_is_denied_and_nothing_is_held(standin: MistralBatchStandIn, journal: Journal) -> None:
    standin.switch(key="right")
    with pytest.raises(Denied, match="Check MISTRAL_API_KEY"):
        ask(standin, journal, questions("one"))
    assert 0 == journal.spent(["job"]).usd


def test_files_stay_under_the_service_s_limit(
    standin: MistralBatchStandIn, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.chat.batch.MAX_LINES", 3)
    words = [f"word {number}" for number in range(7)]
    assert 7 == len(ask(standin, journal, questions(*words)))
    assert 3 == standin.stats()["batches"]

    monkeypatch.setattr("tasks.chat.batch.MAX_LINES", 100)
    monkeypatch.setattr("tasks.chat.batch.MAX_BYTES", 500)
    assert 7 == len(ask(standin, journal, questions(*words), fresh="once"))
    assert 7 == standin.stats()["batches"]


def test_another_job_takes_its_lines_from_an_open_batch_and_leaves_the_others(
    standin: MistralBatchStandIn, journal: Journal
) -> None:
    standin.switch(looks=10**6)
    asker = open_asker(standin.url, journal)
    left = asker._missing(questions("one", "two", "three"))
    asker._submit(left, JOB)  # and dies here
    standin.switch(looks=0)

    assert ["SAY TWO"] == [reply.text for reply in ask(standin, journal, questions("two"))]

    (batch,) = journal.open_batches(f"mistral@{standin.url}")
    assert [key_of_question(batch.chat, question) for question in questions("one", "two", "three")] == list(batch.keys)
    assert b"\0\1\0" == batch.taken
    assert 3 == len(ask(standin, journal, questions("one", "two", "three")))
    assert (1, 0) == (standin.stats()["batches"], standin.stats()["paid_again"])
    assert [] == journal.open_batches(batch.chat)


def test_two_runs_never_take_a_line_twice(standin: MistralBatchStandIn, journal: Journal) -> None:
    asker = open_asker(standin.url, journal)
    asker._submit(asker._missing(questions("one")), JOB)
    (batch,) = journal.open_batches(asker.name)

    assert journal.take(batch.digest, [0], {})
    assert not journal.take(batch.digest, [0], {})


def test_what_another_run_has_just_sent_is_waited_for(standin: MistralBatchStandIn, journal: Journal) -> None:
    asker, elsewhere = open_asker(standin.url, journal), Journal(journal.path)
    other = open_asker(standin.url, elsewhere)
    left, theirs = asker._missing(questions("one", "two")), other._missing(questions("two", "three"))
    other._submit(theirs, JOB)

    asker._submit(left, JOB)

    assert 1 == standin.stats()["batches"]
    assert ["SAY ONE", "SAY TWO"] == [reply.text for reply in asker.ask(questions("one", "two"), account=JOB)]
    assert ["SAY TWO", "SAY THREE"] == [reply.text for reply in other.ask(questions("two", "three"), account=JOB)]
    assert (2, 3, 0) == tuple(standin.stats()[name] for name in ("batches", "lines", "paid_again"))
    elsewhere.close()


# Before each step, the third `take` among them; the last case is not killed.
KILLED = [*((step, 1) for step in STEPS), ("take", 2), ("take", 3), ("take", 99)]


@pytest.mark.parametrize(("step", "time"), KILLED, ids=[f"{step}-{time}" for step, time in KILLED])
def test_killed_before_any_step_it_goes_on_and_nothing_is_submitted_or_paid_twice(
    standin: MistralBatchStandIn, tmp_path: Path, step: str, time: int
) -> None:
    standin.switch(shuffle=1)
    path = tmp_path / "answers.sqlite"
    command = [sys.executable, "-m", "tests.chat.dying_batch", standin.url, str(path), step, str(time)]
    died = subprocess.run(command, cwd=Path(__file__).parents[2], timeout=300, check=False)
    assert (0 if time == 99 else -signal.SIGKILL) == died.returncode
    journal = Journal(path)

    replies = ask(standin, journal, QUESTIONS)

    assert ["SAY ONE", "SAY TWO", "SAY THREE", "SAY FOUR", "SAY FIVE"] == [reply.text for reply in replies]
    stats = standin.stats()
    assert (1, 5, 5, 0) == (stats["batches"], stats["lines"], stats["answered"], stats["paid_again"])
    spent = journal.spent(["job"])
    assert 0 == spent.held_usd
    assert pytest.approx(sum(reply.cost_usd for reply in replies)) == spent.calls_usd
    assert 5 == sum(call.texts for call in journal.calls("job"))
    assert [] == journal.open_batches(f"mistral@{standin.url}")


def test_a_chat_without_batches_says_so() -> None:
    with pytest.raises(PermanentError, match="The chat 'scripted' has no batches"):
        open_batches(open_scripted(ScriptedOptions()))


def test_a_server_without_batches_says_so_and_nothing_is_held(standin: MistralBatchStandIn, journal: Journal) -> None:
    asker = BatchAsker(open_batches(open_chat(Options(url=f"{standin.url}/v1"))), journal, read_prices())
    with pytest.raises(PermanentError, match="it has no batches: leave mode=batch away"):
        asker.ask(questions("one"), account=JOB)
    assert 0 == journal.spent(["job"]).usd
