"""Stand-ins for other people's services: on this machine, in their own process, with faults on demand."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode


class StandIn:
    """A stand-in on 127.0.0.1, in a process of its own: the client can be measured apart.

    Args:
        module: Of its server, such as ``tests.standin.google``.
        arguments: For it.
        switches: See ``Switches`` of that module; None empties a switch.
    """

    def __init__(self, module: str, arguments: Sequence[str], switches: Mapping[str, float | str | None]) -> None:
        self.command = [sys.executable, "-m", module, "--with-parent", *arguments]
        self.command += [f"--set={name}={_text(value)}" for name, value in switches.items()]
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens, such as ``http://127.0.0.1:40123``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of its process, to measure it."""
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: It ended instead; its reason stands on stderr.
        """
        self._process = subprocess.Popen(
            self.command,
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A bench kills its client's process group; this one is to live on and tell what it saw.
            start_new_session=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the stand-in left with {self._process.wait()}: {' '.join(self.command)}")
        self.port = json.loads(line)["port"]
        self.stats()

    def stop(self) -> None:
        """End its process, and no other."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # it ends with its standard input
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stats(self) -> dict[str, Any]:
        """Counts since the last reset, such as requests, answered, paid_again; see ``google.Counts``."""
        found: dict[str, Any] = self._ask("GET", "/__stats")
        return found

    def asked(self) -> dict[str, int]:
        """Each line of text asked, in order, with how often it was answered well (the first 20,000)."""
        return dict(self._ask("GET", "/__asked"))

    def log(self) -> list[dict[str, Any]]:
        """The last 20,000 requests by time of answer; see ``StandIn.translate`` for what is written down."""
        found: list[dict[str, Any]] = self._ask("GET", "/__log")
        return found

    def switch(self, **switches: float | str | None) -> dict[str, Any]:
        """Set switches while it runs; returns all of them.

        Raises:
            ValueError: No such switch, or a value it cannot take.
        """
        query = urlencode({name: _text(value) for name, value in switches.items()})
        found: dict[str, Any] = self._ask("POST", f"/__ctl?{query}")
        return found

    def reset(self) -> None:
        """Forget what was asked, and set the switches as they were at the start."""
        self._ask("POST", "/__reset")

    def _ask(self, method: str, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(body.decode())
        return json.loads(body)


class GoogleStandIn(StandIn):
    """Google's ``translate_a``.

    ::

        with GoogleStandIn(latency_ms=150, p429=0.02) as standin:
            ask(standin.url)
            standin.switch(p429=0)
            assert standin.stats()["paid_again"] == 0

    Args:
        pairs: JSONL files with ``en`` and ``es``; None takes the committed ones.
        parquet: Recorded rows to load besides; None with ``rows`` takes the shared ones.
        rows: How many of them.
        spread: Take them from all over the file, not from its start.
        light: Keep no pairs: everything is made up word by word.
        port: 0 takes a free one.
        **switches: See ``tests.standin.google.Switches``; None empties a switch.
    """

    def __init__(
        self,
        pairs: Sequence[Path] | None = None,
        *,
        parquet: Path | None = None,
        rows: int = 0,
        spread: bool = False,
        light: bool = False,
        port: int = 0,
        **switches: float | str | None,
    ) -> None:
        given = {"--port": port, "--rows": rows, **({"--parquet": parquet} if parquet else {})}
        arguments = [str(part) for pair in given.items() for part in pair]
        arguments += ["--pairs", *map(str, pairs)] if pairs is not None else []
        arguments += [flag for flag, wanted in (("--spread", spread), ("--light", light)) if wanted]
        super().__init__("tests.standin.google", arguments, switches)


class MistralStandIn(StandIn):
    """Mistral's ``/v1``: models and chat.

    Args:
        jokes: A Parquet file of recorded jokes to answer with, see ``tests.standin.mistral``; None makes all up.
        port: 0 takes a free one.
        **switches: See ``tests.standin.mistral.Switches``; None empties a switch.
    """

    def __init__(self, *, jokes: Path | None = None, port: int = 0, **switches: float | str | None) -> None:
        arguments = ["--port", str(port), *(["--jokes", str(jokes)] if jokes else [])]
        super().__init__("tests.standin.mistral", arguments, switches)


class MistralBatchStandIn(StandIn):
    """Mistral's ``/v1``: models, chat, files and batches.

    Args:
        jokes: A Parquet file of recorded jokes to answer with, see ``tests.standin.mistral``; None makes all up.
        port: 0 takes a free one.
        **switches: See ``tests.standin.mistral_batch.BatchSwitches``; None empties a switch.
    """

    def __init__(self, *, jokes: Path | None = None, port: int = 0, **switches: float | str | None) -> None:
        arguments = ["--port", str(port), *(["--jokes", str(jokes)] if jokes else [])]
        super().__init__("tests.standin.mistral_batch", arguments, switches)


def _text(value: float | str | None) -> str:
    return "" if value is None else str(value)
