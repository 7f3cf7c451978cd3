"""Memes: which images there are, what is written on them."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from tasks.plan import chunk_runner, run_chunks, working_on
from tasks.read_memes import collect_memes, open_reader, plan_reading, read_chunk, report_memes
from tasks.storage.schemas import MEME_READINGS


@flow(name="read-memes", task_runner=chunk_runner())
def read_memes(
    folder: Path,
    labels: dict[str, str] | None = None,
    reader: str = "auto",
    languages: list[str] | None = None,
    chunk_size: int = 50,
    images: Path | None = None,
    chunks: list[int] | None = None,
    force: bool = False,
    name: str = "memes",
    restarts: int = 0,
) -> Path:
    """Read the text on images. Press Retry on a failed run to do only what is missing.

    Args:
        folder: A folder whose sub-folders name the labels; or a CSV, JSON Lines or Parquet file with `image` and `label`.
        labels: Label by sub-folder, such as {"Негативно": "toxic"}; other folders are rejected. Empty: the names.
        reader: tesseract, hybrid or easyocr; auto takes easyocr where its weights are, else hybrid.
        languages: Languages of the text, such as ["ru", "en"], which is also what nothing means.
        chunk_size: Images per chunk; another size is another job.
        images: The folder that the paths in a file are below; the file's own when empty.
        chunks: Numbers of the chunks to do; all that are missing when empty.
        force: Do these chunks again although they are done.
        name: The table's name, such as "memes" in tables/memes.parquet.
        restarts: Counted by the automation that starts a crashed run again; leave it 0.

    Returns:
        The table of images that were read; the job's folder while chunks are missing because only some were asked for.
    """
    manifest = plan_reading(folder, labels or {}, reader, languages or ["ru", "en"], chunk_size, images, restarts)
    with working_on(manifest, open_reader):
        missing = run_chunks(read_chunk, manifest, MEME_READINGS, chunks, force, restarts)
        if missing:
            return manifest.folder
        tables = collect_memes(manifest, name)
        report_memes(manifest, tables)
    return tables.table
