"""The steps of the review loop without a Prefect server: what they write, and what they say of bad input."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from prefect.client.schemas.actions import ArtifactCreate

import flows.review
import tasks.review
from tasks.llava.corrections import Correction, read_corrections
from tasks.plan import patient, shown
from tasks.review import find_review
from tasks.reviews.images import Images
from tasks.reviews.pack import Pack
from tasks.reviews.records import Pushed, Response, ReviewTurn
from tasks.reviews.state import Review
from tasks.storage.errors import PermanentError, TornFile
from tasks.storage.files import write_bytes
from tasks.storage.schemas import RESPONSES, REVIEWED
from tasks.storage.tables import read_table
from tests.reviews.answers import write_llava

BUS, BLUE, CAR = ("The bus is white.", "El autobús es blanca."), ("It is blue.", "Es azul."), ("A car.", "Un coche.")


class Loop:
    """A data root, and the two flows on it."""

    def __init__(self, data: Path) -> None:
        self.data, self.tables = data, data / "tables"
        self.artifacts: list[dict[str, Any]] = []
        self.patient: list[str] = []

    def table(self, *rows: list[tuple[str, str]], name: str = "llava-es", target: str = "es") -> Path:
        """A table of translate-llava with its provenance."""
        path = write_llava(self.tables / f"{name}.parquet", rows)
        told = {"chunk_size": 500, "parameters": {"source_language": "en", "target": target}}
        write_bytes(path.with_suffix(".provenance.json"), json.dumps(told).encode())
        return path

    def push(self, table: str = "llava-es", dataset: str = "", **options: Any) -> Any:
        return flows.review.push_translations.fn(Path(table), dataset, to="pack", **options)

    def pull(self, table: str = "llava-es", dataset: str = "") -> dict[str, Path]:
        left = flows.review.pull_reviews.fn(Path(table), dataset)
        assert isinstance(left, dict), left
        return left

    def answer(self, texts: dict[str, str], minutes: int = 0, name: str = "llava-es") -> None:
        """Ana's answers to the pack's records, by the machine's text."""
        page = (self.data / "reviews" / name / f"{name}.html").read_text("utf-8")
        found = re.search(r'<script type="application/json" id="pack">(.*?)</script>', page, re.DOTALL)
        assert found is not None
        at = f"2026-03-01T09:{minutes:02}:00Z"
        answers = [
            {
                "id": f"Ana-{record['row']}-{record['turn']}",
                "record": record["id"],
                "status": "submitted",
                "text": texts[record["machine"]],
                "verdict": "minor",
                "kinds": [],
                "note": None,
                "inserted_at": at,
                "updated_at": at,
                "original": record["original"],
                "machine": record["machine"],
            }
            for record in json.loads(found[1])["records"]
            if record["machine"] in texts
        ]
        told = {"format": "trasvase-answers/1", "dataset": name, "reviewer": "Ana", "answers": answers}
        write_bytes(self.data / "reviews" / name / "answers" / f"{minutes}.json", json.dumps(told).encode())

    def files(self) -> dict[Path, int]:
        """All files with when they were written."""
        files = (path for path in self.data.rglob("*") if path.is_file() and path.name != "lock")
        return {path: path.stat().st_mtime_ns for path in files}

    def reviewed(self, name: str = "llava-es") -> list[str]:
        """All texts of the reviewed table."""
        rows = read_table(self.tables / f"{name}-reviewed.parquet", REVIEWED)["translated"].to_pylist()
        return [turn["value"] for row in rows for turn in row]

    def report(self, name: str = "llava-es") -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.data / "reports" / f"review-{name}" / "report.json").read_bytes())
        return told


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop(tmp_path / "data")
    monkeypatch.setenv("TRASVASE_DATA", str(loop.data))
    monkeypatch.delenv("ARGILLA_API_URL", raising=False)
    monkeypatch.delenv("ARGILLA_API_KEY", raising=False)
    for name in ("choose_turns", "push_turns", "pull_responses", "merge_reviews", "send_back_broken", "report_reviews"):
        monkeypatch.setattr(flows.review, name, getattr(tasks.review, name).fn)

    def as_patient(task: Any) -> Any:
        loop.patient.append(task.__name__)
        return task

    monkeypatch.setattr(flows.review, "patient", as_patient)
    monkeypatch.setattr(tasks.review, "get_run_logger", lambda: logging.getLogger("test"))

    def as_prefect_takes_it(call: Any, **what: Any) -> None:
        content = what.get("markdown") or json.dumps(what["table"])
        shown(lambda **what: loop.artifacts.append(what), **what)
        ArtifactCreate(key=loop.artifacts[-1]["key"], type="markdown", data=content)

    monkeypatch.setattr(tasks.review, "shown", as_prefect_takes_it)
    return loop


