"""One run per job: a file lock that the system lets go of when the process dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.storage.errors import PermanentError, disk_error


class JobBusy(PermanentError):
    """Another run works on this job."""


@contextmanager
def only_run(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the job's lock.

    Args:
        folder: The job's folder; made if it is missing.
        wait: Wait for who holds it: for work of moments.

    Raises:
        JobBusy: Another process holds it; the message names the process.
    """
    path = folder / "lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "an unknown process"
            raise JobBusy(
                f"{folder.name} is being worked on by {holder}. Wait until that run has ended or cancel it, then retry."
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)
