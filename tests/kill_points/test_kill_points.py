"""Kill -9 at every point where the walk touches the disk; the next run must end as if nothing had happened.

A counter stands around each open, write, flush and rename of a file and around each statement of the journal. The walk
is run and killed before its n-th point, for n = 1, 2, … until a run comes through. Writes are also cut in half. After
each kill a second run goes to the end, and its tables must be the undisturbed run's, byte for byte; no text may be asked
more often than once, but for those that were under way.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import matplotlib.pyplot
import pandas
import pytest

from tasks.llava.checks import Checks
from tasks.storage import files
from tasks.translators.protocol import Limits
from tests.walk import walk

ROWS = 7
CHUNK_SIZE = 3
TABLES = ("llava-es.parquet", "llava-es.rejected.parquet", "llava-es.json")


class Engine:
    """Reverses the words, and writes down what it is asked where no counter counts."""

    name = "reversing/1"
    limits = Limits(max_items=3, at_once=1)

    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def translate(self, texts: Sequence[str]) -> list[str]:
        os.write(self._log, "".join(json.dumps(text) + "\n" for text in texts).encode())
        return [" ".join(reversed(text.rstrip(".?").split())).capitalize() + text[-1] for text in texts]

    async def aclose(self) -> None:
        os.close(self._log)


class Bomb:
    """Kills the process at its n-th point."""

    def __init__(self, at: int) -> None:
        self._left = at

    def tick(self, before_death: Callable[[], object] = lambda: None) -> None:
        self._left -= 1
        if self._left == 0:
            before_death()
            os.kill(os.getpid(), signal.SIGKILL)

    def arm(self) -> None:
        """Put the counter around everything that touches the disk."""
        tick = self.tick

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                whole = bytes(data)
                tick(lambda: os.write(self.fileno(), whole[: len(whole) // 2]))
                return super().write(whole)

        def counting_open(path: Path, mode: str) -> Any:
            tick()
            return io.BufferedWriter(Raw(path, "wb")) if mode == "wb" else path.open(mode)

        class Connection(sqlite3.Connection):
            def execute(self, *arguments: Any) -> sqlite3.Cursor:
                tick()
                return super().execute(*arguments)

            def executemany(self, *arguments: Any) -> sqlite3.Cursor:
                tick()
                return super().executemany(*arguments)

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def counting(*arguments: Any, **more: Any) -> Any:
                tick()
                return call(*arguments, **more)

            return counting

        connect = sqlite3.connect
        vars(files)["open"] = counting_open
        os.fsync = counted(os.fsync)
        os.replace = counted(os.replace)
        os.open = counted(os.open)
        Path.unlink = counted(Path.unlink)  # type: ignore[method-assign]
        vars(sqlite3)["connect"] = lambda *a, **k: connect(*a, factory=Connection, **k)


def _source(tmp_path: Path) -> Path:
    rows: list[dict[str, Any]] = []
    for n in range(ROWS):
        turns = [
            {"from": "human", "value": f"<image>\nWhat is the boy number {n} doing there?"},
            {
                "from": "gpt",
                "value": f"The boy is riding bicycle number {n}. He is happy about it.\n1. Shared line of all.",
            },
        ]
        rows.append({"id": str(n), "image": f"{n}.jpg", "conversations": turns})
    rows[4]["conversations"][0]["from"] = "nobody"  # one row that is refused
    path = tmp_path / "source.json"
    path.write_text(json.dumps(rows))
    return path


def _run(source: Path, data: Path, log: Path, die_at: int | None) -> int:
    """Run the walk in a child. Returns 0, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        _child(source, data, log, die_at)
    status = os.waitpid(child, 0)[1]
    return os.waitstatus_to_exitcode(status)


def _child(source: Path, data: Path, log: Path, die_at: int | None) -> NoReturn:
    status = 1
    try:
        if die_at is not None:
            Bomb(die_at).arm()
        walk(source, data, [Engine(log)], chunk_size=CHUNK_SIZE, threads=1)
        status = 0
    except Exception:  # noqa: BLE001  # the parent sees the status
        traceback.print_exc()
    finally:
        os._exit(status)


def _tables(data: Path) -> dict[str, bytes]:
    return {name: (data / "tables" / name).read_bytes() for name in TABLES}


def _asked(log: Path) -> Counter[str]:
    return Counter(log.read_text().splitlines()) if log.exists() else Counter()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes], Counter[str]]:
    """The source, the tables and what was asked when nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    # Loaded once here, so that no child has to.
    Checks("en", "es", None).grade("This sentence loads both detectors.", "This sentence loads both detectors.")
    matplotlib.pyplot.close()
    pandas.DataFrame()
    source = _source(folder)
    assert 0 == _run(source, folder / "data", folder / "asked", None)
    asked = _asked(folder / "asked")
    assert {1} == set(asked.values())
    return source, _tables(folder / "data"), asked


def test_kill_9_at_every_write_point(
    undisturbed: tuple[Path, dict[str, bytes], Counter[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    source, tables, asked = undisturbed
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
        assert asked.keys() == again.keys(), f"point {point}: other texts"
        assert again.total() <= asked.total() + Engine.limits.max_items, f"point {point}: texts paid twice"
        assert [] == list(data.rglob(".*.part")), f"point {point}: left-overs"
    print(f"{point - 1} points, {asked.total()} texts")
    assert point > 60, "the counter no longer stands around the walk"
