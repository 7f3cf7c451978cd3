"""One event loop for all requests of the process.

Chunks run in threads; their requests run here, so that one client, one gate and one set of answers under way serve all
chunks in flight, and none of them needs a lock.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

_starting = threading.Lock()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the process's loop and wait for it, from any thread but the loop's own."""
    future: Future[T] = asyncio.run_coroutine_threadsafe(work, _service_loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _service_loop() -> asyncio.AbstractEventLoop:
    with _starting:
        return _started_loop()


@cache
def _started_loop() -> asyncio.AbstractEventLoop:
    started: Future[asyncio.AbstractEventLoop] = Future()
    threading.Thread(target=lambda: asyncio.run(_serve(started)), name="trasvase-requests", daemon=True).start()
    return started.result()


async def _serve(started: Future[asyncio.AbstractEventLoop]) -> None:
    started.set_result(asyncio.get_running_loop())
    await asyncio.Event().wait()
