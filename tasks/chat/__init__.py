"""Chats: one file each, with ``Options`` and ``open_chat``. The file's name is what users type before the colon."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tasks.engines.by_name import Engines
from tasks.storage.errors import PermanentError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from tasks.chat.protocol import Chat

_OTHERS = {"protocol", "asker", "batch", "estimate", "fence", "mistral_batch", "prices", "purse", "replies"}
_ENGINES = Engines(__name__, __path__, "chat", others=_OTHERS)
names, module_of = _ENGINES.names, _ENGINES.module_of


def split_model(name: str) -> tuple[str, str]:
    """Split what users type: ``mistral:mistral-small-2603`` into the chat and the model.

    Raises:
        PermanentError: It is not of that form, or there is no such chat.
    """
    chat, colon, model = name.partition(":")
    if not (colon and model):
        raise PermanentError(
            f"{name!r} is not a model. Write it as chat:model, such as mistral:mistral-small-2603; chats: "
            f"{', '.join(names())}."
        )
    module_of(chat)
    return chat, model


def open_chat(chat: str, read_options: Callable[[str, type[BaseModel]], BaseModel]) -> Chat:
    """Open a chat by its name.

    Args:
        chat: Such as ``mistral``; see ``split_model``.
        read_options: Reads a chat's options from the environment: ``tasks.settings.read_options``.
    """
    module: Any = module_of(chat)
    opened: Chat = module.open_chat(read_options(chat, module.Options))
    return opened
