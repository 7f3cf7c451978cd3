"""Engines: one file each in a folder. The file's name is what users type.

::

    tasks/translators/google.py     ->  "google"
    tasks/translators/protocol.py   ->  none: it says what an engine is
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Sequence
from types import ModuleType

from tasks.storage.errors import PermanentError


class Engines:
    """The engines in a folder.

    Args:
        package: The folder's ``__name__``.
        path: Its ``__path__``.
        kind: What they are, in the singular.
        others: Files in it that are none.
        also: Names that may be typed too, because somebody else answers to them.
    """

    def __init__(
        self, package: str, path: Sequence[str], kind: str, others: Collection[str], also: Sequence[str] = ()
    ) -> None:
        self._package, self._path, self._kind = package, path, kind
        self._others, self._also = frozenset(others), also

    def names(self) -> list[str]:
        """All that there are, by name."""
        return sorted({module.name for module in pkgutil.iter_modules(self._path)} - self._others)

    def module_of(self, name: str) -> ModuleType:
        """The module of an engine.

        Raises:
            PermanentError: There is none of this name.
        """
        names = self.names()
        if name not in names:
            raise PermanentError(f"There is no {self._kind} {name!r}. Choose from: {', '.join((*self._also, *names))}.")
        return importlib.import_module(f"{self._package}.{name}")
