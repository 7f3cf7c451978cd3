"""Which rows people see: those with the gravest doubts, and some drawn at random.

A row's rank is the product of its turns' scores, and a turn's score is the chance that it is right, from its codes::

    row 17  turn_checks [[], ["numbers"], ["seam"]]  ->  scores 1.0, 0.5, 0.05  ->  rank 0.025

Only turns that were translated count and are shown: not those in which nothing travelled, nor those that people settled.
A row is drawn all the same when people have settled its turns since, or the next draw would be one of unreviewed rows.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.reviews.records import Part, ReviewTurn, record_id
from tasks.storage.errors import PermanentError, TornFile
from tasks.storage.schemas import LLAVA
from tasks.storage.tables import open_table, origin

# The share of a code's hits that were errors, as (errors + 1) / (read + 2): docs/decisions.md, "What must hold, what is
# only doubted". They were read among turns that looked clean; among bad ones a code is right more often.
WEIGHTS = {
    "seam": 21 / 22,  # 20 of 20
    "end": 3 / 4,  # 2 of 2
    "numbers": 11 / 22,  # 10 of 20
    "untranslated": 1 / 3,  # 0 of 1
    "length-short": 7 / 22,  # 6 of 20
    "quotes": 0.3,  # all lost their quotes, mostly without harm: our judgement
    "coverage": 3 / 22,  # 2 of 20
    "length-long": 1 / 22,  # 0 of 20
}
_UNKNOWN = 0.5  # a code of a later version

# The translators of turns that are not shown: nothing travelled, or a person's text (tasks/llava/translate.py).
KEPT = "kept"
REVIEWED = "reviewed"

_BATCH = 2_000  # rows in memory while all are looked at
_RANKED = ["row", "translator", "checks", "turn_checks"]
_SHOWN = ["row", "image", "conversations", "translated", "translator", "turn_checks"]


def choose(table: Path, dataset: str, sample: int, audit: int, seed: int) -> list[ReviewTurn]:
    """The translated turns of the worst rows, worst first, then those of rows drawn at random.

    A row's draw depends on nothing but the seed and its number: more audited rows are the same ones and others. A row
    that would be in both parts is an audited one, and the sample takes the next; the audit is drawn as if there were
    no sample, so its error rate holds for the whole table.

    Args:
        table: A table of schema ``LLAVA``, its provenance beside it.
        dataset: Name of the review.
        sample: Rows with the worst rank, ties in order of rows; fewer where the table has fewer.
        audit: Rows drawn at random; of those whose turns people have settled since nothing is shown.
        seed: Of the draw.

    Raises:
        PermanentError: The table's provenance is missing or does not say what is needed.
        ForeignTable: It is another table.
        TornFile: It is damaged.
    """
    if sample < 0 or audit < 0:
        raise PermanentError(f"sample={sample}, audit={audit}: neither can be less than 0.")
    chunk_size = _chunk_size(table)
    with open_table(table, LLAVA) as file:
        job = origin(file).get("job")
        if not job:
            raise PermanentError(f"{table} does not say which job made it. Give a table of translate-llava.")
        try:
            drawn_from, rows, ranks = _rank(file)
            audited = _draw(drawn_from.tolist(), audit, seed)
            worst = _worst(rows, ranks, sample, audited)
            parts: dict[int, Part] = {**dict.fromkeys(worst, "worst"), **dict.fromkeys(sorted(audited), "audit")}
            found = {
                row["row"]: _turns(row, parts[row["row"]], dataset, row["row"] // chunk_size, job)
                for row in _read(file, parts)
            }
        except (OSError, pa.ArrowInvalid) as error:
            raise TornFile(f"{table} is damaged ({error}). Move it away and run again: it is made anew.") from error
    return [turn for row in parts for turn in found[row]]


def turn_score(codes: Sequence[str]) -> float:
    """The chance that a turn is right, 0 to 1, as if its codes were independent."""
    return prod(1 - WEIGHTS.get(code, _UNKNOWN) for code in codes)


def _chunk_size(table: Path) -> int:
    """Rows per chunk, as the table's provenance says."""
    path = table.with_name(f"{table.stem}.provenance.json")
    try:
        size = json.loads(path.read_bytes())["chunk_size"]
    except FileNotFoundError:
        raise PermanentError(
            f"{path} is missing; it says which chunk a row was translated in. Put it back, or run translate-llava again."
        ) from None
    except (ValueError, KeyError, TypeError):
        size = None
    if not isinstance(size, int) or size < 1:
        raise PermanentError(f"{path} does not say the chunk size. Run translate-llava again: it is written anew.")
    return size


