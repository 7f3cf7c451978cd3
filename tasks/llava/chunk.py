"""A chunk's file: delivered rows in its first row group, refused ones in the next, its counts in the footer.

So that collecting copies the first group as it is (``tasks/storage/pour.py``), and nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from tasks.llava.counts import Counts
from tasks.llava.translate import Translated, shares, to_table
from tasks.storage.errors import ForeignTable
from tasks.storage.schemas import TRANSLATIONS
from tasks.storage.tables import open_table, origin, read_table, table_writer


def write_chunk(translated: Sequence[Translated], path: Path, job: str, cost_usd: float = 0.0) -> Path:
    """Put a chunk's file in place.

    Args:
        translated: Its rows.
        path: Where.
        job: Whose chunk it is.
        cost_usd: What its requests have cost over all runs.

    Raises:
        DiskFull: No room; nothing is left behind.
    """
    costs = shares(translated, cost_usd)
    delivered = to_table([item for item in translated if item.error is None], costs)
    refused = to_table([item for item in translated if item.error is not None], costs)
    counts = Counts.of(delivered, refused)
    with table_writer(path, TRANSLATIONS, {"job": job, "counts": counts.plain()}) as writer:
        for rows in (delivered, refused):
            if rows.num_rows:
                writer.write_table(rows)
    return path


def read_counts(path: Path) -> Counts:
    """The counts of a chunk, from its footer.

    Raises:
        TornFile: The file is cut off or damaged.
        ForeignTable: It is no chunk, or its row groups are not those that were counted.
    """
    with open_table(path, TRANSLATIONS) as file:
        made = origin(file)
        groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    try:
        counts = Counts.from_plain(made["counts"])
    except (KeyError, TypeError) as error:
        raise ForeignTable(f"{path} has no counts in its footer ({error}). Move it away and run again.") from error
    if groups != [rows for rows in (counts.delivered, counts.rejected.total()) if rows]:
        raise ForeignTable(f"{path} has other row groups than were counted. Move it away and run again.")
    return counts


def read_chunk(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A chunk's rows in the order of the source.

    Args:
        path: The chunk's file.
        columns: Those to read, ``row`` among them, or all.

    Raises:
        TornFile: The file is cut off or damaged.
        ForeignTable: It is no chunk.
    """
    return read_table(path, TRANSLATIONS, columns).sort_by("row")
