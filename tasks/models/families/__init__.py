"""Which family a model belongs to, by ``model_type`` in its config.json."""

from __future__ import annotations

from typing import Any

from tasks.models.families.chat import Chat
from tasks.models.families.paligemma import PaliGemma
from tasks.models.families.protocol import Family
from tasks.models.families.qwen_vl import QwenVL
from tasks.models.families.smolvlm import SmolVLM
from tasks.models.prompts import Prompt

_SEEING: dict[str, type[PaliGemma | QwenVL | SmolVLM]] = {
    "paligemma": PaliGemma,
    "qwen2_vl": QwenVL,
    "qwen2_5_vl": QwenVL,
    "smolvlm": SmolVLM,
    "idefics3": SmolVLM,  # the first SmolVLM
}
KNOWN = (*_SEEING, "and causal chat models")


def sees(model_type: str) -> bool:
    """Whether a model of this type is taken as one that sees, with a processor instead of a tokenizer."""
    return model_type in _SEEING


def family_name(model_type: str) -> str:
    """Family and version of a model of this type, before there is one."""
    return _SEEING.get(model_type, Chat).name


def make_family(
    model_type: str, processor: Any, prompt: Prompt, min_pixels: int | None = None, max_pixels: int | None = None
) -> Family:
    """The family of a model.

    Args:
        model_type: As its configuration has it; whatever does not see is a chat model.
        processor: Its processor, or its tokenizer.
        prompt: The question.
        min_pixels: The least and
        max_pixels: the most pixels of an image, for families that take such a budget.

    Raises:
        PermanentError: The family takes no such budget, or there is no chat template.
    """
    return _SEEING.get(model_type, Chat)(processor, prompt, min_pixels, max_pixels)
