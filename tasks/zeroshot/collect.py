"""The chunks of both jobs into the tables that a user gets.

::

    tables/memes-classified.parquet             images that both models answered to: answers, probabilities, heat maps
    tables/memes-classified.rejected.parquet    every other image, with its reason
    tables/memes-classified.provenance.json     jobs, counts, sizes and SHA-256 of the two; written last
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.chunks.manifest import Chunk, CountsDiffer, Manifest
from tasks.storage.errors import PermanentError
from tasks.storage.files import fingerprint, sha256, write_bytes
from tasks.storage.schemas import MEMES, MEMES_CLASSIFIED, MEMES_UNCLASSIFIED
from tasks.storage.tables import read_table, table_writer
from tasks.zeroshot.chunk import SHAPES


class TableChanged(PermanentError):
    """The table of memes is not the one that the jobs were made from."""


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
        TableChanged: The table has other images than when the jobs were planned; nothing is written.
        CountsDiffer: A row is missing or stands twice; nothing is written.
        TornFile: A chunk is damaged; the message names it.
        DiskFull: No room; the old tables are untouched.
    """
    gold = read_table(memes, MEMES, ["path", "sha256", "label"]).to_pylist()
    table, rejected = folder / f"{name}.parquet", folder / f"{name}.rejected.parquet"
    made = {"jobs": [vlm.job, clip.job], "labels": vlm.parameters["labels"]}
    unusable = {row["row"]: row for row in read_table(clip.rejected_path, MEMES_UNCLASSIFIED).to_pylist()}
    reasons: Counter[str] = Counter()
    classified = 0
    with table_writer(table, MEMES_CLASSIFIED, made) as good, table_writer(rejected, MEMES_UNCLASSIFIED, made) as bad:
        for chunk in clip.chunks():
            fine: list[dict[str, Any]] = []
            failed = [row for number, row in unusable.items() if chunk.start <= number < chunk.stop]
            for row in _joined(vlm, clip, chunk):
                (failed if row["error"] else fine).append(row)
            _check(clip, chunk, [*fine, *failed], gold)
            failed.sort(key=lambda row: int(row["row"]))
            for row in (*fine, *failed):
                row["label"] = gold[row["row"]]["label"]
            good.write_table(pa.Table.from_pylist(fine, MEMES_CLASSIFIED.columns))
            bad.write_table(pa.Table.from_pylist(failed, MEMES_UNCLASSIFIED.columns))
            classified += len(fine)
            reasons.update(row["error"] for row in failed)
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


def _joined(vlm: Manifest, clip: Manifest, chunk: Chunk) -> Iterator[dict[str, Any]]:
    """The rows of one chunk of both jobs, side by side; the first one's error counts."""
    shown, looked = (
        {row["row"]: row for row in read_table(job.path(chunk), SHAPES[job.kind]).to_pylist()} for job in (vlm, clip)
    )
    if shown.keys() != looked.keys():
        raise CountsDiffer(
            f"{chunk.name} of {vlm.job} and of {clip.job} hold different images. Nothing was written. Move both folders "
            "away and run again."
        )
    for number, answer in shown.items():
        first = answer if answer["error"] else looked[number]
        yield {**answer, **looked[number], "error": first["error"], "message": first["message"]}


def _check(job: Manifest, chunk: Chunk, rows: list[dict[str, Any]], gold: list[dict[str, Any]]) -> None:
    job.check_rows(chunk, [row["row"] for row in rows], "images")
    for row in rows:
        if row["row"] >= len(gold) or any(gold[row["row"]][name] != row[name] for name in ("path", "sha256")):
            raise TableChanged(
                f"Row {row['row']} was {row['path']} when the run began, and is another image in the table now. Start the "
                "flow again."
            )
