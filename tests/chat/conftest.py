"""A journal, no pauses, and one stand-in for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.remote import retry
from tasks.remote.journal import Journal
from tests.standin import MistralStandIn


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "answers.sqlite")


@pytest.fixture
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE_SECONDS", 0.0)


@pytest.fixture(scope="session")
def mistral_server() -> Iterator[MistralStandIn]:
    with MistralStandIn() as standin:
        yield standin


@pytest.fixture
def standin(mistral_server: MistralStandIn) -> MistralStandIn:
    """The stand-in as new: nothing asked, no latency, no fault."""
    mistral_server.reset()
    return mistral_server
