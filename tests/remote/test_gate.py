"""The gate: slow rise, sharp fall, one cool-down for all, a circuit that opens."""

from __future__ import annotations

import asyncio

import pytest

from tasks.remote.errors import CircuitOpen
from tasks.remote.gate import CIRCUIT_SECONDS, FALL, Gate


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


def test_a_very_long_retry_after_ends_the_run_instead_of_hanging_it(clock: Clock) -> None:
    gate = Gate("Google", at_once=8, rate=10, max_rate=10, clock=clock)
    gate.refused(3_600)

    with pytest.raises(CircuitOpen):
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
