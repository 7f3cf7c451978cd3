"""Rows of a split into batches: prompts and images as the family's processor makes them, answers as tokens behind.

One batch::

    input_ids, attention_mask, pixel_values, …   what family.inputs gives, padded on the left
    answer_tokens   [B, K]   padded on the right
    answer_mask     [B, K]   1 where a token counts
    answer_number   [B]      the label set's number; 0 with completions
    row             [B]      the row's position in its split
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from tasks.models.examples import Example, open_image, read_examples
from tasks.models.families.protocol import Family
from tasks.storage.errors import PermanentError
from tasks.storage.files import sha256
from tasks.storage.schemas import TRAINING_EXAMPLES
from tasks.storage.tables import read_table
from tasks.training.plan import Plan

if TYPE_CHECKING:
    from PIL.Image import Image

ANSWER = ("answer_tokens", "answer_mask", "answer_number", "row")


class ImageChanged(PermanentError):
    """An image is not what it was when the job was planned."""


class Item(NamedTuple):
    """One row as the collator gets it."""

    row: int
    text: str
    image: Image | None
    number: int
    tokens: list[int]


class Rows(Dataset[Item]):
    """The usable rows of one split; images are opened when they are asked for.

    Args:
        plan: The job.
        split: train or validation.
        family: Makes tokens of answers.
        answers: Tokens of each label set, by number; None for completions.

    Raises:
        PermanentError: The split has other rows than at the plan.
    """

    def __init__(self, plan: Plan, split: str, family: Family, answers: Sequence[list[int]] | None) -> None:
        table = read_table(plan.examples_path, TRAINING_EXAMPLES)
        checked = [row for row in table.to_pylist() if row["split"] == split]
        examples = list(read_examples(plan.source.split(split), plan.columns))
        if [row["row"] for row in checked] != [example.row for example in examples]:
            raise PermanentError(
                f"{plan.source.split(split)} has {len(examples):,} rows and had {len(checked):,} when {plan.job} was "
                "planned. Start the flow again: a changed dataset is another job."
            )
        self._pairs = [
            (example, row["sha256"]) for example, row in zip(examples, checked, strict=True) if row["error"] is None
        ]
        self._plan, self._family, self._answers = plan, family, answers

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, at: int) -> Item:
        example, digest = self._pairs[at]
        image = self._image(example, digest) if digest else None
        labels = example.labels or ()
        if self._plan.label_sets and self._answers:
            number = self._plan.label_sets.number(labels)
            return Item(example.row, example.text, image, number, self._answers[number])
        return Item(example.row, example.text, image, 0, self._family.answer_tokens(labels[0]))

    def _image(self, example: Example, digest: str) -> Image:
        folder = self._plan.source.images or Path()
        image = open_image(folder, example)
        if sha256(folder / example.image) != digest:
            raise ImageChanged(
                f"Row {example.row}: {folder / example.image} is not the image that it was when {self._plan.job} was "
                "planned. Start the flow again: changed images are another job."
            )
        return image


class Collate:
    """Items into one batch."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def __call__(self, items: Sequence[Item]) -> dict[str, Tensor]:
        batch = self._family.inputs([item.text for item in items], [item.image for item in items])
        longest = max(len(item.tokens) for item in items)
        tokens = torch.zeros(len(items), longest, dtype=torch.long)
        mask = torch.zeros(len(items), longest, dtype=torch.long)
        for at, item in enumerate(items):
            tokens[at, : len(item.tokens)] = torch.tensor(item.tokens)
            mask[at, : len(item.tokens)] = 1
        numbers, rows = torch.tensor([item.number for item in items]), torch.tensor([item.row for item in items])
        return {**batch, **dict(zip(ANSWER, (tokens, mask, numbers, rows), strict=True))}
