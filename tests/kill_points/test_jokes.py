"""Kill -9 at every point where the joke walk touches the disk; the next run must end as if nothing had happened.

As in test_kill_points.py. Nothing may be asked more often than once, but for the one question that was under way.
"""

from __future__ import annotations

import json
import os
import signal
import traceback
from collections import Counter
from pathlib import Path
from typing import NoReturn

import matplotlib.pyplot
import pytest

from tasks.chat.asker import Asker
from tasks.chat.prices import read_prices
from tasks.chat.protocol import Completion, Limits, Question
from tasks.chat.scripted import ScriptedChat
from tasks.jokes.language import detected
from tasks.remote.journal import Journal
from tests.jokes.walk import walk
from tests.kill_points.test_kill_points import Bomb

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


def _run(source: Path, data: Path, log: Path, die_at: int | None) -> int:
    """Run the walk in a child. Returns 0, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        _child(source, data, log, die_at)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _child(source: Path, data: Path, log: Path, die_at: int | None) -> NoReturn:
    status = 1
    try:
        if die_at is not None:
            Bomb(die_at).arm()
        asker = Asker(Chat(log), Journal(data / "journal" / "answers.sqlite"), read_prices())
        # Without levels, whose script no joke would survive.
        walk(source, data, asker, model="quote", steps=("keywords", "rewrite"), chunk_size=1, budget=1.0)
        status = 0
    except Exception:  # noqa: BLE001  # the parent sees the status
        traceback.print_exc()
    finally:
        os._exit(status)


def _tables(data: Path) -> dict[str, bytes]:
    return {name: (data / "tables" / name).read_bytes() for name in TABLES}


def _asked(log: Path) -> Counter[str]:
    return Counter(log.read_text().splitlines()) if log.exists() else Counter()


def test_kill_9_at_every_write_point(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("undisturbed")
    detected(SAID[0].split())  # loaded once here, so that no child has to
    matplotlib.pyplot.close()
    source = _source(folder)
    assert 0 == _run(source, folder / "data", folder / "asked", None)
    tables, asked = _tables(folder / "data"), _asked(folder / "asked")
    assert {1} == set(asked.values())
    point = 0
    while True:
        point += 1
        folder = tmp_path_factory.mktemp(f"point-{point}")
        data, log = folder / "data", folder / "asked"
        ended = _run(source, data, log, point)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL, f"point {point}: the first run ended with {ended}"
        assert 0 == _run(source, data, log, None), f"point {point}: the second run did not end well"
        assert tables == _tables(data), f"point {point}: other bytes"
        again = _asked(log)
        assert asked.keys() == again.keys(), f"point {point}: other questions"
        assert again.total() <= asked.total() + Chat.limits.at_once, f"point {point}: questions paid twice"
        assert [] == list(data.rglob(".*.part")), f"point {point}: left-overs"
    print(f"{point - 1} points, {asked.total()} questions")
    assert point > 60, "the counter no longer stands around the walk"
