"""Conversations beside the Parquet files, as Mistral, TRL, LLaMA-Factory and ms-swift read them: ``data/train.jsonl``

{"messages": [{"role": "user", "content": "gato, lunes"}, {"role": "assistant", "content": "…"}]}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.models.messages import BadConversation, check_conversation
from tasks.splits.keys import BadTable
from tasks.storage.files import whole_file
from tasks.storage.tables import open_parquet

MESSAGES = "messages"
_BATCH = 5_000


def has_conversations(schema: pa.Schema) -> bool:
    """Whether a table's column ``messages`` holds lists of roles and contents."""
    at = schema.get_field_index(MESSAGES)
    if at < 0 or not (pa.types.is_list(schema.field(at).type) or pa.types.is_large_list(schema.field(at).type)):
        return False
    turn = schema.field(at).type.value_type
    return pa.types.is_struct(turn) and all(turn.get_field_index(name) >= 0 for name in ("role", "content"))


def check_row(table: Path, row: int, messages: Sequence[Mapping[str, Any]] | None) -> None:
    """Refuse a table with a row that nothing could be learnt from.

    Raises:
        BadTable: The row is no conversation that ends with an answer; the message names it.
    """
    try:
        check_conversation(messages, "assistant")
    except BadConversation as error:
        raise BadTable(
            f"{table}, row {row} {error} Name the column that says which rows are taken (keep=…), or correct the row."
        ) from error


def write_lines(rows: Path, path: Path) -> Path:
    """The conversations of one split, one line each, in the order of its Parquet file."""
    with whole_file(path) as file:
        for messages in _conversations(rows):
            turns = [{name: turn[name] for name in ("role", "content")} for turn in messages]
            file.write(json.dumps({MESSAGES: turns}, ensure_ascii=False).encode() + b"\n")
    return path


def _conversations(path: Path) -> Iterator[Sequence[Mapping[str, Any]]]:
    with open_parquet(path) as file:
        for batch in file.iter_batches(_BATCH, columns=[MESSAGES]):
            yield from batch.column(0).to_pylist()
