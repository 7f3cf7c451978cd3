"""A table of memes into two jobs, one per model, with the same rows.

::

    jobs/classify-vlm-3f2a9c01d2e4/rows.parquet     images to show, one row group per chunk
                                   rejected.parquet images that are not there as they were, with reasons
                                   manifest.json    from here on the job exists
    jobs/classify-clip-77b0e4c1a9f3/…               the same

A job is named by what its model gets to see. Labels are no part of it: one that is corrected asks no model again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.chunks.manifest import Manifest, Source, check_chunk_size, job_folder, read_manifest
from tasks.storage.schemas import MEMES_TO_CLASSIFY, MEMES_UNCLASSIFIED
from tasks.storage.tables import table_writer, write_table
from tasks.zeroshot.catalog import Catalog

VLM, CLIP = "classify-vlm", "classify-clip"


def plan(
    kind: str,
    catalog: Catalog,
    jobs: Path,
    chunk_size: int,
    parameters: Mapping[str, Any],
    versions: Mapping[str, str],
) -> Manifest:
    """Find or make one of the two jobs.

    Args:
        kind: ``VLM`` or ``CLIP``.
        catalog: The table's images.
        jobs: The folder of jobs.
        chunk_size: Images per chunk.
        parameters: What decides the result; another value is another job.
        versions: Code and model that decide the result.

    Raises:
        PermanentError: The chunk size is none.
        TableChanged: The table is not as it was when its images were looked at; no job is made.
        DiskFull: No room; no job is made.
    """
    check_chunk_size(chunk_size, "image", 50)
    origin = Source(str(catalog.images), catalog.digest, 0)
    folder = job_folder(jobs, kind, origin.sha256, parameters, versions, chunk_size)
    known = read_manifest(folder)
    if known:
        return replace(known, source=origin)
    refused = catalog.refused
    manifest = Manifest(folder, kind, origin, dict(parameters), dict(versions), chunk_size, catalog.rows, len(refused))
    with table_writer(manifest.rows_path, MEMES_TO_CLASSIFY, {"job": manifest.job}) as writer:
        for some in catalog.usable(chunk_size):
            writer.write_table(some)
    write_table(refused, manifest.rejected_path, MEMES_UNCLASSIFIED, {"job": manifest.job})
    manifest.write()
    return manifest
