"""LLaVA's rows out of the file as it was downloaded, one after the other.

Three formats, told by the first bytes and never by the ending: a JSON array (``llava_instruct_150k.json``), JSON Lines,
Parquet. A row that cannot be used comes out as a ``BadRow`` with its position and a reason; only a file that cannot be
read on is an error. Memory does not grow with the rows, but for 16 bytes each that find duplicates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
from pyarrow import types

from tasks.llava.conversation import TARGET_COLUMNS, Conversation, Turn
from tasks.storage.errors import PermanentError, TornFile
from tasks.storage.tables import open_parquet

ROLES = ("human", "gpt", "system")
MAX_TURN_CHARS = 100_000  # the longest turn of LLaVA-Instruct-150K has 3,025

REASONS = {
    "bad-row": "the row is no object with a text id and a text image",
    "bad-turn": "a turn is no object with `from` and `value`",
    "duplicate-row": "an earlier row has the same id, image and conversation",
    "nan": "a field is NaN, which JSON does not have",
    "no-conversations": "the row has no turns",
    "not-json": "the line is no JSON",
    "not-unicode": "the row has bytes that are not UTF-8, or half of a surrogate pair",
    "turn-not-text": "the value of a turn is no text",
    "turn-too-long": f"a turn has more than {MAX_TURN_CHARS:,} characters",
    "unknown-role": f"a turn's role is none of {', '.join(ROLES)}",
}


class BadSource(PermanentError):
    """The file cannot be read, or cannot be read to its end."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is refused: position, reason code, a sentence for people, and the row as received (JSON text)."""

    row: int
    code: str
    message: str
    raw: str


def read_rows(path: Path) -> Iterator[Conversation | BadRow]:
    """Read a source row by row.

    Args:
        path: JSON array, JSON Lines or Parquet.

    Yields:
        Each row in order; positions count from 0 and are never skipped.

    Raises:
        BadSource: The file is missing, empty, cut off, or none of the three formats.
    """
    seen: dict[bytes, int] = {}
    row = -1
    for row, item in enumerate(_items(path)):
        checked = _check(row, item)
        if isinstance(checked, Conversation):
            first = seen.setdefault(_digest(checked), row)
            if first != row:
                checked = BadRow(row, "duplicate-row", f"Row {row} is row {first} again.", _raw(item))
        yield checked
    if row < 0:
        raise BadSource(f"{path} has no rows. Download it again.")


_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd"}  # by the first bytes


def _items(path: Path) -> Iterator[Any]:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise BadSource(f"The source {path} {what}. Give the path of the downloaded file, as the worker sees it.")
    with path.open("rb") as file:
        head = file.read(4096)
    if head.startswith(b"PAR1"):
        yield from _parquet(path)
        return
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if not head:
        raise BadSource(f"{path} is empty. Download it again.")
    for mark, what in _PACKED.items():
        if head.startswith(mark):
            raise BadSource(f"{path} is packed ({what}). Unpack it, and give the file that was in it.")
    if start not in (b"[", b"{"):
        raise BadSource(
            f"{path} is no JSON array, no JSON Lines and no Parquet: it begins with {head[:20]!r}. "
            "Give the file as it was downloaded (UTF-8)."
        )
    # A byte that is not UTF-8 becomes a lone surrogate, so that it costs its own row and not the file.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        yield from _array(path, text) if start == b"[" else _lines(path, text)


_BLOCK = 1 << 20
_EDGE = 16  # characters: an escape or a literal may be cut by the block's end


def _array(path: Path, text: TextIO) -> Iterator[Any]:
    """Objects of one JSON array, with one block and one row in memory.

    The standard decoder rather than a streaming parser, because it names NaN, lone surrogates and positions, and is as
    quick (docs/decisions.md, "Reading").
    """
    decode = json.JSONDecoder().raw_decode
    buffer, at, before, row, ended = "", 0, 0, 0, False

    def more() -> bool:
        nonlocal buffer, at, before, ended
        before += at
        block = text.read(max(_BLOCK, len(buffer) - at))
        buffer, at = buffer[at:] + block, 0
        ended = ended or not block
        return not ended

    def next_character() -> str:
        nonlocal at
        while True:
            while at < len(buffer) and buffer[at] in " \t\r\n":
                at += 1
            if at < len(buffer):
                return buffer[at]
            if not more():
                raise BadSource(
                    f"{path} is cut off after row {row - 1} ({before + at:,} characters): the array has no end. "
                    "Download it again."
                )

    next_character()
    at += 1
    if next_character() == "]":
        return
    while True:
        next_character()
        while True:
            try:
                item, at_end = decode(buffer, at)
                if at_end < len(buffer) or ended:
                    break
            except RecursionError as error:
                raise BadSource(f"{path}, row {row}: brackets nested too deep to be a row. Remove the row.") from error
            except json.JSONDecodeError as error:
                # The decoder names a string's start when it misses the end.
                open_end = error.pos >= len(buffer) - _EDGE or error.msg.startswith("Unterminated string")
                if not open_end:
                    raise BadSource(
                        f"{path} is no JSON at row {row}, character {before + error.pos:,}: {error.msg}. "
                        "Mend the file there, or download it again."
                    ) from error
                if ended:
                    raise BadSource(
                        f"{path} is cut off in row {row} ({before + len(buffer):,} characters). Download it again."
                    ) from error
            except ValueError as error:  # Python reads no number of more digits than 4,300
                raise BadSource(
                    f"{path}, row {row}: a number that cannot be read ({error}). Remove the row."
                ) from error
            more()
        at = at_end
        yield item
        row += 1
        mark = next_character()
        at += 1
        if mark == "]":
            break
        if mark != ",":
            raise BadSource(f"{path} is no JSON after row {row - 1}, character {before + at - 1:,}: {mark!r}.")
    rest = buffer[at:] + text.read(_BLOCK)
    if rest.strip():
        raise BadSource(f"{path} goes on after the array's end: {rest.strip()[:20]!r}. Give a file with one array.")


