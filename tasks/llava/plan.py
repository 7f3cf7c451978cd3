"""A source into a job: rows read once, laid out for cheap slicing, the manifest written last.

::

    jobs/translate-llava-3f2a9c01d2e4/rows.parquet       good rows, one row group per chunk
                                      rejected.parquet   bad rows: position, reason, the row as received
                                      manifest.json      from here on the job exists
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.chunks.manifest import Manifest, Source, check_chunk_size, job_folder, read_manifest
from tasks.llava.conversation import Conversation
from tasks.llava.source import BadRow, BadSource, read_rows
from tasks.llava.translate import rows_table
from tasks.storage.files import sha256
from tasks.storage.schemas import CONVERSATIONS, LLAVA_REJECTED
from tasks.storage.tables import table_writer, write_table

KIND = "translate-llava"


def plan(
    source: Path, jobs: Path, chunk_size: int, parameters: Mapping[str, Any], versions: Mapping[str, str]
) -> Manifest:
    """Find or make the job for a source and its parameters.

    Args:
        source: The file as downloaded.
        jobs: The folder of jobs.
        chunk_size: Rows per chunk.
        parameters: What decides the result; another value is another job.
        versions: Code and services that decide the result.

    Raises:
        BadSource: The file cannot be read; no job is made.
        PermanentError: The chunk size is none.
        DiskFull: No room; no job is made.
    """
    check_chunk_size(chunk_size, "row", 500)
    if not source.is_file():
        next(read_rows(source))  # raises BadSource with the reason
    origin = Source(str(source.absolute()), sha256(source), source.stat().st_size)
    folder = job_folder(jobs, KIND, origin.sha256, parameters, versions, chunk_size)
    known = read_manifest(folder)
    if known:
        return known
    rows, rejected = _lay_out(source, folder, chunk_size)
    manifest = Manifest(folder, KIND, origin, dict(parameters), dict(versions), chunk_size, rows, rejected)
    manifest.write()
    return manifest


def _lay_out(source: Path, folder: Path, chunk_size: int) -> tuple[int, int]:
    bad: list[BadRow] = []
    group: list[Conversation] = []
    rows = 0
    with table_writer(folder / "rows.parquet", CONVERSATIONS, {"job": folder.name}) as writer:
        for item in read_rows(source):
            if rows and rows % chunk_size == 0:
                writer.write_table(rows_table(group, CONVERSATIONS.columns))
                group = []
            rows += 1
            if isinstance(item, BadRow):
                bad.append(item)
            else:
                group.append(item)
        writer.write_table(rows_table(group, CONVERSATIONS.columns))
    if len(bad) == rows:
        raise BadSource(f"{source}: none of the {rows:,} rows can be used. The first one: {bad[0].message}")
    nothing = {name: [None] * len(bad) for name in LLAVA_REJECTED.columns.names}
    columns = {
        "row": [item.row for item in bad],
        "error": [item.code for item in bad],
        "message": [item.message for item in bad],
        "raw": [item.raw for item in bad],
    }
    table = pa.table({**nothing, **columns}, schema=LLAVA_REJECTED.columns)
    write_table(table, folder / "rejected.parquet", LLAVA_REJECTED, {"job": folder.name})
    return rows, len(bad)
