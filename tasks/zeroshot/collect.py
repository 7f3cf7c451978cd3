"""The chunks of both jobs into the tables that a user gets.

::

    tables/memes-classified.parquet             images that both models answered to: answers, probabilities, heat maps
    tables/memes-classified.rejected.parquet    every other image, with its reason
    tables/memes-classified.provenance.json     jobs, counts, sizes and SHA-256 of the two; written last
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks.chunks.file import parted
from tasks.chunks.manifest import Chunk, CountsDiffer, Manifest
from tasks.storage.files import fingerprint, sha256, write_bytes
from tasks.storage.schemas import MEMES, MEMES_CLASSIFIED, MEMES_UNCLASSIFIED
from tasks.storage.tables import read_batches, read_table, table_writer
from tasks.zeroshot.catalog import TableChanged
from tasks.zeroshot.chunk import SHAPES

_IMAGE = ["path", "sha256"]  # what makes a row the same as before
_ROW = ["row", *_IMAGE]


@dataclass(frozen=True, slots=True)
class Tables:
    """What collecting left: paths and counts."""

    table: Path
    rejected: Path
    provenance: Path
    rows: int
    classified: int
    reasons: Counter[str]


def collect(vlm: Manifest, clip: Manifest, memes: Path, folder: Path, name: str) -> Tables:
    """Write the tables from both jobs' chunks and the labels as they are now: equal input gives equal bytes.

    Args:
        vlm: A job whose chunks are all done.
        clip: The other one, over the same images.
        memes: The table that both were made from.
        folder: The tables' folder.
        name: Stem of the files, such as ``memes-classified``.

    Raises:
        TableChanged: The table has other images than when the jobs were planned, or labels that are none of the classes;
            nothing is written.
        CountsDiffer: A row is missing or stands twice; nothing is written.
        TornFile: A chunk is damaged; the message names it.
        DiskFull: No room; the old tables are untouched.
    """
    table, rejected = folder / f"{name}.parquet", folder / f"{name}.rejected.parquet"
    made = {"jobs": [vlm.job, clip.job], "labels": vlm.parameters["labels"]}
    unusable = read_table(clip.rejected_path, MEMES_UNCLASSIFIED, [*_ROW, "error", "message"])
    known = read_batches(memes, MEMES, clip.chunk_size, [*_IMAGE, "label"])
    reasons: Counter[str] = Counter()
    classified = 0
    with table_writer(table, MEMES_CLASSIFIED, made) as good, table_writer(rejected, MEMES_UNCLASSIFIED, made) as bad:
        for chunk, now in zip_longest(clip.chunks(), known):
            if chunk is None or now is None or len(now) != chunk.stop - chunk.start:
                raise TableChanged(f"{memes} has more or fewer rows than when the run began. Start the flow again.")
            fine, failed = parted(_joined(vlm, clip, chunk), unusable, chunk, clip, "images")
            _check(pa.concat_tables([fine.select(_ROW), failed.select(_ROW)]), now, made["labels"])
            for some, writer, shape in ((fine, good, MEMES_CLASSIFIED), (failed, bad, MEMES_UNCLASSIFIED)):
                labelled = some.append_column("label", now["label"].take(pc.subtract(some["row"], chunk.start)))
                writer.write_table(labelled.select(shape.columns.names).cast(shape.columns))
            classified += len(fine)
            reasons.update(failed["error"].to_pylist())
    provenance = {
        "job": clip.job,
        "kind": "classify-memes",
        "source": {"path": str(memes), "sha256": sha256(memes), "bytes": memes.stat().st_size},
        "jobs": {manifest.kind: manifest.identity() for manifest in (vlm, clip)},
        "counts": {"rows": clip.rows, "delivered": classified, "rejected": dict(sorted(reasons.items()))},
        "files": {path.name: fingerprint(path) for path in (table, rejected)},
    }
    path = folder / f"{name}.provenance.json"
    write_bytes(path, json.dumps(provenance, indent=2, ensure_ascii=False).encode())
    return Tables(table, rejected, path, clip.rows, classified, reasons)


def _joined(vlm: Manifest, clip: Manifest, chunk: Chunk) -> pa.Table:
    """The rows of one chunk of both jobs, side by side; the first one's error counts."""
    shown, looked = (read_table(job.path(chunk), SHAPES[job.kind]).sort_by("row") for job in (vlm, clip))
    if not shown["row"].equals(looked["row"]):
        raise CountsDiffer(
            f"{chunk.name} of {vlm.job} and of {clip.job} hold different images. Nothing was written. Move both folders "
            "away and run again."
        )
    failed = pc.is_valid(shown["error"])
    first = {name: pc.if_else(failed, shown[name], looked[name]) for name in ("error", "message")}
    shape = pa.unify_schemas([shown.schema, looked.schema])
    return pa.table({**_columns(shown), **_columns(looked), **first}, schema=shape)


def _columns(some: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(some.column_names, some.columns, strict=True))


def _check(was: pa.Table, now: pa.RecordBatch, labels: Sequence[str]) -> None:
    """Hold the images of a chunk against the table as it is now, and its labels against the classes."""
    for then, today in zip(was.sort_by("row").to_pylist(), now.to_pylist(), strict=True):
        if any(then[name] != today[name] for name in _IMAGE):
            raise TableChanged(
                f"Row {then['row']} was {then['path']} when the run began, and is another image in the table now. Start "
                "the flow again."
            )
        if today["label"] not in (None, *labels):
            raise TableChanged(
                f"Row {then['row']}, {then['path']}, has the label {today['label']!r} now, which is none of the classes "
                f"{', '.join(labels)} of this run. Start the flow again."
            )
