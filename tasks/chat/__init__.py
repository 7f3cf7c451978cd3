"""Chats: one file each, with ``Options`` and ``open_chat``. The file's name is what users type before the colon."""

from __future__ import annotations

from tasks.engines.by_name import Engines

_ENGINES = Engines(__name__, __path__, "chat", others={"protocol", "asker", "batch", "prices", "estimate"})
names, module_of = _ENGINES.names, _ENGINES.module_of
