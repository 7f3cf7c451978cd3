"""What is opened once in a process, and serves all chunks in flight: a client with its gate, a network, a model.

::

    open_reader = Shared(_open_reader)
    open_reader("easyocr", ("ru", "en"))    opens it
    open_reader("easyocr", ("ru", "en"))    the same one, from whatever thread
    open_reader.close()                     at the end of the run: the next one opens it anew
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Generic, TypeVar, TypeVarTuple

Ts = TypeVarTuple("Ts")
R = TypeVar("R")


class Shared(Generic[*Ts, R]):
    """Call it as what it is made from: equal arguments give the same object until it is closed.

    Args:
        make: Opens one. Its arguments can be hashed.
        close: Lets go of one; nothing but forgetting it is needed where this is None.
    """

    def __init__(self, make: Callable[[*Ts], R], close: Callable[[R], object] | None = None) -> None:
        self._make, self._close = make, close
        self._lock = threading.Lock()
        self._made: dict[tuple[object, ...], R] = {}

    def __call__(self, *key: *Ts) -> R:
        with self._lock:  # while it is opened, too: two models at once may be more than the memory holds
            if key not in self._made:
                self._made[key] = self._make(*key)
            return self._made[key]

    def close(self) -> None:
        """Let go of all, also where one of them cannot be closed."""
        with self._lock, ExitStack() as stack:
            while self._made:
                _, made = self._made.popitem()
                if self._close is not None:
                    stack.callback(self._close, made)
