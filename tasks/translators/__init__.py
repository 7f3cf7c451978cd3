"""Translators: one file each, with ``Options`` and ``open_translator``. The file's name is what users type."""

from __future__ import annotations

from tasks.engines.by_name import Engines

_ENGINES = Engines(__name__, __path__, "translator", others={"protocol", "packing", "prompted"})
names, module_of = _ENGINES.names, _ENGINES.module_of
