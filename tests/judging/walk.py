"""A comparison from a split to its table, without Prefect."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.chat.protocol import Account, Engine, Reply
from tasks.chunks.file import write_chunk
from tasks.chunks.manifest import Manifest, Source
from tasks.judging import judge, write
from tasks.judging.collect import Tables, collect
from tasks.judging.contestants import Sampling, remote
from tasks.judging.plan import Comparison, Side, plan_judging, plan_writing
from tasks.judging.requests import Requests, read_requests
from tasks.storage.schemas import PAIRS, PAIRS_JUDGED, REQUESTS, WRITTEN
from tasks.storage.tables import read_group
from tests.judging.fakes import FakeWriter

PROMPT = "Cuenta un chiste sobre: {text}"
DRAWN = Sampling(0.7, 200, 0)
Tell = Callable[[str], str | Reply]


def split_of(folder: Path, keywords: list[str | None], **columns: Any) -> Source:
    """A split with one row per keyword, two rows of a group."""
    path = folder / "test.parquet"
    groups = [f"routine-{at // 2}" for at in range(len(keywords))]
    pq.write_table(pa.table({"keyword": pa.array(keywords, pa.string()), "split_group": groups, **columns}), path)
    return Source(str(path), hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)


def compared(root: Path, source: Source, a: Tell, b: Tell, names: tuple[str, str] = ("one", "other")) -> Comparison:
    """Both contestants have written."""
    requests = read_requests(Path(source.path), "keyword", PROMPT)
    sides = []
    for name, tell in zip(names, (a, b), strict=True):
        asked = {"column": "keyword", "prompt": PROMPT}
        side = plan_writing(
            remote(f"fake:{name}", "fake", name, "fake"), requests, source, asked, DRAWN, root / "jobs", 3
        )
        writer = write.ServiceWriter(FakeWriter(tell), name, DRAWN, Account("", ("",)))
        for chunk in side.job.pending(WRITTEN):
            rows = read_group(side.job.rows_path, REQUESTS, chunk.number).to_pylist()
            write_chunk(write.write_rows(rows, writer), chunk, side.job, WRITTEN)
        sides.append(side)
    return comparison_of(sides[0], sides[1], requests)


def comparison_of(a: Side, b: Side, requests: Requests) -> Comparison:
    """Two sides and a judge."""
    return Comparison(a, b, requests, "jokes/1", "test", "fake:judge", "fake", "judge", "Chilean Spanish", DRAWN)


def judged(root: Path, comparison: Comparison, engine: Engine) -> Manifest:
    """The job of the pairs, done."""
    job = plan_judging(comparison, root / "jobs", 4)
    for chunk in job.pending(PAIRS_JUDGED):
        rows = read_group(job.rows_path, PAIRS, chunk.number).to_pylist()
        told = judge.judge_rows(rows, engine, Account("", ("",)), model="judge", variety="Chilean Spanish")
        write_chunk(told, chunk, job, PAIRS_JUDGED)
    return job


def collected(root: Path, comparison: Comparison, engine: Engine, name: str = "compared") -> Tables:
    """The table of the pairs."""
    return collect(comparison, judged(root, comparison, engine), root / "tables", name)
