"""What a reader is: images in, the lines of text of each out.

A reader is one file in this folder. It declares ``Options`` (a pydantic model; each field is read from the environment as
``TRASVASE_<NAME>_<FIELD>``) and ``open_reader(options, languages)``. The file's name is the name that users type.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from PIL.Image import Image

from tasks.storage.errors import PermanentError

# Tesseract's name of a language, by what users type (ISO 639-1).
TESSERACT = {"be": "bel", "bg": "bul", "ca": "cat", "de": "deu", "en": "eng", "es": "spa", "fr": "fra", "it": "ita"}
TESSERACT |= {"nl": "nld", "pl": "pol", "pt": "por", "ru": "rus", "sr": "srp", "tr": "tur", "uk": "ukr"}

_LETTER = re.compile(r"[^\W_]")


class Unread(PermanentError):
    """A reader could not read one of the images that it was given."""


class Line(NamedTuple):
    """A line of text, its box in pixels of the upright image, and how sure the reader is of it (0 to 100)."""

    text: str
    left: int
    top: int
    right: int
    bottom: int
    confidence: float

    def inside(self, width: int, height: int) -> Line:
        """The line with its box cut at the image's edges: engines pad, and scale back with rounding."""
        left, right = (min(max(edge, 0), width) for edge in (self.left, self.right))
        top, bottom = (min(max(edge, 0), height) for edge in (self.top, self.bottom))
        return self._replace(left=left, top=top, right=right, bottom=bottom)


class Reader(Protocol):
    """One engine for some languages. One thread at a time may use it, unless it says otherwise itself."""

    @property
    def name(self) -> str:
        """Name, version and digest of the weights, such as ``tesseract/5.3.0@1f2e3d4c``."""

    def read(self, images: Sequence[Image]) -> list[list[Line]]:
        """The lines of each image (RGB), in the order they are read in.

        Raises:
            Unread: One of the images cannot be read; who calls finds out which, by giving fewer.
            PermanentError: The engine does not work here at all.
        """


def letters(text: str) -> int:
    """How many letters and digits a text has."""
    return len(_LETTER.findall(text))


def in_order(lines: Iterable[Line]) -> list[Line]:
    """Lines as they are read: from the top, and from the left where two share more than half of their height."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.top + line.bottom):
        for row in rows:
            shared = min(line.bottom, row[0].bottom) - max(line.top, row[0].top)
            if 2 * shared > min(line.bottom - line.top, row[0].bottom - row[0].top):
                row.append(line)
                break
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda line: line.left)]


def joined(lines: Sequence[Line]) -> str:
    """The text of an image: one line each, but a space between those that stand side by side."""
    text = ""
    last: Line | None = None
    for line in lines:
        if last is not None:
            shared = min(line.bottom, last.bottom) - max(line.top, last.top)
            beside = 2 * shared > min(line.bottom - line.top, last.bottom - last.top) and line.left >= last.left
            text += " " if beside else "\n"
        text += line.text
        last = line
    return text
