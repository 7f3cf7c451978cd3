"""A chunk is tried again when its error may pass, and only then."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.states import Completed, Failed

from tasks.options import is_transient
from tasks.remote.errors import CircuitOpen, Denied, Throttled, Unreachable
from tasks.storage.errors import DiskFull, PermanentError, TornFile


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Throttled("429"), True),
        (Unreachable("no"), True),
        (CircuitOpen("no"), True),
        (DiskFull("no"), True),
        (Denied("403"), False),
        (TornFile("torn"), False),
        (PermanentError("no"), False),
        (ValueError("a bug"), False),
    ],
)
def test_the_error_s_type_decides(error: Exception, expected: bool) -> None:
    unused: Any = None
    assert expected is is_transient(unused, unused, Failed(data=error))


def test_what_went_well_is_not_tried_again() -> None:
    unused: Any = None
    assert not is_transient(unused, unused, Completed(data=1))
