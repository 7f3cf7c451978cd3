"""Rows that a base model has no room for, found before anything is trained.

A row's prompt and its longest answer must fit into the model's positions, and where answers are scored also into its
sliding window. Nothing is cut. Counting needs the image's tokens and the text's; most rows are far below, so the exact
count is made for those alone that could be above: no token is less than a byte.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from sys import maxsize
from typing import TYPE_CHECKING

from tasks.models.label_sets import LabelSets
from tasks.models.prompts import Prompt
from tasks.storage.errors import PermanentError

if TYPE_CHECKING:
    from PIL.Image import Image

Size = tuple[int, int]


class NoRoom(Exception):
    """A row that cannot be learnt.

    Attributes:
        code: ``too-long``, or ``special-token`` in a completion.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Room:
    """How much a base model takes. One thread at a time may ask.

    Args:
        base_model: One that ``tasks.models.load.find`` has found.
        prompt: How rows are asked.
        label_sets: The answers; None where each row has a completion of its own.
        min_pixels: The least and
        max_pixels: the most pixels of an image, as in the training.
    """

    def __init__(
        self,
        base_model: str,
        prompt: Prompt,
        label_sets: LabelSets | None,
        min_pixels: int | None,
        max_pixels: int | None,
    ) -> None:
        from tasks.models.load import find_family
        from tasks.models.tree import AnswerTree

        self._name = base_model
        self._family, text = find_family(base_model, prompt, min_pixels, max_pixels)
        self._longest = AnswerTree(label_sets, self._family).longest if label_sets else None
        limits = ("max_position_embeddings", *(["sliding_window"] if label_sets else []))
        self._most: int = min((limit for name in limits if (limit := getattr(text, name, None))), default=maxsize)
        self._of_image = cache(self._count_image)

    def check(self, text: str, completion: str, size: Size | None, image: Callable[[], Image]) -> None:
        """Refuse a row that does not fit.

        Args:
            text: What is asked about.
            completion: What is to be said; of no matter where there are label sets.
            size: Width and height of its image; None where it has none.
            image: Opens that.

        Raises:
            NoRoom: It does not, or the completion holds a special token.
        """
        answer = self._longest
        if answer is None:
            try:
                answer = len(self._family.answer_tokens(completion))
            except PermanentError as error:
                raise NoRoom("special-token", "has a special token of the model in its completion.") from error
        if self._of_image(size) + len(self._family.written(text).encode()) + answer <= self._most:
            return
        tokens = self._count(text, image() if size else None) + answer
        if tokens > self._most:
            raise NoRoom(
                "too-long",
                f"has {tokens:,} tokens with its answer, and at most {self._most:,} are taken by {self._name}. It is not "
                "cut.",
            )

    def _count_image(self, size: Size | None) -> int:
        """The tokens of a prompt without text."""
        from PIL import Image

        return self._count("", Image.new("RGB", size) if size else None)

    def _count(self, text: str, image: Image | None) -> int:
        count: int = self._family.inputs([text], [image])["input_ids"].shape[1]
        return count
