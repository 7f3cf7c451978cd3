"""Kill -9 at every point where a walk touches the disk; the next run must end as if nothing had happened.

A counter stands around each open, write, flush and rename of a file and around each statement of the journal. The walk
is run and killed before its n-th point, for n = 1, 2, … until a run comes through. Writes are also cut in half. After
each kill a second run goes to the end, and its tables must be the undisturbed run's, byte for byte; nothing may be asked
more often than once, but for what was under way. A walk that is too long for that is killed once at
each place of the code that does so, in one folder.
"""

from __future__ import annotations

import io
import os
import signal
import sqlite3
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import pytest

from tasks.storage import files

_STORAGE = f"{Path(files.__file__).parent}/"  # the folder tasks/storage/
_OURS = f"{Path(_STORAGE).parent}/"
Walk = Callable[[Path, Path], object]  # with a data root, and a log that gets a line for each question


class Bomb:
    """Kills the process at its n-th point."""

    def __init__(self, at: int) -> None:
        self._left = at

    def tick(self, what: str, before_death: Callable[[], object] = lambda: None) -> None:
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
                tick("write", lambda: os.write(self.fileno(), whole[: len(whole) // 2]))
                return super().write(whole)

        def counting_open(path: Path, mode: str) -> Any:
            tick("open")
            return io.BufferedWriter(Raw(path, "wb")) if mode == "wb" else path.open(mode)

        class Connection(sqlite3.Connection):
            def execute(self, *arguments: Any) -> sqlite3.Cursor:
                tick("execute")
                return super().execute(*arguments)

            def executemany(self, *arguments: Any) -> sqlite3.Cursor:
                tick("execute")
                return super().executemany(*arguments)

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def counting(*arguments: Any, **more: Any) -> Any:
                tick(call.__name__)
                return call(*arguments, **more)

            return counting

        connect = sqlite3.connect
        vars(files)["open"] = counting_open
        os.fsync = counted(os.fsync)
        os.replace = counted(os.replace)
        os.open = counted(os.open)
        Path.unlink = counted(Path.unlink)  # type: ignore[method-assign]
        vars(sqlite3)["connect"] = lambda *a, **k: connect(*a, factory=Connection, **k)


class Places(Bomb):
    """Kills the process at the first point of each place in the code where none was killed before.

    Args:
        known: File of the places so far.
        deadly: Whether it kills; else it only writes them down.
    """

    def __init__(self, known: Path, deadly: bool) -> None:
        self._path = known
        self._known = set(known.read_text("utf-8").splitlines()) if known.exists() else set()
        self._deadly = deadly
        self._lock = threading.Lock()

    def arm(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        super().arm()

    def tick(self, what: str, before_death: Callable[[], object] = lambda: None) -> None:
        if what == "fsync":
            return  # after SIGKILL the disk is as it would be without it
        with self._lock:
            place = _place(what)
            if place in self._known:
                return
            self._known.add(place)
            os.write(self._file, f"{place}\n".encode())
            if self._deadly:
                before_death()
                os.kill(os.getpid(), signal.SIGKILL)


def _place(what: str) -> str:
    """What is done to the disk, and the lines of ours that have called for it, the innermost first.

    How ``tasks/storage`` writes a file is one place for each caller: what counts is that there is no file yet, half of one,
    or a whole one under another name.
    """
    lines = [what]
    frame: FrameType | None = sys._getframe(2)
    while frame := frame and frame.f_back:
        path = frame.f_code.co_filename
        if (path.startswith(_OURS) and not path.startswith(_STORAGE)) or path.endswith("/walk.py"):
            lines.append(f"{path.rpartition('/')[2]}:{frame.f_lineno}")
    return " < ".join(lines)


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
        ended = _run(walk, folder, Bomb(point))
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


def kill_at_every_place(walk: Walk, tables: Sequence[str], under_way: int, folders: pytest.TempPathFactory) -> None:
    """Run a walk undisturbed; then another one, killed once at each place of the code that touches the disk.

    A place is a line with all that have called it (``_place``), so a loop is one. Each run goes on where the one before
    was killed.

    Args:
        walk: Leaves the same whenever it is run to its end.
        tables: Names of the files that it leaves.
        under_way: Questions that may be asked again after one kill.
        folders: Where to.
    """
    undisturbed, folder = folders.mktemp("undisturbed"), folders.mktemp("killed")
    assert 0 == _run(walk, undisturbed, Places(undisturbed / "places", deadly=False))
    asked = _asked(undisturbed)
    assert {1} == set(asked.values())
    kills = 0
    while ended := _run(walk, folder, Places(folder / "places", deadly=True)):
        assert ended == -signal.SIGKILL, f"run {kills}: it ended with {ended}"
        kills += 1
        again = _asked(folder)
        assert again.total() - len(again) <= under_way * kills, f"kill {kills}: questions paid twice"
    assert _tables(undisturbed, tables) == _tables(folder, tables)
    assert asked.keys() == _asked(folder).keys()
    assert [] == list((folder / "data").rglob(".*.part"))
    places = [set((each / "places").read_text("utf-8").splitlines()) for each in (undisturbed, folder)]
    assert places[0] <= places[1]
    assert kills == len(places[1]) > 40, "the counter no longer stands around the walk"
    print(f"{kills} kills, {asked.total()} questions, {_asked(folder).total() - asked.total()} of them asked again")


def _run(walk: Walk, folder: Path, bomb: Bomb | None) -> int:
    """Run the walk in a child. Returns 0, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        _child(walk, folder, bomb)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _child(walk: Walk, folder: Path, bomb: Bomb | None) -> NoReturn:
    status = 1
    try:
        if bomb is not None:
            bomb.arm()
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
