from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tasks.cli import main
from tasks.cli.verify import checks_of
from tasks.cli.verify_rows import Check
from tasks.storage.schemas import COMPARED
from tasks.storage.tables import read_table, write_table
from tests.judging.fakes import FakeJudge, longer
from tests.judging.walk import collected, compared, split_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    collected(
        tmp_path, compared(tmp_path, split_of(tmp_path, ["a", "b", "c"]), str.upper, str.lower), FakeJudge(longer)
    )
    return tmp_path


def wrong(path: Path) -> list[str]:
    checks: list[Check] = list(checks_of(path))
    return [code for check in checks for code in check.wrong]


def test_what_a_comparison_leaves_is_sound(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [] == [code for path in (root / "tables", *(root / "jobs").iterdir()) for code in wrong(path)]
    monkeypatch.setenv("TRASVASE_DATA", str(root))
    assert 0 == main(["status"])
    assert 3 == capsys.readouterr().out.count("-jokes-")


def test_a_verdict_that_was_changed_is_found(root: Path) -> None:
    path = root / "tables" / "compared.parquet"
    rows = read_table(path, COMPARED).to_pylist()
    rows[1]["verdict"] = "a"
    write_table(pa.Table.from_pylist(rows, COMPARED.columns), path, COMPARED, {})
    assert {"verdict", "verdicts"} <= set(wrong(root / "tables"))
