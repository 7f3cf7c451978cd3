"""A real Argilla for tests: the product's own, in a folder of the test and on a free port.

>>> with LocalArgilla(tmp_path) as argilla:
...     client = rg.Argilla(api_url=argilla.url, api_key=argilla.owner.key)
...     argilla.add_to("my-workspace")  # a workspace of the test's own, with the three reviewers
...     argilla.kill()
...     argilla.start()
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, Self

import httpx

from tasks.cli import local_argilla
from tasks.cli.local_argilla import ENVIRONMENT, LogIn
from tests.flows.local_prefect import free_port

PATIENCE_MS = 120_000  # with a browser: only a test that fails waits so long
REVIEWERS = ("reviewer-1", "reviewer-2", "reviewer-3")


class LocalArgilla(local_argilla.LocalArgilla):
    """The product's own server; its data root is ``folder / "data"``.

    Args:
        folder: Where it keeps everything.
        port: The server's port; a free one when None.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        super().__init__(folder / "data", port or free_port())

    def __enter__(self) -> Self:
        assert (ENVIRONMENT / "installed").exists(), "make .venv-argilla/installed"
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def owner(self) -> LogIn:
        """Username, password and key of the owner."""
        return self.log_ins[0]

    @property
    def reviewers(self) -> list[LogIn]:
        """The same of the three reviewers."""
        return self.log_ins[1:]

    def start(self) -> None:
        """Start it, also after it was killed."""
        self.ensure(REVIEWERS)

    def kill(self) -> None:
        """SIGKILL the server."""
        process = self.server.process()
        assert process is not None, "it does not run"
        os.kill(process.pid, signal.SIGKILL)
        process.wait(60)

    def restart(self) -> None:
        """End it and start it again."""
        self.stop()
        self.start()

    def call(self, method: str, path: str, user: LogIn | None = None, **arguments: object) -> httpx.Response:
        """Ask its REST API as a user, the owner when none is named; the answer, whatever it is."""
        headers = {"X-Argilla-Api-Key": (user or self.owner).key}
        with httpx.Client(trust_env=False, timeout=60) as client:
            return client.request(method, f"{self.url}/api/v1{path}", headers=headers, **arguments)  # type: ignore[arg-type]

    def user_id(self, user: LogIn) -> str:
        """A user's id at the server."""
        return str(self.call("GET", "/me", user).json()["id"])

    def workspace(self, name: str) -> str:
        """Make a workspace that the three reviewers belong to; its id."""
        made = self.call("POST", "/workspaces", json={"name": name}).raise_for_status().json()["id"]
        for reviewer in self.reviewers:
            body = {"user_id": self.user_id(reviewer)}
            self.call("POST", f"/workspaces/{made}/users", json=body).raise_for_status()
        return str(made)


def sign_in(page: Any, argilla: LocalArgilla, user: LogIn) -> None:
    """Sign in with a browser's page, as a person does."""
    page.goto(f"{argilla.url}/sign-in")
    page.fill("input[name=Username]", user.username)
    page.fill("input[name=Password]", user.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "sign-in" not in url)
