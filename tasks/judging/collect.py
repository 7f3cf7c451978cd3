"""Judged chunks and both contestants' texts into the table that a user gets.

::

    tables/jokes-against-base.parquet           every pair: both texts, verdict, what was said in each order and why, cost
    tables/jokes-against-base.provenance.json   jobs, counts, size and SHA-256; written last

No pair is left out: one that could not be judged stands there as ``unjudged`` with its reason.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tasks.chunks.manifest import Manifest
from tasks.judging.contestants import Contestant, Local
from tasks.judging.plan import Comparison, texts_of
from tasks.storage.files import fingerprint, write_bytes
from tasks.storage.schemas import COMPARED, PAIRS_JUDGED
from tasks.storage.tables import read_table, table_writer


@dataclass(frozen=True, slots=True)
class Tables:
    """What collecting left: paths, and pairs by verdict."""

    table: Path
    provenance: Path
    verdicts: Counter[str]


def collect(comparison: Comparison, judging: Manifest, folder: Path, name: str) -> Tables:
    """Write the table: equal input gives equal bytes.

    Args:
        comparison: What was compared.
        judging: The job of the pairs, whose chunks are all done.
        folder: The tables' folder.
        name: Stem of the files.

    Raises:
        CountsDiffer: A pair is missing or stands twice; nothing is written.
        TornFile: A chunk is damaged; the message names it.
        DiskFull: No room; the old table is untouched.
    """
    a, b = comparison.sides
    written_a, written_b = (texts_of(side.job) for side in comparison.sides)
    table, verdicts = folder / f"{name}.parquet", Counter[str]()
    made = {"job": judging.job, "jobs": [a.job.job, b.job.job, judging.job]}
    with table_writer(table, COMPARED, made) as writer:
        for chunk in judging.chunks():
            rows = read_table(judging.path(chunk), PAIRS_JUDGED).to_pylist()
            judging.check_rows(chunk, [row["row"] for row in rows], "pairs")
            for row in rows:
                verdicts[row["verdict"]] += 1
                one, other = written_a[row["row"]], written_b[row["row"]]
                row |= {
                    "model_a": a.contestant.name,
                    "model_b": b.contestant.name,
                    "written_by_a": one["written_by"],
                    "written_by_b": other["written_by"],
                    "write_a_usd": one["cost_usd"],
                    "write_b_usd": other["cost_usd"],
                }
            writer.write_table(pa.Table.from_pylist(rows, COMPARED.columns))
    provenance = {
        "job": judging.job,
        "kind": "compare-jokes",
        "source": {"path": judging.source.path, "sha256": a.job.source.sha256, "bytes": a.job.source.bytes},
        "dataset": comparison.dataset,
        "split": comparison.split,
        "contestants": {name: _who(side.contestant) for name, side in (("a", a), ("b", b))},
        "jobs": {name: job.identity() for name, job in (("a", a.job), ("b", b.job), ("judge", judging))},
        "counts": {
            "rows": comparison.requests.rows,
            "left_out": comparison.requests.left_out,
            "pairs": judging.rows,
            "verdicts": dict(sorted(verdicts.items())),
        },
        "files": {table.name: fingerprint(table)},
    }
    path = folder / f"{name}.provenance.json"
    write_bytes(path, json.dumps(provenance, indent=2, ensure_ascii=False).encode())
    return Tables(table, path, verdicts)


def _who(contestant: Contestant) -> dict[str, str]:
    who = contestant.who
    return {"name": contestant.name, "base": who.base_model if isinstance(who, Local) else who.model}
