"""Kill -9 at every point where mine-jokes touches the disk (points.py)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import matplotlib.pyplot
import pytest

from tasks.chat.asker import Asker
from tasks.chat.prices import read_prices
from tasks.chat.protocol import Completion, Limits, Question
from tasks.chat.scripted import ScriptedChat
from tasks.jokes.language import detected
from tasks.remote.journal import Journal
from tests.jokes.walk import walk
from tests.kill_points.points import kill_at_every_point

TABLES = ("jokes.parquet", "jokes.rejected.parquet")
SAID = (
    "mi abuela aprendió a usar el celular y ahora me manda audios de siete minutos",
    "el otro día le pregunté qué había de almuerzo y me contestó con un podcast",
    "yo la llevé al banco y la niña del mesón le dice señora ponga su huella y ella se saca el zapato",
)


class Chat(ScriptedChat):
    """The scripted chat, one question at a time; writes down what it is asked where no counter counts."""

    limits = Limits(at_once=1)

    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def complete(self, question: Question) -> Completion:
        os.write(self._log, f"{json.dumps(question.identity)}\n".encode())
        return await super().complete(question)


def _source(folder: Path) -> Path:
    source = folder / "transcripts"
    source.mkdir()
    for routine in "ab":
        rows = [{"start_time": 5 * n, "end_time": 5 * n + 4, "transcript": text} for n, text in enumerate(SAID)]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (source / f"{routine}.jsonl").write_text(lines.replace("abuela", f"abuela {routine}"), "utf-8")
    (source / "c.jsonl").write_text("", "utf-8")  # one routine that is refused
    return source


def test_kill_9_at_every_write_point(tmp_path_factory: pytest.TempPathFactory) -> None:
    detected(SAID[0].split())  # loaded once here, so that no child has to
    matplotlib.pyplot.close()
    source = _source(tmp_path_factory.mktemp("source"))

    def walked(data: Path, log: Path) -> None:
        asker = Asker(Chat(log), Journal(data / "journal" / "answers.sqlite"), read_prices())
        # Without levels, whose script no joke would survive.
        walk(source, data, asker, model="quote", steps=("keywords", "rewrite"), chunk_size=1, budget=1.0)

    kill_at_every_point(walked, TABLES, Chat.limits.at_once, tmp_path_factory)
