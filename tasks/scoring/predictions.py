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
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.storage.errors import PermanentError
from tasks.storage.schemas import PREDICTIONS
from tasks.storage.tables import read_table

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_AT_ONCE = 500  # rows as Python's objects
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


class Probabilities(NamedTuple):
    """What is kept of each row's probabilities, which are as many as there are allowed answers.

    Args:
        marginals: ``[rows, labels]``, each label's probability.
        of_truth: ``[rows]``, of the right set.
        highest: ``[rows]``, of the likeliest set.
    """

    marginals: Floats
    of_truth: Floats
    highest: Floats

    @classmethod
    def of(cls, posterior: Floats, truth: NDArray[np.intp], space: LabelSpace) -> Probabilities:
        """From ``[rows, sets]``, which sum to 1 in each row."""
        # One set after the other, whatever the number of rows at once: BLAS has other last bits for one row than for two.
        by_label = [posterior[:, sets].cumsum(axis=1)[:, -1:].sum(axis=1) for sets in space.membership.T]
        return cls(np.stack(by_label, axis=1), posterior[np.arange(len(truth)), truth], posterior.max(axis=1))

    def at(self, where: NDArray[np.intp]) -> Probabilities:
        """Those of these rows."""
        return Probabilities(*(each[where] for each in self))


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's answers to the rows of one split that could be scored.

    Args:
        space: The allowed answers.
        rows: ``[rows]``, positions in the split.
        groups: One text per row, as Arrow has it: rows of a group were drawn together.
        truth: ``[rows]``, numbers of the right sets.
        probabilities: None where the model wrote its answers.
        answer: ``[rows]``, the number of the set that it answers, -1 where that could not be read.
        valid: ``[rows]``, how much of all that it could have written the allowed answers make up.
        rejected: Rows that could not be scored, by reason.
    """

    space: LabelSpace
    rows: NDArray[np.int64]
    groups: pa.StringArray
    truth: NDArray[np.intp]
    probabilities: Probabilities | None
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

    @property
    def scored(self) -> Probabilities:
        """``probabilities``, which must be there.

        Raises:
            ValueError: The model wrote its answers.
        """
        if self.probabilities is None:
            raise ValueError("Written answers have no probabilities.")
        return self.probabilities

    @property
    def marginals(self) -> Floats:
        """``[rows, labels]``, each label's probability.

        Raises:
            ValueError: The model wrote its answers.
        """
        return self.scored.marginals

    def at(self, rows: NDArray[np.int64]) -> Predictions:
        """The predictions for these positions in the split, in their order; all of them must be there."""
        if np.array_equal(self.rows, rows):
            return self
        return self.take(np.searchsorted(self.rows, rows))

    def take(self, where: NDArray[np.intp]) -> Predictions:
        """These of the predictions, in this order."""
        return replace(
            self,
            rows=self.rows[where],
            groups=self.groups.take(pa.array(where)),
            truth=self.truth[where],
            probabilities=self.probabilities and self.probabilities.at(where),
            answer=self.answer[where],
            valid=self.valid[where],
        )

    def instead(self, posterior: Floats) -> Predictions:
        """The same rows with the probabilities of someone else.

        Args:
            posterior: ``[rows, sets]``, or ``[sets]`` that all rows have; each row sums to 1.
        """
        every = np.broadcast_to(posterior, (len(self), len(self.space.sets)))
        shares = Probabilities.of(every, self.truth, self.space)
        return replace(self, probabilities=shares, answer=every.argmax(axis=1), valid=np.ones(len(self)))


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
    parts = [
        part
        for path in paths
        for batch in read_table(path, PREDICTIONS, [*_READ, _LOGS]).to_batches(_AT_ONCE)
        if len(part := _scored(batch, space, rejected))
    ]
    if not parts:
        told = ", ".join(f"{reason} {n:,}" for reason, n in rejected.most_common()) or "it has no rows"
        raise NothingScored(
            f"No row of {split} could be scored: {told}. Look at the rows' messages in the job's chunks."
        )
    found = _together(parts, rejected)
    if (found.rows[1:] > found.rows[:-1]).all():
        return found
    order = np.argsort(found.rows, kind="stable")
    if not np.diff(found.rows[order]).all():
        raise PermanentError("A row stands twice in the predictions. Move the job's folder away and run again.")
    return found.take(order)


def _scored(batch: pa.RecordBatch, space: LabelSpace, rejected: Counter[str]) -> Predictions:
    """A batch's rows that can be scored; the others are counted."""
    rows = batch.select(_READ).to_pylist()
    why = [_why_not(row, space) for row in rows]
    rejected.update(filter(None, why))
    where = np.array([at for at, reason in enumerate(why) if not reason], np.int64)
    mine = [rows[at] for at in where]
    truth = np.array([space.numbers[frozenset(row["labels"])] for row in mine], np.intp)
    # As Python's lists they would take four times as much.
    logs = batch.column(_LOGS).take(pa.array(where)).flatten().to_numpy().reshape(-1, len(space.sets))
    return Predictions(
        space,
        np.array([row["row"] for row in mine], np.int64),
        batch.column("group").take(pa.array(where)),
        truth,
        Probabilities.of(softmax(logs), truth, space) if len(logs) else None,
        np.array([_number(row["answer"], space) for row in mine], np.intp),
        np.array([row["valid"] for row in mine], float),
        rejected,
    )


def _together(parts: Sequence[Predictions], rejected: Counter[str]) -> Predictions:
    """One after the other."""
    scored = [part.probabilities for part in parts if part.probabilities]
    shares = Probabilities(*map(np.concatenate, zip(*scored, strict=True))) if scored else None
    rows, truth, answer, valid = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("rows", "truth", "answer", "valid")
    )
    groups = pa.concat_arrays([part.groups for part in parts])
    return Predictions(parts[0].space, rows, groups, truth, shares, answer, valid, rejected)


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
