"""Chunks into the tables that a user gets.

::

    tables/llava-es.parquet              delivered rows
    tables/llava-es.rejected.parquet     every other row, with its reason
    tables/llava-es.json                 delivered rows in LLaVA's own layout
    tables/llava-es.provenance.json      job, counts, sizes and SHA-256 of the three; written last
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.chunks.manifest import Chunk, Manifest
from tasks.storage.errors import PermanentError
from tasks.storage.files import sha256, whole_file, write_bytes
from tasks.storage.schemas import LLAVA, LLAVA_REJECTED, TRANSLATIONS
from tasks.storage.tables import read_table, table_writer

RATIO_BINS = [round(0.4 + 0.05 * n, 2) for n in range(37)]  # 0.40 … 2.20


class CountsDiffer(PermanentError):
    """Rows in are not rows out plus rows rejected."""


@dataclass(slots=True)
class Counts:
    """What a job's tables hold.

    Args:
        rows: Rows in the source.
        delivered: Rows in the table.
        rejected: Rows refused, by reason code.
        turns: Turns delivered.
        translators: Turns by translator.
        checks: Turns by soft code.
        flagged_rows: Delivered rows with at least one soft code.
        ratios: Turns by length ratio (target + 5) / (source + 5), in ``RATIO_BINS``; the ends take what lies beyond.
        source_chars: Characters of the delivered rows' source turns.
        target_chars: Characters of their translations.
    """

    rows: int = 0
    delivered: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    turns: int = 0
    translators: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    flagged_rows: int = 0
    ratios: list[int] = field(default_factory=lambda: [0] * (len(RATIO_BINS) - 1))
    source_chars: int = 0
    target_chars: int = 0


@dataclass(frozen=True, slots=True)
class Tables:
    """What collecting left: paths and counts."""

    table: Path
    rejected: Path
    json: Path
    provenance: Path
    counts: Counts


def collect(manifest: Manifest, folder: Path, name: str) -> Tables:
    """Write a job's tables from its chunks. What is there and belongs to these very chunks is left alone.

    Args:
        manifest: A job whose chunks are all done.
        folder: The tables' folder.
        name: Stem of the files, such as ``llava-es``.

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
            hashes = list(pool.map(sha256, paths[:3]))
        sizes = [path.stat().st_size for path in paths[:3]]
        named = zip(paths[:3], sizes, hashes, strict=True)
        files = {path.name: {"bytes": size, "sha256": digest} for path, size, digest in named}
        provenance = {
            "job": manifest.job,
            "source": asdict(manifest.source),
            "parameters": dict(manifest.parameters),
            "versions": dict(manifest.versions),
            "counts": {item.name: getattr(counts, item.name) for item in fields(counts)},  # asdict breaks a Counter
            "files": files,
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
        stored = provenance["counts"]
        return Counts(**{**stored, **{key: Counter(stored[key]) for key in _COUNTERS}}) if same else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


_COUNTERS = ("rejected", "translators", "checks")


def _write(manifest: Manifest, paths: list[Path]) -> Counts:
    counts = Counts(rows=manifest.rows)
    origin = {"job": manifest.job, "source_sha256": manifest.source.sha256}
    with ExitStack() as stack:
        good = stack.enter_context(table_writer(paths[0], LLAVA, origin))
        bad = stack.enter_context(table_writer(paths[1], LLAVA_REJECTED, origin))
        text = stack.enter_context(whole_file(paths[2]))
        unread = read_table(manifest.rejected_path, LLAVA_REJECTED)
        counts.rejected.update(unread["error"].to_pylist())
        separator = b"[\n"
        for chunk, rows in _read_ahead(manifest):
            delivered, refused = _parted(rows)
            good.write_table(delivered.select(LLAVA.columns.names).cast(LLAVA.columns))
            raw = pa.nulls(refused.num_rows, pa.string())
            failed = refused.append_column("raw", raw).select(LLAVA_REJECTED.columns.names).cast(LLAVA_REJECTED.columns)
            here = pc.and_(pc.greater_equal(unread["row"], chunk.start), pc.less(unread["row"], chunk.stop))
            rejected = pa.concat_tables([unread.filter(here).cast(failed.schema), failed])
            if rejected.num_rows:
                bad.write_table(rejected.sort_by("row"))
            if delivered.num_rows:
                text.write(separator)
                text.write(_joined(delivered["record"], ",\n"))
                separator = b",\n"
            _count(counts, delivered, refused)
        text.write(b"\n]\n" if separator == b",\n" else b"[]\n")
        total = counts.delivered + counts.rejected.total()
        if total != manifest.rows:
            raise CountsDiffer(
                f"{manifest.job}: {manifest.rows} rows went in, {counts.delivered} came out and "
                f"{counts.rejected.total()} were rejected. Nothing was written. Move {manifest.folder} away and run again."
            )
    return counts


def _read_ahead(manifest: Manifest) -> Iterator[tuple[Chunk, pa.Table]]:
    """The chunks' tables in order; the next one is read while one is written, on another core."""
    chunks = manifest.chunks()
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(read_table, manifest.path(chunks[0]), TRANSLATIONS)
        for number, chunk in enumerate(chunks):
            rows = following.result()
            if number + 1 < len(chunks):
                following = reader.submit(read_table, manifest.path(chunks[number + 1]), TRANSLATIONS)
            yield chunk, rows


def _parted(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Delivered rows and refused ones; mostly there are none of these, and nothing has to be copied."""
    if rows["error"].null_count == rows.num_rows:
        return rows, rows.slice(0, 0)
    return rows.filter(pc.is_null(rows["error"])), rows.filter(pc.is_valid(rows["error"]))


def _joined(texts: pa.ChunkedArray, separator: str) -> pa.Buffer:
    """The texts as one piece of UTF-8, without a Python object for each."""
    values = texts.combine_chunks()
    whole = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
    return pc.binary_join(whole, separator)[0].as_buffer()


def _count(counts: Counts, delivered: pa.Table, refused: pa.Table) -> None:
    counts.delivered += delivered.num_rows
    counts.rejected.update(refused["error"].to_pylist())
    counts.translators.update(_tally(pc.list_flatten(delivered["translator"])))
    counts.checks.update(_tally(pc.list_flatten(pc.list_flatten(delivered["turn_checks"]))))
    counts.flagged_rows += pc.sum(pc.greater(pc.list_value_length(delivered["checks"]), 0)).as_py() or 0
    source, target = (_lengths(delivered[column]) for column in ("conversations", "translated"))
    counts.turns += len(source)
    counts.source_chars += int(source.sum())
    counts.target_chars += int(target.sum())
    ratios = np.clip((target + 5) / (source + 5), RATIO_BINS[0], RATIO_BINS[-1])
    counts.ratios = (np.array(counts.ratios) + np.histogram(ratios, RATIO_BINS)[0]).tolist()


def _tally(values: pa.ChunkedArray) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in values.combine_chunks().value_counts().to_pylist()}


def _lengths(turns: pa.ChunkedArray) -> NDArray[np.int64]:
    values = pc.struct_field(pc.list_flatten(turns), "value")
    return np.asarray(pc.utf8_length(values).to_numpy(zero_copy_only=False))
