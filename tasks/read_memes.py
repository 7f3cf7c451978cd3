"""The steps of read-memes, as tasks: list the images, read them, collect, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from tasks.chunks.file import write_chunk
from tasks.chunks.manifest import Chunk, Manifest
from tasks.engines.shared import Shared
from tasks.memes.collect import Tables
from tasks.memes.readers import module_of
from tasks.memes.readers.protocol import Reader
from tasks.options import LOCAL, REMOTE
from tasks.plan import check_restarts, shown
from tasks.settings import Settings, read_options
from tasks.storage.errors import PermanentError
from tasks.storage.root import DataRoot
from tasks.storage.schemas import MEME_FILES, MEME_READINGS
from tasks.storage.tables import read_group


@task(task_run_name="plan", **LOCAL)
def plan_reading(
    folder: Path,
    labels: Mapping[str, str],
    reader: str,
    languages: Sequence[str],
    chunk_size: int,
    images: Path | None,
    restarts: int,
) -> Manifest:
    """Find or make the job: every image hashed and labelled."""
    from tasks.memes.chunk import VERSION
    from tasks.memes.plan import plan

    check_restarts(restarts)
    name = chosen(reader, tuple(languages))
    opened = open_reader(name, tuple(languages))
    parameters = {"labels": dict(labels), "reader": name, "languages": list(languages)}
    versions = {"code": VERSION, "reader": opened.name}
    manifest = plan(folder, images, DataRoot(Settings().data).jobs, chunk_size, parameters, versions)
    get_run_logger().info(
        "%s: %d files, %d of them refused, read by %s.", manifest.job, manifest.rows, manifest.rejected, opened.name
    )
    return manifest


@task(task_run_name="{chunk.name}", **REMOTE)
def read_chunk(chunk: Chunk, manifest: Manifest) -> Path:
    """Read the images of one chunk and put its file in place."""
    from tasks.memes.chunk import read_images

    asked = manifest.parameters
    reader = open_reader(asked["reader"], tuple(asked["languages"]))
    rows = read_group(manifest.rows_path, MEME_FILES, chunk.number).to_pylist()
    read = read_images(rows, Path(manifest.source.path), reader)
    return write_chunk(read, chunk, manifest, MEME_READINGS)


@task(task_run_name="collect", **LOCAL)
def collect_memes(manifest: Manifest, name: str) -> Tables:
    """Join the chunks into the tables that a user gets."""
    from tasks.memes.collect import collect

    tables = collect(manifest, DataRoot(Settings().data).tables, name)
    get_run_logger().info(
        "%s images in, %s delivered, %s rejected: %s",
        f"{tables.rows:,}",
        f"{tables.delivered:,}",
        f"{tables.reasons.total():,}",
        tables.table,
    )
    return tables


@task(task_run_name="report", **LOCAL)
def report_memes(manifest: Manifest, tables: Tables) -> Path:
    """Show what was read, as HTML with a contact sheet and plots and as a Markdown artifact."""
    from tasks.memes.report import write_report

    folder = DataRoot(Settings().data).reports / f"read-{tables.table.stem}"
    report = write_report(folder, manifest, tables)
    shown(create_markdown_artifact, key=f"read-{tables.table.stem.lower()}", markdown=report.markdown)
    get_run_logger().info("Report: %s", report.html)
    return report.html


def chosen(name: str, languages: tuple[str, ...]) -> str:
    """The reader that is meant: ``auto`` is easyocr where its weights for these languages are, else hybrid."""
    from tasks.memes.readers import easyocr

    if name != "auto":
        return name
    if easyocr.is_ready(read_options("easyocr", easyocr.Options)):
        try:
            open_reader("easyocr", languages)
        except PermanentError as error:  # weights of other languages, for instance
            get_run_logger().warning("%s Hybrid reads now.", error)
        else:
            return "easyocr"
    return "hybrid"


def _open_reader(name: str, languages: tuple[str, ...]) -> Reader:
    """A reader with its settings from the environment."""
    module = module_of(name)
    reader: Reader = module.open_reader(read_options(name, module.Options), languages)
    return reader


open_reader = Shared(_open_reader)
