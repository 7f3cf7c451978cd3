"""Transcripts into the two jobs of the walk: windows to extract jokes from, and jokes to refine.

::

    jobs/extract-jokes-3f2a9c01d2e4/rows.parquet       windows, one row group per chunk
                                    segments.parquet   what was said and when, as it was cut
                                    rejected.parquet   routines that cannot be used, with reasons
                                    notes.json         what was mended in the others
                                    manifest.json      from here on the job exists
                                    jokes.parquet      made when all chunks are done: what the next job works on
    jobs/refine-jokes-77b0e4c1a9f3/rows.parquet        those jokes, one row group per chunk
                                   manifest.json

The first one is named by what is said in the transcripts, never by where they lie.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.chat.protocol import Account
from tasks.chunks.manifest import Manifest, Source, check_chunk_size, job_folder, plan_rows, read_manifest
from tasks.jokes.sources import BadSource, BadTranscript, read_transcripts
from tasks.jokes.transcript import Segment, Transcript
from tasks.jokes.windows import check_sizes, cut
from tasks.storage.errors import PermanentError
from tasks.storage.files import fingerprint, write_bytes
from tasks.storage.schemas import JOKES_EXTRACTED, JOKES_REJECTED, SEGMENTS, WINDOWS
from tasks.storage.tables import read_table, table_writer, write_table

EXTRACT, REFINE = "extract-jokes", "refine-jokes"


def plan_extracting(
    source: Path, jobs: Path, chunk_size: int, parameters: Mapping[str, Any], versions: Mapping[str, str]
) -> Manifest:
    """Find or make the job for transcripts and its parameters.

    Args:
        source: A file or a folder of transcripts.
        jobs: The folder of jobs.
        chunk_size: Windows per chunk.
        parameters: What decides the result, ``language``, ``max_chars`` and ``overlap_chars`` among it.
        versions: Code, prompts and service that decide the result.

    Returns:
        The job, whose source is the path as it was named now. Its rows are windows, and routines that were refused.

    Raises:
        BadSource: No routine can be used; no job is made.
        PermanentError: The chunk size or a window's sizes are none.
        DiskFull: No room; no job is made.
    """
    check_chunk_size(chunk_size, "window", 20)
    try:
        check_sizes(parameters["max_chars"], parameters["overlap_chars"])
    except ValueError as error:
        raise PermanentError(str(error)) from None
    read = list(read_transcripts(source, parameters["language"]))
    transcripts = [item for item in read if isinstance(item, Transcript)]
    bad = [item for item in read if isinstance(item, BadTranscript)]
    if not transcripts:
        raise BadSource(f"{source}: none of the {len(bad):,} routines can be used. The first one: {bad[0].message}")
    digest, size = hashlib.sha256(), 0
    for item in read:
        identity = json.dumps(_identity(item), ensure_ascii=False).encode()
        digest.update(identity + b"\n")
        size += len(identity) if isinstance(item, Transcript) else 0
    origin = Source(str(source.absolute()), digest.hexdigest(), size)
    folder = job_folder(jobs, EXTRACT, origin.sha256, parameters, versions, chunk_size)
    if known := read_manifest(folder):
        return replace(known, source=origin)
    rows, refused = _rows(read, parameters["max_chars"], parameters["overlap_chars"])
    count = len(rows) + len(refused)
    manifest = Manifest(folder, EXTRACT, origin, dict(parameters), dict(versions), chunk_size, count, len(refused))
    _lay_out(manifest, rows)
    _write_segments(manifest, transcripts)
    table = pa.Table.from_pylist(refused, JOKES_REJECTED.columns)
    write_table(table, manifest.rejected_path, JOKES_REJECTED, {"job": manifest.job})
    notes = [note for item in transcripts for note in item.notes]
    write_bytes(folder / "notes.json", json.dumps(notes, indent=2, ensure_ascii=False).encode())
    manifest.write()
    return manifest


def plan_refining(
    jokes: Path, jobs: Path, chunk_size: int, parameters: Mapping[str, Any], versions: Mapping[str, str]
) -> Manifest:
    """Find or make the job for extracted jokes and its parameters.

    Args:
        jokes: The table that collecting the extraction left.
        jobs: The folder of jobs.
        chunk_size: Jokes per chunk.
        parameters: What decides the result: ``steps`` with their models, ``variety``, ``funnel``.
        versions: Code, prompts and services that decide the result.

    Raises:
        PermanentError: The chunk size is none.
        TornFile: The table is damaged.
        DiskFull: No room; no job is made.
    """
    check_chunk_size(chunk_size, "joke", 50)
    found = fingerprint(jokes)
    origin = Source(str(jokes), str(found["sha256"]), int(found["bytes"]))
    rows = read_table(jokes, JOKES_EXTRACTED)
    return plan_rows(REFINE, origin, parameters, versions, chunk_size, rows, JOKES_EXTRACTED, jobs)


def account_of(job: Manifest, windows: Manifest, budget: float | None) -> Account:
    """Who pays for a job of a walk: one budget holds for its windows and for all that was ever asked about their jokes.

    Args:
        job: The one that asks: of windows, or of their jokes.
        windows: The walk's job of windows.
        budget: What the walk may cost in all; None for no end.
    """
    refining = (read_manifest(folder) for folder in windows.folder.parent.glob(f"{REFINE}-*"))
    jobs = {each.job for each in refining if each and Path(each.source.path).parent.name == windows.job}
    return Account(job.job, tuple(sorted({*jobs, job.job, windows.job})), budget)


def transcripts_of(manifest: Manifest) -> dict[str, Transcript]:
    """The transcripts that a job's windows were cut from, by routine."""
    segments: dict[str, list[Segment]] = {}
    languages: dict[str, str] = {}
    for row in read_table(manifest.folder / "segments.parquet", SEGMENTS).to_pylist():
        languages[row["routine"]] = row["language"]
        segments.setdefault(row["routine"], []).append(Segment(row["start"], row["end"], row["text"]))
    origin = manifest.source.path
    return {name: Transcript(name, languages[name], tuple(some), origin) for name, some in segments.items()}


