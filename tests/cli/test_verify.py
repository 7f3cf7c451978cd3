from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.cli import main
from tasks.llava.corrections import Correction, add_corrections
from tasks.reviews.records import record_id
from tasks.storage.root import DataRoot
from tasks.storage.schemas import CORRECTIONS, LLAVA, RESPONSES, REVIEW_OPEN, REVIEWED, TRANSLATIONS, TableSchema
from tasks.storage.tables import read_table, write_table
from tests.cli.small_job import EDITED, ROWS, reviewed_table

AT = datetime(2026, 11, 20, 10, 15, tzinfo=UTC)


def findings(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """What `trasvase verify` finds, by code; the exit code agrees."""
    capsys.readouterr()
    code = main(["verify", str(path), "--json"])
    found: dict[str, int] = {}
    for check in json.loads(capsys.readouterr().out):
        for name, n in check["wrong"].items():
            found[name] = found.get(name, 0) + n
    assert code == (1 if found else 0)
    return found


def change(path: Path, edit: Callable[[list[dict[str, object]]], None]) -> None:
    """Write a table again with edited rows, as a careless script would."""
    schema = TRANSLATIONS if "chunks" in path.parts else LLAVA
    rows = read_table(path, schema).to_pylist()
    edit(rows)
    write_table(pa.Table.from_pylist(rows, schema=schema.columns), path, schema, {"job": path.parents[1].name})


def test_what_the_flow_leaves_has_no_findings(root: DataRoot, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(root.path)]) == 0
    shown = capsys.readouterr().out
    assert "No findings." in shown
    assert "what must hold in every delivered turn holds (n = 10)" in shown
    assert "are the source's rows, each once (n = 7)" in shown


