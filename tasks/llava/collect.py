"""Chunks into the tables that a user gets.

::

    tables/llava-es.parquet              delivered rows
    tables/llava-es.rejected.parquet     every other row, with its reason
    tables/llava-es.json                 delivered rows in LLaVA's own layout
    tables/llava-es.provenance.json      job, counts, cost, sizes and SHA-256 of the three; written last
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.chunks.manifest import Chunk, CountsDiffer, Manifest
from tasks.llava.chunk import read_counts
from tasks.llava.counts import Counts
from tasks.storage.files import fingerprint, whole_file, write_bytes
from tasks.storage.pour import table_pourer
from tasks.storage.schemas import LLAVA, LLAVA_REJECTED, TRANSLATIONS
from tasks.storage.tables import read_group, read_table, table_writer

_NAMED = 5  # rows that a message names


@dataclass(frozen=True, slots=True)
class Tables:
    """What collecting left: paths and counts."""

    table: Path
    rejected: Path
    json: Path
    provenance: Path
    counts: Counts


def collect(manifest: Manifest, folder: Path, name: str, cost_usd: float = 0.0) -> Tables:
    """Write a job's tables from its chunks. What is there and belongs to these very chunks is left alone.

    Args:
        manifest: A job whose chunks are all done.
        folder: The tables' folder.
        name: Stem of the files, such as ``llava-es``.
        cost_usd: What the job's requests have cost over all its runs.

    Raises:
        CountsDiffer: A row is missing or stands twice; nothing is written.
        TornFile: A chunk is damaged; the message names it.
        DiskFull: No room; the old tables are untouched.
    """
    paths = [folder / f"{name}{ending}" for ending in (".parquet", ".rejected.parquet", ".json", ".provenance.json")]
    stamp = _stamp(manifest)
    counts = _already(paths, stamp)
    if counts is None:
        counts = _write(manifest, paths)
        with ThreadPoolExecutor(2) as pool:
            told = list(pool.map(fingerprint, paths[:3]))
        provenance = {
            **manifest.identity(),
            "counts": counts.plain(),
            "cost_usd": cost_usd,
            "files": {path.name: each for path, each in zip(paths[:3], told, strict=True)},
            "chunks": stamp,
        }
        write_bytes(paths[3], json.dumps(provenance, indent=2, ensure_ascii=False).encode())
    return Tables(paths[0], paths[1], paths[2], paths[3], counts)


def _stamp(manifest: Manifest) -> str:
    """A digest over which chunk files there are; any chunk that was made again changes it."""
    stats = [(chunk.name, manifest.path(chunk).stat()) for chunk in manifest.chunks()]
    text = json.dumps([manifest.job, [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]])
    return hashlib.sha256(text.encode()).hexdigest()


def _already(paths: list[Path], stamp: str) -> Counts | None:
    try:
        provenance = json.loads(paths[3].read_bytes())
        same = provenance["chunks"] == stamp and all(
            path.stat().st_size == provenance["files"][path.name]["bytes"] for path in paths[:3]
        )
        return Counts.from_plain(provenance["counts"]) if same else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _write(manifest: Manifest, paths: Sequence[Path]) -> Counts:
    counts = Counts(rows=manifest.rows)
    origin = {"job": manifest.job, "source_sha256": manifest.source.sha256}
    with ExitStack() as stack:
        good = stack.enter_context(table_pourer(paths[0], LLAVA, origin))
        bad = stack.enter_context(table_writer(paths[1], LLAVA_REJECTED, origin))
        text = stack.enter_context(whole_file(paths[2]))
        here = [(chunk, manifest.path(chunk), read_counts(manifest.path(chunk))) for chunk in manifest.chunks()]
        with ThreadPoolExecutor(1) as beside:
            writing = beside.submit(_write_json, [path for _, path, some in here if some.delivered], text)
            unread = read_table(manifest.rejected_path, LLAVA_REJECTED).cast(LLAVA_REJECTED.columns)  # in order of rows
            counts.rejected.update(unread["error"].to_pylist())
            rows: list[NDArray[np.int64]] = []
            for chunk, path, some in here:
                if some.delivered:
                    good.pour(path, TRANSLATIONS, 0)
                refused = _refused(chunk, path, some, unread)
                if refused.num_rows:
                    bad.write_table(refused)
                    rows.append(refused["row"].to_numpy())
                counts.add(some)
            _check_rows(manifest, counts, np.concatenate([*rows, *writing.result()]))
    return counts


def _refused(chunk: Chunk, path: Path, counts: Counts, unread: pa.Table) -> pa.Table:
    """A chunk's rejected rows: those that could not be read, and those without a good translation."""
    start, stop = np.searchsorted(unread["row"], (chunk.start, chunk.stop))
    inside = unread.slice(start, stop - start)
    if not counts.rejected:
        return inside
    failed = read_group(path, TRANSLATIONS, 1 if counts.delivered else 0)
    failed = failed.append_column("raw", pa.nulls(failed.num_rows, pa.string()))
    failed = failed.select(LLAVA_REJECTED.columns.names).cast(LLAVA_REJECTED.columns)
    return pa.concat_tables([inside, failed]).sort_by("row")


def _write_json(paths: Sequence[Path], file: BinaryIO) -> list[NDArray[np.int64]]:
    """Write the chunks' finished records as one JSON array; the rows that are in it."""
    rows = []
    separator = b"[\n"
    for path in paths:
        delivered = read_group(path, TRANSLATIONS, 0, ["row", "record"])
        file.write(separator)
        file.write(_joined(delivered["record"], ",\n"))
        separator = b",\n"
        rows.append(delivered["row"].to_numpy())
    file.write(b"\n]\n" if rows else b"[]\n")
    return rows


def _joined(texts: pa.ChunkedArray, separator: str) -> pa.Buffer:
    """The texts as one piece of UTF-8, without a Python object for each."""
    values = texts.combine_chunks()
    whole = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
    return pc.binary_join(whole, separator)[0].as_buffer()


def _check_rows(manifest: Manifest, counts: Counts, rows: NDArray[np.int64]) -> None:
    """Every row of the source is in one of the tables, once."""
    found, times = np.unique(rows, return_counts=True)
    wrong = np.union1d(np.setxor1d(found, np.arange(manifest.rows)), found[times > 1])
    if wrong.size:
        raise CountsDiffer(
            f"{manifest.job}: {manifest.rows} rows went in, {counts.delivered} came out and "
            f"{counts.rejected.total()} were rejected; missing or there twice: row "
            f"{', '.join(map(str, wrong[:_NAMED]))}{', …' if wrong.size > _NAMED else ''}. "
            f"Nothing was written. Move {manifest.folder} away and run again."
        )
