"""One request, asked again while that may help. A chunk is retried by Prefect, a run by a person."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from tasks.remote.errors import Misaligned, Throttled
from tasks.remote.gate import Gate
from tasks.storage.errors import TransientError

T = TypeVar("T")

ATTEMPTS = 6
REFUSALS = 20  # of one request, while others pass: then it is this request that the service does not like
FIRST_PAUSE_SECONDS = 0.25  # then doubled, with jitter: 0.25 + 0.5 + 1 + 2 + 4 s at most before the last attempt


async def send(gate: Gate, request: Callable[[], Awaitable[T]], attempts: int = ATTEMPTS) -> T:
    """Send one request through the gate.

    A refusal (Throttled) costs no attempt: the gate pauses everybody, or this request alone where the service shows that
    it allows more, and opens its circuit when it has had enough.

    Raises:
        TransientError: The last attempt's error, or CircuitOpen.
        Misaligned: At once, since only a smaller request helps.
        PermanentError: At once.
    """
    failures = refusals = 0
    while True:
        try:
            async with gate:
                answer = await request()
                gate.good()
                return answer
        except Throttled as error:
            alone = gate.refused(error.retry_after_seconds, error.allowance)
            refusals += 1
            if refusals >= REFUSALS:
                raise
            if alone:
                await asyncio.sleep(alone)
        except Misaligned:
            gate.good()
            raise
        except TransientError:
            failures += 1
            if failures >= attempts:
                raise
            await asyncio.sleep(FIRST_PAUSE_SECONDS * 2 ** (failures - 1) * random.uniform(0.5, 1.0))


def seconds_of(retry_after: str | None) -> float | None:
    """A header Retry-After, seconds or a date, as seconds from now; nonsense is None, and the gate's own pause holds."""
    if retry_after is None:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", retry_after):
        return float(retry_after)
    try:
        return max((parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None
