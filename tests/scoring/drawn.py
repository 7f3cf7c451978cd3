"""Invented rows with truth and probabilities, in groups."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.scoring.predictions import LabelSpace, Predictions, Probabilities, from_marginals

LABELS = ("cat", "dog", "bird")


def every(labels: tuple[str, ...] = LABELS) -> LabelSpace:
    """All sets of labels."""
    n = len(labels)
    return LabelSpace(labels, tuple(tuple(each for at, each in enumerate(labels) if k >> at & 1) for k in range(2**n)))


def one_of(labels: tuple[str, ...] = LABELS) -> LabelSpace:
    """One label each."""
    return LabelSpace(labels, tuple((each,) for each in labels))


def draw(
    random: np.random.Generator,
    groups: int,
    skill: float = 1.2,
    alike: float = 0.5,
    shares: tuple[float, ...] = (0.4, 0.2, 0.1),
    most: int = 3,
    sizes: NDArray[np.int64] | None = None,
) -> Predictions:
    """Rows of 1 to ``most`` per group, whose labels and scores are alike within it.

    Args:
        random: Draws.
        groups: How many.
        skill: How far the scores follow the truth; 0 not at all.
        alike: Correlation within a group.
        shares: How often each label is true.
        most: Rows in the largest group.
        sizes: Rows in each group, instead.
    """
    sizes = random.integers(1, most + 1, groups) if sizes is None else sizes
    codes = np.repeat(np.arange(groups), sizes)
    rows, labels = len(codes), len(shares)

    def noise() -> NDArray[np.float64]:
        of_groups, of_rows = random.normal(size=(groups, labels)), random.normal(size=(rows, labels))
        both: NDArray[np.float64] = np.sqrt(alike) * of_groups[codes] + np.sqrt(1 - alike) * of_rows
        return both

    hidden = noise()
    cuts = np.array([_quantile(1 - share) for share in shares])
    truth = hidden > cuts
    scores = 1 / (1 + np.exp(-2 * (skill * hidden + noise() - skill * cuts)))
    return predictions(truth, scores, tuple(map(str, codes)), every(tuple(f"label {at}" for at in range(labels))))


def predictions(
    truth: NDArray[np.bool_], marginals: NDArray[np.float64], groups: tuple[str, ...], space: LabelSpace
) -> Predictions:
    """Rows from truth and marginals."""
    numbers = np.array([space.numbers[frozenset(_named(row, space))] for row in truth])
    posterior = from_marginals(marginals, space)
    return Predictions(
        space,
        np.arange(len(truth)),
        pa.array(groups),
        numbers,
        Probabilities.of(posterior, numbers, space),
        posterior.argmax(axis=1),
        np.ones(len(truth)),
        Counter(),
    )


def _named(row: NDArray[np.bool_], space: LabelSpace) -> list[str]:
    return [label for label, is_true in zip(space.labels, row, strict=True) if is_true]


def _quantile(share: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(share)