@pytest.mark.parametrize(
    "name",
    [
        "tables",
        "jobs",
        "tables/llava-es.parquet",
        "tables/llava-es.rejected.parquet",
        "tables/llava-es.json",
        "tables/llava-es.provenance.json",
    ],
)
def test_any_file_or_folder_can_be_verified(root: DataRoot, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert findings(root.path / name, capsys) == {}


def test_rows_and_chunks_of_a_job_can_be_verified_alone(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("rows.parquet", "rejected.parquet", "chunks/chunk-00003.parquet"):
        assert findings(job / name, capsys) == {}


def test_a_changed_byte_is_found_and_the_next_step_named(root: DataRoot, capsys: pytest.CaptureFixture[str]) -> None:
    path = root.tables / "llava-es.json"
    path.write_bytes(path.read_bytes().replace(b"WHAT", b"THAT"))
    assert main(["verify", str(root.tables)]) == 1
    shown = capsys.readouterr().out
    assert "llava-es.json has another SHA-256" in shown
    assert "Next: delete llava-es.provenance.json and run the flow again" in shown
    assert "row 0 (line 2) is not the table's row" in shown


def test_a_json_file_that_is_cut_off_is_found_with_its_row(root: DataRoot, capsys: pytest.CaptureFixture[str]) -> None:
    path = root.tables / "llava-es.json"
    path.write_bytes(path.read_bytes()[:-60])
    assert main(["verify", str(path)]) == 1
    assert "row 6 (line 6) is no JSON" in capsys.readouterr().out


def test_a_lost_placeholder_is_found_with_its_row_and_turn(root: DataRoot, capsys: pytest.CaptureFixture[str]) -> None:
    def lose(rows: list[dict[str, object]]) -> None:
        rows[0]["translated"][0]["value"] = "<imagen>¿DE QUÉ COLOR?"  # type: ignore[index]  # rows are JSON

    path = root.tables / "llava-es.parquet"
    change(path, lose)
    assert main(["verify", str(path)]) == 1
    assert "row 0, turn 0: placeholder: '<imagen>" in capsys.readouterr().out
    assert findings(path, capsys) == {"size": 1, "placeholder": 1, "lines": 1}


def test_a_row_that_is_gone_or_stands_twice_is_found(root: DataRoot, capsys: pytest.CaptureFixture[str]) -> None:
    path = root.tables / "llava-es.parquet"
    change(path, lambda rows: rows.__delitem__(1))
    found = findings(root.tables, capsys)
    assert found["rows"] == 2
    assert found["delivered"] == 1
    change(path, lambda rows: rows.insert(0, rows[0]))
    assert findings(path, capsys)["key"] == 1


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("translator", ["shouting/1"], "translator"),
        ("checks", ["seam"], "checks"),
        ("error", "refused", "error"),
        ("translated", [{"from": "gpt", "value": "A"}, {"from": "human", "value": "B"}], "roles"),
        ("translated", [{"from": "human", "value": "A"}], "turns"),
    ],
)
def test_what_does_not_fit_together_is_found(
    root: DataRoot, column: str, value: object, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root.tables / "llava-es.parquet"
    change(path, lambda rows: rows[0].update({column: value}))
    assert findings(path, capsys)[code] >= 1


def test_a_torn_chunk_is_found_by_name(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chunk = job / "chunks" / "chunk-00001.parquet"
    chunk.write_bytes(chunk.read_bytes()[:-20])
    assert main(["verify", str(job)]) == 1
    assert "chunk-00001 is torn or of another job" in capsys.readouterr().out
    assert findings(chunk, capsys) == {"TornFile": 1}


def test_a_missing_chunk_is_work_to_do_and_no_finding(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (job / "chunks" / "chunk-00001.parquet").unlink()
    assert main(["verify", str(job)]) == 0
    assert "(1 to do) (n = 3)" in capsys.readouterr().out


def test_a_chunk_whose_record_is_not_its_translation_is_found(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chunk = job / "chunks" / "chunk-00000.parquet"
    change(chunk, lambda rows: rows[0].update(record="{}"))
    assert findings(chunk, capsys) == {"record": 1}


def test_a_chunk_of_other_rows_is_found(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(job / "chunks" / "chunk-00000.parquet", lambda rows: rows[0].update(image="another.jpg", record=None))
    assert findings(job, capsys)["chunk"] == 1


def test_a_manifest_that_was_edited_is_found(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = job / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"en"', '"de"'))
    assert findings(job, capsys) == {"manifest": 1}


def test_what_cannot_be_read_is_a_finding_and_the_rest_is_looked_at(
    root: DataRoot, job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (job / "manifest.json").write_text("{")
    assert findings(root.path, capsys) == {"TornFile": 1}
    (root.tables / "llava-es.provenance.json").write_text("{}")
    change(root.tables / "llava-es.parquet", lambda rows: rows.insert(0, rows[0]))
    reviewed_table(root, job.name)
    assert findings(root.path, capsys) == {"TornFile": 2, "key": 1}


def test_rows_that_were_laid_out_and_are_gone_are_found_by_name(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (job / "rows.parquet").unlink()
    assert main(["verify", str(job)]) == 1
    assert f"No such file or directory: '{job / 'rows.parquet'}'" in capsys.readouterr().out


def test_a_job_of_a_kind_that_is_not_known_is_found(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = job / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"translate-llava"', '"translate-video"'))
    assert main(["verify", str(job)]) == 1
    assert "its kind 'translate-video' is not known here" in capsys.readouterr().out
    assert main(["status", job.name]) == 1
    assert "damaged        its kind 'translate-video' is not known here" in capsys.readouterr().out


def test_a_foreign_table_is_found_by_name(root: DataRoot, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = root.tables / "foreign.parquet"
    pq.write_table(pa.table({"text": ["a"]}), foreign)
    assert findings(foreign, capsys) == {"ForeignTable": 1}


@pytest.fixture
def reviews(root: DataRoot, job: Path) -> DataRoot:
    """The data root with the three tables of a review."""
    reviewed_table(root, job.name)
    machine = "THE BUS IS WHITE AND RED. IT IS 3 PM."
    answer = {
        "id": "6d1f",
        "record": record_id("llava-es", 0, 1, ROWS[0][3], machine),
        "row": 0,
        "turn": 1,
        "part": "worst",
        "original": ROWS[0][3],
        "machine": machine,
        "translator": "shouting/1",
        "codes": [],
        "user": "reviewer-3f2a9c01",
        "role": "annotator",
        "status": "submitted",
        "text": EDITED,
        "verdict": "minor",
        "kinds": ["grammar"],
        "note": None,
        "inserted_at": AT,
        "updated_at": AT,
        "origin": "argilla:1f2e",
    }
    draft = {**answer, "status": "draft", "text": None, "updated_at": AT.replace(hour=9)}
    write_rows(root.tables / "llava-es-responses.parquet", RESPONSES, [draft, answer])
    candidate = {"text": EDITED, "by": ["reviewer-3f2a9c01"], "verdicts": ["minor"], "notes": []}
    left = {"row": 0, "turn": 1, "what": "broken", "reason": "lines", "original": "A", "machine": "B"}
    both = [{**left, "what": "adjudicate", "candidates": [candidate]}, {**left, "candidates": [candidate]}]
    write_rows(root.tables / "llava-es-open.parquet", REVIEW_OPEN, both)
    corrections = [Correction(ROWS[0][3], EDITED, "edited", ("reviewer-3f2a9c01",), AT, "llava-es", 0, 1)]
    add_corrections(root.memory / "en-es.parquet", corrections, "llava-es")
    return root


def write_rows(path: Path, schema: TableSchema, rows: list[dict[str, Any]]) -> None:
    write_table(pa.Table.from_pylist(rows, schema=schema.columns), path, schema, {})


def test_the_tables_of_a_review_have_no_findings(reviews: DataRoot, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(reviews.path)]) == 0
    shown = capsys.readouterr().out
    assert "answers are there once, fit their records, and have known values (n = 2)" in shown
    assert "entries are there once and say how they were settled (n = 1)" in shown
    assert f"{reviews.tables / 'llava-es-reviewed.parquet'}\n" in shown


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("record", "llava-es:0:0:9f3a0c12d4e5", "record"),
        ("machine", "ANOTHER TEXT.", "record"),
        ("text", None, "text"),
        ("status", "lost", "status"),
        ("part", "best", "part"),
        ("verdict", "fine", "verdict"),
        ("kinds", ["grammar", "typo"], "kinds"),
        ("updated_at", AT.replace(hour=9), "key"),
    ],
)
def test_an_answer_that_does_not_fit_is_found(
    reviews: DataRoot, column: str, value: object, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = reviews.tables / "llava-es-responses.parquet"
    rows = read_table(path, RESPONSES).to_pylist()
    rows[1][column] = value
    write_rows(path, RESPONSES, rows)
    assert findings(path, capsys) == {code: 1}


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("text_from", ["machine", "somebody"], "text_from"),
        ("text_from", ["machine"], "text_from"),
        ("reviewed_by", [[], ["reviewer-77d01b2e"]], "reviewed_by"),
        ("reviewed_at", [AT, None], "reviewed_by"),
        ("error", "refused", "error"),
    ],
)
def test_a_reviewed_row_that_does_not_fit_together_is_found(
    reviews: DataRoot, column: str, value: object, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = reviews.tables / "llava-es-reviewed.parquet"
    rows = read_table(path, REVIEWED).to_pylist()
    rows[0][column] = value
    write_rows(path, REVIEWED, rows)
    assert findings(path, capsys) == {code: 1}


def test_what_is_left_to_do_without_a_text_or_out_of_order_is_found(
    reviews: DataRoot, capsys: pytest.CaptureFixture[str]
) -> None:
    path = reviews.tables / "llava-es-open.parquet"
    rows = read_table(path, REVIEW_OPEN).to_pylist()
    write_rows(path, REVIEW_OPEN, [{**rows[0], "row": 5}, {**rows[1], "candidates": []}])
    assert findings(path, capsys) == {"key": 1, "what": 1}


def test_a_broken_text_among_what_people_settled_is_found(
    reviews: DataRoot, capsys: pytest.CaptureFixture[str]
) -> None:
    path = reviews.memory / "en-es.parquet"
    rows = read_table(path, CORRECTIONS).to_pylist()
    write_rows(path, CORRECTIONS, [*rows, *rows, {**rows[0], "target": "Una\nvez", "how": "guessed"}])
    assert findings(path, capsys) == {"key": 1, "how": 1, "lines": 1}


@pytest.mark.parametrize("name", ["nothing.parquet", "journal", "raw/rows.json"])
def test_what_cannot_be_verified_ends_with_2(root: DataRoot, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(root.path / name)]) == 2
    assert str(root.path / name) in capsys.readouterr().err
