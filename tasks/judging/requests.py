"""What the contestants are asked: one request per row of a split.

::

    Request(row=17, id="8c1f…", group="routine-24", messages=({"role": "user", "content": "… about: suegra. …"},))

From a column ``messages`` the conversation up to its last answer is taken, as a model was taught it; from a column of
texts, such as keywords, a template makes the request. The right answer is shown to nobody.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tasks.chunks.manifest import Source
from tasks.models.messages import BadConversation, check_conversation
from tasks.storage.errors import PermanentError
from tasks.storage.tables import open_parquet

TEXT = "{text}"
MESSAGES, KEEP = "messages", "keep"
_GROUP = "split_group"
_BATCH = 1_000

# Why a row of the split asks nothing, for every reason that a report may name.
REASONS = {
    "not-kept": "the table says keep = false",
    "repeated": "an earlier row asks the same, and would be answered the same",
    "no-request": "there is nothing to ask: no text, or no conversation with a turn of the user",
}


class BadRequests(PermanentError):
    """A split that no request can be made from."""


class Request(NamedTuple):
    """One request: the row of the split it stems from, its id, what it was drawn with, and the conversation."""

    row: int
    id: str
    group: str
    messages: tuple[dict[str, str], ...]

    @property
    def text(self) -> str:
        """The last turn: what a judge is shown."""
        return self.messages[-1]["content"]


class Requests(NamedTuple):
    """The requests of a split, how many rows it has, and rows left out by reason."""

    requests: tuple[Request, ...]
    rows: int
    left_out: dict[str, int]


def find_split(version: Path, certificate: Mapping[str, Any], split: str) -> Source:
    """The file of a split, as its dataset's certificate has it.

    Args:
        version: The folder of a dataset's version, held against its certificate.
        certificate: The certificate.
        split: train, validation or test.

    Raises:
        BadRequests: The version has no such split.
    """
    name = f"data/{split}-00000-of-00001.parquet"
    if name not in certificate["files"]:
        raise BadRequests(f"{version} has no rows in {split!r}. It has: {', '.join(certificate['splits'])}.")
    told = certificate["files"][name]
    return Source(str(version / name), told["sha256"], told["bytes"])


def read_requests(path: Path, column: str, prompt: str) -> Requests:
    """The requests of a split, in order; rows + left out = rows of the split.

    Args:
        path: A split's Parquet file.
        column: Conversations, or texts.
        prompt: What is asked about a text, which comes in place of ``{text}``; empty for conversations.

    Raises:
        BadRequests: There is no such column, it holds something else, the template has no place for the text, or no
            row asks anything.
        TornFile: The file is damaged.
    """
    found: list[Request] = []
    seen: set[str] = set()
    left_out: Counter[str] = Counter()
    row = 0
    with open_parquet(path) as file:
        names = file.schema_arrow.names
        if column not in names:
            raise BadRequests(f"{path} has no column {column!r} to ask about. It has: {', '.join(names)}.")
        wanted = [name for name in dict.fromkeys((column, "id", KEEP, _GROUP)) if name in names]
        for batch in file.iter_batches(_BATCH, columns=wanted):
            for values in batch.to_pylist():
                messages = _messages(path, row, column, values[column], prompt)
                key = json.dumps(messages, ensure_ascii=False)
                why = _left_out(values, messages, key in seen)
                if why:
                    left_out[why] += 1
                elif messages:
                    seen.add(key)
                    digest = hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
                    identity = str(values.get("id") or digest)
                    found.append(Request(row, identity, str(values.get(_GROUP) or row), messages))
                row += 1
    if not found:
        told = ", ".join(f"{count:,} {REASONS[why]}" for why, count in left_out.items()) or "it has no rows"
        raise BadRequests(f"No row of {path} asks anything ({told}). Name another split or column.")
    return Requests(tuple(found), row, dict(sorted(left_out.items())))


def _left_out(values: dict[str, Any], messages: tuple[dict[str, str], ...] | None, seen: bool) -> str | None:
    if values.get(KEEP) is False:
        return "not-kept"
    if messages is None:
        return "no-request"
    return "repeated" if seen else None


def _messages(path: Path, row: int, column: str, value: Any, prompt: str) -> tuple[dict[str, str], ...] | None:
    """The conversation up to where the contestant speaks; None where there is none."""
    if isinstance(value, str):
        if TEXT not in prompt:
            raise BadRequests(
                f"`prompt` is {prompt!r}, and {column!r} holds texts. Give a prompt with {TEXT} where the text belongs."
            )
        return ({"role": "user", "content": prompt.replace(TEXT, value.strip())},) if value.strip() else None
    if value is None:
        return None
    try:
        turns = [{"role": turn["role"], "content": turn["content"]} for turn in value]
    except (TypeError, KeyError) as error:
        raise BadRequests(
            f"{path}, row {row}: column {column!r} holds {str(value)[:80]!r}, which is neither a text nor a conversation."
        ) from error
    while turns and turns[-1]["role"] == "assistant":
        turns.pop()
    try:
        check_conversation(turns, "user")
    except BadConversation:
        return None
    return tuple(turns)
