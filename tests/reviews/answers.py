"""Invented answers and tables for the tests of what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.reviews.records import Response, record_id
from tasks.storage.schemas import LLAVA
from tasks.storage.tables import table_writer

START = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
ORIGINAL = "The bus is white."
MACHINE = "El autobús es blanca."


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def answer(user: str = "reviewer-1", text: str | None = MACHINE, minutes: float = 0, **more: Any) -> Response:
    """A submitted answer to the first turn of row 0; all may be said otherwise."""
    row, turn = more.get("row", 0), more.get("turn", 0)
    original, machine = more.get("original", ORIGINAL), more.get("machine", MACHINE)
    fields: dict[str, Any] = {
        "record": record_id("llava-es", row, turn, original, machine),
        "row": row,
        "turn": turn,
        "part": "worst",
        "original": original,
        "machine": machine,
        "translator": "google/4.0.2",
        "codes": (),
        "user": user,
        "role": "annotator",
        "status": "submitted",
        "text": text,
        "verdict": "good",
        "kinds": (),
        "note": None,
        "inserted_at": START,
        "updated_at": at(minutes),
        "origin": "argilla:5d0c",
        **more,
    }
    return Response(id=fields.pop("id", f"{user}-{fields['record']}"), **fields)


def turns_of(rows: Sequence[Sequence[tuple[str, str]]]) -> dict[tuple[int, int], tuple[str, str]]:
    return {(row, turn): texts for row, turns in enumerate(rows) for turn, texts in enumerate(turns)}


def write_llava(path: Path, rows: Sequence[Sequence[tuple[str, str]]], group: int = 2) -> Path:
    """A table of delivered rows, ``group`` to a row group; each turn is (original, translation)."""
    with table_writer(path, LLAVA, {"job": "translate-llava-1"}) as writer:
        for start in range(0, len(rows), group):
            some = [_row(start + at, turns) for at, turns in enumerate(rows[start : start + group])]
            writer.write_table(pa.Table.from_pylist(some, LLAVA.columns))
    return path


def _row(row: int, turns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    roles = ["human" if turn % 2 == 0 else "gpt" for turn in range(len(turns))]
    return {
        "row": row,
        "id": f"{row:012}",
        "image": f"{row:012}.jpg",
        "conversations": [{"from": role, "value": text} for role, (text, _) in zip(roles, turns, strict=True)],
        "translated": [{"from": role, "value": text} for role, (_, text) in zip(roles, turns, strict=True)],
        "translator": ["google/4.0.2"] * len(turns),
        "checks": [],
        "turn_checks": [[] for _ in turns],
        "error": None,
        "extra": None,
    }
