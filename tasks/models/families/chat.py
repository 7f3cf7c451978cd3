"""Causal models with a chat template, such as Mistral and Qwen: text alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from tasks.models.families.turns import Answered, Templated
from tasks.models.messages import Conversation
from tasks.models.prompts import Prompt
from tasks.storage.errors import PermanentError

if TYPE_CHECKING:
    from PIL.Image import Image


class Chat(Templated):
    """The chat template; where it has no turn for the system, its words stand before the user's."""

    name = "chat/3"
    sees = False
    target_modules = r".*\.layers\..*\.(q|k|v|o|gate|up|down)_proj"

    def __init__(self, processor: Any, prompt: Prompt, min_pixels: int | None, max_pixels: int | None) -> None:
        if min_pixels or max_pixels:
            raise PermanentError("This model takes no images. Leave min_pixels and max_pixels empty.")
        if processor.pad_token is None:
            processor.pad_token = processor.eos_token
        super().__init__(processor, prompt, lambda text, image: text)

    @property
    def settings(self) -> dict[str, Any]:
        """What the chat template is told besides the turns, such as not to think."""
        return self._turns.settings

    def inputs(self, texts: Sequence[str], images: Sequence[Image | None]) -> dict[str, Tensor]:
        return self._padded([self.written(text) for text in texts])

    def asked(self, conversations: Sequence[Conversation]) -> dict[str, Tensor]:
        """``inputs`` for conversations that end with the user's turn.

        Raises:
            BadConversation: One does not, or the template refuses it.
        """
        return self._padded([self._turns.open(messages) for messages in conversations])

    def placed(self, messages: Conversation) -> list[dict[str, Any]]:
        """The turns as the chat template gets them: a system's words where the template has a place for them.

        Raises:
            BadConversation: An answer holds a special token.
        """
        return self._turns.placed(messages)

    def lessons(self, messages: Conversation) -> list[Conversation]:
        """A conversation that ends with an answer as ``answered`` takes it: whole, or once for each of its answers.

        Raises:
            BadConversation: It does not.
        """
        return self._turns.lessons(messages)

    def answered(self, messages: Conversation) -> Answered:
        """The tokens of a lesson, and which of them the model is to say.

        Raises:
            BadConversation: It does not, or its answers cannot be told from the rest.
        """
        return self._turns.answered(messages)

    def _padded(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        batch = self.processor(
            list(prompts),
            padding=True,
            padding_side="left",
            add_special_tokens=False,
            return_tensors="pt",
        )
        return {name: batch[name] for name in ("input_ids", "attention_mask")}
