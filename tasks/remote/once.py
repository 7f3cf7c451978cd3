"""Every question asked once: at the same time by claims, across runs by the journal, which one thread writes.

::

    two chunks ask key 3f2a… at once  ->  one of them claims it and asks; the other waits for that answer
    the chunk that claimed it fails   ->  the other asks itself
    another process asks it           ->  looked at again and again, until it is answered or that process lets go of it
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tasks.remote.claims import SharedClaims
from tasks.remote.journal import Answer, Call, Hold, Journal, key_of

# A write waits a little for others that may go along with it (docs/decisions.md, "Fewer commits").
LINGER = 0.05  # of what a call takes
LONGEST_LINGER_SECONDS = 0.02
COMPANY = 4  # paid calls under way; fewer are not waited for

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0  # between two looks at what another process asks


@dataclass(slots=True)
class Claims:
    """What one caller has claimed.

    Args:
        keys: All of it, in the order in which it was asked; not what another process is asking.
        known: What the journal had of it.
        futures: By key; the caller sets those that are not known.
    """

    keys: list[bytes]
    known: dict[bytes, Answer]
    futures: dict[bytes, asyncio.Future[Answer]]

    @property
    def missing(self) -> list[bytes]:
        """What has to be asked."""
        return [key for key in self.keys if key not in self.known]


@dataclass(slots=True)
class _Waiting:
    """What waits for the writer."""

    answers: dict[bytes, Answer]
    calls: list[Call]
    hold: Hold | None
    written: asyncio.Future[int | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


def under(fresh: str, key: bytes) -> bytes:
    """Where the journal keeps besides what was asked again: a forced run that is cut off finds there what it has paid."""
    return key_of(fresh, key.hex()) if fresh else key


class Once:
    """The journal as seen from the process's loop. All methods but ``close`` run on it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._shared = SharedClaims(journal.path.parent / "asking")
        self._under_way: dict[bytes, asyncio.Future[Answer]] = {}
        self._waiting: list[_Waiting] = []
        self._writing = False
        self._calls = 0  # under way, with a hold
        self._call_seconds = 0.0  # what they take
        # One thread writes, so that the loop never waits for the disk and requests never wait for each other's lock.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="trasvase-journal")

    async def answers(
        self, keys: Iterable[bytes], fresh: str, ask: Callable[[Claims], Awaitable[None]]
    ) -> dict[bytes, Answer]:
        """Get the answer for every key.

        Args:
            keys: Repeated ones are asked once.
            fresh: Name of an occasion: ask again what the journal knows, but for what was asked on this very occasion.
            ask: Asks what is missing of its claims; it has set their futures when it returns.

        Raises:
            Exception: Whatever ``ask`` raises.
        """
        left, answers = list(dict.fromkeys(keys)), dict[bytes, Answer]()
        pause = FIRST_PAUSE_SECONDS
        while left:
            found = await self._answers(left, fresh, ask)
            answers |= found
            if not found:  # another process asks all of it, or the chunk that did has failed
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            left = [key for key in left if key not in found]
        return answers

    async def _answers(
        self, keys: Sequence[bytes], fresh: str, ask: Callable[[Claims], Awaitable[None]]
    ) -> dict[bytes, Answer]:
        """The answers of what nobody else asks, and of what others in this process have asked with success."""
        loop = asyncio.get_running_loop()
        others = {key: self._under_way[key] for key in keys if key in self._under_way}
        mine = [key for key in keys if key not in others]
        futures: dict[bytes, asyncio.Future[Answer]] = {key: loop.create_future() for key in mine}
        self._under_way.update(futures)
        try:
            # Looked up only after the claim: whoever held the claim before has put its answers into the journal.
            known, elsewhere = await loop.run_in_executor(self._writer, self._claim, mine, fresh)
            for key, answer in known.items():
                futures[key].set_result(answer)
            claimed = {key: future for key, future in futures.items() if key not in elsewhere}
            await ask(Claims(list(claimed), known, claimed))
        finally:
            for key, future in futures.items():
                del self._under_way[key]
                if not future.done():
                    future.cancel()
            self._writer.submit(self._shared.release, mine)  # goes before any new claim of this process
        answers = {key: future.result() for key, future in claimed.items()}
        for key, future in others.items():
            try:
                answers[key] = await asyncio.shield(future)
            except asyncio.CancelledError:
                if not future.cancelled():
                    raise
                # The chunk that asked for it failed, or another process asks it.
        return answers

    def _claim(self, keys: Sequence[bytes], fresh: str) -> tuple[dict[bytes, Answer], set[bytes]]:
        """On the writing thread: what the journal knows, and what another process is asking."""
        known = self._known(keys, fresh)
        if len(known) == len(keys):
            return known, set()
        mine = self._shared.take([key for key in keys if key not in known])
        known |= self._known(mine, fresh)
        return known, set(keys).difference(known, mine)

    def _known(self, keys: Sequence[bytes], fresh: str) -> dict[bytes, Answer]:
        stored = {under(fresh, key): key for key in keys}
        return {stored[key]: answer for key, answer in self._journal.get(list(stored)).items()}

    async def put(self, answers: Mapping[bytes, Answer], calls: Collection[Call], fresh: str = "") -> None:
        """Into the journal, in one transaction with whatever else waits for the writer by then."""
        for call in calls:
            self._calls -= call.hold is not None
            self._call_seconds += (call.seconds - self._call_seconds) / 10
        besides = {under(fresh, key): answer for key, answer in answers.items()} if fresh else {}
        await self._write(_Waiting({**answers, **besides}, list(calls), None))

    async def hold(self, hold: Hold) -> int | None:
        """Write down what a call may cost; None where it does not fit under its cap."""
        return await self._write(_Waiting({}, [], hold))

    def close(self) -> None:
        """Let go of the writing thread and of all claims."""
        self._writer.shutdown()
        self._shared.close()

    async def _write(self, waiting: _Waiting) -> int | None:
        self._waiting.append(waiting)
        if not self._writing:
            self._write_soon()
        return await waiting.written

    def _write_soon(self) -> None:
        self._writing = True
        seconds = min(LINGER * self._call_seconds, LONGEST_LINGER_SECONDS) if self._calls >= COMPANY else 0.0
        asyncio.get_running_loop().call_later(seconds, self._write_waiting)

    def _write_waiting(self) -> None:
        some, self._waiting = self._waiting, []
        self._writer.submit(self._commit_all, some, asyncio.get_running_loop())

    def _commit_all(self, some: list[_Waiting], loop: asyncio.AbstractEventLoop) -> None:
        """On the writing thread."""
        ids: list[int | None] = [None] * len(some)
        failure = None
        try:
            ids = self._commit(some)
        except Exception as error:  # noqa: BLE001  # told to all who wait for it
            failure = error
        loop.call_soon_threadsafe(self._written, some, ids, failure)

    def _written(self, some: list[_Waiting], ids: list[int | None], error: Exception | None) -> None:
        for waiting, hold in zip(some, ids, strict=True):
            if waiting.written.done():  # its chunk was cancelled
                if hold is not None:
                    self._writer.submit(self._journal.release, [hold])
            elif error is not None:
                waiting.written.set_exception(error)
            else:
                self._calls += hold is not None
                waiting.written.set_result(hold)
        self._writing = False
        if self._waiting:
            self._write_soon()

    def _commit(self, some: list[_Waiting]) -> list[int | None]:
        answers = {key: answer for waiting in some for key, answer in waiting.answers.items()}
        calls = [call for waiting in some for call in waiting.calls]
        holds = [waiting.hold for waiting in some if waiting.hold is not None]
        if not holds:
            self._journal.put(answers, calls)
            return [None] * len(some)
        ids = iter(self._journal.put(answers, calls, holds))
        return [None if waiting.hold is None else next(ids) for waiting in some]
