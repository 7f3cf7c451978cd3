"""What rows come to: counted once, when their chunk is written; collecting only adds up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

RATIO_BINS = [round(0.4 + 0.05 * n, 2) for n in range(37)]  # 0.40 … 2.20


@dataclass(slots=True)
class Counts:
    """What a chunk or a job's tables hold.

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

    @classmethod
    def of(cls, delivered: pa.Table, refused: pa.Table) -> Counts:
        """Count rows of ``TRANSLATIONS``."""
        source, target = (_lengths(delivered[column]) for column in ("conversations", "translated"))
        ratios = np.clip((target + 5) / (source + 5), RATIO_BINS[0], RATIO_BINS[-1])
        return cls(
            rows=delivered.num_rows + refused.num_rows,
            delivered=delivered.num_rows,
            rejected=_tally(refused["error"]),
            turns=len(source),
            translators=_tally(pc.list_flatten(delivered["translator"])),
            checks=_tally(pc.list_flatten(pc.list_flatten(delivered["turn_checks"]))),
            flagged_rows=pc.sum(pc.greater(pc.list_value_length(delivered["checks"]), 0)).as_py() or 0,
            ratios=np.histogram(ratios, RATIO_BINS)[0].tolist(),
            source_chars=int(source.sum()),
            target_chars=int(target.sum()),
        )

    @classmethod
    def from_plain(cls, stored: Mapping[str, Any]) -> Counts:
        """Read back what ``plain`` gave.

        Raises:
            KeyError, TypeError: It is something else.
        """
        return cls(**{**stored, **{name: Counter(stored[name]) for name in ("rejected", "translators", "checks")}})

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {item.name: getattr(self, item.name) for item in fields(self)}  # asdict breaks a Counter

    def add(self, other: Counts) -> None:
        """Add the counts of other rows of the same source; ``rows`` is the source's and stays."""
        self.delivered += other.delivered
        self.rejected.update(other.rejected)
        self.turns += other.turns
        self.translators.update(other.translators)
        self.checks.update(other.checks)
        self.flagged_rows += other.flagged_rows
        self.ratios = [mine + theirs for mine, theirs in zip(self.ratios, other.ratios, strict=True)]
        self.source_chars += other.source_chars
        self.target_chars += other.target_chars


def _tally(values: pa.ChunkedArray) -> Counter[str]:
    return Counter({item["values"]: item["counts"] for item in values.combine_chunks().value_counts().to_pylist()})


def _lengths(turns: pa.ChunkedArray) -> NDArray[np.int64]:
    values = pc.struct_field(pc.list_flatten(turns), "value")
    return np.asarray(pc.utf8_length(values).to_numpy(zero_copy_only=False))
