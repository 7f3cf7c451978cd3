"""Chunks into the tables that a user gets.

::

    tables/memes.parquet              images that were read: label, size, hashes, text, lines
    tables/memes.rejected.parquet     every other image, with its reason
    tables/memes.provenance.json      job, counts, sizes and SHA-256 of the two; written last
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tasks.chunks.file import parted
from tasks.chunks.manifest import Manifest
from tasks.memes.catalog import BadSource
from tasks.storage.files import fingerprint, write_bytes
from tasks.storage.schemas import MEME_READINGS, MEMES, MEMES_REJECTED
from tasks.storage.tables import read_table, table_writer


@dataclass(frozen=True, slots=True)
class Tables:
    """What collecting left: paths and counts."""

    table: Path
    rejected: Path
    provenance: Path
    rows: int
    delivered: int
    reasons: Counter[str]


def collect(manifest: Manifest, folder: Path, name: str) -> Tables:
    """Write a job's tables from its chunks: equal chunks give equal bytes.

    Args:
        manifest: A job whose chunks are all done.
        folder: The tables' folder.
        name: Stem of the files, such as ``memes``.

    Raises:
        BadSource: No image could be read; nothing is written.
        CountsDiffer: A row is missing or stands twice; nothing is written.
        TornFile: A chunk is damaged; the message names it.
        DiskFull: No room; the old tables are untouched.
    """
    table, rejected = folder / f"{name}.parquet", folder / f"{name}.rejected.parquet"
    made = {"job": manifest.job, "source_sha256": manifest.source.sha256}
    unusable = read_table(manifest.rejected_path, MEMES_REJECTED)
    reasons = Counter(unusable["error"].to_pylist())
    delivered, first = 0, ""
    with table_writer(table, MEMES, made) as good, table_writer(rejected, MEMES_REJECTED, made) as bad:
        for chunk in manifest.chunks():
            some = read_table(manifest.path(chunk), MEME_READINGS)
            fine, failed = parted(some, unusable, chunk, manifest, "images")
            good.write_table(fine.select(MEMES.columns.names).cast(MEMES.columns))
            bad.write_table(failed.cast(MEMES_REJECTED.columns))
            delivered += len(fine)
            reasons.update(some["error"].drop_null().to_pylist())
            first = first or next(iter(failed["message"].to_pylist()), "")
        if not delivered:
            told = ", ".join(f"{code} {n:,}" for code, n in reasons.most_common())
            raise BadSource(f"None of the {manifest.rows:,} images can be read ({told}). The first one: {first}")
    provenance = {
        **manifest.identity(),
        "counts": {"rows": manifest.rows, "delivered": delivered, "rejected": dict(sorted(reasons.items()))},
        "files": {path.name: fingerprint(path) for path in (table, rejected)},
    }
    path = folder / f"{name}.provenance.json"
    write_bytes(path, json.dumps(provenance, indent=2, ensure_ascii=False).encode())
    return Tables(table, rejected, path, manifest.rows, delivered, reasons)
