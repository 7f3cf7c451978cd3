"""What `force` asks again, by the file that it set aside: windows without all their jokes, steps without an answer."""

from __future__ import annotations

from pathlib import Path

from tasks.jokes.refine import STEPS
from tasks.storage.schemas import JOKES_REFINED, WINDOW_JOKES
from tasks.storage.tables import read_table


def windows_that_failed(aside: Path) -> frozenset[int]:
    """Windows, by ``row``, that the file set aside by `force` has no or not all jokes of: they are asked again."""
    if not aside.exists():
        return frozenset()
    rows = read_table(aside, WINDOW_JOKES, ["row", "error"]).to_pylist()
    return frozenset(row["row"] for row in rows if row["error"])


def steps_that_failed(aside: Path) -> frozenset[tuple[int, str]]:
    """Jokes, by ``row``, and steps that the file set aside by `force` has no answer of: they are asked again."""
    if not aside.exists():
        return frozenset()
    rows = read_table(aside, JOKES_REFINED, ["row", *(f"{step}_error" for step in STEPS)]).to_pylist()
    return frozenset((row["row"], step) for row in rows for step in STEPS if row[f"{step}_error"])
