from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.judging.rules import TABLES, faults
from tasks.storage.schemas import COMPARED, WRITTEN
from tasks.storage.tables import read_table
from tests.judging.fakes import FakeJudge, longer
from tests.judging.walk import collected, compared, split_of

JUDGED: dict[str, Any] = {
    "text_a": "Uno.",
    "text_b": "Dos.",
    "verdict": "a",
    "said_a_first": "A",
    "said_b_first": "B",
    "error": None,
}


def test_rows_of_a_comparison_have_no_faults(tmp_path: Path) -> None:
    tables = collected(
        tmp_path, compared(tmp_path, split_of(tmp_path, ["a", "b", "c"]), str.upper, str.lower), FakeJudge(longer)
    )
    rows = read_table(tables.table, COMPARED).to_pylist()
    assert [] == [fault for row in rows for fault in faults(row, COMPARED)]
    assert COMPARED in TABLES


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"verdict": "b"}, "verdict"),
        ({"said_b_first": "A"}, "verdict"),
        ({"said_b_first": "joke1"}, "said"),
        ({"text_b": "Uno."}, "verdict"),
        ({"error": "moon"}, "error"),
        ({"verdict": "unjudged", "said_a_first": None}, "error"),
    ],
)
def test_a_row_that_was_changed_is_found(changed: dict[str, Any], code: str) -> None:
    assert code in [name for name, _ in faults({**JUDGED, **changed}, COMPARED)]


@pytest.mark.parametrize(("text", "error"), [(None, None), ("Uno.", "length"), ("Uno.", "moon")])
def test_a_text_and_a_reason_against_it_exclude_each_other(text: str | None, error: str | None) -> None:
    assert [] != list(faults({"text": text, "error": error}, WRITTEN))
