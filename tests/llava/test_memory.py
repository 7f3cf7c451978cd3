"""A damaged translation is mended: good turns are taken over, the others are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.llava.corrections import Choice
from tasks.llava.lexicon import Lexicon
from tasks.llava.memory import BadMemory, JournaledMemory, MemorySummary, import_memory, read_summary, summary_path
from tasks.llava.tmx import BadTmx, write_tmx
from tasks.llava.translate import Remembered
from tasks.remote.journal import Journal
from tasks.storage.files import sha256

GOOD = ("<image>\nWhat is the man doing?", "<image>\n¿Qué está haciendo el hombre?")
DAMAGED = [
    ("<image>\nWhat is this?", "<imagen>\n¿Qué es esto?", "placeholder"),
    ("What colour is the bus?\n<image>", "¿De qué color es el autobús?<image>", "lines"),
    ("1. One thing is here.\n2. Another is there.", "1. Una cosa está aquí. 2. Otra está allí.", "lines"),
    ("The bus is parked over there.", "El autobús está \x07 aparcado allí.", "control"),
    ("The dog is running on the beach.", "The dog is running on the beach.", "echo"),
    ("The cat is asleep on the sofa.", "", "empty"),
]
FLAGGED = ("The bus left at 5 o'clock.", "El autobús salió a las 6 en punto")


def _file(tmp_path: Path, pairs: list[tuple[str, str]], column: str = "translated", reprs: bool = False) -> Path:
    rows: list[dict[str, Any]] = []
    for source, target in pairs:
        told = str({"from": "human", "value": target}) if reprs else target
        rows.append({"conversations": [{"from": "human", "value": source}], column: [told]})
    path = tmp_path / "memory.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def _import(path: Path, tmp_path: Path) -> tuple[MemorySummary, dict[str, Remembered]]:
    journal = Journal(tmp_path / "answers.sqlite")
    summary = import_memory(path, journal, tmp_path, "en", "es")
    memory = JournaledMemory(journal, summary.digest, "en", "es", Lexicon.from_json(summary.lexicon))
    sources = [turn[0]["value"] for turn in pq.read_table(path)["conversations"].to_pylist()]
    return summary, memory.recall(sources)


def test_good_turns_are_kept_and_damaged_ones_are_counted_by_reason(tmp_path: Path) -> None:
    path = _file(tmp_path, [GOOD, FLAGGED, *[(source, target) for source, target, _ in DAMAGED]])

    summary, known = _import(path, tmp_path)

    assert {GOOD[0]: Remembered(GOOD[1], flagged=False), FLAGGED[0]: Remembered(FLAGGED[1], flagged=True)} == known
    assert (8, 2, 1) == (summary.turns, summary.distinct, summary.taken)
    assert {"end": 1, "numbers": 1} == summary.flagged
    assert {"placeholder": 1, "lines": 2, "control": 1, "echo": 1, "empty": 1} == summary.refused


def test_a_good_turn_stands_before_a_flagged_one_of_the_same_text(tmp_path: Path) -> None:
    flagged = (GOOD[0], "<image>\n¿Qué está haciendo el hombre")
    for pairs in ([flagged, GOOD], [GOOD, flagged]):
        assert {GOOD[0]: Remembered(GOOD[1], flagged=False)} == _import(_file(tmp_path, pairs), tmp_path)[1]


def test_dict_reprs_as_published_are_read_and_broken_ones_refused(tmp_path: Path) -> None:
    pairs = [GOOD, ("It is a bus.", "Es un autobús.")]
    path = _file(tmp_path, pairs, "conversations_translated", reprs=True)
    table = pq.read_table(path).to_pylist()
    table[1]["conversations_translated"] = ["{'from': 'gpt', 'value': 'Es un autobús."]
    pq.write_table(pa.Table.from_pylist(table), path)

    summary, known = _import(path, tmp_path)

    assert {GOOD[0]: Remembered(GOOD[1], flagged=False)} == known
    assert {"unreadable": 1} == summary.refused


def test_our_own_table_is_a_memory(tmp_path: Path) -> None:
    row = {
        "conversations": [{"from": "human", "value": GOOD[0]}],
        "translated": [{"from": "human", "value": GOOD[1]}],
    }
    path = tmp_path / "memory.parquet"
    pq.write_table(pa.Table.from_pylist([row]), path)

    assert {GOOD[0]: Remembered(GOOD[1], flagged=False)} == _import(path, tmp_path)[1]


def test_the_zero_width_space_that_google_writes_is_no_damage(tmp_path: Path) -> None:
    path = _file(tmp_path, [("It is a bus.", "Es un \u200bautobús.")])
    assert {"It is a bus.": Remembered("Es un autobús.", flagged=False)} == _import(path, tmp_path)[1]


def test_a_tmx_goes_through_the_same_import(tmp_path: Path) -> None:
    pairs = [GOOD, FLAGGED, *[(source, target.replace("\x07", "\ufffd")) for source, target, _ in DAMAGED]]
    path = tmp_path / "memory.TMX"
    write_tmx(path, {source: Choice(target, (), None, "tmx", 1) for source, target in pairs}, "en", "es")
    journal = Journal(tmp_path / "answers.sqlite")

    summary = import_memory(path, journal, tmp_path, "en", "es")

    known = JournaledMemory(journal, summary.digest, "en", "es").recall([source for source, _ in pairs])
    assert {GOOD[0]: Remembered(GOOD[1], flagged=False), FLAGGED[0]: Remembered(FLAGGED[1], flagged=True)} == known
    assert (8, 2, 1) == (summary.turns, summary.distinct, summary.taken)
    assert {"placeholder": 1, "lines": 2, "control": 1, "echo": 1, "empty": 1} == summary.refused


def test_a_broken_tmx_is_named_before_anything_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "memory.tmx"
    write_tmx(path, {GOOD[0]: Choice(GOOD[1], (), None, "tmx", 1)}, "en", "es")
    path.write_bytes(path.read_bytes()[:-10])
    journal = Journal(tmp_path / "answers.sqlite")

    with pytest.raises(BadTmx, match=r"memory\.tmx, line \d+: "):
        import_memory(path, journal, tmp_path, "en", "es")

    memory = JournaledMemory(journal, sha256(path), "en", "es")
    assert {} == memory.recall([GOOD[0]])
    assert not summary_path(tmp_path, sha256(path), "en", "es").exists()


def test_a_second_import_reads_only_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _file(tmp_path, [GOOD, FLAGGED])
    first, _ = _import(path, tmp_path)
    monkeypatch.setattr("tasks.llava.memory.Checks", None)

    assert first == import_memory(path, Journal(tmp_path / "answers.sqlite"), tmp_path, "en", "es")
    assert first == read_summary(summary_path(tmp_path, sha256(path), "en", "es"))


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (
            (
                "The man rides a bicycle along the river number {}.",
                "L'homme fait du vélo le long de la rivière numéro {}.",
            ),
            "The translated turns of the memory .* are in 'fr', not in 'es'. Give a translation from 'en' to 'es'.",
        ),
        (
            ("El hombre va en bicicleta a lo largo del río {}.", "The man rides a bicycle along the river number {}."),
            "The source turns of the memory .* are in 'es', not in 'en'. Give a translation from 'en' to 'es'.",
        ),
    ],
)
def test_a_memory_in_other_languages_is_named_before_anything_is_kept(
    tmp_path: Path, pair: tuple[str, str], message: str
) -> None:
    path = _file(tmp_path, [(pair[0].format(n), pair[1].format(n)) for n in range(10)])
    with pytest.raises(BadMemory, match=message):
        _import(path, tmp_path)
    assert [path] == list(tmp_path.glob("*.parquet"))
    assert not list(tmp_path.glob("*.json"))


def test_a_missing_memory_and_a_foreign_one_are_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "answers.sqlite")
    with pytest.raises(BadMemory, match=r"The memory .*no\.parquet does not exist"):
        import_memory(tmp_path / "no.parquet", journal, tmp_path, "en", "es")
    path = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(BadMemory, match=r"has the columns text\. It needs `conversations` and one of translated"):
        import_memory(path, journal, tmp_path, "en", "es")
    pq.write_table(pa.table({"conversations": ["abc"], "translated": [["x", "y", "z"]]}), path)
    with pytest.raises(BadMemory, match=r"one of translated, .*, both lists of turns\."):
        import_memory(path, journal, tmp_path, "en", "es")
    path.write_text("[]")
    with pytest.raises(BadMemory, match=r"foreign\.parquet is no TMX \(\*\.tmx\) and no whole Parquet file\."):
        import_memory(path, journal, tmp_path, "en", "es")
