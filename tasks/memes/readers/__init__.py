"""Readers of text in images: one file each. The file's name is what users type."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from tasks.storage.errors import PermanentError

_NOT_READERS = {"protocol"}


def names() -> list[str]:
    """The readers that there are, by name."""
    return sorted({module.name for module in pkgutil.iter_modules(__path__)} - _NOT_READERS)


def module_of(name: str) -> ModuleType:
    """The module of a reader: it has ``Options`` and ``open_reader``.

    Raises:
        PermanentError: There is no such reader.
    """
    if name not in names():
        raise PermanentError(f"There is no reader {name!r}. Choose from: {', '.join(('auto', *names()))}.")
    return importlib.import_module(f"{__name__}.{name}")
