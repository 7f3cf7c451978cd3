"""A table of memes into two jobs, one per model, with the same rows.

::

    jobs/classify-vlm-3f2a9c01d2e4/rows.parquet     images to show, one row group per chunk
                                   rejected.parquet images that are not there as they were, with reasons
                                   manifest.json    from here on the job exists
    jobs/classify-clip-77b0e4c1a9f3/…               the same

A job is named by what its model gets to see. Labels are no part of it: one that is corrected asks no model again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.chunks.manifest import Manifest, Source, check_chunk_size, job_folder, read_manifest
from tasks.storage.schemas import MEMES_TO_CLASSIFY, MEMES_UNCLASSIFIED
from tasks.storage.tables import table_writer, write_table
from tasks.zeroshot.catalog import BadMeme, Meme

VLM, CLIP = "classify-vlm", "classify-clip"


def plan(
    kind: str,
    catalog: Sequence[Meme | BadMeme],
    images: Path,
    jobs: Path,
    chunk_size: int,
    parameters: Mapping[str, Any],
    versions: Mapping[str, str],
) -> Manifest:
    """Find or make one of the two jobs.

    Args:
        kind: ``VLM`` or ``CLIP``.
        catalog: Every row of the table.
        images: The folder that paths are below.
        jobs: The folder of jobs.
        chunk_size: Images per chunk.
        parameters: What decides the result; another value is another job.
        versions: Code and model that decide the result.

    Raises:
        PermanentError: The chunk size is none.
        DiskFull: No room; no job is made.
    """
    check_chunk_size(chunk_size, "image", 50)
    rows = [_row(item) for item in catalog if isinstance(item, Meme)]
    refused = [
        {"row": item.row, "path": item.path, "sha256": item.sha256, "error": item.error, "message": item.message}
        for item in catalog
        if isinstance(item, BadMeme)
    ]
    digest = hashlib.sha256()
    for item in (*rows, *refused):
        seen = [item["row"], item["path"], item["sha256"], item.get("text"), item.get("error")]
        digest.update(json.dumps(seen, ensure_ascii=False).encode() + b"\n")
    origin = Source(str(images), digest.hexdigest(), 0)
    folder = job_folder(jobs, kind, origin.sha256, parameters, versions, chunk_size)
    known = read_manifest(folder)
    if known:
        return replace(known, source=origin)
    manifest = Manifest(folder, kind, origin, dict(parameters), dict(versions), chunk_size, len(catalog), len(refused))
    groups = {number: list(some) for number, some in groupby(rows, lambda row: row["row"] // chunk_size)}
    with table_writer(manifest.rows_path, MEMES_TO_CLASSIFY, {"job": manifest.job}) as writer:
        for chunk in manifest.chunks():
            writer.write_table(pa.Table.from_pylist(groups.get(chunk.number, []), MEMES_TO_CLASSIFY.columns))
    table = pa.Table.from_pylist(refused, MEMES_UNCLASSIFIED.columns)
    write_table(table, manifest.rejected_path, MEMES_UNCLASSIFIED, {"job": manifest.job})
    manifest.write()
    return manifest


def _row(item: Meme) -> dict[str, Any]:
    return {"row": item.row, "path": item.path, "sha256": item.sha256, "text": item.text}
