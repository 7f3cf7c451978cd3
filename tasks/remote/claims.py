"""Which questions each process is asking, for the others to see: two runs never ask, and pay, the same at once.

::

    journal/asking/lock           held while one of the files below is read or written
                   4711-9c01d7b4  the keys that process 4711 is asking, a line each; locked for as long as it lives

What a process was asking that died is anybody's: the system has let go of its file.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from tasks.storage.errors import disk_error


class SharedClaims:
    """The claims of one process. Its methods are for one thread at a time.

    Args:
        folder: Of the files; made with the first claim.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own = folder / f"{os.getpid()}-{token_hex(4)}"  # other machines have the same numbers
        self._keys: dict[bytes, None] = {}
        self._lock = self._file = -1

    def take(self, keys: Iterable[bytes]) -> list[bytes]:
        """Claim keys: those of them that no other process is asking, in their order.

        Raises:
            DiskFull: No room; nothing is claimed.
        """
        with self._alone():
            elsewhere = set[bytes]().union(*self._others())
            mine = [key for key in keys if key not in elsewhere]
            self._write(self._keys | dict.fromkeys(mine))
        return mine

    def release(self, keys: Collection[bytes]) -> None:
        """Let go of keys that are answered, or that this process will not ask."""
        left = dict.fromkeys(self._keys.keys() - keys)
        if len(left) < len(self._keys):
            with self._alone():
                self._write(left)

    def close(self) -> None:
        """Let go of everything."""
        if self._file >= 0:
            with self._alone():
                self._own.unlink()
            os.close(self._file)
            os.close(self._lock)
            self._lock = self._file = -1

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            if self._file < 0:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
                with _locked(self._lock):  # so that nobody takes the file for a dead one's before it is locked
                    self._file = os.open(self._own, os.O_RDWR | os.O_CREAT, 0o644)
                    fcntl.flock(self._file, fcntl.LOCK_EX)
            with _locked(self._lock):
                yield
        except OSError as error:
            raise disk_error(error, self._own) from error

    def _others(self) -> Iterator[list[bytes]]:
        """The keys of each process that lives; the files of those that do not are taken away."""
        for path in self._folder.iterdir():
            if path in (self._own, self._folder / "lock"):
                continue
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    *whole, _ = file.read().decode().split("\n")  # the last one may be cut off by a full disk
                    yield list(map(bytes.fromhex, whole))
                else:
                    path.unlink()

    def _write(self, keys: dict[bytes, None]) -> None:
        """What was claimed before stands first, so a disk that fills up cuts off new keys alone."""
        content = "".join(f"{key.hex()}\n" for key in keys).encode()
        if os.pwrite(self._file, content, 0) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.ftruncate(self._file, len(content))
        self._keys = keys


@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
