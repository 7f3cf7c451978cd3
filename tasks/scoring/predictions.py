"""What a model says of labelled rows, as metrics take it.

Read from tables of predictions, whose rows are like this one::

    row 17 | group "9c01…" | labels ["racist"] | log_probabilities [-3.1, -0.2, …] | valid 0.98 | answer ["racist"]

Rows in = rows scored + rows rejected with a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.storage.errors import PermanentError
from tasks.storage.schemas import PREDICTIONS
from tasks.storage.tables import read_table

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_READ, _LOGS = ["row", "group", "labels", "valid", "answer", "error"], "log_probabilities"

# Why a row is not scored, besides the reasons that a table of predictions gives.
REASONS = {
    "no-label": "the row has no labels, so nothing can be right or wrong",
    "unknown-label": "the row's labels are none of the allowed answers",
}


class NothingScored(PermanentError):
    """No row of a split can be scored."""


@dataclass(frozen=True)
class LabelSpace:
    """The answers that were allowed.

    Args:
        labels: All labels.
        sets: The allowed sets, in the order of the probabilities.
    """

    labels: tuple[str, ...]
    sets: tuple[tuple[str, ...], ...]

    @cached_property
    def membership(self) -> Bools:
        """``[sets, labels]``: whether a set holds a label."""
        return np.array([[label in each for label in self.labels] for each in self.sets], dtype=bool)

    @property
    def is_single(self) -> bool:
        """Whether every allowed set holds one label: classes rather than labels."""
        return all(len(each) == 1 for each in self.sets)

    @cached_property
    def numbers(self) -> dict[frozenset[str], int]:
        """The number of each set."""
        return {frozenset(each): number for number, each in enumerate(self.sets)}


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's answers to the rows of one split that could be scored.

    Args:
        space: The allowed answers.
        rows: ``[rows]``, positions in the split.
        groups: One per row: rows of a group were drawn together.
        truth: ``[rows]``, numbers of the right sets.
        posterior: ``[rows, sets]``, probabilities that sum to 1; None where the model wrote its answers.
        answer: ``[rows]``, the number of the set that it answers, -1 where that could not be read.
        valid: ``[rows]``, how much of all that it could have written the allowed answers make up.
        rejected: Rows that could not be scored, by reason.
    """

    space: LabelSpace
    rows: NDArray[np.int64]
    groups: tuple[str, ...]
    truth: NDArray[np.intp]
    posterior: Floats | None
    answer: NDArray[np.intp]
    valid: Floats
    rejected: Counter[str]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def true_labels(self) -> Bools:
        """``[rows, labels]``."""
        return self.space.membership[self.truth]

    @cached_property
    def answered_labels(self) -> Bools:
        """``[rows, labels]``; an answer that could not be read has none."""
        return np.where(self.answer[:, None] >= 0, self.space.membership[self.answer], False)

    @cached_property
    def marginals(self) -> Floats:
        """``[rows, labels]``, each label's probability.

        Raises:
            ValueError: The model wrote its answers.
        """
        return self.posteriors @ self.space.membership

    @property
    def posteriors(self) -> Floats:
        """``posterior``, which must be there.

        Raises:
            ValueError: The model wrote its answers.
        """
        if self.posterior is None:
            raise ValueError("Written answers have no probabilities.")
        return self.posterior

    def at(self, rows: NDArray[np.int64]) -> Predictions:
        """The predictions for these positions in the split, in their order; all of them must be there."""
        where = np.searchsorted(self.rows, rows)
        posterior = None if self.posterior is None else self.posterior[where]
        return replace(
            self,
            rows=self.rows[where],
            groups=tuple(self.groups[at] for at in where),
            truth=self.truth[where],
            posterior=posterior,
            answer=self.answer[where],
            valid=self.valid[where],
        )

    def instead(self, posterior: Floats) -> Predictions:
        """The same rows with the probabilities of someone else.

        Args:
            posterior: ``[rows, sets]``; each row sums to 1.
        """
        return replace(self, posterior=posterior, answer=posterior.argmax(axis=1), valid=np.ones(len(self)))


def read_predictions(paths: Iterable[Path], space: LabelSpace, split: str = "the split") -> Predictions:
    """Gather tables of predictions, in order of their rows.

    Args:
        paths: Tables of one split, such as the chunks of a job.
        space: The allowed answers, in the job's order.
        split: Its name, for messages.

    Raises:
        NothingScored: No row could be scored.
        PermanentError: A row stands twice.
        TornFile: A table is damaged.
    """
    rejected: Counter[str] = Counter()
    kept: list[tuple[int, str, int, int, float]] = []
    shares: list[Floats] = []
    for path in paths:
        table = read_table(path, PREDICTIONS, [*_READ, _LOGS])
        mine = []
        for at, row in enumerate(table.select(_READ).to_pylist()):
            if reason := _why_not(row, space):
                rejected[reason] += 1
                continue
            mine.append(at)
            truth, answer = space.numbers[frozenset(row["labels"])], _number(row["answer"], space)
            kept.append((row["row"], row["group"], truth, answer, np.nan if row["valid"] is None else row["valid"]))
        # As Python's lists they would take four times as much.
        numbers = table.column(_LOGS).take(pa.array(mine, pa.int64())).combine_chunks().flatten()
        shares.append(softmax(numbers.to_numpy().reshape(-1, len(space.sets))))
    if not kept:
        told = ", ".join(f"{reason} {n:,}" for reason, n in rejected.most_common()) or "it has no rows"
        raise NothingScored(
            f"No row of {split} could be scored: {told}. Look at the rows' messages in the job's chunks."
        )
    order = sorted(range(len(kept)), key=lambda at: kept[at][0])
    rows, groups, truths, answers, valid = zip(*(kept[at] for at in order), strict=True)
    if len(set(rows)) != len(rows):
        raise PermanentError("A row stands twice in the predictions. Move the job's folder away and run again.")
    posterior = np.concatenate(shares)
    return Predictions(
        space,
        np.array(rows, np.int64),
        groups,
        np.array(truths, np.intp),
        posterior[order] if len(posterior) else None,
        np.array(answers, np.intp),
        np.array(valid, float),
        rejected,
    )


def from_marginals(marginals: Floats, space: LabelSpace) -> Floats:
    """Probabilities of the allowed sets, for a model that judges each label on its own.

    Args:
        marginals: ``[rows, labels]``; with one label per row, probabilities of classes.
        space: The allowed sets.

    Returns:
        ``[rows, sets]``; each row sums to 1. Where all sets are allowed, its marginals are the ones given.
    """
    if space.is_single:
        scores = marginals @ space.membership.T.astype(float)
        shares: Floats = scores / scores.sum(axis=1, keepdims=True)
        return shares
    safe = np.clip(marginals, 1e-12, 1 - 1e-12)
    logs = np.log(safe) @ space.membership.T + np.log1p(-safe) @ ~space.membership.T
    return softmax(logs)


def softmax(logs: Floats) -> Floats:
    """Over the last axis."""
    shifted = np.exp(logs - logs.max(axis=-1, keepdims=True))
    shares: Floats = shifted / shifted.sum(axis=-1, keepdims=True)
    return shares


def _why_not(row: dict[str, Any], space: LabelSpace) -> str | None:
    if row["error"] is not None:
        return str(row["error"])
    if row["labels"] is None:
        return "no-label"
    if frozenset(row["labels"]) not in space.numbers:
        return "unknown-label"
    return None


def _number(answer: Sequence[str] | None, space: LabelSpace) -> int:
    return -1 if answer is None else space.numbers.get(frozenset(answer), -1)