@dataclass(frozen=True, slots=True)
class _Unread:
    """A line that is no JSON."""

    text: str
    reason: str


def _lines(path: Path, text: TextIO) -> Iterator[Any]:
    for line in text:
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except (ValueError, RecursionError) as error:
            yield _Unread(line, str(error))


def _parquet(path: Path) -> Iterator[Any]:
    try:
        file = open_parquet(path)
    except TornFile as error:
        raise BadSource(f"{path} is not a whole Parquet file. Download it again.") from error
    with file:
        schema = file.schema_arrow
        if "conversations" not in schema.names:
            raise BadSource(f"{path} has no column `conversations`; it has {', '.join(schema.names)}.")
        # A translation that somebody made before is no field of the row.
        fields = [field for field in schema if field.name not in TARGET_COLUMNS]
        unfit = [f"`{field.name}` ({field.type})" for field in fields if not _fits_json(field.type)]
        if unfit:
            raise BadSource(
                f"{path}: JSON, in which the rows come out again, cannot hold {', '.join(unfit)}. Make text of such a "
                "column (of an image its name), or leave it out."
            )
        row = 0
        try:
            for batch in file.iter_batches(batch_size=500, columns=[field.name for field in fields]):
                for item in batch.to_pylist():
                    yield {key: value for key, value in item.items() if value is not None}
                row += batch.num_rows
        except (OSError, pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise BadSource(f"{path} cannot be read from row {row} on ({error}). Download it again.") from error


def _fits_json(kind: pa.DataType) -> bool:
    if types.is_nested(kind):
        return not types.is_map(kind) and all(_fits_json(kind.field(at).type) for at in range(kind.num_fields))
    if types.is_dictionary(kind):
        return _fits_json(kind.value_type)
    tests = (types.is_null, types.is_boolean, types.is_integer, types.is_floating, types.is_string)
    return any(test(kind) for test in (*tests, types.is_large_string, types.is_string_view))


def _check(row: int, item: Any) -> Conversation | BadRow:
    def bad(code: str, detail: str) -> BadRow:
        return BadRow(row, code, f"Row {row}{detail}.", _raw(item))

    if isinstance(item, _Unread):
        return bad("not-json", f" is no JSON: {item.reason}")
    if not isinstance(item, dict):
        return bad("bad-row", f" is {_kind(item)}, not an object")
    turns: list[Turn] = []
    rest_of_turns: list[dict[str, Any]] = []
    given = item.get("conversations")
    if not isinstance(given, list) or not given:
        return bad("no-conversations", " has no conversations")
    for number, turn in enumerate(given):
        if not isinstance(turn, dict) or "from" not in turn or "value" not in turn:
            return bad("bad-turn", f", turn {number} is not an object with `from` and `value`")
        if turn["from"] not in ROLES:
            return bad("unknown-role", f", turn {number}: role {turn['from']!r} is none of {', '.join(ROLES)}")
        value = turn["value"]
        if not isinstance(value, str):
            return bad("turn-not-text", f", turn {number}: the value is {_kind(value)}, not text")
        if len(value) > MAX_TURN_CHARS:
            return bad(
                "turn-too-long",
                f", turn {number} has {len(value):,} characters; at most {MAX_TURN_CHARS:,} are taken",
            )
        turns.append(Turn(turn["from"], value))
        rest_of_turns.append({key: turn[key] for key in turn if key not in ("from", "value")})
    extra = {key: item[key] for key in item if key not in ("id", "image", "conversations")}
    if any(rest_of_turns):
        extra["conversations"] = rest_of_turns
    texts: dict[str, str | None] = {}
    for key in ("id", "image"):
        value = item.get(key)
        if isinstance(value, float) and value != value:
            return bad("nan", f", field {key!r} is NaN, which JSON does not have: remove the field")
        if value is not None and not isinstance(value, str):
            extra[key] = value  # a number or a list comes back as it was
        texts[key] = None if value is None else value if isinstance(value, str) else json.dumps(value)
    try:
        more = json.dumps(extra, ensure_ascii=False, allow_nan=False) if extra else None
    except ValueError:
        return bad("nan", " has NaN in a field, which JSON does not have: remove it")
    except TypeError as error:
        return bad("bad-row", f" has a field that JSON cannot hold: {error}")
    checked = Conversation(row, texts["id"], texts["image"], tuple(turns), more)
    try:
        "".join([checked.id or "", checked.image or "", more or "", *(turn.value for turn in turns)]).encode()
    except UnicodeEncodeError as error:
        what = (
            "bytes that are not UTF-8" if "\udc80" <= error.object[error.start] <= "\udcff" else "half a surrogate pair"
        )
        return bad("not-unicode", f" has {what}")
    return checked


def _kind(value: Any) -> str:
    if isinstance(value, float) and value != value:
        return "NaN"
    return "null" if value is None else type(value).__name__


def _raw(item: Any) -> str:
    """The row as JSON text that any file can hold: what is not Unicode stands as an escape."""
    return json.dumps(item.text if isinstance(item, _Unread) else item, default=str)


def _digest(row: Conversation) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in (
        row.id or "",
        row.image or "",
        *(text for turn in row.turns for text in (turn.role, turn.value)),
    ):
        digest.update(part.encode() + b"\0")
    return digest.digest()
