"""The files of finished chunks: windows with their jokes, and jokes with what their steps brought.

A chunk's file holds every row of the chunk. How many of them failed stands in the footer, and so does what they cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.jokes.refine import STEPS
from tasks.storage.schemas import JOKES_REFINED, WINDOW_JOKES, TableSchema
from tasks.storage.tables import open_table, origin, read_table, write_table

_REFUSED = "rejected"  # in the footer


def write_windows(rows: Sequence[Mapping[str, Any]], path: Path, job: str) -> Path:
    """Put the file of extracted windows in place.

    Raises:
        DiskFull: No room; nothing is left behind.
    """
    failed = sum(row["error"] is not None for row in rows)
    return _write(rows, path, WINDOW_JOKES, {"job": job, _REFUSED: failed})


def write_jokes(rows: Sequence[Mapping[str, Any]], path: Path, job: str) -> Path:
    """Put the file of refined jokes in place: none of them is ever refused.

    Raises:
        DiskFull: No room; nothing is left behind.
    """
    return _write(rows, path, JOKES_REFINED, {"job": job, _REFUSED: 0})


def refused(path: Path, schema: TableSchema) -> int:
    """How many rows of a chunk were refused; only the footer is read."""
    with open_table(path, schema) as file:
        return int(origin(file)[_REFUSED])


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


def _write(rows: Sequence[Mapping[str, Any]], path: Path, schema: TableSchema, made: Mapping[str, Any]) -> Path:
    return write_table(pa.Table.from_pylist(list(rows), schema.columns), path, schema, made)
