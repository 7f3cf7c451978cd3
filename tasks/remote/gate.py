"""How fast a service is asked: one gate for all chunks in flight.

The rate rises slowly while all goes well and falls sharply on a refusal. One refusal cools everybody down, because a
back-off per worker makes bursts. After refusals in a row the circuit opens: nobody asks for a while, and the run ends
with its answers kept instead of hammering on a closed door.

Where a service says in its headers what it allows (``learn``), that is the pace from the first answer on, and a single
refusal while it shows room is waited out by its own request alone.

Measured against a service that allows 5 requests/s: with a gate 359 requests and no refusal, without one 1,007 requests
of which 648 were refused (docs/decisions.md, "Pace").
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tasks.remote.allowance import Allowance
from tasks.remote.errors import CircuitOpen

RISE = 0.002  # per answer: 50 good answers raise the rate by a tenth
CATCH_UP = 0.02  # per answer, until nine tenths of the rate before the last refusal are reached again
FALL = 0.7
LOWEST_RATE = 0.5  # requests per second; a service that refuses these is left alone by the circuit
LONGEST_COOL_DOWN_SECONDS = 120.0
CIRCUIT_SECONDS = 300.0
LONGEST_CIRCUIT_SECONDS = 86_400.0  # a header may ask for a million years
SHARE = 0.995  # of a rate that the service names: its clock is not ours
ISOLATED = 0.25  # of the last answers may be refusals that only their own requests wait out
PATIENCE_SECONDS = 120.0  # without one good answer, then the circuit opens


class Gate:
    """Async context manager around one request.

    Args:
        name: The service, for messages.
        at_once: Requests under way at the same time.
        rate: Requests per second to begin with; None asks as fast as the answers come, until the first refusal.
        max_rate: Requests per second that the rate may climb to.
        clock: Seconds, for tests.
        first: Requests under way until the first one is answered; None for no such caution.
        tokens_per_minute: What language models are limited by besides; None for no such limit.
    """

    def __init__(
        self,
        name: str,
        at_once: int,
        rate: float | None = None,
        max_rate: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        first: int | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        self.name = name
        self.rate = rate
        self.max_rate = max_rate
        self._most = max_rate or math.inf  # requests per second that were set, not learnt
        self._most_tokens = tokens_per_minute or math.inf
        self._tokens_per_minute = self._most_tokens
        self._tokens_each = 0.0
        self._first = first
        self._under_way = 0
        self._changed = asyncio.Event()
        self._slots = asyncio.Semaphore(at_once)
        self._clock = clock
        self._next = 0.0
        self._cool_until = 0.0
        self._open_until = 0.0
        self._rate_refused = 0.0
        self._refused_since = 0.0
        self._cool_downs = 0
        self._good: deque[float] = deque(maxlen=32)
        self._refusals: deque[bool] = deque(maxlen=32)

    async def __aenter__(self) -> Gate:
        await self._slots.acquire()
        try:
            while self._first is not None and self._under_way >= self._first:
                await self._changed.wait()
            self._under_way += 1
            try:
                await self._wait_for_turn()
            except BaseException:
                self._leave()
                raise
        except BaseException:
            self._slots.release()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave()
        self._slots.release()

    def _leave(self) -> None:
        self._under_way -= 1
        if self._first is not None:
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait_for_turn(self) -> None:
        while True:
            now = self._clock()
            if now < self._open_until:
                until = datetime.now(UTC) + timedelta(seconds=self._open_until - now)
                raise CircuitOpen(
                    f"{self.name} refused {self._cool_downs} times in a row and is left alone until {until:%H:%M:%S} UTC "
                    f"on {until:%Y-%m-%d}. Answers so far are kept; retry the run then, with a lower rate if this repeats."
                )
            if now < self._cool_until:
                await asyncio.sleep(self._cool_until - now)
                continue
            spacing = max(1 / self.rate if self.rate else 0, 60 * self._tokens_each / self._tokens_per_minute)
            if not spacing:
                return
            at = max(self._next, now)
            self._next = at + spacing
            if at <= now:
                return
            await asyncio.sleep(at - now)
            if self._clock() >= self._cool_until:
                return

    def good(self) -> None:
        """One request was answered."""
        self._cool_downs = 0
        self._good.append(self._clock())
        self._refusals.append(False)
        self._known()
        if self.rate is not None and (self.max_rate is None or self.rate < self.max_rate):
            rise = CATCH_UP if self.rate < 0.9 * self._rate_refused else RISE
            self.rate = min(self.rate * (1 + rise), self.max_rate or float("inf"))

    def learn(self, allowance: Allowance, tokens: int = 0) -> None:
        """Keep to what the service says that it allows.

        Args:
            allowance: From the headers of an answer or a refusal.
            tokens: That one request took.
        """
        if tokens:
            self._tokens_each += (tokens - self._tokens_each) / (10 if self._tokens_each else 1)
        if allowance.tokens_per_minute:
            self._tokens_per_minute = min(SHARE * allowance.tokens_per_minute, self._most_tokens)
        if allowance.requests_per_minute:
            self.max_rate = min(SHARE * allowance.requests_per_minute / 60, self._most)
            self.rate = min(self.rate or math.inf, self.max_rate)
            self._known()

    def _known(self) -> None:
        if self._first is not None:
            self._first = None
            self._wake()

    def refused(self, retry_after_seconds: float | None, allowance: Allowance | None = None) -> float:
        """The service asked for a pause. Refusals in a row lower the rate once and lengthen the pause.

        Args:
            retry_after_seconds: What the service asked for, or None.
            allowance: What it says besides that it allows, or None.

        Returns:
            Seconds that this request has to wait while the others go on; 0 where the pause is everybody's.
        """
        now = self._clock()
        self._refusals.append(True)
        if allowance is not None:
            self.learn(allowance)
            alone = 1.0 if retry_after_seconds is None else retry_after_seconds
            few = sum(self._refusals) <= max(2, ISOLATED * len(self._refusals))
            if allowance.shows_room and few and 0 < alone <= LONGEST_COOL_DOWN_SECONDS:
                return alone
        if self._cool_downs == 0:  # only what went well before can have been too fast
            self._refused_since = now
            self._rate_refused = self.rate or self._measured_rate()
            self.rate = max(self._rate_refused * FALL, min(self._rate_refused, LOWEST_RATE))
        if now >= self._cool_until:
            self._cool_downs += 1
        pause = 2.0 ** (self._cool_downs - 1) if retry_after_seconds is None else retry_after_seconds
        pause = min(pause, LONGEST_CIRCUIT_SECONDS)
        if now - self._refused_since > PATIENCE_SECONDS or pause > LONGEST_COOL_DOWN_SECONDS:
            self._open_until = max(self._open_until, now + max(pause, CIRCUIT_SECONDS))
        self._cool_until = max(self._cool_until, now + pause)
        return 0.0

    def _measured_rate(self) -> float:
        if len(self._good) < 2 or self._good[-1] == self._good[0]:
            return 1.0
        return (len(self._good) - 1) / (self._good[-1] - self._good[0])
