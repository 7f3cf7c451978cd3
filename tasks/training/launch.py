"""The training processes, started and ended; what they say, line by line.

They form a session of their own: memory and threads of CUDA stay out of the caller's process, and several GPUs are shared
by several processes. None of them outlives the caller, however it ends: on an error or a cancel they are ended here; when
the caller is killed the system ends the launcher, and each process ends with the launcher (``child.py``).

The caller's thread must live as long as they do: the system watches the thread that started the launcher.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from tasks.storage.errors import PermanentError, TransientError
from tasks.training.plan import Plan

MODULE = ["-m", "tasks.training.child"]

Event = Mapping[str, Any]

_PDEATHSIG = 1
# torchrun gives its processes 30 s before it kills them; they stand in sessions of their own, out of our reach.
_GRACE = 40
_SHOWN = 15  # lines of the log in a message
_LIBC = ctypes.CDLL(None)  # before the fork: nothing may be loaded after it


class TrainingFailed(PermanentError):
    """The process ended otherwise than it should."""


class NotEnoughMemory(Exception):
    """The device's memory was not enough for a batch."""


def launch(plan: Plan, told: Callable[[Event], None], module: Sequence[str] = MODULE) -> None:
    """Run the training processes to their end.

    Args:
        plan: The job; its lock is held, its torn checkpoints are moved away.
        told: Called with every event, in this thread.
        module: What python runs.

    Raises:
        NotEnoughMemory: With what the device said.
        PermanentError: What the training refused.
        TransientError: What may pass.
        TrainingFailed: It died; with the end of its log.
    """
    command = [sys.executable, *module, str(plan.folder)]
    if plan.processes > 1:
        share = ["--standalone", "--nproc-per-node", str(plan.processes)]
        command = [sys.executable, "-m", "torch.distributed.run", *share, *module, str(plan.folder)]
    log = plan.folder / "train.log"
    errors: list[Event] = []
    with log.open("ab") as file:
        start = file.tell()
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=file,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509
        )
        try:
            _listen(process.stdout, told, errors)
            code = process.wait()
        except BaseException:  # cancelled, ended, or an error of whoever listens
            _end(process)
            raise
    for error in errors:
        if error["kind"] == "memory":
            raise NotEnoughMemory(error["message"])
        raise {"permanent": PermanentError, "transient": TransientError}[error["kind"]](error["message"])
    if code:
        raise TrainingFailed(
            f"The training ended with {_ending(code)}. Press Retry to go on from the newest checkpoint. The end of {log}:\n"
            + _tail(log, start)
        )


def _listen(stdout: IO[bytes] | None, told: Callable[[Event], None], errors: list[Event]) -> None:
    for line in stdout or ():
        try:
            event = json.loads(line)
        except ValueError:  # torchrun's own words
            continue
        if not isinstance(event, dict) or "event" not in event:
            continue
        if event["event"] == "error":
            errors.append(event)
        else:
            told(event)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the launcher to end, then kill its whole session."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _die_with_parent() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a signal that the caller ignores would be ignored for good
    _LIBC.prctl(_PDEATHSIG, signal.SIGTERM)


def _ending(code: int) -> str:
    if code == -signal.SIGKILL:
        return "SIGKILL: somebody killed it, or the machine had no memory left"
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _tail(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-_SHOWN:]) or "(nothing)"
