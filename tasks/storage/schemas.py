"""The shape of every table. A column is added here first.

One row of ``TRANSLATIONS``, as a chunk holds it::

    row 17 | id "000000033471" | image "000000033471.jpg" | conversations [{from: human, value: …}, …] | extra null |
    translated [{from: human, value: …}, …] | translator ["google/4.0.2", "memory"] | checks ["seam"] |
    turn_checks [[], ["seam"]] | error null | message null | record '{"id": …}'
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

TURNS = pa.list_(pa.struct([pa.field("from", pa.string()), pa.field("value", pa.string())]))
CODES = pa.list_(pa.string())


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A table's declared shape: its name, its version and its columns."""

    name: str
    columns: pa.Schema


_ROW = [
    pa.field("row", pa.int64(), nullable=False),
    pa.field("id", pa.string()),
    pa.field("image", pa.string()),
    pa.field("conversations", TURNS),
]
_EXTRA = pa.field("extra", pa.string())
_TRANSLATED = [
    pa.field("translated", TURNS),
    pa.field("translator", CODES),
    pa.field("checks", CODES),
    pa.field("turn_checks", pa.list_(CODES)),
    pa.field("error", pa.string()),
]
_MESSAGE = pa.field("message", pa.string())

# What a job reads: the source's good rows, one row group per chunk.
CONVERSATIONS = TableSchema("conversations/1", pa.schema([*_ROW, _EXTRA]))

# A chunk: delivered rows in the first row group, refused ones in the next. `record` is the finished row in LLaVA's own
# layout, so that collecting 157,712 rows joins bytes instead of building them again (docs/decisions.md, "Collect").
TRANSLATIONS = TableSchema(
    "translations/2", pa.schema([*_ROW, _EXTRA, *_TRANSLATED, _MESSAGE, pa.field("record", pa.string())])
)

# What a user gets.
LLAVA = TableSchema("llava/1", pa.schema([*_ROW, *_TRANSLATED, _EXTRA]))

# Every row that is not there, with its reason. `raw` is the row as received where it could not be read.
LLAVA_REJECTED = TableSchema(
    "llava-rejected/1", pa.schema([*_ROW, *_TRANSLATED, _EXTRA, _MESSAGE, pa.field("raw", pa.string())])
)

SCHEMAS = {schema.name: schema for schema in (CONVERSATIONS, TRANSLATIONS, LLAVA, LLAVA_REJECTED)}
