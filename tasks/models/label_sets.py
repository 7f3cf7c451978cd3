"""The answers that a classifier may give, each a set of labels written as a JSON array.

::

    every("racist", "sexist")      []  ["racist"]  ["sexist"]  ["racist", "sexist"]
    one_of("toxic", "non_toxic")   ["toxic"]  ["non_toxic"]

Whoever trains, scores or generates writes an answer as ``LabelSets.answer`` does, so that all of them mean the same tokens.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tasks.storage.errors import PermanentError

MAX_LABELS = 8  # 256 answers in one tree


class UnknownLabel(PermanentError):
    """A label, or a set of labels, that is none of the allowed ones."""


@dataclass(frozen=True)
class LabelSets:
    """Allowed sets of labels, in a fixed order that predictions are stored in.

    Args:
        labels: All labels; a set lists its labels in this order.
        sets: The allowed sets, each once.

    Raises:
        PermanentError: A label stands twice, a set has an unknown label, or there is no set.
    """

    labels: tuple[str, ...]
    sets: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels) or not all(self.labels):
            raise PermanentError(f"Labels {list(self.labels)} must differ and must not be empty.")
        for each in self.sets:
            if each != self._ordered(each):
                raise PermanentError(
                    f"The set {list(each)} must list labels of {list(self.labels)} in this order, each once."
                )
        if not self.sets or len(set(self.sets)) != len(self.sets):
            raise PermanentError(f"Allowed sets must be given, each once: {[list(each) for each in self.sets]}.")

    @classmethod
    def every(cls, labels: Sequence[str]) -> LabelSets:
        """All 2^L subsets of up to eight labels, for tasks where any of them may hold.

        Raises:
            PermanentError: More labels than that; give the allowed sets.
        """
        if len(labels) > MAX_LABELS:
            raise PermanentError(
                f"{len(labels)} labels have {2 ** len(labels):,} sets; {MAX_LABELS} labels are the most. "
                "Give the sets that occur: label_sets."
            )
        subsets = (tuple(label for at, label in enumerate(labels) if k >> at & 1) for k in range(2 ** len(labels)))
        return cls(tuple(labels), tuple(subsets))

    @classmethod
    def these(cls, sets: Sequence[Sequence[str]], labels: Sequence[str] = ()) -> LabelSets:
        """Just these sets, for tasks where not every combination occurs.

        Args:
            sets: Each a list of labels, in any order.
            labels: All labels in their order; as they first stand in the sets when empty.

        Raises:
            PermanentError: More sets than 2^8, one stands twice, or has an unknown label or one label twice.
        """
        if len(sets) > 2**MAX_LABELS:
            raise PermanentError(f"{len(sets):,} allowed sets are given; {2**MAX_LABELS} are the most.")
        known = tuple(labels or dict.fromkeys(label for each in sets for label in each))
        ordered = (tuple(sorted(each, key=lambda label: known.index(label) if label in known else -1)) for each in sets)
        return cls(known, tuple(ordered))

    @classmethod
    def one_of(cls, labels: Sequence[str]) -> LabelSets:
        """Exactly one label, for classes that exclude each other."""
        return cls(tuple(labels), tuple((label,) for label in labels))

    @cached_property
    def membership(self) -> NDArray[np.bool_]:
        """``[sets, labels]``: whether a set holds a label. ``posterior @ membership`` gives the labels' marginals."""
        return np.array([[label in each for label in self.labels] for each in self.sets], dtype=bool)

    @property
    def is_single(self) -> bool:
        """Whether every allowed set holds one label: classes rather than labels."""
        return all(len(each) == 1 for each in self.sets)

    def answer(self, number: int) -> str:
        """The answer that means this set, such as ``["racist", "sexist"]``."""
        return json.dumps(list(self.sets[number]), ensure_ascii=False)

    def number(self, labels: Iterable[str]) -> int:
        """The number of the set that holds these labels, in whatever order they come.

        Raises:
            UnknownLabel: No allowed set does; the message names the labels that are unknown.
        """
        given = set(labels)
        if unknown := sorted(given - set(self.labels)):
            raise UnknownLabel(f"Unknown label {unknown[0]!r}. Known: {', '.join(self.labels)}.")
        try:
            return self._numbers[self._ordered(given)]
        except KeyError:
            raise UnknownLabel(f"{sorted(given)} is none of the allowed sets of {list(self.labels)}.") from None

    def plain(self) -> dict[str, list[str] | list[list[str]]]:
        """As JSON takes it; ``LabelSets.read`` reads it again."""
        return {"labels": list(self.labels), "sets": [list(each) for each in self.sets]}

    @classmethod
    def read(cls, plain: Mapping[str, Sequence[str] | Sequence[Sequence[str]]]) -> LabelSets:
        """Read what ``plain`` gave.

        Raises:
            KeyError: It is something else.
        """
        return cls(tuple(map(str, plain["labels"])), tuple(tuple(each) for each in plain["sets"]))

    @cached_property
    def _numbers(self) -> dict[tuple[str, ...], int]:
        return {each: number for number, each in enumerate(self.sets)}

    def _ordered(self, labels: Collection[str]) -> tuple[str, ...]:
        return tuple(label for label in self.labels if label in labels)
