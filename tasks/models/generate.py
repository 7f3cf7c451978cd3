"""What a model writes by itself, for comparison with the scores of all answers."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import Tensor

from tasks.models.families.protocol import Family
from tasks.models.tree import check_room


@torch.inference_mode()
def generate(model: Any, family: Family, inputs: dict[str, Tensor], max_new_tokens: int) -> list[str]:
    """Write answers, the likeliest token each time.

    Args:
        model: A model of the family, with or without an adapter, in evaluation mode.
        family: Which token ends an answer.
        inputs: What ``family.inputs`` gave.
        max_new_tokens: Where an answer is cut that does not end.

    Returns:
        One text per row, without the prompt.

    Raises:
        PromptTooLong: A prompt leaves no room for so many tokens.
    """
    check_room(model, inputs["attention_mask"], max_new_tokens)
    tokenizer = getattr(family.processor, "tokenizer", family.processor)
    greedy = transformers.GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,  # a model's own default would count the prompt's labels as repeated
        max_new_tokens=max_new_tokens,
        eos_token_id=[family.eos],
        pad_token_id=tokenizer.pad_token_id,
    )
    written = model.generate(
        **{name: value.to(model.device) for name, value in inputs.items()}, generation_config=greedy
    )
    new = written[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]
