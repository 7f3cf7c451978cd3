"""The gate: slow rise, sharp fall, one cool-down for all, a circuit that opens."""

from __future__ import annotations

import asyncio
import math

import pytest

from tasks.remote.allowance import Allowance
from tasks.remote.errors import CircuitOpen
from tasks.remote.gate import CIRCUIT_SECONDS, FALL, SHARE, Gate


class Clock:
    """A clock that moves only when somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("tasks.remote.gate.asyncio.sleep", self._sleep)

    def __call__(self) -> float:
        return self.now

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def _enter(gate: Gate) -> None:
    async with gate:
        gate.good()


def test_requests_keep_the_rate(clock: Clock) -> None:
    gate = Gate("service", at_once=8, rate=5, max_rate=5, clock=clock)

    async def ten() -> None:
        for _ in range(10):
            await _enter(gate)

    asyncio.run(ten())

    assert pytest.approx(100 + 9 / 5) == clock.now


def test_fifty_good_answers_raise_the_rate_by_a_tenth(clock: Clock) -> None:
    gate = Gate("service", at_once=8, rate=5, max_rate=100, clock=clock)

    async def fifty() -> None:
        for _ in range(50):
            await _enter(gate)

    asyncio.run(fifty())

    assert pytest.approx(5.5, rel=0.01) == gate.rate


def test_the_rate_never_climbs_over_its_ceiling(clock: Clock) -> None:
    gate = Gate("service", at_once=8, rate=5, max_rate=5.05, clock=clock)

    async def many() -> None:
        for _ in range(50):
            await _enter(gate)

    asyncio.run(many())

    assert gate.rate == 5.05


def test_refusals_of_one_burst_count_once_and_cool_everybody_down(clock: Clock) -> None:
    gate = Gate("service", at_once=8, rate=10, max_rate=10, clock=clock)
    for _ in range(8):
        gate.refused(None)

    asyncio.run(_enter(gate))

    assert gate.rate == pytest.approx(10 * FALL, rel=0.03)
    assert clock.now == pytest.approx(101)


def test_after_a_fall_the_rate_soon_comes_near_the_old_one_and_then_rises_slowly(clock: Clock) -> None:
    gate = Gate("service", at_once=8, rate=10, max_rate=100, clock=clock)
    gate.refused(None)
    rates = []
    for _ in range(40):
        gate.good()
        rates.append(gate.rate or 0)

    assert rates[14] > 9
    assert rates[39] < 10


def test_refusals_that_come_whatever_the_rate_do_not_grind_it_to_a_halt(clock: Clock) -> None:
    gate = Gate("service", at_once=8, rate=10, max_rate=10, clock=clock)
    for _ in range(100):
        gate.refused(None)
        clock.now += 2
        for _ in range(10):
            gate.good()

    assert gate.rate is not None
    assert gate.rate >= 0.5


def test_retry_after_is_obeyed(clock: Clock) -> None:
    gate = Gate("service", at_once=8, rate=10, max_rate=10, clock=clock)
    gate.refused(30)

    asyncio.run(_enter(gate))

    assert clock.now == pytest.approx(130)


def test_a_burst_that_outlasts_its_pauses_lowers_the_rate_once(clock: Clock) -> None:
    gate = Gate("service", at_once=8, rate=10, max_rate=10, clock=clock)
    for _ in range(5):
        gate.refused(1)
        clock.now += 1.1

    asyncio.run(_enter(gate))

    assert gate.rate == pytest.approx(10 * FALL, rel=0.03)
    assert clock.now < 107


def test_a_gate_without_a_rate_learns_one_from_what_went_well(clock: Clock) -> None:
    gate = Gate("service", at_once=8, clock=clock)
    for _ in range(21):
        gate.good()
        clock.now += 0.05
    gate.refused(None)

    assert gate.rate == pytest.approx(20 * FALL)


def test_refusals_without_end_open_the_circuit(clock: Clock) -> None:
    gate = Gate("Google", at_once=8, rate=10, max_rate=10, clock=clock)

    async def refuse_for_ever() -> None:
        while True:
            async with gate:
                gate.refused(None)

    with pytest.raises(
        CircuitOpen, match=r"Google refused 8 times in a row and is left alone until \d\d:\d\d:\d\d UTC"
    ):
        asyncio.run(refuse_for_ever())
    clock.now += CIRCUIT_SECONDS
    asyncio.run(_enter(gate))  # then one may try again


@pytest.mark.parametrize("seconds", [3_600.0, 1e12, math.inf])
def test_a_very_long_retry_after_ends_the_run_instead_of_hanging_it(clock: Clock, seconds: float) -> None:
    gate = Gate("Google", at_once=8, rate=10, max_rate=10, clock=clock)
    gate.refused(seconds)

    with pytest.raises(CircuitOpen, match="left alone until"):
        asyncio.run(_enter(gate))


def test_no_more_requests_are_under_way_than_allowed() -> None:
    gate = Gate("service", at_once=3)
    under_way = most = 0

    async def one() -> None:
        nonlocal under_way, most
        async with gate:
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1

    async def all_of_them() -> None:
        await asyncio.gather(*(one() for _ in range(20)))

    asyncio.run(all_of_them())

    assert most == 3


ROOM = Allowance(requests_per_minute=1_200, requests_left=900)


def test_a_rate_that_the_service_names_is_kept_from_the_first_answer_on(clock: Clock) -> None:
    gate = Gate("service", at_once=8, clock=clock, first=3)

    async def some() -> None:
        for _ in range(101):
            await _enter(gate)
            gate.learn(ROOM)

    asyncio.run(some())

    assert pytest.approx(20 * SHARE) == gate.rate
    assert pytest.approx(100 + 99 / (20 * SHARE)) == clock.now


def test_a_named_rate_never_exceeds_the_one_that_was_set(clock: Clock) -> None:
    gate = Gate("service", at_once=8, rate=5, max_rate=6, clock=clock)
    gate.learn(ROOM)

    assert (5, 6) == (gate.rate, gate.max_rate)
    gate.learn(Allowance(requests_per_minute=60))
    assert gate.rate == pytest.approx(SHARE)


def test_a_named_rate_of_nothing_is_not_learnt(clock: Clock) -> None:
    gate = Gate("service", at_once=8, clock=clock)
    gate.learn(Allowance(requests_per_minute=0, tokens_per_minute=0))

    assert gate.rate is None


def test_tokens_per_minute_slow_large_requests_down(clock: Clock) -> None:
    gate = Gate("service", at_once=8, clock=clock)

    async def some() -> None:
        for _ in range(11):
            await _enter(gate)
            gate.learn(Allowance(tokens_per_minute=60_000), tokens=2_000)

    asyncio.run(some())

    assert pytest.approx(100 + 9 * 2 / SHARE) == clock.now


def test_a_single_refusal_while_there_is_room_is_its_own_requests_matter(clock: Clock) -> None:
    gate = Gate("service", at_once=8, clock=clock)
    for _ in range(20):
        gate.good()

    alone = gate.refused(1, ROOM)
    asyncio.run(_enter(gate))

    assert 1 == alone
    assert clock.now < 100.1
    assert pytest.approx(20 * SHARE, rel=0.01) == gate.rate


@pytest.mark.parametrize(
    "allowance", [None, Allowance(requests_per_minute=1_200, requests_left=0), Allowance(requests_per_minute=1_200)]
)
def test_a_refusal_without_room_is_everybodys(clock: Clock, allowance: Allowance | None) -> None:
    gate = Gate("service", at_once=8, rate=10, max_rate=10, clock=clock)
    for _ in range(20):
        gate.good()

    assert 0 == gate.refused(3, allowance)
    asyncio.run(_enter(gate))
    assert clock.now == pytest.approx(103)


def test_many_refusals_are_everybodys_whatever_the_service_shows(clock: Clock) -> None:
    gate = Gate("service", at_once=8, rate=10, max_rate=10, clock=clock)
    for _ in range(24):
        gate.good()

    alone = [gate.refused(1, ROOM) for _ in range(12)]

    assert [1.0] * 8 == alone[:8]
    assert 0 == alone[-1]
    assert gate.rate == pytest.approx(10 * FALL)


def test_a_very_long_retry_after_is_everybodys_even_while_there_is_room(clock: Clock) -> None:
    gate = Gate("service", at_once=8, rate=10, max_rate=10, clock=clock)
    gate.refused(3_600, ROOM)

    with pytest.raises(CircuitOpen):
        asyncio.run(_enter(gate))


def test_few_go_out_until_the_first_answer_is_in() -> None:
    gate = Gate("service", at_once=8, first=2)
    under_way: list[int] = []
    answers = asyncio.Event()

    async def one(number: int) -> None:
        async with gate:
            under_way.append(number)
            if number > 0:  # the first one fails
                await answers.wait()
                gate.good()

    async def all_of_them() -> None:
        tasks = [asyncio.create_task(one(number)) for number in range(8)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert [0, 1, 2] == under_way
        answers.set()
        await asyncio.gather(*tasks)

    asyncio.run(all_of_them())

    assert list(range(8)) == sorted(under_way)