@pytest.mark.parametrize(
    ("name", "key"),
    [("llava_es", "review-llava-es"), ("Llava ES (2)", "review-llava-es-2"), ("v1.5-pt-BR", "review-v1-5-pt-br")],
)
def test_a_review_of_any_name_gets_its_report(loop: Loop, name: str, key: str) -> None:
    loop.table([BUS], name=name)
    loop.push(name)
    loop.answer({BUS[1]: "El autobús es blanco."}, name=name)
    loop.pull(name)
    assert ["El autobús es blanco."] == loop.reviewed(name)
    assert [key.replace("review-", "review-here-", 1), key] == [each["key"] for each in loop.artifacts]


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", ".x", "a\n", "x" * 121, "ñ" * 61, "\ud800"])
def test_a_name_that_is_no_files_name_is_refused_before_anything_is_made(loop: Loop, name: str) -> None:
    loop.table([BUS])
    before = sorted(loop.data.rglob("*"))
    for call in (loop.push, loop.pull):
        with pytest.raises(PermanentError) as raised:
            call(dataset=name)
        assert (
            f"A review cannot be called {name!r}. Give a `dataset` of at most 120 bytes that has no slash and does not "
            "begin with a dot."
        ) == str(raised.value)
    assert before == sorted(loop.data.rglob("*"))


def test_the_longest_name_leaves_room_for_the_files_that_are_called_after_it(loop: Loop) -> None:
    loop.table([BUS], name="a")
    loop.push("a", "x" * 120)
    loop.answer({BUS[1]: BUS[1]}, name="x" * 120)
    assert all(path.is_file() for path in loop.pull("a", "x" * 120).values())


def test_what_asks_argilla_is_tried_again_as_often_as_a_chunk(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop.table([BUS])
    loop.push()
    loop.answer({BUS[1]: BUS[1]})
    loop.pull()
    assert ["push_turns", "pull_responses", "send_back_broken"] == loop.patient
    monkeypatch.setenv("TRASVASE_CHUNK_RETRIES", "7")
    assert 7 == patient(tasks.review.pull_responses).retries


def test_without_anything_new_no_file_is_written(loop: Loop) -> None:
    loop.table([BUS], [BLUE])
    loop.push()
    loop.answer({BUS[1]: "El autobús es blanco."})
    loop.pull()
    before = loop.files()
    loop.pull()
    assert before == loop.files()


@pytest.mark.parametrize("lost", ["reviewed", "open", "memory", "report"])
def test_what_was_moved_away_is_made_anew_by_the_next_pull(loop: Loop, lost: str) -> None:
    loop.table([BUS])
    loop.push()
    loop.answer({BUS[1]: "El autobús es blanco."})
    path = loop.pull()[lost]
    content = path.read_bytes()
    path.unlink()
    loop.pull()
    assert content == path.read_bytes()


def test_a_table_put_back_from_a_backup_is_merged_though_it_is_older_than_the_report(loop: Loop) -> None:
    loop.table([BUS], [BLUE])
    loop.push()
    loop.answer({BUS[1]: "El autobús es blanco."})
    loop.pull()
    os.utime(loop.table([BUS], [CAR]), (0, 0))
    loop.pull()
    assert ["El autobús es blanco.", CAR[1]] == loop.reviewed()


def test_a_table_that_is_replaced_while_it_is_merged_is_merged_again(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.table([BUS], [BLUE])
    loop.push()
    loop.answer({BUS[1]: "El autobús es blanco."})
    with monkeypatch.context() as patched:
        merge = tasks.review.merge_reviews.fn
        patched.setattr(flows.review, "merge_reviews", lambda *given: (merge(*given), loop.table([BUS], [CAR]))[0])
        loop.pull()
    loop.pull()
    assert ["El autobús es blanco.", CAR[1]] == loop.reviewed()


def test_rows_drawn_after_the_last_answer_are_in_the_report(loop: Loop) -> None:
    loop.table([BUS], [BLUE], [CAR])
    loop.push(sample=0, audit=1)
    loop.answer({text: text for _, text in (BUS, BLUE, CAR)})
    loop.pull()
    assert (1, 1) == (loop.report()["audit"]["rows"]["drawn"], loop.report()["audit"]["rows"]["n"])
    loop.push(sample=0, audit=3)
    loop.pull()
    assert (3, 1) == (loop.report()["audit"]["rows"]["drawn"], loop.report()["audit"]["rows"]["n"])


def test_a_push_without_an_audit_does_not_make_an_unknown_draw_an_empty_one(loop: Loop) -> None:
    loop.table([BUS], [BLUE])
    loop.push(sample=0, audit=2)
    loop.answer({BUS[1]: BUS[1], BLUE[1]: BLUE[1]})
    (loop.data / "reviews" / "llava-es" / "drawn.json").unlink()
    loop.push(sample=2, audit=0)
    loop.pull()
    assert (False, 2) == (loop.report()["audit"]["drawn_is_known"], loop.report()["audit"]["rows"]["n"])


def test_answers_in_one_language_do_not_get_into_the_memory_of_another(loop: Loop) -> None:
    loop.table([BUS])
    basque = loop.table([BUS], name="llava-eu", target="eu")
    loop.push(dataset="mine")
    loop.answer({BUS[1]: "El autobús es blanco."}, name="mine")
    for call in (loop.push, loop.pull):
        with pytest.raises(PermanentError) as raised:
            call("llava-eu", "mine")
        assert (
            f"The review 'mine' is one of en into es, and {basque} is en into eu. Give it a review of its own "
            "(`dataset`). Nothing was changed."
        ) == str(raised.value)
    memory = loop.pull(dataset="mine")["memory"]
    assert ["en-es.parquet"] == [path.name for path in memory.parent.glob("*.parquet")]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"chunk_size": 500, "para', "Unterminated string starting at: line 1 column 21 (char 20)"),
        (b'{"chunk_size": 500}', "'parameters'"),
    ],
)
def test_a_damaged_provenance_is_named_and_nothing_is_written(loop: Loop, content: bytes, why: str) -> None:
    table = loop.table([BUS])
    loop.push()
    loop.answer({BUS[1]: BUS[1]})
    provenance = table.with_suffix(".provenance.json")
    provenance.write_bytes(content)
    with pytest.raises(PermanentError) as raised:
        loop.pull()
    assert (
        f"{provenance} does not name the languages of {table} ({why}). Move it away and run translate-llava: it is "
        "written anew."
    ) == str(raised.value)
    assert not list(loop.tables.glob("*-reviewed*"))


