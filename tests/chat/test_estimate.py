"""What a run would cost is said before it is paid, and is about right."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.chat.asker import Asker
from tasks.chat.estimate import TEKKEN, Work, billed_rates, estimate, unasked, work_of
from tasks.chat.mistral import Options, open_chat
from tasks.chat.prices import Price, Prices, PriceUnknown
from tasks.chat.protocol import Account, Limits, Question
from tasks.remote.journal import Journal
from tests.standin import MistralStandIn

MODEL = "mistral-small-2603"
PRICE = Price(input_usd=2.0, output_usd=4.0, as_of="2026-11-20", source="a test", verified=False)
PRICES = Prices(Path("prices.json"), {MODEL: PRICE})
WORK = Work(MODEL, "extract/1", 10, 100_000, 20_000, 1.5)


def _questions(number: int, prompt: str = "say/1") -> list[Question]:
    return [
        Question(MODEL, (("user", f"Say the number {at}: {'uno dos tres ' * 20}"),), prompt, max_tokens=200)
        for at in range(number)
    ]


def test_tokens_and_money_follow_from_characters() -> None:
    said = estimate([WORK], PRICES)

    assert (10, 31_000, 6_200) == (said.calls, said.prompt_tokens, said.completion_tokens)
    assert pytest.approx((31_000 * 2 + 6_200 * 4) / 1e6) == said.usd
    assert 1.5 == said.highest_usd
    assert TEKKEN.source in str(said)
    assert "2 / 4 USD per million tokens, 2026-11-20, not verified" == said.rows()[0]["price"]


def test_a_batch_costs_half_and_has_no_time() -> None:
    online, batch = estimate([WORK], PRICES), estimate([WORK], PRICES, batch=True)

    assert pytest.approx(online.usd / 2) == batch.usd
    assert pytest.approx(online.highest_usd / 2) == batch.highest_usd
    assert batch.seconds is None
    assert "within 24 hours" in str(batch)


@pytest.mark.parametrize(
    ("limits", "each", "seconds", "told"),
    [
        (Limits(max_rate=0.5), None, 20, "at 0.5 calls per second"),
        (Limits(max_rate=0.5, tokens_per_minute=37_200), None, 60, "at 37,200 tokens per minute"),
        (Limits(at_once=2, max_rate=0.5), 8.0, 40, "2 calls at once of 8.0 s each"),
    ],
)
def test_the_time_is_that_of_the_tightest_limit(limits: Limits, each: float | None, seconds: float, told: str) -> None:
    said = estimate([WORK], PRICES, limits=limits, seconds_each=each)
    assert pytest.approx(seconds) == said.seconds
    assert told in str(said)


def test_where_no_limit_is_known_no_time_is_made_up() -> None:
    said = estimate([WORK], PRICES)
    assert said.seconds is None
    assert "time not known" in str(said)


def test_a_model_without_a_price_is_named() -> None:
    with pytest.raises(PriceUnknown, match="other-model"):
        estimate([Work("other-model", "extract/1", 1, 10, 10, 0.0)], PRICES)


def test_after_a_few_answers_it_says_what_the_others_cost(standin: MistralStandIn, journal: Journal) -> None:
    chat = open_chat(Options(url=standin.url))
    asker = Asker(chat, journal, PRICES)
    questions = _questions(40)
    asker.ask(questions[:4], account=Account("pilot", ("pilot",)))
    before = standin.stats()["requests"]

    left = unasked(questions + questions, chat.name, journal)
    rates = billed_rates(questions, chat.name, journal)
    said = estimate(work_of(left, PRICES, {"say/1": 300}), PRICES, rates)

    assert before == standin.stats()["requests"]
    assert 36 == said.calls
    assert "as billed for 4 answers" in str(said)
    asker.ask(questions, account=Account("rest", ("rest",)))
    asker.close()
    cost = sum(call.cost_usd for call in journal.calls("rest"))
    assert pytest.approx(cost, rel=0.03) == said.usd
    assert cost < said.highest_usd


def test_where_the_journal_knows_nothing_the_tokenizer_s_rates_hold(journal: Journal) -> None:
    assert TEKKEN == billed_rates(_questions(3), "mistral", journal)
