"""A data set as downloaded into one table.

::

    tables/mmhs.parquet             rows that can be used, with votes, labels, the image's text, split and path
    tables/mmhs.rejected.parquet    every other row, with its reason
    tables/mmhs.provenance.json     source, licence, rule of the votes, counts, sizes and SHA-256 of the two; written last
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.mmhs.archive import Archive
from tasks.mmhs.source import GROUND_TRUTH, BadSource, Layout, Refused, Tweet, Votes, find_layout
from tasks.storage.files import fingerprint, write_bytes
from tasks.storage.schemas import MMHS, MMHS_REJECTED
from tasks.storage.tables import table_writer

VERSION = "prepare-mmhs/2"
_BATCH = 5_000  # rows in memory, and in a row group


@dataclass(slots=True)
class Prepared:
    """What preparing left: paths and counts."""

    table: Path
    rejected: Path
    provenance: Path
    rows: int = 0
    delivered: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    with_ocr: int = 0


def prepare(source: Path, folder: Path, name: str = "mmhs", votes: Votes = "union") -> Prepared:
    """Read a data set into its table; equal input gives equal bytes.

    Args:
        source: The zip, the folder, its ``MMHS150K_GT.json``, a ``.csv`` or a ``.jsonl``.
        folder: The tables' folder.
        name: Stem of the files.
        votes: How three votes become labels.

    Raises:
        BadArchive: The zip is damaged or tries something.
        BadSource: It holds no data set that we know, a file that cannot be read to its end, or no row that can be used;
            the old tables are untouched.
        DiskFull: No room; the old tables are untouched.
    """
    table, rejected, provenance = (
        folder / f"{name}{ending}" for ending in (".parquet", ".rejected.parquet", ".provenance.json")
    )
    prepared = Prepared(table, rejected, provenance)
    with Archive(source.parent if source.name == GROUND_TRUTH else source) as archive:
        layout = find_layout(archive)
        read = {file: archive.sha256(file) for file in layout.files}
        origin = {"source": layout.name, "votes": votes, "files": read, "version": VERSION}
        with ExitStack() as stack:
            good = stack.enter_context(table_writer(table, MMHS, origin))
            bad = stack.enter_context(table_writer(rejected, MMHS_REJECTED, origin))
            first: Refused | None = None
            for tweets, refused in _batches(layout.read(archive, layout, votes)):
                _count(prepared, tweets, refused)
                first = first or next(iter(refused), None)
                if tweets:
                    good.write_table(pa.Table.from_pylist([asdict(each) for each in tweets], MMHS.columns))
                if refused:
                    bad.write_table(pa.Table.from_pylist([asdict(each) for each in refused], MMHS_REJECTED.columns))
            if first and not prepared.delivered:
                told = ", ".join(f"{code} {n:,}" for code, n in prepared.errors.most_common())
                raise BadSource(
                    f"{source}: none of the {prepared.rows:,} rows can be used ({told}). The first one: {first.message}"
                )
        place = archive.place
    text = json.dumps(_provenance(prepared, place, layout, votes, read), indent=2, ensure_ascii=False)
    write_bytes(provenance, text.encode())
    return prepared


def _batches(items: Iterator[Tweet | Refused]) -> Iterator[tuple[list[Tweet], list[Refused]]]:
    tweets: list[Tweet] = []
    refused: list[Refused] = []
    for item in items:
        if isinstance(item, Tweet):
            tweets.append(item)
        else:
            refused.append(item)
        if len(tweets) + len(refused) == _BATCH:
            yield tweets, refused
            tweets, refused = [], []
    yield tweets, refused


def _count(prepared: Prepared, tweets: list[Tweet], refused: list[Refused]) -> None:
    prepared.rows += len(tweets) + len(refused)
    prepared.delivered += len(tweets)
    prepared.errors.update(each.error for each in refused)
    prepared.splits.update(each.split or "none" for each in tweets)
    prepared.labels.update(label for each in tweets for label in each.labels)
    prepared.with_ocr += sum(each.ocr is not None for each in tweets)


def _provenance(prepared: Prepared, place: Path, layout: Layout, votes: Votes, read: dict[str, str]) -> dict[str, Any]:
    return {
        "kind": "mmhs",
        "source": {"name": layout.name, "path": str(place), "url": layout.url, "files": read},
        "licence": layout.licence,
        "parameters": {"votes": votes},
        "versions": {"code": VERSION},
        "classes": list(layout.classes),
        "counts": {
            "rows": prepared.rows,
            "delivered": prepared.delivered,
            "rejected": dict(prepared.errors),
            "splits": dict(prepared.splits),
            "labels": dict(prepared.labels),
            "with_ocr": prepared.with_ocr,
        },
        "files": {path.name: fingerprint(path) for path in (prepared.table, prepared.rejected)},
    }
