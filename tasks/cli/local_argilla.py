"""Argilla on this machine without Docker: its server with our search engine, and a redis-server.

What they leave in the data root::

    data/argilla/argilla.db                records, answers, users
                 users.json                the log-ins, made up at the first start and kept (mode 0600)
                 access.json               address and the owner's key, for the flows (mode 0600)
                 redis.conf                the redis-server's port and password (mode 0600); it keeps nothing on the disk
    data/run/argilla.json, argilla.log     pid, start time and settings of the server; what it printed
             redis.json, redis.log         the same of the redis-server
             argilla.lock                  held while they are started or stopped
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tasks.cli.local_prefect import Child, alone, wait_until
from tasks.settings import CHECKOUT
from tasks.storage.errors import PermanentError
from tasks.storage.files import whole_file
from tasks.storage.root import DataRoot

PORT = 6900  # Argilla's own
WORKSPACE = "trasvase"  # as in flows/review.py
ENVIRONMENT = CHECKOUT / ".venv-argilla"

_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # of a password: none that looks like another one

_SETTINGS = {
    "ARGILLA_SEARCH_ENGINE": "database",
    "ARGILLA_DATABASE_SQLITE_TIMEOUT": "30",  # seconds that one writer waits for another
    "ARGILLA_CORS_ORIGINS": "[]",  # the web UI comes from the same place
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}


class LogIn(NamedTuple):
    """A user of the local Argilla: with the password in a browser, with the key from a program."""

    username: str
    role: str
    password: str
    key: str

    @classmethod
    def new(cls, username: str, role: str) -> LogIn:
        """One with a password and a key made up."""
        return cls(username, role, "".join(secrets.choice(_LETTERS) for _ in range(12)), secrets.token_urlsafe(32))


@dataclass(frozen=True)
class LocalArgilla:
    """An Argilla on 127.0.0.1 for one data root.

    Args:
        data: The data root.
        port: The server's port.
        say: Where to tell what is being done.
    """

    data: Path
    port: int = PORT
    say: Callable[[str], None] = field(default=print, compare=False)

    @property
    def home(self) -> Path:
        """The database, the log-ins, the address."""
        return DataRoot(self.data).argilla

    @property
    def folder(self) -> Path:
        """Pid files and logs."""
        return DataRoot(self.data).run

    @property
    def users_file(self) -> Path:
        """The log-ins, and what the two processes know of each other."""
        return self.home / "users.json"

    @property
    def url(self) -> str:
        """Where the web UI answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_ins(self) -> list[LogIn]:
        """The users, the owner first; none before the first start."""
        return [LogIn(**user) for user in self._secrets()["users"]]

    @property
    def redis(self) -> Child:
        """The redis-server."""
        command = (str(ENVIRONMENT / "bin" / "redis-server"), str(self.home / "redis.conf"))
        return Child("redis", self.folder, command, os.environ, {})

    @property
    def server(self) -> Child:
        """Argilla's server."""
        stored = self._secrets()
        settings = {
            **_SETTINGS,
            "ARGILLA_HOME_PATH": str(self.home),
            "ARGILLA_DATABASE_URL": f"sqlite+aiosqlite:///{self.home / 'argilla.db'}?check_same_thread=False",
            "ARGILLA_REDIS_URL": f"redis://:{stored['redis_password']}@127.0.0.1:{stored['redis_port']}/0",
            "ARGILLA_AUTH_SECRET_KEY": stored["auth_secret"],  # else every restart would log everybody out
        }
        # The user's own ARGILLA_ settings are for another server.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ARGILLA_")}
        command = (
            *(str(ENVIRONMENT / "bin" / "python"), "-m", "tasks.reviews.server"),
            *("--users", str(self.users_file), "--workspace", WORKSPACE, "--port", str(self.port)),
        )
        files = [CHECKOUT / "constraints-argilla.txt", *sorted((CHECKOUT / "tasks/reviews/server").glob("*.py"))]
        matters = {
            **settings,
            "its users": json.dumps(stored["users"]),
            "its program": "\n".join(path.read_text("utf-8") for path in files),
        }
        return Child("argilla", self.folder, command, {**kept, **settings}, matters)

    @property
    def children(self) -> list[Child]:
        """Both processes, running or not, in the order in which to end them."""
        return [Child(name, self.folder, (), {}, {}) for name in ("argilla", "redis")]

    def runs(self) -> bool:
        """Whether both run."""
        return all(child.process() for child in self.children)

    def ensure(self, reviewers: Sequence[str] = ()) -> list[LogIn]:
        """Start what does not run or runs with other settings, and wait until it answers.

        Args:
            reviewers: Users that there have to be; nobody is ever removed.

        Returns:
            The log-ins that this call made.

        Raises:
            PermanentError: The environment is missing, something else answers on the port, or a process ends at once.
        """
        self._check()
        with alone(self.folder / "argilla.lock"):
            if not self.children[0].process():
                self._refuse_a_taken_port()
            made = self._make_log_ins(reviewers)
            if not self.redis.process():
                self._start_redis()
            if self.server.process() and (changed := self.server.changed()):
                self.say(f"Argilla runs with other settings ({', '.join(changed)}): starting it anew.")
                self.server.stop()
                self._refuse_a_taken_port()
            if not self.server.process():
                self.say(f"Starting Argilla on {self.url} ...")
                self.server.start()
            wait_until(self.server, self._is_up)
            self._write("access.json", {"url": self.url, "key": self.log_ins[0].key})
        return made

    def stop(self) -> list[str]:
        """End both; names of those that ran."""
        with alone(self.folder / "argilla.lock"):
            ended = [child.name for child in self.children if child.process()]
            for child in self.children:
                child.stop()
        return ended

    def _check(self) -> None:
        if not (ENVIRONMENT / "installed").exists():
            raise PermanentError(
                f"Argilla's server is not installed: {ENVIRONMENT} is missing or not whole. "
                "Install it: make .venv-argilla/installed"
            )
        if strange := re.findall(r'[?#%*"\[\]\\]', str(self.home)):
            raise PermanentError(
                f"Argilla's server cannot work in {self.home}, because of the {strange[0]} in the path. "
                "Set TRASVASE_DATA to another folder."
            )

    def _secrets(self) -> dict[str, Any]:
        if not self.users_file.exists():
            return {"users": [], "redis_port": 0}
        try:
            stored: dict[str, Any] = json.loads(self.users_file.read_bytes())
        except ValueError as error:
            raise PermanentError(
                f"{self.users_file} is damaged ({error}). Put a copy of it back; without one move it away and start again: "
                "users of the same names get new passwords, their answers stay."
            ) from error
        return stored

    def _make_log_ins(self, reviewers: Sequence[str]) -> list[LogIn]:
        stored = self._secrets()
        known = {user["username"] for user in stored["users"]}
        new = [LogIn.new(name, "annotator") for name in dict.fromkeys(reviewers) if name not in known]
        if not known:
            stored |= {"auth_secret": secrets.token_urlsafe(32), "redis_password": secrets.token_urlsafe(32)}
            new.insert(0, LogIn.new("owner", "owner"))
        if new:
            stored["users"] += [each._asdict() for each in new]
            self._write("users.json", stored)
        return new

    def _start_redis(self) -> None:
        stored = self._secrets()
        if not stored["redis_port"] or _answers(stored["redis_port"]):
            stored["redis_port"] = _free_port()
            self._write("users.json", stored)
        lines = [
            "bind 127.0.0.1",
            f"port {stored['redis_port']}",
            f"requirepass {stored['redis_password']}",
            'save ""',
            f'dir "{self.home}"',
        ]
        with whole_file(self.home / "redis.conf") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write("\n".join(lines).encode())
        self.redis.start()
        wait_until(self.redis, lambda: _answers(stored["redis_port"]))

    def _refuse_a_taken_port(self) -> None:
        """Nothing else may answer on the port."""
        if not _answers(self.port):
            return
        try:
            with httpx.Client(trust_env=False, timeout=5) as client:
                answer = client.get(f"{self.url}/api/v1/version")
            version = answer.json()["version"] if answer.is_success else None
            found = f"Argilla {version}" if version else f"an HTTP server ({answer.headers.get('server', 'nameless')})"
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            found = "something"
        raise PermanentError(
            f"Port {self.port} of 127.0.0.1 is taken: {found} that is not ours answers there. "
            f"Stop it, or take another port: trasvase argilla --port {self.port + 100}"
        )

    def _is_up(self) -> bool:
        try:
            with httpx.Client(trust_env=False, timeout=30) as client:
                answer = client.get(f"{self.url}/api/v1/me", headers={"X-Argilla-Api-Key": self.log_ins[0].key})
        except httpx.TransportError:
            return False
        return answer.is_success

    def _write(self, name: str, content: object) -> None:
        """Write a file that only its owner may read."""
        with whole_file(self.home / name) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(json.dumps(content, ensure_ascii=False, indent=2).encode())


def last_port(data: Path) -> int:
    """The port of the last start, Argilla's own before the first one."""
    try:
        access = json.loads((DataRoot(data).argilla / "access.json").read_bytes())
        return int(access["url"].rpartition(":")[2])
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # it is written anew when all has started
        return PORT


def _answers(port: int) -> bool:
    with socket.socket() as caller:
        caller.settimeout(3)
        return caller.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
