"""Read one chunk: open each image, hash what it shows, read its text.

A chunk's file holds every image of the chunk; those that were refused have ``error`` and ``message``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tasks.memes.readers.protocol import Line, Reader, Unread, joined, letters
from tasks.pictures.decode import BadImage, open_picture, perceptual_hash, read_unchanged

VERSION = "1"
UNREAD = {"unread": "the reader fails on this image while it reads others"}
_AT_ONCE = 16  # images whose pixels are held together


def read_images(rows: Sequence[Mapping[str, Any]], folder: Path, reader: Reader) -> list[dict[str, Any]]:
    """The finished rows of a chunk.

    Args:
        rows: Rows of ``MEME_FILES``.
        folder: What their paths are below.
        reader: Reads the text.

    Raises:
        ImageChanged: An image is gone, or is another one than at the plan.
        Unread: The reader fails on every image.
    """
    finished: list[dict[str, Any]] = []
    for start in range(0, len(rows), _AT_ONCE):
        finished += _read_some(rows[start : start + _AT_ONCE], folder, reader)
    failed = [row for row in finished if row["error"] == "unread"]
    if len(failed) > 1 and len(failed) == len(finished):
        raise Unread(
            f"{reader.name} fails on all {len(failed)} images of this chunk. The first one: {failed[0]['message']}"
        )
    return finished


def _read_some(rows: Sequence[Mapping[str, Any]], folder: Path, reader: Reader) -> list[dict[str, Any]]:
    finished, images = [], []
    for row in rows:
        done: dict[str, Any] = {**row, "error": None, "message": None}
        try:
            picture = open_picture(read_unchanged(row["row"], folder / row["path"], row["sha256"]))
        except BadImage as error:
            done |= {"error": error.code, "message": f"Row {row['row']}, {row['path']} {error}"}
        else:
            images.append(picture.image)
            done |= {
                "format": picture.format,
                "changes": list(picture.changes),
                "width": picture.image.width,
                "height": picture.image.height,
                "phash": perceptual_hash(picture.image),
                "reader": reader.name,
            }
        finished.append(done)
    readings = iter(_read(reader, images))
    for done in finished:
        if done["error"] is None:
            lines = next(readings)
            if isinstance(lines, Unread):
                done |= {"error": "unread", "message": f"Row {done['row']}, {done['path']}: {lines}"}
            else:
                lines = [line.inside(done["width"], done["height"]) for line in lines]
                done |= {
                    "text": joined(lines),
                    "lines": [line._asdict() for line in lines],
                    "confidence": _confidence(lines),
                }
    return finished


def _read(reader: Reader, images: Sequence[Image.Image]) -> list[list[Line] | Unread]:
    """Read the images together, and those that fail by halves until the one that does is alone."""
    try:
        return list(reader.read(images)) if images else []
    except Unread as error:
        if len(images) == 1:
            return [error]
        half = len(images) // 2
        return [*_read(reader, images[:half]), *_read(reader, images[half:])]


def _confidence(lines: Sequence[Line]) -> float | None:
    """The mean of the lines' confidences, weighted by letters."""
    weights = [max(letters(line.text), 1) for line in lines]
    total = sum(line.confidence * n for line, n in zip(lines, weights, strict=True))
    return round(total / sum(weights), 1) if lines else None
