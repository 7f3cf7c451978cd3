"""A chunk's file: every row of the chunk, in one row group. How many of them were refused stands in the footer.

What is done with a refused row is its domain's: it has ``error``, the code of why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.chunks.manifest import Chunk, Manifest
from tasks.storage.schemas import TableSchema
from tasks.storage.tables import open_parquet, origin, write_table

_REFUSED = "rejected"  # in the footer


def write_chunk(rows: Sequence[Mapping[str, Any]], chunk: Chunk, manifest: Manifest, schema: TableSchema) -> Path:
    """Put a chunk's file in place.

    Raises:
        DiskFull: No room; nothing is left behind.
    """
    made = {"job": manifest.job, _REFUSED: sum(row.get("error") is not None for row in rows)}
    return write_table(pa.Table.from_pylist(list(rows), schema.columns), manifest.path(chunk), schema, made)


def refused(path: Path) -> int:
    """How many rows of a chunk were refused; only the footer is read."""
    with open_parquet(path) as file:
        return int(origin(file)[_REFUSED])
