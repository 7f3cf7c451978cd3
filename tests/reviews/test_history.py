from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.reviews.history import add_responses
from tasks.storage.errors import ForeignTable, PermanentError, TornFile
from tasks.storage.schemas import CORRECTIONS, RESPONSES
from tasks.storage.tables import read_table, write_table
from tests.reviews.answers import answer, at

KEPT = (
    "It may hold answers that no service has any more, so it was not touched. Put a copy of it back; without one move it "
    "away and pull again: only what the services still have comes back."
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "llava-es-responses.parquet"


def test_everything_of_an_answer_comes_back_as_it_was(path: Path) -> None:
    given = answer(
        text="El autobús\nes «blanco» 🚌\n",
        verdict="minor",
        kinds=("grammar", "style"),
        codes=("numbers",),
        note="¿?",
        updated_at=at(0.1234567),
    )
    bare = answer("reviewer-2", None, status="discarded", verdict=None, machine="")
    add_responses(path, [given, bare])
    history = add_responses(path, [])
    assert {given, bare} == set(history.latest)
    assert all(each.updated_at.utcoffset() == timedelta(0) for each in history.latest)


def test_an_edited_answer_is_another_version_and_the_newest_is_the_latest(path: Path) -> None:
    draft, sent, edited = (
        answer(minutes=0, status="draft", text="El"),
        answer(minutes=1, text="El autobús."),
        answer(minutes=2, text="El autobús es blanco."),
    )
    add_responses(path, [draft])
    add_responses(path, [edited])
    history = add_responses(path, [sent])  # an old copy of a pack came late
    assert (3, 1, (edited,)) == (history.versions, history.added, history.latest)


def test_nothing_new_leaves_the_file_alone_and_order_does_not_matter(path: Path, tmp_path: Path) -> None:
    given = [answer(f"reviewer-{user}", row=row, minutes=row) for user in range(3) for row in range(4)]
    add_responses(path, given)
    stat = path.stat()
    history = add_responses(path, [*given[::-1], *given])
    assert (12, 0) == (history.versions, history.added)
    assert (stat.st_ino, stat.st_mtime_ns) == (path.stat().st_ino, path.stat().st_mtime_ns)
    other = tmp_path / "other.parquet"
    for each in given[::-1]:
        add_responses(other, [each])
    assert path.read_bytes() == other.read_bytes()


def test_an_answer_that_the_service_lost_stays(path: Path) -> None:
    gone, kept = answer("reviewer-1"), answer("reviewer-2")
    add_responses(path, [gone, kept])
    history = add_responses(path, [kept])
    assert (2, 0, {gone, kept}) == (history.versions, history.added, set(history.latest))


def test_two_contents_of_one_time_are_both_kept_and_what_the_service_says_now_is_the_latest(path: Path) -> None:
    annotator = answer(role="annotator")
    owner = replace(annotator, role="owner")
    add_responses(path, [annotator])
    assert (owner,) == add_responses(path, [owner]).latest
    history = add_responses(path, [annotator])  # and back
    assert (2, 0, (annotator,)) == (history.versions, history.added, history.latest)


def test_equal_ids_of_other_records_are_other_answers(path: Path) -> None:
    history = add_responses(path, [answer(id="1", row=1), answer(id="1", row=2, minutes=5)])
    assert [1, 2] == [each.row for each in history.latest]


def test_times_are_equal_in_any_zone(path: Path) -> None:
    given = answer()
    there = replace(given, updated_at=given.updated_at.astimezone(timezone(timedelta(hours=-5))))
    add_responses(path, [given])
    assert 0 == add_responses(path, [there]).added


def test_nobody_has_answered_yet(path: Path) -> None:
    history = add_responses(path, [])
    assert (0, 0, ()) == (history.versions, history.added, history.latest)
    assert not path.exists()


@pytest.mark.parametrize("keep", [0, 5, 400, -1, -12])
def test_a_torn_table_is_named_and_not_touched(path: Path, keep: int) -> None:
    add_responses(path, [answer(row=row) for row in range(20)])
    torn = path.read_bytes()[:keep]
    path.write_bytes(torn)
    with pytest.raises(TornFile) as error:
        add_responses(path, [answer()])
    assert f"{path} is damaged. {KEPT}" == str(error.value)
    assert torn == path.read_bytes()


def test_every_flipped_byte_before_the_footer_is_found(path: Path) -> None:
    add_responses(path, [answer(row=row, text=f"Texto {row}") for row in range(3)])
    good = path.read_bytes()
    footer = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    for place in range(4, footer, 7):
        content = bytearray(good)
        content[place] ^= 1
        path.write_bytes(content)
        with pytest.raises(TornFile):
            add_responses(path, [answer()])
        assert bytes(content) == path.read_bytes()


def test_another_table_of_that_name_is_named_and_not_touched(path: Path) -> None:
    write_table(pa.Table.from_pylist([], CORRECTIONS.columns), path, CORRECTIONS, {})
    before = path.read_bytes()
    with pytest.raises(ForeignTable) as error:
        add_responses(path, [answer()])
    assert f"{path} is no responses/1 table: it has no column 'id'. {KEPT}" == str(error.value)
    assert before == path.read_bytes()


def test_half_a_character_is_named_and_nothing_is_written(path: Path) -> None:
    with pytest.raises(PermanentError) as error:
        add_responses(path, [answer("reviewer-1"), answer("reviewer-2", "El \ud83d.", id="77")])
    assert str(error.value).startswith("Answer '77' to 'llava-es:0:0:")
    assert str(error.value).endswith(" has a character that is none (surrogates not allowed). Nothing was written.")
    assert not path.exists()


def test_a_time_without_a_zone_is_named(path: Path) -> None:
    given = answer(id="77", updated_at=datetime(2026, 11, 20))  # noqa: DTZ001
    with pytest.raises(PermanentError, match=r"has a time without a zone\. Nothing was written\."):
        add_responses(path, [given])


def _versions(path: Path) -> int:
    table: pa.Table = read_table(path, RESPONSES)
    return int(table.num_rows)


def _killed_at(call: int, work: Callable[[], object]) -> bool:
    """Do the work in a child that kills itself at this call of what files are written with; whether it got there."""
    child = os.fork()
    if child == 0:
        calls = iter(range(1, call + 1))

        def killing(real: Callable[..., object]) -> Callable[..., object]:
            def counted(*given: object, **named: object) -> object:
                if next(calls) == call:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*given, **named)

            return counted

        for name in ("fsync", "replace", "open", "close"):
            setattr(os, name, killing(getattr(os, name)))
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def test_kill_9_at_any_point_leaves_the_old_table_or_the_new_one(path: Path) -> None:
    add_responses(path, [answer("reviewer-1")])
    found: list[int] = []
    while _killed_at(len(found) + 1, lambda: add_responses(path, [answer("reviewer-1"), answer("reviewer-2")])):
        found.append(_versions(path))
    assert [1, 2] == sorted(set(found))
    assert 2 == add_responses(path, [answer("reviewer-2")]).versions
    assert [path] == list(path.parent.iterdir())
