"""A catalog into a job: every file hashed once, the manifest written last.

::

    jobs/read-memes-3f2a9c01d2e4/rows.parquet       images to read, one row group per chunk
                                 rejected.parquet   files that are none, with reasons
                                 manifest.json      from here on the job exists

The job's name is made from what the images are, never from where they lie: a folder that was moved is the same job, and
one file changed, added or taken away is another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.chunks.manifest import Manifest, Source, check_chunk_size, job_folder, read_manifest
from tasks.memes.catalog import BadMeme, BadSource, Meme, folder_of, read_catalog
from tasks.storage.schemas import MEME_FILES, MEMES_REJECTED
from tasks.storage.tables import table_writer, write_table

KIND = "read-memes"
_AT_ONCE = 500  # rows as Python's objects


def plan(
    source: Path,
    images: Path | None,
    jobs: Path,
    chunk_size: int,
    parameters: Mapping[str, Any],
    versions: Mapping[str, str],
) -> Manifest:
    """Find or make the job for a source and its parameters.

    Args:
        source: A folder of images, or a table that names them.
        images: The folder that a table's paths are below; the table's own when None.
        jobs: The folder of jobs.
        chunk_size: Images per chunk.
        parameters: What decides the result, ``labels`` among it; another value is another job.
        versions: Code and reader that decide the result.

    Returns:
        The job, whose source is the folder as it was named now.

    Raises:
        BadSource: There are no images; no job is made.
        PermanentError: The chunk size is none.
        DiskFull: No room; no job is made.
    """
    check_chunk_size(chunk_size, "image", 50)
    catalog, digest, pieces = read_catalog(source, parameters["labels"], images), hashlib.sha256(), []
    while some := list(islice(catalog, _AT_ONCE)):
        for item in some:
            digest.update(json.dumps(_identity(item), ensure_ascii=False).encode() + b"\n")
        pieces.append(pa.Table.from_pylist([asdict(item) for item in some], MEMES_REJECTED.columns))
    found = pa.concat_tables(pieces)
    bad = found.filter(pc.is_valid(found["error"])).combine_chunks()
    if len(bad) == len(found):
        first = bad["message"][0]
        raise BadSource(f"{source}: none of the {len(bad):,} files can be used. The first one: {first}")
    size = pc.sum(found["bytes"]).as_py()
    origin = Source(str(folder_of(source, images)), digest.hexdigest(), size)
    folder = job_folder(jobs, KIND, origin.sha256, parameters, versions, chunk_size)
    known = read_manifest(folder)
    if known:
        return replace(known, source=origin)
    manifest = Manifest(folder, KIND, origin, dict(parameters), dict(versions), chunk_size, len(found), len(bad))
    with table_writer(manifest.rows_path, MEME_FILES, {"job": manifest.job}) as writer:
        for chunk in manifest.chunks():
            rows = found.slice(chunk.start, chunk.stop - chunk.start)
            good = rows.filter(pc.is_null(rows["error"])).select(MEME_FILES.columns.names)
            writer.write_table(good.combine_chunks())
    write_table(bad, manifest.rejected_path, MEMES_REJECTED, {"job": manifest.job})
    manifest.write()
    return manifest


def _identity(item: Meme | BadMeme) -> list[str | None]:
    if isinstance(item, Meme):
        return [item.path, item.sha256, item.label]
    return [item.path, item.error, None]
