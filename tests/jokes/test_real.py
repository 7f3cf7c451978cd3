"""Every real routine through the walk, with the jokes that a model once found in them as answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.chat.asker import Asker
from tasks.chat.prices import read_prices
from tasks.remote.journal import Journal
from tasks.storage.schemas import JOKES, JOKES_REJECTED
from tasks.storage.tables import read_table
from tests.jokes.recorded import DATA, RecordedChat
from tests.jokes.walk import walk

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs the recorded routines, which are not ours to hand on")


def test_every_window_of_111_routines_is_accounted_for(tmp_path: Path) -> None:
    chat = RecordedChat(DATA / "repertoire_mistral_large.parquet")
    asker = Asker(chat, Journal(tmp_path / "journal" / "answers.sqlite"), read_prices())
    walked = walk(
        DATA / "transcripts.parquet", tmp_path, asker, model="mistral-small-2603", steps=(), chunk_size=20, threads=2
    )
    asker.close()
    rows = read_table(walked.tables.table, JOKES, ["routine", "invented", "extracted_by"]).to_pylist()
    assert (111, 318) == (len({row["routine"] for row in rows}), walked.tables.windows)
    assert 0 == read_table(walked.tables.rejected, JOKES_REJECTED).num_rows
    assert walked.windows.rows == walked.tables.costs["extract"].asked, "every window has its row"
    assert {1} == set(chat.asked.values()), "nothing was asked twice"
    assert 318 <= chat.asked.total() <= 328, "a few answers do not fit and are asked for by halves"
    assert {"recorded-mistral-small-2603"} == {row["extracted_by"] for row in rows}
    located = sum(not row["invented"] for row in rows) / len(rows)
    assert located >= 0.95
