"""A split and two contestants into three jobs::

    jobs/write-jokes-3f2a9c01d2e4/     A's texts, one per request
         write-jokes-77b0e4c1a9f3/     B's texts
         judge-jokes-0d44a8beaf22/     the pairs; planned when both have written

A job is named by all that decides its result. The base model of many adapters writes once, and a pair of texts that was
judged before is not asked about again, whoever is called A.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.chunks.manifest import Manifest, Source, check_chunk_size, plan_rows
from tasks.judging.contestants import Contestant, Sampling
from tasks.judging.prompts import key
from tasks.judging.requests import Requests
from tasks.storage.schemas import PAIRS, REQUESTS, WRITTEN
from tasks.storage.tables import read_table

WRITE, JUDGE = "write-jokes", "judge-jokes"
VERSION = "1"


@dataclass(frozen=True)
class Side:
    """A contestant and the job of its texts."""

    contestant: Contestant
    job: Manifest


@dataclass(frozen=True)
class Comparison:
    """A comparison before it begins.

    Args:
        a: The one side.
        b: The other one.
        requests: What both are asked.
        dataset: Name and version.
        split: Which of its splits.
        judge: Service and model, as the user named them.
        service: Who judges, such as ``mistral`` or ``mistral@http://…``.
        model: The judge's model, as its service names it.
        variety: The language as it is spoken where the jokes are for.
        sampling: How texts are drawn.
    """

    a: Side
    b: Side
    requests: Requests
    dataset: str
    split: str
    judge: str
    service: str
    model: str
    variety: str
    sampling: Sampling

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both."""
        return self.a, self.b


def plan_writing(
    contestant: Contestant,
    requests: Requests,
    source: Source,
    asked: Mapping[str, str],
    sampling: Sampling,
    jobs: Path,
    chunk_size: int,
) -> Side:
    """Find or make the job of one contestant.

    Args:
        contestant: Who writes.
        requests: What about.
        source: The split's file.
        asked: Column and template that made the requests.
        sampling: How texts are drawn.
        jobs: The folder of jobs.
        chunk_size: Requests per chunk.

    Raises:
        PermanentError: The chunk size is none.
        DiskFull: No room; no job is made.
    """
    check_chunk_size(chunk_size, "row", 50)
    parameters = {**contestant.identity, **asked, **sampling._asdict()}
    versions = {"code": VERSION, **contestant.versions}
    rows = [
        {"row": at, "split_row": each.row, "id": each.id, "group": each.group, "messages": list(each.messages)}
        for at, each in enumerate(requests.requests)
    ]
    table = pa.Table.from_pylist(rows, REQUESTS.columns)
    return Side(contestant, plan_rows(WRITE, source, parameters, versions, chunk_size, table, REQUESTS, jobs))


def plan_judging(comparison: Comparison, jobs: Path, chunk_size: int) -> Manifest:
    """Find or make the job of the pairs, when both contestants have written.

    Raises:
        TornFile: A chunk is missing or damaged.
        DiskFull: No room; no job is made.
    """
    written = [texts_of(side.job) for side in comparison.sides]
    rows = [_pair(one, other) for one, other in zip(*written, strict=True)]
    digest = hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()
    source = Source(comparison.a.job.source.path, digest, 0)
    parameters = {
        "a": comparison.a.contestant.name,
        "b": comparison.b.contestant.name,
        "written": [side.job.job for side in comparison.sides],
        "service": comparison.service,
        "model": comparison.model,
        "prompt": key(comparison.variety),
        "variety": comparison.variety,
    }
    table = pa.Table.from_pylist(rows, PAIRS.columns)
    return plan_rows(JUDGE, source, parameters, {"code": VERSION}, chunk_size, table, PAIRS, jobs)


def texts_of(job: Manifest) -> list[dict[str, Any]]:
    """What a contestant wrote, in order; rows of ``WRITTEN``."""
    return [row for chunk in job.chunks() for row in read_table(job.path(chunk), WRITTEN).to_pylist()]


def _pair(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    texts = [one["messages"], one["text"], other["text"]]
    digest = hashlib.blake2b(json.dumps(texts, ensure_ascii=False).encode(), digest_size=8)
    return {
        "row": one["row"],
        "split_row": one["split_row"],
        "id": digest.hexdigest(),
        "group": one["group"],
        "request": one["messages"][-1]["content"],
        "text_a": one["text"],
        "text_b": other["text"],
        "error_a": one["error"],
        "error_b": other["error"],
    }
