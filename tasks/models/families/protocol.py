"""What differs between families of models, and nothing else: prompt, processor, mask, positions.

A family object is made of a processor and a prompt and belongs to no device; tensors come out on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class Family(Protocol):
    """One family of models: how it is asked, and how an answer follows the question.

    Attributes:
        name: Family and version of its prompt's layout, such as ``paligemma/1``: part of every key and card.
        sees: Whether it takes images.
        eos: The token that ends an answer.
        target_modules: Regular expression of the language tower's projections, for PEFT.
        processor: The processor or tokenizer, saved beside an adapter.
    """

    name: str
    sees: bool
    eos: int
    target_modules: str
    processor: Any

    def inputs(self, texts: Sequence[str], images: Sequence[Image | None]) -> dict[str, Tensor]:
        """The model's arguments for prompts, up to where the answer begins.

        Args:
            texts: One user text per row, may be empty.
            images: One RGB image per row; None only where ``sees`` is False.

        Returns:
            ``input_ids`` and ``attention_mask`` ``[B, P]``, padded on the left, and what else the model takes. No labels.
        """

    def written(self, text: str) -> str:
        """The prompt for one row as the processor gets it, with the image's mark where the family sees."""

    def answer_tokens(self, answer: str) -> list[int]:
        """The answer's tokens as they follow the prompt, ``eos`` last."""

    def extended(self, inputs: dict[str, Tensor], tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """The same prompts with answers behind them, for training and teacher forcing.

        Args:
            inputs: What ``inputs`` gave.
            tokens: ``[B, K]``, padded on the right.
            mask: ``[B, K]``, 1 where ``tokens`` counts.

        Returns:
            The model's arguments, ``[B, P + K]``; the answer is seen causally.
        """

    def positions(self, model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Position ids of the prompts, and of each row's first answer token.

        Returns:
            ``[B, P]`` or, with several axes, ``[A, B, P]``; and ``[B]``.
        """
