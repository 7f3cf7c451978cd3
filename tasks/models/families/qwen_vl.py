"""Qwen2-VL and Qwen2.5-VL: images of any size within a budget of pixels, positions on three axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from tasks.models.families.turns import Templated, follow, parts
from tasks.models.prompts import Prompt

if TYPE_CHECKING:
    from PIL.Image import Image


class QwenVL(Templated):
    """The chat template; the user's turn is the text, then the image.

    ``mm_token_type_ids`` say which tokens are the image's. Where they are missing the model raises nothing and takes
    positions on one axis, so they always come along.

    Args:
        processor: Its sizes are set to the budget, so that what is saved with an adapter has it.
        prompt: The question.
        min_pixels: The least and
        max_pixels: the most pixels of an image after resizing, one token for 28 x 28; None leaves the processor's own.
    """

    name = "qwen-vl/1"
    sees = True
    target_modules = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"

    def __init__(self, processor: Any, prompt: Prompt, min_pixels: int | None, max_pixels: int | None) -> None:
        size = processor.image_processor.size
        processor.image_processor.size = {
            "shortest_edge": min_pixels or size["shortest_edge"],
            "longest_edge": max_pixels or size["longest_edge"],
        }
        super().__init__(processor, prompt, parts)

    def inputs(self, texts: Sequence[str], images: Sequence[Image | None]) -> dict[str, Tensor]:
        batch = self.processor(
            text=[self.written(text) for text in texts],
            images=list(images),
            padding=True,
            padding_side="left",
            add_special_tokens=False,
            return_tensors="pt",
        )
        wanted = ("input_ids", "attention_mask", "mm_token_type_ids", "pixel_values", "image_grid_thw")
        return {name: batch[name] for name in wanted}

    def extended(self, inputs: dict[str, Tensor], tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        return follow(inputs, tokens, mask, mm_token_type_ids=0)

    def positions(self, model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        wanted = ("input_ids", "attention_mask", "mm_token_type_ids", "image_grid_thw")
        positions, _ = model.model.get_rope_index(**{name: inputs[name] for name in wanted})
        return positions, positions.amax((0, 2)) + 1
