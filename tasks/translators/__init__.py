"""Translators: one file each. The file's name is what users type."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from tasks.storage.errors import PermanentError

_NOT_TRANSLATORS = {"protocol", "packing"}


def names() -> list[str]:
    """The translators that there are, by name."""
    return sorted({module.name for module in pkgutil.iter_modules(__path__)} - _NOT_TRANSLATORS)


def module_of(name: str) -> ModuleType:
    """The module of a translator: it has ``Options`` and ``open_translator``.

    Raises:
        PermanentError: There is no such translator.
    """
    if name not in names():
        raise PermanentError(f"There is no translator {name!r}. Choose from: {', '.join(names())}.")
    return importlib.import_module(f"{__name__}.{name}")
