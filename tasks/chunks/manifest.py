"""A job cut into chunks: what should exist, and what does.

The manifest says what should exist, the folder says what does. A chunk is done when its file is there, and a file is
there only when it is whole. ::

    jobs/translate-llava-3f2a9c01d2e4/
      manifest.json          written once, last of the plan
      rows.parquet           the source's good rows, one row group per chunk
      rejected.parquet       the source's bad rows
      chunks/chunk-00017.parquet
      chunks/chunk-00018.parquet.aside     set aside by `force`; gone when the new one is there
      lock
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.storage.errors import ForeignTable, PermanentError, TornFile
from tasks.storage.files import move, write_bytes
from tasks.storage.schemas import TableSchema
from tasks.storage.tables import open_table, origin, table_writer


class CountsDiffer(PermanentError):
    """Rows in are not rows out plus rows rejected."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows ``[start, stop)`` of the source, by position. The last chunk may be short."""

    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """``chunk-00017``."""
        return f"chunk-{self.number:05d}"


@dataclass(frozen=True, slots=True)
class Source:
    """An upstream file as received."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The written description of a job.

    Args:
        folder: The job's folder; its name ends in the digest of all that decides the result.
        kind: What is done, such as ``translate-llava``.
        source: The file that is worked on.
        parameters: What was asked for.
        versions: Versions of the code and the services that decide the result.
        chunk_size: Rows per chunk.
        rows: Rows in the source, refused ones included.
        rejected: Rows refused when the source was read.
    """

    folder: Path
    kind: str
    source: Source
    parameters: Mapping[str, Any]
    versions: Mapping[str, str]
    chunk_size: int
    rows: int
    rejected: int

    @property
    def job(self) -> str:
        """The job's name: kind and digest."""
        return self.folder.name

    @property
    def rows_path(self) -> Path:
        """The source's good rows, one row group per chunk."""
        return self.folder / "rows.parquet"

    @property
    def rejected_path(self) -> Path:
        """The source's bad rows, with reasons."""
        return self.folder / "rejected.parquet"

    def chunks(self) -> list[Chunk]:
        """All chunks, in order."""
        starts = range(0, self.rows, self.chunk_size)
        return [Chunk(n, start, min(start + self.chunk_size, self.rows)) for n, start in enumerate(starts)]

    def path(self, chunk: Chunk) -> Path:
        """The chunk's file."""
        return self.folder / "chunks" / f"{chunk.name}.parquet"

    def aside(self, chunk: Chunk) -> Path:
        """Where ``force`` puts the chunk's old file until the new one is there."""
        return self.folder / "chunks" / f"{chunk.name}.parquet.aside"

    def forcing(self, chunk: Chunk) -> str:
        """What tells the ``force`` that set this chunk aside from every other; empty where none did."""
        aside = self.aside(chunk)
        return f"{self.job} {chunk.name} {aside.stat().st_mtime_ns}" if aside.exists() else ""

    def chosen(self, numbers: Iterable[int] | None) -> list[Chunk]:
        """The named chunks, or all where none is named.

        Raises:
            PermanentError: A number that this job does not have.
        """
        chunks, named = self.chunks(), sorted(set(numbers or ()))
        if not named:
            return chunks
        wrong = [n for n in named if not 0 <= n < len(chunks)]
        if wrong:
            raise PermanentError(
                f"There is no chunk {wrong[0]}: {self.job} has the chunks 0 to {len(chunks) - 1}. Correct `chunks`."
            )
        return [chunks[n] for n in named]

    def done(self, chunk: Chunk, schema: TableSchema) -> bool:
        """Whether the chunk's file is there, whole, of this job, and laid out as today.

        Any other file counts as missing and is written anew.
        """
        try:
            with open_table(self.path(chunk), schema) as file:
                made = origin(file)
            return (made.get("job"), made.get("schema")) == (self.job, schema.name)
        except (FileNotFoundError, TornFile, ForeignTable):
            return False

    def pending(self, schema: TableSchema, numbers: Iterable[int] | None = None) -> list[Chunk]:
        """The chunks, of those named or of all, whose files are missing."""
        return [chunk for chunk in self.chosen(numbers) if not self.done(chunk, schema)]

    def set_aside(self, numbers: Iterable[int] | None) -> None:
        """Make the named chunks, or all, missing without losing their files."""
        for chunk in self.chosen(numbers):
            if self.path(chunk).exists():
                move(self.path(chunk), self.aside(chunk))

    def check_rows(self, chunk: Chunk, found: Iterable[int], what: str) -> None:
        """Hold the rows that a finished chunk accounts for against those that it should.

        Args:
            chunk: Which one.
            found: Positions of its rows, delivered and rejected.
            what: What the rows are, in the plural.

        Raises:
            CountsDiffer: One is missing, stands twice, or belongs elsewhere.
        """
        rows = sorted(found)
        if rows != list(range(chunk.start, chunk.stop)):
            raise CountsDiffer(
                f"{self.job}: {chunk.name} should hold the {what} {chunk.start} to {chunk.stop - 1}, each once, and holds "
                f"{len(rows)}. Nothing was written. Move {self.folder} away and run again."
            )

    def identity(self) -> dict[str, Any]:
        """Which job, of what source, asked for what and done by which versions: for provenance and reports."""
        return {
            "job": self.job,
            "kind": self.kind,
            "source": asdict(self.source),
            "parameters": dict(self.parameters),
            "versions": dict(self.versions),
            "chunk_size": self.chunk_size,
        }

    def write(self) -> None:
        """Put the manifest in place; from now on the job exists."""
        content = asdict(self)
        del content["folder"]
        write_bytes(self.folder / "manifest.json", json.dumps(content, indent=2, ensure_ascii=False).encode())