def test_the_responses_are_kept_though_the_table_was_replaced_by_an_empty_one(loop: Loop) -> None:
    loop.table([BUS])
    loop.push()
    loop.answer({BUS[1]: "El autobús es blanco."})
    loop.table()
    left = loop.pull()
    assert ([], 1) == (loop.reviewed(), len(read_table(left["responses"], RESPONSES)))
    assert 1 == len(loop.report()["stale"])
    [kept] = read_corrections(left["memory"])
    assert isinstance(kept, Correction)
    assert "El autobús es blanco." == kept.target


def test_a_push_tells_how_far_it_is_where_it_takes_time_and_not_at_every_batch(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter([0.0, 1.0, 11.0, 11.0, 12.0, 30.0, 30.0, 30.5])  # asked once more where a line is told
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    tell = tasks.review._progress()
    with caplog.at_level(logging.INFO):
        for done in (100, 200, 300, 1_400, 1_500):
            tell(done, 1_500)
    assert ["200 of 1,500 records", "1,400 of 1,500 records"] == caplog.messages


def test_records_pushed_while_a_pull_sends_answers_back_stay_in_the_pack(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pushing waits for the one who writes the pack: here it would wait for ever, so it is asked for the lock alone."""
    import fcntl

    loop.table([BUS])
    review = find_review(Path("llava-es"), "")
    assert isinstance(review, Review)
    held: list[bool] = []
    write = Pack._write

    def writes(self: Pack, *given: Any) -> None:
        with (review.folder / "pack" / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(True)
        write(self, *given)

    monkeypatch.setattr(Pack, "_write", writes)
    loop.push()
    assert [True] == held


class Desk:
    """Notes what a desk on Argilla is made with."""

    made: ClassVar[list[tuple[str, str | None]]] = []

    def __init__(
        self, _url: str, _key: str, workspace: str, _dataset: str, images: Images, _overlap: int | None
    ) -> None:
        self.made.append((workspace, images.shown("a.jpg")))

    def push(self, _turns: Sequence[ReviewTurn], _progress: Any) -> Pushed:
        return Pushed(0, 0, 0, (), "there")

    def responses(self) -> Iterator[Response]:
        return iter(())


def test_a_push_that_is_triggered_takes_no_images_away_and_a_pull_looks_where_was_pushed(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.reviews.argilla_desk.ArgillaDesk", Desk)
    monkeypatch.setattr(Desk, "made", [])
    monkeypatch.setenv("ARGILLA_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ARGILLA_API_KEY", "key")
    loop.table([BUS])
    push, pull = flows.review.push_translations.fn, flows.review.pull_reviews.fn
    push(Path("llava-es"))
    push(Path("llava-es"), images="http://one/{image}", workspace="team")
    push(Path("llava-es"))
    pull(Path("llava-es"))
    push(Path("llava-es"), images="http://two/{image}")
    push(Path("llava-es"))
    expected = [
        ("trasvase", None),
        ("team", "http://one/a.jpg"),
        ("team", "http://one/a.jpg"),
        ("team", None),
        ("team", "http://two/a.jpg"),
        ("team", "http://two/a.jpg"),
    ]
    assert expected == Desk.made
    path = write_bytes(loop.data / "reviews" / "llava-es" / "pushed.json", b'{"images": ')
    with pytest.raises(TornFile) as raised:
        push(Path("llava-es"))
    assert (
        f"{path} is damaged (Expecting value: line 1 column 12 (char 11)). Move it away and push again, with `images` and "
        "`workspace` where they were given."
    ) == str(raised.value)
