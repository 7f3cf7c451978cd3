"""Kill -9 at every point where a walk touches the disk; the next run must end as if nothing had happened.

A counter stands around each open, write, flush and rename of a file and around each statement of the journal. The walk
is run and killed before its n-th point, for n = 1, 2, … until a run comes through. Writes are also cut in half. After
each kill a second run goes to the end, and its tables must be the undisturbed run's, byte for byte; nothing may be asked
more often than once, but for what was under way. A walk that is too long for that is killed again and again in one folder.
"""

from __future__ import annotations

import io
import os
import signal
import sqlite3
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tasks.storage import files

Walk = Callable[[Path, Path], object]  # with a data root, and a log that gets a line for each question


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


def kill_at_every_point(walk: Walk, tables: Sequence[str], under_way: int, folders: pytest.TempPathFactory) -> None:
    """Run a walk undisturbed, then killed at each of its points and run again.

    Args:
        walk: Leaves the same whenever it is run to its end.
        tables: Names of the files that it leaves.
        under_way: Questions that may be asked again after one kill.
        folders: Where to.
    """
    folder = folders.mktemp("undisturbed")
    assert 0 == _run(walk, folder, None)
    expected, asked = _tables(folder, tables), _asked(folder)
    assert {1} == set(asked.values())
    point = 0
    while True:
        point += 1
        folder = folders.mktemp(f"point-{point}")
        ended = _run(walk, folder, point)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL, f"point {point}: the first run ended with {ended}"
        assert 0 == _run(walk, folder, None), f"point {point}: the second run did not end well"
        assert expected == _tables(folder, tables), f"point {point}: other bytes"
        again = _asked(folder)
        assert asked.keys() == again.keys(), f"point {point}: other questions"
        assert again.total() <= asked.total() + under_way, f"point {point}: questions paid twice"
        assert [] == list((folder / "data").rglob(".*.part")), f"point {point}: left-overs"
    print(f"{point - 1} points, {asked.total()} questions")
    assert point > 60, "the counter no longer stands around the walk"


def kill_again_and_again(
    walk: Walk, tables: Sequence[str], under_way: int, folders: pytest.TempPathFactory, distances: Iterable[int]
) -> None:
    """Run a walk undisturbed; then another one, whose every run is killed and goes on where the one before was.

    Args:
        walk: Leaves the same whenever it is run to its end.
        tables: Names of the files that it leaves.
        under_way: Questions that may be asked again after one kill.
        folders: Where to.
        distances: How many points after its start each run is killed; the last run comes through.
    """
    undisturbed, folder = folders.mktemp("undisturbed"), folders.mktemp("killed")
    assert 0 == _run(walk, undisturbed, None)
    asked = _asked(undisturbed)
    assert {1} == set(asked.values())
    kills = 0
    for distance in distances:
        ended = _run(walk, folder, distance)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL, f"run {kills}: it ended with {ended}"
        kills += 1
        again = _asked(folder)
        assert again.total() - len(again) <= under_way * kills, f"kill {kills}: questions paid twice"
    assert ended == 0, "no run came through"
    assert _tables(undisturbed, tables) == _tables(folder, tables)
    assert asked.keys() == _asked(folder).keys()
    assert [] == list((folder / "data").rglob(".*.part"))
    print(f"{kills} kills, {asked.total()} questions, {_asked(folder).total() - asked.total()} of them asked again")


def _run(walk: Walk, folder: Path, die_at: int | None) -> int:
    """Run the walk in a child. Returns 0, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        _child(walk, folder, die_at)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _child(walk: Walk, folder: Path, die_at: int | None) -> NoReturn:
    status = 1
    try:
        if die_at is not None:
            Bomb(die_at).arm()
        walk(folder / "data", folder / "asked")
        status = 0
    except Exception:  # noqa: BLE001  # the parent sees the status
        traceback.print_exc()
    finally:
        os._exit(status)


def _tables(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    return {name: (folder / "data" / "tables" / name).read_bytes() for name in names}


def _asked(folder: Path) -> Counter[str]:
    log = folder / "asked"
    return Counter(log.read_text().splitlines()) if log.exists() else Counter()
