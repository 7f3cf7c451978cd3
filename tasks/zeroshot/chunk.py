"""One chunk: open each image and show it to one model.

A chunk's file holds every image of the chunk; those that cannot be opened have ``error`` and ``message``. How many they
are stands in the footer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from tasks.pictures.decode import BadImage, open_picture, read_unchanged
from tasks.storage.schemas import CLIP_ANSWERS, VLM_ANSWERS, TableSchema
from tasks.storage.tables import open_parquet, origin, write_table
from tasks.zeroshot.plan import CLIP, VLM

if TYPE_CHECKING:
    from PIL.Image import Image

VERSION = "1"
SHAPES = {VLM: VLM_ANSWERS, CLIP: CLIP_ANSWERS}
_AT_ONCE = 16  # images whose pixels are held together
_REFUSED = "rejected"  # in the footer


class Model(Protocol):
    """What is asked of either model: columns of a chunk for each image."""

    def columns(self, images: Sequence[Image], texts: Sequence[str]) -> list[dict[str, Any]]:
        """Answers to upright RGB images and the text on each."""


def ask(rows: Sequence[Mapping[str, Any]], folder: Path, model: Model) -> list[dict[str, Any]]:
    """The finished rows of a chunk.

    Args:
        rows: Rows of ``MEMES_TO_CLASSIFY``.
        folder: What their paths are below.
        model: Classifies.

    Raises:
        ImageChanged: An image is gone, or is another one than at the plan.
    """
    finished: list[dict[str, Any]] = []
    for start in range(0, len(rows), _AT_ONCE):
        finished += _ask_some(rows[start : start + _AT_ONCE], folder, model.columns)
    return finished


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


def _ask_some(
    rows: Sequence[Mapping[str, Any]],
    folder: Path,
    columns: Callable[[Sequence[Image], Sequence[str]], list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    finished, opened, images = [], [], []
    for row in rows:
        done: dict[str, Any] = {**row, "error": None, "message": None}
        try:
            images.append(open_picture(read_unchanged(row["row"], folder / row["path"], row["sha256"])).image)
            opened.append(done)
        except BadImage as error:
            done |= {"error": error.code, "message": f"Row {row['row']}, {row['path']} {error}"}
        finished.append(done)
    if images:
        for done, answer in zip(opened, columns(images, [row["text"] or "" for row in opened]), strict=True):
            done |= answer
    return finished
