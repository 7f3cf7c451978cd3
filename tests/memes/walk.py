"""The whole reading through the library, as the flow does it but without Prefect.

``python -m tests.memes.walk FOLDER DATA 3`` runs it in a process of its own, which dies by SIGKILL at its third image.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tasks.chunks.file import write_chunk
from tasks.chunks.manifest import Manifest
from tasks.memes.chunk import read_images
from tasks.memes.collect import Tables, collect
from tasks.memes.plan import plan
from tasks.memes.readers.protocol import Line, Reader
from tasks.memes.report import write_report
from tasks.storage.root import DataRoot
from tasks.storage.schemas import MEME_FILES, MEME_READINGS
from tasks.storage.tables import read_group
from tests.memes.drawn import Measuring

LABELS = {"Плохо": "toxic", "Хорошо": "non_toxic"}


def planned(folder: Path, root: DataRoot, reader: Reader, chunk_size: int = 2) -> Manifest:
    """The job."""
    parameters = {"labels": LABELS, "reader": "measuring", "languages": ["ru"]}
    return plan(folder, None, root.jobs, chunk_size, parameters, {"code": "1", "reader": reader.name})


def walk(folder: Path, root: DataRoot, reader: Reader, chunk_size: int = 2) -> tuple[Manifest, Tables]:
    """Do what is missing."""
    manifest = planned(folder, root, reader, chunk_size)
    for chunk in manifest.pending(MEME_READINGS):
        rows = read_group(manifest.rows_path, MEME_FILES, chunk.number).to_pylist()
        write_chunk(read_images(rows, Path(manifest.source.path), reader), chunk, manifest, MEME_READINGS)
    tables = collect(manifest, root.tables, "memes")
    return manifest, tables


def report(root: DataRoot, manifest: Manifest, tables: Tables) -> str:
    """The report's page."""
    return write_report(root.reports / "read-memes", manifest, tables).html.read_text("utf-8")


class Dying(Measuring):
    """Kills the process at its n-th image."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    def read(self, images: Sequence[Image.Image]) -> list[list[Line]]:
        if self.read_images + len(images) >= self._at:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(images)


if __name__ == "__main__":
    walk(Path(sys.argv[1]), DataRoot(Path(sys.argv[2])), Dying(int(sys.argv[3])), 1)
