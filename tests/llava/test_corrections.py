"""What people settled: one translation for each text, and the next run uses it before any machine's answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.chunks.manifest import read_manifest
from tasks.llava.corrections import (
    Change,
    Choice,
    Correction,
    add_corrections,
    best,
    memory_path,
    read_corrections,
)
from tasks.llava.memory import keep_reviewed, reviewed_memory
from tasks.llava.translate import REVIEWED, Remembered
from tasks.remote.journal import Journal
from tasks.storage.errors import ForeignTable, PermanentError, TornFile
from tasks.storage.root import DataRoot
from tasks.storage.schemas import LLAVA
from tasks.storage.tables import read_table
from tasks.translators.shouting import ShoutingTranslator
from tests.walk import walk

DAY = datetime(2026, 11, 20, 10, 15, tzinfo=UTC)
ANA, LUIS, EVA = "reviewer-3f2a9c01", "reviewer-77d01b2e", "reviewer-a1b2c3d4"
BUS = "Is the bus white?"


def _said(
    source: str, target: str, *by: str, days: int = 0, how: str = "edited", origin: str = "llava-es", row: int = 0
) -> Correction:
    return Correction(source, target, how, by, DAY + timedelta(days), origin, row, 1)


def _best(tmp_path: Path, *corrections: Correction) -> dict[str, str]:
    """What is used of these, whichever way round they come."""
    chosen = []
    for turn, some in enumerate((corrections, corrections[::-1])):
        path = tmp_path / str(turn) / "en-es.parquet"
        for origin in {each.origin for each in some}:
            add_corrections(path, [each for each in some if each.origin == origin], origin)
        chosen.append(best(path))
    assert chosen[0] == chosen[1]
    return {text: choice.text for text, choice in chosen[0].choices.items()}


def test_an_origin_s_entries_are_replaced_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "memory" / "en-es.parquet"
    other = _said("A dog.", "Un perro.", ANA, origin="other-es")
    assert Change(1, 1, 0) == add_corrections(path, [other], "other-es")

    first, second = _said(BUS, "¿Es blanco?", ANA), _said("A cat.", "Un gato.", LUIS)
    assert Change(3, 2, 0) == add_corrections(path, [first, second], "llava-es")
    mended = _said(BUS, "¿Es blanco el autobús?", ANA, days=1)
    assert Change(2, 1, 2) == add_corrections(path, [mended], "llava-es")

    assert {other, mended} == set(read_corrections(path))
    assert Change(1, 0, 1) == add_corrections(path, [], "llava-es")
    assert [other] == read_corrections(path)


def test_nothing_is_written_when_nothing_changed_and_equal_entries_give_equal_bytes(tmp_path: Path) -> None:
    path = tmp_path / "en-es.parquet"
    corrections = [_said(f"Text {number}.", f"Texto {number}.", ANA, row=number) for number in range(50)]
    add_corrections(path, corrections, "llava-es")
    before = path.stat().st_mtime_ns, path.read_bytes()

    assert Change(50, 0, 0) == add_corrections(path, reversed(corrections), "llava-es")
    assert before == (path.stat().st_mtime_ns, path.read_bytes())

    again = tmp_path / "again.parquet"
    add_corrections(again, [*corrections[::2], *corrections[1::2], corrections[0]], "llava-es")
    assert path.read_bytes() == again.read_bytes()


def test_nothing_settled_makes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "en-es.parquet"
    assert Change(0, 0, 0) == add_corrections(path, [], "llava-es")
    assert not path.exists()
    assert ({}, 0, ()) == best(path)


def _add_one(path: Path, number: int) -> None:
    add_corrections(path, [_said(f"Text {number}.", f"Texto {number}.", ANA, origin=f"set-{number}")], f"set-{number}")


def test_data_sets_that_are_pulled_at_once_do_not_lose_each_other_s_entries(tmp_path: Path) -> None:
    path = tmp_path / "en-es.parquet"
    with get_context("spawn").Pool(4) as pool:  # a fork of a process with threads may hang
        pool.starmap(_add_one, [(path, number) for number in range(24)])
    assert {f"set-{number}" for number in range(24)} == {each.origin for each in read_corrections(path)}


def test_most_people_decide_and_accepted_counts_as_edited(tmp_path: Path) -> None:
    assert {BUS: "¿Es blanco el autobús?"} == _best(
        tmp_path,
        _said(BUS, "¿El autobús es blanco?", ANA, days=9),
        _said(BUS, "¿Es blanco el autobús?", LUIS, EVA, how="accepted"),
    )


def test_of_equal_votes_the_latest_stands_and_then_the_smaller_text(tmp_path: Path) -> None:
    assert {BUS: "B", "A cat.": "A"} == _best(
        tmp_path,
        _said(BUS, "A", ANA),
        _said(BUS, "B", LUIS, days=1),
        _said("A cat.", "B", ANA),
        _said("A cat.", "A", LUIS),
    )


def test_a_person_counts_once_for_a_text_and_with_the_last_word(tmp_path: Path) -> None:
    corrections = (
        *(_said(BUS, "A", ANA, row=row) for row in range(5)),
        _said(BUS, "A", ANA, origin="other-es"),
        _said(BUS, "B", LUIS, EVA),
        _said("A cat.", "A", ANA),
        _said("A cat.", "B", ANA, days=1, origin="other-es"),
    )
    assert {BUS: "B", "A cat.": "B"} == _best(tmp_path, *corrections)
    known = best(tmp_path / "0" / "en-es.parquet")
    assert Choice("B", (LUIS, EVA), DAY, "edited", 2) == known.choices[BUS]
    assert Choice("B", (ANA,), DAY + timedelta(1), "edited", 1) == known.choices["A cat."]
    assert 1 == known.conflicts, "of one mind with oneself of yesterday is no conflict"


def test_a_file_that_names_nobody_has_one_vote(tmp_path: Path) -> None:
    nobody = [Correction(BUS, "A", "tmx", (), None, f"tmx:{name}.tmx") for name in ("one", "one", "two")]
    assert {BUS: "B"} == _best(tmp_path, nobody[0], _said(BUS, "B", ANA))
    assert {BUS: "A"} == _best(tmp_path / "both", *nobody, _said(BUS, "B", ANA))
    assert Choice("A", (), None, "tmx", 2) == best(tmp_path / "both" / "0" / "en-es.parquet").choices[BUS]


def test_what_breaks_the_structure_is_not_used_and_named(tmp_path: Path) -> None:
    path = tmp_path / "en-es.parquet"
    asked = "<image>\nIs the bus white?"
    corrections = [
        _said(asked, "¿Es blanco el autobús?", ANA, LUIS),
        _said(asked, "<image>\n¿Es blanco?", EVA),
        _said("A cat.", "", ANA),
    ]
    add_corrections(path, corrections, "llava-es")

    known = best(path)

    assert {asked: Choice("<image>\n¿Es blanco?", (EVA,), DAY, "edited", 1)} == known.choices
    assert (
        "llava-es: '<image>\\nIs the bus white?': lines, placeholder",
        "llava-es: 'A cat.': empty",
    ) == known.unusable


def test_a_damaged_file_stops_with_its_name_and_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "en-es.parquet"
    add_corrections(path, [_said(BUS, "¿Es blanco?", ANA)], "llava-es")
    torn = path.read_bytes()[:-20]
    path.write_bytes(torn)

    for use in (lambda: best(path), lambda: add_corrections(path, [], "llava-es")):
        with pytest.raises(
            TornFile, match=r"reviewers settled cannot be read: .*en-es\.parquet is not a whole .*pull-rev"
        ):
            use()
    assert torn == path.read_bytes()


def test_a_foreign_table_stops_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "en-es.parquet"
    pq.write_table(pa.table({"source": ["A"]}), path)
    with pytest.raises(ForeignTable, match=r"en-es\.parquet is no corrections/1 table: it has no column 'target'"):
        add_corrections(path, [], "llava-es")


def test_half_of_a_surrogate_pair_is_named_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "en-es.parquet"
    with pytest.raises(PermanentError, match=r"llava-es: the correction of 'A cat\.' \(row 7, turn 1\) has half of a"):
        add_corrections(path, [_said("A dog.", "Un perro."), _said("A cat.", "Un \ud83d", row=7)], "llava-es")
    assert not path.exists()


@pytest.mark.parametrize("code", ["../../etc", "", "es/..", "es.parquet"])
def test_what_is_no_language_s_code_makes_no_path(code: str) -> None:
    with pytest.raises(PermanentError, match="is no language's code"):
        memory_path(Path("memory"), "en", code)
    assert Path("memory/en-pt-BR.parquet") == memory_path(Path("memory"), "en", "pt-BR")


def test_a_version_in_the_journal_is_found_by_its_texts_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "answers.sqlite")
    one = keep_reviewed({BUS: "A", "A cat.": "B"}, journal, "en", "es")
    same = keep_reviewed({"A cat.": "B", BUS: "A"}, journal, "en", "es")
    other = keep_reviewed({BUS: "A", "A cat.": "C"}, journal, "en", "es")

    assert one == same != other
    recalled = reviewed_memory(journal, one, "en", "es").recall([BUS, "A cat.", "A dog."])
    assert {BUS: Remembered("A", flagged=False), "A cat.": Remembered("B", flagged=False)} == recalled
    assert {} == reviewed_memory(journal, one, "en", "eu").recall([BUS])


# The walk


ROWS = [
    ("<image>\nIs the bus white?", "The bus is white and red. It is parked."),
    ("What is the man doing?", "The man is riding a bicycle."),
]
SETTLED = "El autobús es blanco y rojo. Está aparcado."


def _source(tmp_path: Path, rows: Sequence[tuple[str, str]] = ROWS) -> Path:
    path = tmp_path / "rows.json"
    path.write_text(
        json.dumps(
            [
                {"id": str(n), "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": told}]}
                for n, (asked, told) in enumerate(rows)
            ]
        )
    )
    return path


def _walk(tmp_path: Path) -> tuple[str, list[list[tuple[str, str]]], int]:
    """Translate; the job, the translations with their translators, and the texts that the job asked over all runs."""
    root = DataRoot(tmp_path)
    tables = walk(tmp_path / "rows.json", tmp_path, [ShoutingTranslator()], corrections=True)
    rows = read_table(tables.table, LLAVA).to_pylist()
    told = [
        [(turn["value"], name) for turn, name in zip(row["translated"], row["translator"], strict=True)] for row in rows
    ]
    job = json.loads(tables.provenance.read_bytes())["job"]
    journal = Journal(root.journal / "answers.sqlite")
    asked = sum(call.texts for call in journal.calls(job))
    journal.close()
    return job, told, asked


def _settle(tmp_path: Path, *corrections: Correction) -> None:
    add_corrections(memory_path(DataRoot(tmp_path).memory, "en", "es"), corrections, "llava-es")


def test_a_settled_text_comes_before_the_machine_s_and_is_not_asked(tmp_path: Path) -> None:
    _source(tmp_path)
    _settle(tmp_path, _said(ROWS[0][1], SETTLED, ANA))

    _, told, asked = _walk(tmp_path)

    assert 3 == asked, "the two questions and the one answer that nobody settled"
    assert [("<image>\nIS THE BUS WHITE?", "shouting/1"), (SETTLED, REVIEWED)] == told[0]
    assert ["shouting/1", "shouting/1"] == [name for _, name in told[1]]


def test_a_changed_correction_is_another_job_that_asks_nothing(tmp_path: Path) -> None:
    _source(tmp_path)
    machine, before, asked = _walk(tmp_path)
    assert 5 == asked

    jobs = {machine}
    for text in (SETTLED, "El bus es blanco y rojo. Está aparcado."):
        _settle(tmp_path, _said(ROWS[0][1], text, ANA))
        job, told, asked = _walk(tmp_path)
        assert (0, (text, REVIEWED)) == (asked, told[0][1])
        assert before[1] == told[1]
        jobs.add(job)
    assert 3 == len(jobs)

    _settle(tmp_path)
    assert (machine, before, 5) == _walk(tmp_path), "without the correction it is the first job, which is done"


def test_who_and_when_are_no_part_of_a_job(tmp_path: Path) -> None:
    _source(tmp_path)
    _settle(tmp_path, _said(ROWS[0][1], SETTLED, ANA))
    first = _walk(tmp_path)
    _settle(tmp_path, _said(ROWS[0][1], SETTLED, LUIS, EVA, days=3, how="accepted", row=9))
    assert first == _walk(tmp_path)


def test_only_what_is_new_in_the_source_is_asked_after_a_correction(tmp_path: Path) -> None:
    _source(tmp_path)
    _walk(tmp_path)
    _source(tmp_path, [*ROWS, ("Is it raining?", ROWS[0][1])])
    _settle(tmp_path, _said(ROWS[0][1], SETTLED, ANA))

    _, told, asked = _walk(tmp_path)

    assert 1 == asked
    assert [SETTLED, SETTLED] == [told[0][1][0], told[2][1][0]], "wherever the text stands"


def test_a_correction_is_graded_like_any_translation(tmp_path: Path) -> None:
    _source(tmp_path)
    _settle(tmp_path, _said(ROWS[1][1], "El hombre monta en 2 bicicletas", ANA))

    _walk(tmp_path)

    row = read_table(tmp_path / "tables" / "llava-es.parquet", LLAVA).to_pylist()[1]
    assert ["end", "numbers"] == row["turn_checks"][1]


def test_one_that_breaks_the_structure_is_no_part_of_a_job(tmp_path: Path) -> None:
    _source(tmp_path)
    first = _walk(tmp_path)
    _settle(tmp_path, _said(ROWS[0][0], "¿Es blanco el autobús?", ANA))
    assert first == _walk(tmp_path)


def test_a_job_names_its_version_of_the_corrections(tmp_path: Path) -> None:
    _source(tmp_path)
    _settle(tmp_path, _said(ROWS[0][1], SETTLED, ANA))
    job, _, _ = _walk(tmp_path)

    manifest = read_manifest(DataRoot(tmp_path).jobs / job)

    assert manifest is not None
    journal = Journal(tmp_path / "journal" / "answers.sqlite")
    assert keep_reviewed({ROWS[0][1]: SETTLED}, journal, "en", "es") == manifest.parameters["corrections"]
    journal.close()
