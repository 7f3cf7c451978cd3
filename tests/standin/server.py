"""What all stand-ins have in common: switches set over HTTP, faults drawn alike for all clients, answers that break off.

Besides what it stands for, each answers ``POST /__ctl?name=value`` (see its ``Switches``), ``POST /__reset``,
``GET /__stats``, ``/__asked`` and ``/__log``. Every answer carries the header ``x-recording: trasvase stand-in``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import struct
import threading
import time
from abc import ABC, abstractmethod
from binascii import a2b_qp
from collections import Counter, deque
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import uvicorn
from orjson import dumps
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Chance = Callable[[str], float]

HEADER = ("x-recording", "trasvase stand-in")
JSON, HTML, PLAIN = b"application/json; charset=UTF-8", b"text/html; charset=UTF-8", b"text/plain"
HANG_SECONDS = 120.0
KEEP_LOG = 20_000  # requests kept for tests; counting goes on beyond


@dataclass
class Settable:
    """Switches: a dataclass of plain values. A name that begins with ``p`` is a share of requests."""

    def set(self, name: str, value: str) -> None:
        """Set one switch from text.

        Raises:
            ValueError: No such switch, or a value it cannot take.
        """
        if name not in asdict(self):
            raise ValueError(f"no switch named {name!r}; there are {', '.join(asdict(self))}")
        kind = type(getattr(self, name))
        try:
            new = kind(value)
        except ValueError:
            raise ValueError(f"{name}={value!r} is not {kind.__name__}") from None
        if name.startswith("p") and not 0 <= new <= 1:
            raise ValueError(f"{name}={value} is not between 0 and 1")
        setattr(self, name, new)


S = TypeVar("S", bound=Settable)


@dataclass(slots=True)
class Reply:
    """What goes back, and how it ends.

    Args:
        ending: ``whole``, ``cut`` (half the JSON), ``short`` (closed early), ``reset`` (by RST) or ``hang``.
        good: True where the question was answered.
        headers: Besides content type, length and Retry-After.
    """

    status: int
    body: bytes
    kind: bytes = JSON
    fault: str = ""
    ending: str = "whole"
    retry_after: str = ""
    good: bool = False
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Bucket:
    """Requests allowed: so many per second, and so many at once after a pause."""

    def __init__(self) -> None:
        self.left, self._filled = float("inf"), time.monotonic()

    def take(self, rate: float, holds: float, now: float) -> bool:
        """Whether one more request is allowed."""
        self.left = min(self.left + (now - self._filled) * rate, holds)
        self._filled = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Server(ABC, Generic[S]):
    """The ASGI application: state in memory, one process, one event loop.

    Args:
        switches: As they are at the start, and after each reset.
    """

    def __init__(self, switches: S) -> None:
        self.first = switches
        self.reset()

    def reset(self) -> None:
        """Forget everything asked, and set the switches as they were at the start."""
        self.switches = replace(self.first)
        self.attempts: Counter[bytes] = Counter()
        self.log: deque[dict[str, Any]] = deque(maxlen=KEEP_LOG)
        self.bucket = Bucket()

    @abstractmethod
    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what it stands for."""

    @abstractmethod
    def stats(self) -> dict[str, Any]:
        """Counts since the last reset."""

    @abstractmethod
    def asked(self) -> list[tuple[str, int]]:
        """What was asked, in order, with how often it was answered well."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("/__"):
            await self.control(scope, send)
        else:
            await self.serve(scope, receive, send)

    async def control(self, scope: Scope, send: Send) -> None:
        """Answer what is not the service's: switches and counts."""
        name, body = scope["path"], b""
        if scope["method"] == "POST" and name == "/__ctl":
            switches = replace(self.switches)
            try:
                for key, values in read_fields(scope["query_string"]).items():
                    switches.set(key, values[0])
            except ValueError as error:
                await reply(send, Reply(400, str(error).encode(), PLAIN))
                return
            self.switches = switches
            body = dumps(asdict(self.switches))
        elif scope["method"] == "POST" and name == "/__reset":
            self.reset()
            body = b"{}"
        elif name == "/__stats":
            body = dumps(self.stats() | own_cost())
        elif name == "/__asked":
            body = dumps(self.asked())
        elif name == "/__log":
            body = dumps(list(self.log))
        await reply(send, Reply(200, body) if body else Reply(404, b"", PLAIN))

    def draw(self, question: str, seed: int) -> Chance:
        """One more attempt at a question: a number in [0, 1) for each name, the same for all clients."""
        digest = blake2b(question.encode(), digest_size=16).digest()
        self.attempts[digest] += 1
        return partial(drawn, salt=b"%d %d " % (seed, self.attempts[digest]) + digest)


