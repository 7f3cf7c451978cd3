"""The predecessor's own transcripts and jokes, every seventh routine; skipped where they are not on the machine."""

from __future__ import annotations

from functools import cache

import pyarrow.parquet as pq
import pytest

from tasks.jokes.accents import Vocabulary, damaged
from tasks.jokes.captions import merge
from tasks.jokes.locate import LEAST_FOUND, locate
from tasks.jokes.sources import read_transcripts
from tasks.jokes.transcript import Transcript
from tasks.jokes.windows import cut
from tests.jokes.told import REAL

pytestmark = pytest.mark.skipif(not REAL.exists(), reason="the predecessor's records are not on this machine")


@cache
def _transcripts() -> dict[str, Transcript]:
    items = list(read_transcripts(REAL / "transcripts.parquet", "es"))
    assert 111 == len(items)
    return {item.routine: item for item in items if isinstance(item, Transcript)}


@cache
def _jokes(name: str = "repertoire_mistral_large") -> list[tuple[Transcript, str]]:
    """Quotes of 6 words or more, with their routines."""
    some = dict(list(_transcripts().items())[::7])
    rows = pq.read_table(REAL / f"{name}.parquet").to_pylist()
    return [
        (some[str(row["routine_id"])], row["transcript"])
        for row in rows
        if str(row["routine_id"]) in some and len(row["transcript"].split()) >= 6
    ]


def test_all_routines_are_taken_and_the_notes_say_what_is_known_of_them() -> None:
    notes = [note for transcript in _transcripts().values() for note in transcript.notes]
    assert 111 == len(_transcripts())
    assert 81 == sum("twice in a row" in note for note in notes)
    assert 40 == sum("end before they begin" in note for note in notes)
    assert 1 == sum("declares the language 'english', but its words are es" in note for note in notes)


def test_what_does_not_roll_stays_as_it_is() -> None:
    for transcript in _transcripts().values():
        assert merge(transcript.segments) == transcript.segments


@pytest.mark.parametrize("name", ["repertoire_mistral_large", "repertoire_gpt4o_fused"])
def test_jokes_are_located_and_whole_in_a_window(name: str) -> None:
    """The second repertoire's are longer: what goes on in the next joke was put together."""
    spans = [(transcript, locate(quote, transcript)) for transcript, quote in _jokes(name)]
    located = [(transcript, span) for transcript, span in spans if span and span.found >= LEAST_FOUND]
    assert 0.95 <= len(located) / len(spans)
    windows = {transcript.routine: cut(transcript) for transcript, _ in located}
    across = [
        any(window.first <= span.first and span.stop <= window.stop for window in windows[transcript.routine])
        for transcript, span in located
        if any(span.first < at < span.stop for window in windows[transcript.routine] for at in window[1:3])
    ]
    assert len(across) > 10
    assert all(across), "those that a window's beginning or end goes through are whole in another"


def test_about_one_joke_in_four_has_lost_letters() -> None:
    vocabularies = {transcript.routine: Vocabulary.of(transcript.words) for transcript in _transcripts().values()}
    lost = [bool(damaged(quote, vocabularies[transcript.routine])) for transcript, quote in _jokes()]
    assert 0.15 <= sum(lost) / len(lost) <= 0.35
