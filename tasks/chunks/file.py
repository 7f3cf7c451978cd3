"""A chunk's file: every row of the chunk, in one row group. How many of them were refused stands in the footer.

What is done with a refused row is its domain's: it has ``error``, the code of why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

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


def parted(
    rows: pa.Table, unusable: pa.Table, chunk: Chunk, manifest: Manifest, what: str
) -> tuple[pa.Table, pa.Table]:
    """A chunk's rows that were answered, and all others of its positions, in order.

    Args:
        rows: The chunk's, with ``error`` where there is no answer.
        unusable: Rows that were refused before, of any chunk.
        chunk: Which one.
        manifest: The job.
        what: What the rows are, in the plural.

    Returns:
        Rows as they came, and rows with the columns of ``unusable``.

    Raises:
        CountsDiffer: A row is missing, stands twice, or belongs elsewhere.
    """
    is_good = pc.is_null(rows["error"])
    inside = pc.and_(pc.greater_equal(unusable["row"], chunk.start), pc.less(unusable["row"], chunk.stop))
    failed = rows.filter(pc.invert(is_good)).select(unusable.column_names)
    good, bad = rows.filter(is_good), pa.concat_tables([unusable.filter(inside), failed]).sort_by("row")
    manifest.check_rows(chunk, [*good["row"].to_pylist(), *bad["row"].to_pylist()], what)
    return good, bad
