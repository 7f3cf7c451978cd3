"""What is looked at before anything is asked or paid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.remote.errors import Denied
from tasks.services import Asking, asking, check_model, journal
from tasks.storage.errors import PermanentError

SMALL = "mistral:mistral-small-2603"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No key, no server of one's own, and a data root."""
    for name in ("MISTRAL_API_KEY", "TRASVASE_MISTRAL_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRASVASE_DATA", str(tmp_path))
    with asking():
        yield
    journal.close()


@pytest.mark.parametrize("mode", ["online", "batch"])
def test_an_estimate_needs_no_key_and_a_run_does(mode: Asking) -> None:
    assert "mistral" == check_model(SMALL, mode, estimate=True)
    with pytest.raises(Denied, match="MISTRAL_API_KEY is not set"):
        check_model(SMALL, mode, estimate=False)


def test_a_key_is_all_that_a_run_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", "secret")
    assert "mistral" == check_model(SMALL, "online", estimate=False)


@pytest.mark.parametrize(
    ("name", "mode", "message"),
    [
        ("mistral:judge-1", "online", "No price for the model 'judge-1'"),
        ("scripted:upper", "batch", "The chat 'scripted' has no batches. Leave mode=batch away."),
    ],
)
def test_what_would_fail_later_is_told_before_anything_is_paid(name: str, mode: Asking, message: str) -> None:
    with pytest.raises(PermanentError, match=message):
        check_model(name, mode, estimate=True)
