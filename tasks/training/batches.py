"""Rows of a split into batches: prompts and images as the family's processor makes them, answers as tokens behind.

One batch::

    input_ids, attention_mask, pixel_values, …   what family.inputs gives, padded on the left
    answer_tokens   [B, K]   padded on the right
    answer_mask     [B, K]   1 where there is a token
    answer_said     [B, K]   1 where the model is to say it, so in the loss; 0 in what users say between answers
    answer_number   [B]      the label set's number; 0 with completions and conversations
    row             [B]      the row's position in its split
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from tasks.models.examples import Example, Examples, open_image
from tasks.models.families.chat import Chat
from tasks.models.families.protocol import Family
from tasks.models.messages import Talks
from tasks.storage.errors import PermanentError
from tasks.storage.files import sha256
from tasks.storage.schemas import TRAINING_EXAMPLES
from tasks.storage.tables import open_table, read_group
from tasks.training.plan import Plan

if TYPE_CHECKING:
    from PIL.Image import Image

_BYTES = 32  # of a SHA-256
ANSWER = ("answer_tokens", "answer_mask", "answer_said", "answer_number", "row")


class ImageChanged(PermanentError):
    """An image is not what it was when the job was planned."""


class Item(NamedTuple):
    """One row as the collator gets it."""

    row: int
    text: str
    image: Image | None
    number: int
    tokens: list[int]


class Answered(NamedTuple):
    """One lesson as the collator gets it: up to its first answer, the rest, and what of it is to be said."""

    row: int
    prompt: list[int]
    tokens: list[int]
    said: list[bool]


class Conversations(Dataset[Answered]):
    """What the usable conversations of one split teach: one lesson each, as a rule (``Chat.lessons``).

    Args:
        plan: The job.
        split: train or validation.
        family: Makes tokens of conversations.

    Raises:
        PermanentError: The split has other rows than at the plan.
    """

    def __init__(self, plan: Plan, split: str, family: Chat) -> None:
        self._family, self._talks = family, Talks(plan.source.split(split))
        # Of each lesson its row, and with which message it ends: two numbers, since they are as many as the rows.
        self._rows, self._stops = array("q"), array("q")
        for row in _used(plan, split, len(self._talks))[0]:
            for messages in family.lessons(self._talks[row]):
                self._rows.append(row)
                self._stops.append(len(messages))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: int) -> Answered:
        row = self._rows[at]
        tokens, said = self._family.answered(self._talks[row][: self._stops[at]])
        start = said.index(True)
        return Answered(row, tokens[:start], tokens[start:], said[start:])

    def opening(self) -> list[dict[str, Any]]:
        """What is asked in the first row, up to its first answer, as the chat template gets it."""
        placed = self._family.placed(self._talks[self._rows[0]])
        return placed[: [message["role"] for message in placed].index("assistant")]


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
        self._examples = Examples(plan.source.split(split), plan.columns)
        self._used, self._digests = _used(plan, split, len(self._examples))
        self._plan, self._family, self._answers = plan, family, answers

    def __len__(self) -> int:
        return len(self._used)

    def __getitem__(self, at: int) -> Item:
        example, digest = self._examples[self._used[at]], self._digests[at * _BYTES : (at + 1) * _BYTES].hex()
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
        tokens, mask = _padded([item.tokens for item in items], "right")
        numbers, rows = torch.tensor([item.number for item in items]), torch.tensor([item.row for item in items])
        return {**batch, **dict(zip(ANSWER, (tokens, mask, mask, numbers, rows), strict=True))}


def collate_conversations(items: Sequence[Answered]) -> dict[str, Tensor]:
    """Conversations into one batch."""
    asked, seen = _padded([item.prompt for item in items], "left")
    tokens, mask = _padded([item.tokens for item in items], "right")
    said, _ = _padded([[int(each) for each in item.said] for item in items], "right")
    rows = torch.tensor([item.row for item in items])
    answer = dict(zip(ANSWER, (tokens, mask, said, torch.zeros_like(rows), rows), strict=True))
    return {"input_ids": asked, "attention_mask": seen, **answer}


def _padded(rows: Sequence[list[int]], side: Literal["left", "right"]) -> tuple[Tensor, Tensor]:
    """Rows as one tensor, and where it holds them; what stands in the padding is never seen."""
    some = [torch.tensor(row) for row in rows]
    tokens = pad_sequence(some, batch_first=True, padding_side=side)
    return tokens, pad_sequence([torch.ones_like(row) for row in some], batch_first=True, padding_side=side)


def _used(plan: Plan, split: str, rows: int) -> tuple[array[int], bytes]:
    """Positions of those rows of a split that the plan found usable, and their images' SHA-256, one after the other."""
    used, digests, found = array("q"), bytearray(), 0
    with open_table(plan.examples_path, TRAINING_EXAMPLES) as file:
        groups = file.num_row_groups
    for group in range(groups):
        table = read_group(plan.examples_path, TRAINING_EXAMPLES, group, ["split", "row", "sha256", "error"])
        for row in table.to_pylist():
            if row["split"] == split:
                found += 1
                if row["error"] is None:
                    used.append(row["row"])
                    digests += bytes.fromhex(row["sha256"] or "")
    if found != rows:
        raise PermanentError(
            f"{plan.source.split(split)} has {rows:,} rows and had {found:,} when {plan.job} was planned. "
            "Start the flow again: a changed dataset is another job."
        )
    return used, bytes(digests)
