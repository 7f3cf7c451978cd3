"""Conversations beside the Parquet files, as Mistral, TRL, LLaMA-Factory and ms-swift read them: ``data/train.jsonl``

{"messages": [{"role": "user", "content": "gato, lunes"}, {"role": "assistant", "content": "…"}]}
"""

from __future__ import annotations

import json
from pathlib import Path

from tasks.models.messages import MESSAGES, BadConversation, Conversation, check_conversation, read_talks
from tasks.splits.keys import BadTable
from tasks.storage.files import whole_file


def check_row(table: Path, row: int, messages: Conversation | None) -> None:
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
        for talk in read_talks(rows):
            turns = [{name: turn[name] for name in ("role", "content")} for turn in talk.messages or ()]
            file.write(json.dumps({MESSAGES: turns}, ensure_ascii=False).encode() + b"\n")
    return path
