"""Causal models with a chat template, such as Mistral and Qwen: text alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from tasks.models.families.turns import Templated
from tasks.models.prompts import Prompt
from tasks.storage.errors import PermanentError

if TYPE_CHECKING:
    from PIL.Image import Image


class Chat(Templated):
    """The chat template; where it has no turn for the system, its words stand before the user's."""

    name = "chat/1"
    sees = False
    target_modules = r".*\.layers\..*\.(q|k|v|o|gate|up|down)_proj"

    def __init__(self, processor: Any, prompt: Prompt, min_pixels: int | None, max_pixels: int | None) -> None:
        if min_pixels or max_pixels:
            raise PermanentError("This model takes no images. Leave min_pixels and max_pixels empty.")
        if processor.pad_token is None:
            processor.pad_token = processor.eos_token
        super().__init__(processor, prompt, lambda text, image: text)

    def inputs(self, texts: Sequence[str], images: Sequence[Image | None]) -> dict[str, Tensor]:
        batch = self.processor(
            [self.written(text) for text in texts],
            padding=True,
            padding_side="left",
            add_special_tokens=False,
            return_tensors="pt",
        )
        return {name: batch[name] for name in ("input_ids", "attention_mask")}