def notes_of(manifest: Manifest) -> list[str]:
    """What was mended in the transcripts when they were read, a sentence each."""
    notes: list[str] = json.loads((manifest.folder / "notes.json").read_bytes())
    return notes


def _identity(item: Transcript | BadTranscript) -> list[Any]:
    if isinstance(item, Transcript):
        return [item.routine, item.language, item.segments]
    return [item.routine, item.code]


def _rows(
    read: Iterable[Transcript | BadTranscript], max_chars: int, overlap_chars: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Windows, and refused routines, numbered together in the order in which they were read."""
    rows: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for item in read:
        number = len(rows) + len(refused)
        if isinstance(item, BadTranscript):
            why = {"cost_usd": 0.0, "error": item.code, "message": item.message}
            refused.append({"row": number, "routine": item.routine, **why})
            continue
        for place, window in enumerate(cut(item, max_chars, overlap_chars)):
            row = {"row": number + place, "routine": item.routine, "window": window.number, "text": window.text}
            span = {"first_word": window.first, "stop_word": window.stop, "start": window.start, "end": window.end}
            rows.append({**row, **span})
    return rows, refused


def _lay_out(manifest: Manifest, rows: Iterable[Mapping[str, Any]]) -> None:
    by_chunk: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_chunk.setdefault(row["row"] // manifest.chunk_size, []).append(row)
    with table_writer(manifest.rows_path, WINDOWS, {"job": manifest.job}) as writer:
        for chunk in manifest.chunks():
            writer.write_table(pa.Table.from_pylist(by_chunk.get(chunk.number, []), WINDOWS.columns))


def _write_segments(manifest: Manifest, transcripts: Iterable[Transcript]) -> None:
    rows = (
        {"routine": item.routine, "language": item.language, **segment._asdict()}
        for item in transcripts
        for segment in item.segments
    )
    with table_writer(manifest.folder / "segments.parquet", SEGMENTS, {"job": manifest.job}) as writer:
        while some := list(islice(rows, 10_000)):
            writer.write_table(pa.Table.from_pylist(some, SEGMENTS.columns))
