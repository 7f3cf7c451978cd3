"""PaliGemma and PaliGemma 2: no chat, one image of one size, and a prompt that is seen in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from tasks.models.families.turns import Special, counted, follow
from tasks.models.prompts import Prompt
from tasks.storage.errors import PermanentError

if TYPE_CHECKING:
    from PIL.Image import Image


class PaliGemma:
    r"""``<image>`` x N, ``<bos>``, system, ``User: …``, ``Assistant:``, ``\n``, then the answer and ``<eos>``.

    ``token_type_ids`` are 0 in the prompt and 1 in the answer. Where they are missing the model raises nothing and reads
    its prompt causally, so they always come along.
    """

    name = "paligemma/1"
    sees = True
    target_modules = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"

    def __init__(self, processor: Any, prompt: Prompt, min_pixels: int | None, max_pixels: int | None) -> None:
        if min_pixels or max_pixels:
            raise PermanentError(
                "PaliGemma takes every image in one size. Leave min_pixels and max_pixels empty, or take the base model "
                "with another size in its name."
            )
        self.processor, self._prompt = processor, prompt
        self._special = Special(processor.tokenizer)
        self.eos: int = processor.tokenizer.eos_token_id

    def inputs(self, texts: Sequence[str], images: Sequence[Image | None]) -> dict[str, Tensor]:
        batch = self.processor(
            text=[self.written(text) for text in texts],
            images=[[image] for image in images],
            padding=True,
            padding_side="left",
            return_tensors="pt",
        )
        wanted = ("input_ids", "attention_mask", "token_type_ids", "pixel_values")
        return {name: batch[name] for name in wanted}

    def written(self, text: str) -> str:
        system, asked = (self._special.inert(part) for part in (self._prompt.system, self._prompt.ask(text).strip()))
        return f"<image>{system}\n\n" + (f"User: {asked}\n\n" if asked else "") + "Assistant:"

    def answer_tokens(self, answer: str) -> list[int]:
        if self._special.inert(answer) != answer:
            raise PermanentError(f"The answer {answer!r} holds a special token of the model. Rename the label.")
        return [*self.processor.tokenizer(answer, add_special_tokens=False)["input_ids"], self.eos]

    def extended(self, inputs: dict[str, Tensor], tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        return follow(inputs, tokens, mask, token_type_ids=1)

    def positions(self, model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return counted(inputs["attention_mask"], first=1)
