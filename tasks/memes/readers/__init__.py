"""Readers of text in images: one file each, with ``Options`` and ``open_reader``. The file's name is what users type."""

from __future__ import annotations

from tasks.engines.by_name import Engines

_ENGINES = Engines(__name__, __path__, "reader", others={"protocol"}, also=["auto"])
names, module_of = _ENGINES.names, _ENGINES.module_of