def drawn(name: str, salt: bytes) -> float:
    """A number in [0, 1) that depends on both alone."""
    return int.from_bytes(blake2b(salt + name.encode(), digest_size=8).digest()) / 2**64


def own_cost() -> dict[str, Any]:
    """What this process costs."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    return {
        "cpu_seconds": time.process_time(),
        "memory_mb": round(resident / 2**20, 1),
        "recording": HEADER[1],
    }


def read_fields(raw: bytes) -> dict[str, list[str]]:
    """Read a query or a form, like ``urllib.parse.parse_qs``."""
    out: dict[str, list[str]] = {}
    for part in raw.split(b"&") if raw else ():
        name, _, value = (decoded(piece) for piece in part.partition(b"="))
        out.setdefault(name, []).append(value)
    return out


def decoded(piece: bytes) -> str:
    # Percent-encoding is quoted-printable with another sign, which C decodes: 10 times as fast.
    quoted = piece.replace(b"+", b" ").replace(b"=", b"=3D").replace(b"%", b"=")
    return a2b_qp(quoted).decode(errors="replace")


async def read_body(receive: Receive) -> bytes:
    """The whole body of a request."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def reply(send: Send, answer: Reply) -> None:
    """Send an answer whole, or the first half of it."""
    whole = answer.ending in ("whole", "cut")
    body = answer.body if whole else answer.body[: len(answer.body) // 2]
    headers = [(b"content-type", answer.kind), (b"content-length", b"%d" % len(answer.body))]
    headers += answer.headers
    if answer.retry_after:
        headers.append((b"retry-after", answer.retry_after.encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": not whole})


async def finish(scope: Scope, receive: Receive, send: Send, answer: Reply) -> None:
    """Send an answer, or break off as the fault wants it."""
    transport: asyncio.Transport = scope["standin.transport"]
    if answer.ending == "hang":
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(until_gone(receive), HANG_SECONDS)
    else:
        await reply(send, answer)
    if answer.ending in ("whole", "cut"):
        return
    if answer.ending == "short":
        transport.close()
    elif not transport.is_closing():
        # Lingering for no time at all makes the close an RST.
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    await until_gone(receive)


async def until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Protocol(HttpToolsProtocol):
    """Lets the application reach the connection, to break it."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast(dict[str, Any], self.scope)["standin.transport"] = self.transport


def leave_with_parent() -> None:
    """End when the parent does, however it died: its end of our standard input closes."""
    while os.read(0, 1):
        pass
    os._exit(0)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of every stand-in."""
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a switch, see Switches")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input closes")


def set_switches(parser: argparse.ArgumentParser, switches: Settable, given: list[str]) -> None:
    """Set the switches of the command line."""
    for text in given:
        try:
            switches.set(*text.split("=", 1))
        except (TypeError, ValueError) as error:
            parser.error(f"--set {text}: {error}")


def run(app: Server[Any], port: int, with_parent: bool) -> None:
    """Print ``{"port": N}``, and answer until terminated."""
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        headers=[HEADER],
        timeout_keep_alive=600,  # as long as a client may think between two chunks
        timeout_graceful_shutdown=1,
    )
    with socket.create_server(("127.0.0.1", port), backlog=1024) as listening:
        # asyncio sets it only where the protocol is named; without it every body waits 40 ms for an ACK.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(dumps({"port": listening.getsockname()[1]}).decode(), flush=True)
        if with_parent:
            threading.Thread(target=leave_with_parent, daemon=True).start()
        uvicorn.Server(config).run(sockets=[listening])
