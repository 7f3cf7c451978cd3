"""`trasvase verify` of a prepared data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.cli import main
from tasks.mmhs.prepare import Prepared, prepare
from tasks.storage.schemas import MMHS
from tasks.storage.tables import read_table, write_table
from tests.mmhs.sample import as_folder, files


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    content = files()
    del content["img_resized/101.jpg"]
    return prepare(as_folder(tmp_path / "in", content), tmp_path / "tables")


def test_what_was_prepared_has_no_findings(prepared: Prepared, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (prepared.table.parent, prepared.table, prepared.rejected, prepared.provenance):
        assert 0 == main(["verify", str(path)]), capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows[0].update(labels=["racist"]), "row 1 has the votes ['religion', 'racist', 'not_hate']"),
        (lambda rows: rows[0].update(labels=["robot"]), "row 1 has the labels robot"),
        (lambda rows: rows.pop(), "of 5 rows, 1 are in neither table: 4"),
        (lambda rows: rows.append(rows[0]), "row 1 comes after row 4"),
        (lambda rows: rows[0].update(row=0), "of 5 rows, 1 are in both tables: 0"),
    ],
)
def test_a_table_that_was_changed_is_found(
    prepared: Prepared, change: Callable[[list[dict[str, Any]]], None], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read_table(prepared.table, MMHS).to_pylist()
    change(rows)
    write_table(pa.Table.from_pylist(rows, MMHS.columns), prepared.table, MMHS, {})
    assert 1 == main(["verify", str(prepared.provenance)])
    assert told in capsys.readouterr().out
