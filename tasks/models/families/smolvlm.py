"""SmolVLM: an image cut into squares, with a small view of the whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from tasks.models.families.turns import Templated, parts
from tasks.models.prompts import Prompt
from tasks.storage.errors import PermanentError

if TYPE_CHECKING:
    from PIL.Image import Image


class SmolVLM(Templated):
    """The chat template; the user's turn is the text, then the image.

    Args:
        processor: Its sizes are set to the budget, so that what is saved with an adapter has it.
        prompt: The question.
        min_pixels: Not taken: small images are made larger in any case.
        max_pixels: The longest side is at most the root of it, and one square at least.

    Raises:
        PermanentError: ``min_pixels`` is given, or the model has no chat template.
    """

    name = "smolvlm/1"
    sees = True
    target_modules = r".*text_model.*\.(q|k|v|o|gate|up|down)_proj"

    def __init__(self, processor: Any, prompt: Prompt, min_pixels: int | None, max_pixels: int | None) -> None:
        if min_pixels:
            raise PermanentError("SmolVLM makes every image as large as max_pixels allows. Leave min_pixels empty.")
        if max_pixels:
            images = processor.image_processor
            images.size = {"longest_edge": max(math.isqrt(max_pixels), images.max_image_size["longest_edge"])}
        super().__init__(processor, prompt, parts)

    def inputs(self, texts: Sequence[str], images: Sequence[Image | None]) -> dict[str, Tensor]:
        batch = self.processor(
            text=[self.written(text) for text in texts],
            images=[[image] for image in images],
            padding=True,
            padding_side="left",
            add_special_tokens=False,
            return_tensors="pt",
        )
        wanted = ("input_ids", "attention_mask", "pixel_values", "pixel_attention_mask")
        return {name: batch[name] for name in wanted}
