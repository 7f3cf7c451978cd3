"""`trasvase explain` for a joke: from its routine through every step to why it is kept or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from tasks.jokes.refine import STEPS
from tasks.storage.errors import PermanentError
from tasks.storage.schemas import JOKES, JOKES_REJECTED
from tasks.storage.tables import open_parquet, origin, read_table

Block = Callable[[str, str], Iterator[str]]


def is_of_jokes(path: Path) -> bool:
    """Whether a file is one of the two tables that mine-jokes leaves."""
    if path.suffix != ".parquet" or not path.is_file():
        return False
    with open_parquet(path) as file:
        return origin(file).get("schema") in (JOKES.name, JOKES_REJECTED.name)


def row_of(path: Path, row: int) -> dict[str, Any]:
    """A row of one of the two tables.

    Raises:
        PermanentError: The table has no such row.
        TornFile: It is damaged.
    """
    with open_parquet(path) as file:
        schema = JOKES if origin(file)["schema"] == JOKES.name else JOKES_REJECTED
    table = read_table(path, schema)
    found: list[dict[str, Any]] = table.filter(pc.equal(table["row"], row)).to_pylist()
    if not found:
        raise PermanentError(f"There is no row {row} in {path}.")
    return found[0]


def told(row: Mapping[str, Any], block: Block) -> Iterator[str]:
    """The story of a row for a terminal."""
    if "text" not in row:
        yield f"row {row['row']}   routine {row['routine']}   {_window(row)}"
        yield f"  reason   {row['error']}"
        yield f"           {row['message']}"
        yield f"  cost     ${row['cost_usd']:.6f}"
        return
    windows = " and ".join(f"window {number}" for number in row["windows"])
    yield f"row {row['row']}   id {row['id']}   routine {row['routine']}, {windows}"
    yield from block("quoted", row["quote"])
    yield f"  extracted by     {row['extracted_by']}, ${row['extract_usd']:.6f}"
    yield from block("text", row["text"])
    if row["invented"]:
        yield f"  place            none, only {row['found']:.0%} of its words found in its window: counts as invented"
    else:
        at = f"{row['start']:.0f} to {row['end']:.0f} s, words {row['first_word']} to {row['stop_word']}"
        yield f"  place            {at}, {row['found']:.0%} of its words found, {row['text_found']:.0%} of the text's"
    yield f"  words            {row['words']}, {row['damaged_words']} of them lost accents"
    for column, what in (("duplicate_of", "same place as"), ("near_duplicate_of", "nearly the text of")):
        if row[column]:
            yield f"  {what:15}  {row[column]}"
    for step in STEPS:
        yield from _step(step, row, block)
    yield ""
    yield f"  kept             {'yes' if row['keep'] else 'no: ' + row['reason']}"
    if row["messages"]:
        yield from block("asked for by", row["keyword"])
    yield f"  cost             ${row['cost_usd']:.6f}"


def _step(step: str, row: Mapping[str, Any], block: Block) -> Iterator[str]:
    yield ""
    if row[f"{step}_usd"] is None:
        yield f"{step}: not asked"
        return
    yield f"{step}: {row[f'{step}_prompt']}, answered by {row[f'{step}_by'] or 'nobody'}, ${row[f'{step}_usd']:.6f}"
    if row[f"{step}_error"]:
        yield from block("failed", row[f"{step}_error"])
        return
    if step == "levels":
        yield f"  levels           {row['levels']}: {', '.join(node['label'] for node in row['nodes'])}"
    elif step == "keywords":
        yield from block("keywords", ", ".join(row["keywords"]))
    elif step == "refinement":
        yield from block("corrected", row["corrected_text"])
        yield from block("keywords", ", ".join(row["corrected_keywords"]))
        yield f"  quality          {row['quality']}"
    else:
        yield from block("rewritten", row["rewritten_text"])


def _window(row: Mapping[str, Any]) -> str:
    return "the whole routine" if row["window"] is None else f"window {row['window']}"
