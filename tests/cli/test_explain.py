from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.cli import main
from tasks.storage.root import DataRoot
from tests.cli.small_job import DELIVERED, EDITED, NO_ROW, REFUSED, make_job, reviewed_table


def story(path: Path, row: int, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["explain", str(path), str(row), "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


@pytest.mark.parametrize(
    "name", ["tables/llava-es.parquet", "tables/llava-es.rejected.parquet", "tables/llava-es.json"]
)
def test_a_row_is_explained_from_any_table(root: DataRoot, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = story(root.path / name, 0, capsys)
    assert told["outcome"] == "delivered"
    assert told["source"]["path"].endswith("raw/rows.json")
    assert told["chunk"] == "chunk-00000"


def test_a_row_is_explained_from_a_chunk_and_from_a_job(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (job, job / "chunks" / "chunk-00000.parquet", job / "rows.parquet"):
        assert story(path, 1, capsys)["id"] == "000000033471"


def test_what_stayed_and_what_travelled_is_told(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked, told = story(job, 0, capsys)["turns"]
    assert asked["kept"] == ["<image>", "\n"]
    (attempt,) = asked["attempts"]
    question = "What are the colors of the bus?"
    assert attempt["answers"] == [[question, question.upper(), None]]
    assert attempt["result"] == asked["translated"] == f"<image>\n{question.upper()}"
    assert (attempt["translator"], attempt["attempt"], attempt["unit"]) == ("shouting/1", 0, "sentence")
    assert [answer[0] for answer in told["attempts"][0]["answers"]] == [
        "The bus is white and red.",
        "It is 3 pm.",
    ]


def test_the_journal_gives_what_the_chunks_hold(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert all(story(job, row, capsys)["same"] for row in DELIVERED)


def test_a_doubt_is_told_with_what_was_measured(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turn = story(job, 6, capsys)["turns"][1]
    assert ["end", ". at the end of the source, nothing in the translation"] in turn["doubts"]
    assert "end" not in turn["passed"]
    assert "numbers" in turn["passed"]


def test_a_row_that_is_none_is_told_as_received(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = story(job, NO_ROW, capsys)
    assert (told["outcome"], told["reason"], told["turns"]) == ("rejected", "unknown-role", [])
    assert json.loads(told["raw"])["id"] == "000000052846"


def test_a_refused_row_is_told_with_its_attempt(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = story(job, REFUSED, capsys)
    assert (told["outcome"], told["reason"], told["same"]) == ("rejected", "refused", True)
    (attempt,) = told["turns"][0]["attempts"]  # the service's last word is not asked again
    assert attempt["answers"] == [["What is forbidden?", None, "refused"]]
    assert told["turns"][1]["translated"] == "NOTHING HERE."


def test_the_terminal_shows_line_breaks_answers_and_checks(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(job), "0"]) == 0
    shown = capsys.readouterr().out
    assert "source           <image>⏎" in shown
    assert "→ WHAT ARE THE COLORS OF THE BUS?" in shown
    assert "must hold        all of control, echo, empty, lines, placeholder hold" in shown


def test_a_row_that_is_not_done_yet_shows_what_the_journal_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRASVASE_DATA", str(tmp_path))
    manifest = make_job(DataRoot(tmp_path), chunks=[0])
    told = story(manifest.folder, 6, capsys)
    assert told["outcome"] == "not done yet"
    assert told["turns"][0]["attempts"][0]["answers"] == [["Is this the end?", None, "not in the journal"]]
    assert told["same"] is None


def test_what_the_memory_held_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRASVASE_DATA", str(tmp_path))
    remembered = tmp_path / "memory.parquet"
    columns = {
        "conversations": [["Is this the end?", "This is the end."]],
        "translated": [["¿Es el final?", "Es el"]],
    }
    pq.write_table(pa.table(columns), remembered)
    manifest = make_job(DataRoot(tmp_path), remembered=remembered)
    asked, told = story(manifest.folder, 6, capsys)["turns"]
    assert (asked["remembered"], asked["translator"], asked["attempts"]) == ("¿Es el final?", "memory", [])
    # Flagged in the memory, so it was asked again, and the fresh answer stands although it is flagged too.
    assert (told["remembered"], told["translator"], told["translated"]) == (
        "Es el",
        "shouting/1",
        "THIS IS THE",
    )


def test_a_text_that_people_settled_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRASVASE_DATA", str(tmp_path))
    manifest = make_job(DataRoot(tmp_path), settled={"Is this the end?": "¿Es este el final?"})
    asked, told = story(manifest.folder, 6, capsys)["turns"]
    assert (asked["settled"], asked["translated"], asked["translator"], asked["attempts"]) == (
        "¿Es este el final?",
        "¿Es este el final?",
        "reviewed",
        [],
    )
    assert (told["settled"], told["translator"]) == (None, "shouting/1")
    assert story(manifest.folder, 6, capsys)["same"] is True
    assert main(["explain", str(manifest.folder), "6"]) == 0
    shown = capsys.readouterr().out
    assert "  settled by people  ¿Es este el final?" in shown
    assert "  from             reviewed, the text that people settled" in shown


def test_a_job_of_before_the_corrections_is_still_told(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = json.loads((job / "manifest.json").read_text())
    del written["parameters"]["corrections"]
    (job / "manifest.json").write_text(json.dumps(written))
    assert story(job, 0, capsys)["turns"][0]["settled"] is None


def test_a_row_of_a_reviewed_table_is_told_with_whose_text_it_is(
    root: DataRoot, job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = reviewed_table(root, job.name)
    asked, told = story(path, 0, capsys)["turns"]
    assert asked["reviewed"] == {
        "text": asked["translated"],
        "text_from": "accepted",
        "by": ["reviewer-3f2a9c01"],
        "at": "2026-11-20 10:15 UTC",
    }
    assert (told["reviewed"]["text"], told["translated"]) == (EDITED, "THE BUS IS WHITE AND RED. IT IS 3 PM.")
    assert main(["explain", str(path), "0"]) == 0
    shown = capsys.readouterr().out
    assert "  reviewed         accepted by reviewer-3f2a9c01, 2026-11-20 10:15 UTC" in shown
    assert f"  reviewed text    {EDITED}" in shown
    assert story(path, 1, capsys)["turns"][0]["reviewed"]["text_from"] == "machine"


def test_without_the_journal_the_chunk_still_speaks(
    root: DataRoot, job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(root.journal)
    told = story(job, 0, capsys)
    assert told["turns"][0]["translated"] == "<image>\nWHAT ARE THE COLORS OF THE BUS?"
    assert told["turns"][0]["attempts"] == []
    assert not root.journal.exists()


@pytest.mark.parametrize(("row", "message"), [("7", "There is no row 7"), ("-1", "There is no row -1")])
def test_a_row_that_is_not_there_ends_with_2(
    job: Path, row: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(job), "--", row]) == 2
    assert f"{message}: " in capsys.readouterr().err


def test_a_table_whose_job_is_gone_ends_with_2(root: DataRoot, job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(job)
    assert main(["explain", str(root.tables / "llava-es.parquet"), "0"]) == 2
    assert "the job is gone. Run the flow again" in capsys.readouterr().err


def test_a_torn_table_ends_with_1(root: DataRoot, capsys: pytest.CaptureFixture[str]) -> None:
    table = root.tables / "llava-es.parquet"
    table.write_bytes(table.read_bytes()[:-9])
    assert main(["explain", str(table), "0"]) == 1
    assert f"{table} is not a whole Parquet file" in capsys.readouterr().err
