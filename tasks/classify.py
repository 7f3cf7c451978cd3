"""The steps of classify-memes, as tasks: plan both jobs, ask the VLM, ask CLIP, collect, compare."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from tasks.chunks.file import write_chunk
from tasks.chunks.manifest import Chunk, Manifest
from tasks.engines.shared import Shared
from tasks.models.device import Device
from tasks.options import LOCAL, REMOTE
from tasks.plan import check_restarts, find_table, shown
from tasks.settings import Settings
from tasks.storage.root import DataRoot
from tasks.storage.schemas import MEMES_TO_CLASSIFY
from tasks.storage.tables import read_group
from tasks.zeroshot.chunk import Model
from tasks.zeroshot.collect import Tables


class Jobs(NamedTuple):
    """The two jobs over one table of memes, and the name of the tables that they make."""

    vlm: Manifest
    clip: Manifest
    table: Path
    name: str


@task(task_run_name="plan", **LOCAL)
def plan_classifying(
    table: Path,
    vlm: Mapping[str, Any],
    clip: Mapping[str, Any],
    images: Path | None,
    labels: Sequence[str] | None,
    device: Device,
    chunk_size: int,
    name: str,
    restarts: int,
) -> Jobs:
    """Find or make both jobs; what is wrong with either model is said before the first image is shown."""
    from tasks.zeroshot import clip as clips
    from tasks.zeroshot import plan
    from tasks.zeroshot import vlm as vlms
    from tasks.zeroshot.catalog import classes_of, images_of, name_of, read_catalog

    check_restarts(restarts)
    path, root = find_table(table), DataRoot(Settings().data)
    name = name_of(path, root.tables, name)
    classes, folder = classes_of(path, labels), images_of(path, images)
    common = {"labels": list(classes), "device": device}
    asked = {plan.VLM: {**common, **vlm}, plan.CLIP: {**common, **clip}}
    versions = {plan.VLM: vlms.versions(asked[plan.VLM]), plan.CLIP: clips.versions(asked[plan.CLIP])}
    catalog = read_catalog(path, folder)
    made = [plan.plan(kind, catalog, root.jobs, chunk_size, asked[kind], versions[kind]) for kind in asked]
    get_run_logger().info(
        "%s: %d images, %d of them refused; classes %s.", path.name, made[0].rows, made[0].rejected, ", ".join(classes)
    )
    return Jobs(made[0], made[1], path, name)


@task(task_run_name="vlm {chunk.name}", **REMOTE)
def ask_vlm(chunk: Chunk, manifest: Manifest) -> Path:
    """Show the images of one chunk to the VLM and put its file in place."""
    return _ask(chunk, manifest, open_vlm)


@task(task_run_name="clip {chunk.name}", **REMOTE)
def ask_clip(chunk: Chunk, manifest: Manifest) -> Path:
    """Show the images of one chunk to CLIP and put its file in place."""
    return _ask(chunk, manifest, open_clip)


@task(task_run_name="collect", **LOCAL)
def collect_classified(jobs: Jobs) -> Tables:
    """Join the chunks of both jobs into the tables that a user gets."""
    from tasks.zeroshot.collect import collect

    tables = collect(jobs.vlm, jobs.clip, jobs.table, DataRoot(Settings().data).tables, jobs.name)
    get_run_logger().info(
        "%s images in, %s classified, %s rejected: %s",
        f"{tables.rows:,}",
        f"{tables.classified:,}",
        f"{tables.reasons.total():,}",
        tables.table,
    )
    return tables


@task(task_run_name="report", **LOCAL)
def report_classified(tables: Tables, pictures: int) -> Path:
    """Compare the methods, as HTML with the memes and as a Markdown artifact."""
    from tasks.zeroshot.report import write_report

    name = f"classify-{tables.table.stem.removesuffix('-classified')}"
    report = write_report(DataRoot(Settings().data).reports / name, tables, pictures)
    shown(create_markdown_artifact, key=name, markdown=report.markdown)
    get_run_logger().info("Report: %s", report.html)
    return report.folder


def _open_vlm(asked: str) -> Model:
    from tasks.zeroshot.vlm import open_vlm as load

    return load(json.loads(asked))


def _open_clip(asked: str) -> Model:
    from tasks.zeroshot.clip import open_clip as load

    return load(json.loads(asked))


open_vlm, open_clip = Shared(_open_vlm), Shared(_open_clip)


def _ask(chunk: Chunk, manifest: Manifest, shared: Shared[str, Model]) -> Path:
    from tasks.zeroshot.chunk import SHAPES

    model = shared(json.dumps(dict(manifest.parameters), sort_keys=True))
    rows = read_group(manifest.rows_path, MEMES_TO_CLASSIFY, chunk.number).to_pylist()
    answers = model.answer(rows, Path(manifest.source.path))
    return write_chunk(answers, chunk, manifest, SHAPES[manifest.kind])
