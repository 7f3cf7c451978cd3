"""A table of memes as read-memes leaves it, and the whole classifying through the library without Prefect."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from tasks.chunks.file import write_chunk
from tasks.chunks.manifest import Manifest
from tasks.storage.files import write_bytes
from tasks.storage.root import DataRoot
from tasks.storage.schemas import MEMES, MEMES_TO_CLASSIFY
from tasks.storage.tables import read_group, write_table
from tasks.zeroshot.catalog import classes_of, images_of, read_catalog
from tasks.zeroshot.chunk import SHAPES, Model
from tasks.zeroshot.collect import Tables, collect
from tasks.zeroshot.plan import CLIP, VLM, plan
from tests.memes.drawn import encoded
from tests.zeroshot.shapes import shapes

LABELS = ["toxic", "non_toxic"]
SAID = ["ДОБРОЕ УТРО", "", "<script>alert('x')</script> & [img](http://x)", "и ещё слов " * 40, "", "НЕТ"]


class Row(NamedTuple):
    """A row of the table."""

    path: str
    label: str | None
    text: str


def folder_of_shapes(folder: Path) -> list[Row]:
    """Six shapes, of which one is wide, one has no label, and a seventh file that is cut off."""
    some = [*shapes(5, 3), *shapes(1, 4, (192, 64))]
    rows = [Row(f"{at} рыба.png", LABELS[each.kind], SAID[at]) for at, each in enumerate(some)]
    rows[4] = rows[4]._replace(label=None)
    folder.mkdir()
    for row, each in zip(rows, some, strict=True):
        (folder / row.path).write_bytes(encoded(each.image))
    (folder / "cut.png").write_bytes(encoded(some[0].image)[:300])
    return [*rows, Row("cut.png", "toxic", "ДА")]


def table_of_memes(folder: Path, rows: Sequence[Row], root: DataRoot) -> Path:
    """The table and its provenance, made from files that are there now."""
    content = {row.path: (folder / row.path).read_bytes() for row in rows}
    items = [
        {
            "row": 2 * at,  # rows that were rejected leave gaps
            "path": row.path,
            "sha256": hashlib.sha256(content[row.path]).hexdigest(),
            "bytes": len(content[row.path]),
            "label": row.label,
            "text": row.text,
        }
        for at, row in enumerate(rows)
    ]
    path = root.tables / "memes.parquet"
    write_table(pa.Table.from_pylist(items, MEMES.columns), path, MEMES, {"job": "read-memes-0"})
    provenance = {"source": {"path": str(folder)}, "kind": "read-memes"}
    write_bytes(root.tables / "memes.provenance.json", json.dumps(provenance).encode())
    return path


def planned(
    table: Path, root: DataRoot, chunk_size: int = 3, versions: Mapping[str, str] | None = None
) -> list[Manifest]:
    """Both jobs, the VLM's first."""
    catalog = read_catalog(table, images_of(table, None))
    asked = {"model": "a", "labels": list(classes_of(table, LABELS)), "device": "cpu"}
    return [plan(kind, catalog, root.jobs, chunk_size, asked, versions or {"code": "1"}) for kind in (VLM, CLIP)]


def walk(table: Path, root: DataRoot, vlm: Model, clip: Model, **how: Any) -> tuple[list[Manifest], Tables]:
    """Do what is missing, and collect."""
    jobs = planned(table, root, **how)
    for job, model in zip(jobs, (vlm, clip), strict=True):
        for chunk in job.pending(SHAPES[job.kind]):
            rows = read_group(job.rows_path, MEMES_TO_CLASSIFY, chunk.number).to_pylist()
            answers = model.answer(rows, Path(job.source.path))
            write_chunk(answers, chunk, job, SHAPES[job.kind])
    return jobs, collect(jobs[0], jobs[1], table, root.tables, "memes-classified")
