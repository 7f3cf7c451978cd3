"""One chunk: what a model is asked, and where its answers go.

A chunk's file holds every image of the chunk; those that cannot be opened have ``error`` and ``message``. How many they
are stands in the footer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from tasks.storage.schemas import CLIP_ANSWERS, VLM_ANSWERS, TableSchema
from tasks.storage.tables import open_parquet, origin, write_table
from tasks.zeroshot.plan import CLIP, VLM

VERSION = "1"
SHAPES = {VLM: VLM_ANSWERS, CLIP: CLIP_ANSWERS}
_REFUSED = "rejected"  # in the footer


class Model(Protocol):
    """What is asked of either model."""

    def answer(self, rows: Sequence[Mapping[str, Any]], folder: Path) -> list[dict[str, Any]]:
        """The finished rows of a chunk.

        Args:
            rows: Rows of ``MEMES_TO_CLASSIFY``.
            folder: What their paths are below.

        Raises:
            ImageChanged: An image is gone, or is another one than at the plan.
        """


def write_chunk(rows: Sequence[Mapping[str, Any]], path: Path, shape: TableSchema, job: str) -> Path:
    """Put a chunk's file in place.

    Raises:
        DiskFull: No room; nothing is left behind.
    """
    made = {"job": job, _REFUSED: sum(row["error"] is not None for row in rows)}
    return write_table(pa.Table.from_pylist(list(rows), shape.columns), path, shape, made)


def refused(path: Path) -> int:
    """How many images of a chunk were refused; only the footer is read."""
    with open_parquet(path) as file:
        return int(origin(file)[_REFUSED])