def _rank(file: pq.ParquetFile) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """All rows in which something travelled, and those of them that have a turn to show, with their ranks."""
    every: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    rows: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    ranks: list[NDArray[np.float64]] = [np.empty(0, np.float64)]
    for batch in file.iter_batches(_BATCH, columns=_RANKED):
        rank = np.ones(len(batch))
        # Most rows have no code; only the others become Python objects.
        coded = pc.list_value_length(batch["checks"]).to_numpy(zero_copy_only=False) > 0
        for at in np.flatnonzero(coded):
            translators, codes = batch["translator"][at].as_py(), batch["turn_checks"][at].as_py()
            rank[at] = prod(turn_score(codes[turn]) for turn in _shown(translators))
        parents, translators = pc.list_parent_indices(batch["translator"]), batch["translator"].flatten()
        travelled = pc.not_equal(translators, KEPT)
        here = np.unique(parents.filter(pc.and_not(travelled, pc.starts_with(translators, REVIEWED))))
        every.append(batch["row"].to_numpy()[np.unique(parents.filter(travelled))])
        rows.append(batch["row"].to_numpy()[here])
        ranks.append(rank[here])
    return np.concatenate(every), np.concatenate(rows), np.concatenate(ranks)


def _shown(translators: Sequence[str]) -> Iterator[int]:
    """The turns of a row that are shown."""
    for turn, translator in enumerate(translators):
        if translator != KEPT and not translator.startswith(REVIEWED):
            yield turn


def _draw(rows: Sequence[int], number: int, seed: int) -> set[int]:
    """Rows in the order of a hash over seed and row, the first of them."""
    return set(heapq.nsmallest(number, rows, key=lambda row: hashlib.sha256(f"{seed}:{row}".encode()).digest()))


def _worst(rows: NDArray[np.int64], ranks: NDArray[np.float64], number: int, but: Collection[int]) -> list[int]:
    """The rows of lowest rank, worst first."""
    order = rows[np.lexsort((rows, ranks))[: number + len(but)]]
    return [row for row in order.tolist() if row not in but][:number]


def _read(file: pq.ParquetFile, wanted: Collection[int]) -> Iterator[dict[str, Any]]:
    """These rows, one row group in memory at a time."""
    chosen = pa.array(sorted(wanted), pa.int64())
    for number in range(file.num_row_groups if wanted else 0):
        is_chosen = pc.is_in(file.read_row_group(number, columns=["row"])["row"], chosen)
        if pc.any(is_chosen).as_py():
            yield from file.read_row_group(number, columns=_SHOWN).filter(is_chosen).to_pylist()


def _turns(row: Mapping[str, Any], part: Part, dataset: str, chunk: int, version: str) -> list[ReviewTurn]:
    originals = [turn["value"] for turn in row["conversations"]]
    translated = [(turn["from"], turn["value"]) for turn in row["translated"]]
    return [
        ReviewTurn(
            id=record_id(dataset, row["row"], turn, originals[turn], translated[turn][1]),
            row=row["row"],
            turn=turn,
            chunk=chunk,
            role=translated[turn][0],
            image=row["image"],
            original=originals[turn],
            machine=translated[turn][1],
            context=tuple(translated[:turn]),
            translator=row["translator"][turn],
            codes=tuple(sorted(row["turn_checks"][turn])),
            score=round(turn_score(row["turn_checks"][turn]), 4),
            ratio=round((len(translated[turn][1]) + 5) / (len(originals[turn]) + 5), 4),
            part=part,
            version=version,
        )
        for turn in _shown(row["translator"])
    ]