def check_chunk_size(chunk_size: int, what: str, usual: int) -> None:
    """Refuse a size that cuts nothing.

    Args:
        chunk_size: Rows per chunk.
        what: What a row is, in the singular.
        usual: A size that works.

    Raises:
        PermanentError: It is below 1.
    """
    if chunk_size < 1:
        raise PermanentError(f"`chunk_size` is {chunk_size}; it must be at least 1 {what} ({usual} is usual).")


def job_folder(
    jobs: Path,
    kind: str,
    source_sha256: str,
    parameters: Mapping[str, Any],
    versions: Mapping[str, str],
    chunk_size: int,
) -> Path:
    """The folder of a job, named by all that decides its result.

    Returns:
        ``jobs/<kind>-<12 hex digits>``; the source's path is not part of it, its content is.
    """
    identity = [kind, source_sha256, dict(parameters), dict(versions), chunk_size]
    text = json.dumps(identity, sort_keys=True, ensure_ascii=False)
    return jobs / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def plan_rows(
    kind: str,
    source: Source,
    parameters: Mapping[str, Any],
    versions: Mapping[str, str],
    chunk_size: int,
    rows: pa.Table,
    shape: TableSchema,
    jobs: Path,
) -> Manifest:
    """Find or make a job of rows that are good already: one row group per chunk, the manifest last.

    Returns:
        The job, whose source is the one that was named now.

    Raises:
        DiskFull: No room; no job is made.
    """
    folder = job_folder(jobs, kind, source.sha256, parameters, versions, chunk_size)
    if known := read_manifest(folder):
        return replace(known, source=source)
    manifest = Manifest(folder, kind, source, dict(parameters), dict(versions), chunk_size, rows.num_rows, 0)
    with table_writer(manifest.rows_path, shape, {"job": manifest.job}) as writer:
        for chunk in manifest.chunks():
            writer.write_table(rows.slice(chunk.start, chunk.stop - chunk.start))
    manifest.write()
    return manifest


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a job's folder, or None where the job was not planned to its end.

    Raises:
        TornFile: The file is there and is not a manifest.
    """
    path = folder / "manifest.json"
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
        return Manifest(folder=folder, **{**content, "source": Source(**content["source"])})
    except (ValueError, TypeError, KeyError) as error:
        raise TornFile(f"{path} is not a manifest ({error}). Move the folder away and run again.") from error
