"""What must hold in every row of the walk's tables; `trasvase verify` looks for what does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.jokes.extract import REASONS
from tasks.jokes.refine import STEPS
from tasks.storage.schemas import (
    JOKES,
    JOKES_EXTRACTED,
    JOKES_REFINED,
    JOKES_REJECTED,
    WINDOW_JOKES,
    WINDOWS,
    TableSchema,
)

TABLES = (WINDOWS, WINDOW_JOKES, JOKES_REJECTED, JOKES_EXTRACTED, JOKES_REFINED, JOKES)
_ANSWERS = dict(zip(STEPS, ("levels", "keywords", "quality", "rewritten_text"), strict=True))
_NEARLY = 1e-9  # of a dollar


def faults(row: Mapping[str, Any], schema: TableSchema) -> Iterator[tuple[str, str]]:
    """What does not hold in a row: code and message."""
    if schema in (WINDOWS, WINDOW_JOKES, JOKES_REJECTED):
        yield from _of_window(row, schema)
        return
    yield from _of_joke(row)
    if schema is not JOKES_EXTRACTED:
        yield from _of_steps(row)
    if schema is JOKES:
        yield from _of_funnel(row)


def _of_window(row: Mapping[str, Any], schema: TableSchema) -> Iterator[tuple[str, str]]:
    if row["window"] is not None and not 0 <= row["first_word"] < row["stop_word"]:
        yield "span", f"its words go from {row['first_word']} to {row['stop_word']}"
    if schema is WINDOWS:
        return
    if schema is JOKES_REJECTED and row["error"] is None:
        yield "error", "is rejected without a reason"
    if row["window"] is not None and row["error"] not in (None, *REASONS):
        yield "error", f"{row['error']!r} is no reason that there is"
    if not row["cost_usd"] >= 0:
        yield "cost", f"costs {row['cost_usd']} dollars"


def _of_joke(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    placed = row["first_word"] is not None
    if placed and not 0 <= row["first_word"] < row["stop_word"]:
        yield "span", f"its words go from {row['first_word']} to {row['stop_word']}"
    if row["invented"] == placed or not 0 <= row["found"] <= 1:
        yield (
            "invented",
            f"is {'' if placed else 'not '}located, {row['found']} of it found, invented {row['invented']}",
        )
    if not 0 <= row["text_found"] <= 1 or (row["text_found"] and not placed):
        yield "text", f"is {'' if placed else 'not '}located, and {row['text_found']} of its text is found there"
    if row["words"] != len(row["text"].split()):
        yield "words", f"has {len(row['text'].split())} words, not {row['words']}"
    if not row["extract_usd"] >= 0:
        yield "cost", f"costs {row['extract_usd']} dollars"


def _of_steps(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for step, answer in _ANSWERS.items():
        asked, failed = row[f"{step}_usd"] is not None, row[f"{step}_error"] is not None
        if (row[answer] is not None) != (asked and not failed):
            yield "answer", f"{step}: asked {asked}, failed {failed}, and the answer is {row[answer]!r}"
    if row["levels"] is not None and row["levels"] != len({node["id"] for node in row["nodes"]}):
        yield "levels", f"has {row['levels']} levels and other nodes"


def _of_funnel(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if row["keep"] == (row["reason"] is not None):
        yield "keep", f"keep is {row['keep']} and the reason {row['reason']!r}"
    if (row["messages"] is not None) != row["keep"]:
        yield "messages", f"keep is {row['keep']}, and that is not whether it has messages to train on"
    spent = row["extract_usd"] + sum(row[f"{step}_usd"] or 0.0 for step in STEPS)
    if abs(row["cost_usd"] - spent) > _NEARLY:
        yield "cost", f"cost_usd is {row['cost_usd']}, its steps make up {spent}"
