"""Kill -9 at every place of the code where mine-jokes touches the disk, with all the real routines (points.py)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import matplotlib.pyplot
import pytest

from tasks.chat.asker import Asker
from tasks.chat.prices import read_prices
from tasks.chat.protocol import Completion, Limits, Question
from tasks.jokes import plan
from tasks.jokes.sources import read_transcripts
from tasks.remote.journal import Journal
from tests.jokes.recorded import DATA, RecordedChat
from tests.jokes.walk import walk
from tests.kill_points.points import kill_at_every_place

TABLES = ("jokes.parquet", "jokes.rejected.parquet")


class Recorded(RecordedChat):
    """Says what a model found in the real routines; writes down what it is asked where no counter counts."""

    limits = Limits(at_once=4)
    log = -1

    async def complete(self, question: Question) -> Completion:
        os.write(self.log, f"{hashlib.sha256(question.identity.encode()).hexdigest()}\n".encode())
        return await super().complete(question)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the recorded routines, which are not ours to hand on")
def test_111_routines_that_are_killed_at_every_place(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    matplotlib.pyplot.close()
    chat = Recorded(DATA / "repertoire_mistral_large.parquet")
    # Read once here: reading writes nothing, and took each of 90 children 2 s.
    read = list(read_transcripts(DATA / "transcripts.parquet", "es"))
    monkeypatch.setattr(plan, "read_transcripts", lambda _path, _language: iter(read))

    def walked(data: Path, log: Path) -> None:
        chat.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        asker = Asker(chat, Journal(data / "journal" / "answers.sqlite"), read_prices())
        walk(DATA / "transcripts.parquet", data, asker, model="mistral-small-2603", steps=("keywords",), chunk_size=20)

    kill_at_every_place(walked, TABLES, Recorded.limits.at_once, tmp_path_factory)
