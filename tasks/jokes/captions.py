"""Captions that roll say each line two or three times; here every word comes once.

YouTube shows the line that was said and the one that is being said, and between them the first alone for 10 ms::

    0.48 --> 2.38   llega un tipo
    2.38 --> 2.39   llega un tipo                        ->   0.48  2.38  llega un tipo
    2.39 --> 4.50   llega un tipo \\n al médico y dice         2.39  4.50  al médico y dice

A refrain is sung again and again too, so one repetition proves nothing: words are taken out only of a file whose captions
roll from beginning to end, and only where a caption begins with what the one before has shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from tasks.jokes.transcript import Segment

# Nearly every caption of a rolling file shows old words beside new ones, or the old ones alone for 10 ms.
_ROLLS = 0.5
_FLASH_SECONDS = 0.05
_TOUCH_SECONDS = 0.5  # what is said again later than this after it was shown is said again
_LEAST_WORDS = 3  # of a repetition, where captions are not lines
_MOST = 100  # lines or words that can be repeated; the longest opening that was said twice has 37

_MASKED = re.compile(r"\[\s*_+\s*\]")  # YouTube's mask of a word that was said: `[ __ ]`
_SOUND = re.compile(
    r"[\[(][^\[\]()]{0,30}?\b(?:m[uú]sica|music|aplausos?|applause|risas?|laugh(?:ter|s)|carcajadas?|v[ií]tores|cheers|"
    r"cheering|ovaci[oó]n|silencio|gritos)\b[^\[\]()]{0,30}[\])]",
    re.IGNORECASE,
)
_MARK = re.compile(r"\[\d{1,3}:\d{2}(?::\d{2})?\]")  # a time that somebody copied with the words; ours look the same
_NO_WORDS = re.compile(r"[♪♫♬]|>>+")


def spoken(text: str) -> str:
    """What was said, in one line, without what only describes it: ``[Música] hola [ __ ]`` is ``hola [__]``."""
    text = _MASKED.sub("[__]", text)
    for pattern in (_SOUND, _MARK, _NO_WORDS):
        text = pattern.sub(" ", text)
    return " ".join(text.split())


def merge(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Every word once, in order.

    Args:
        segments: In order of time; the lines of a caption are told apart by line breaks.

    Returns:
        One line each, none of them empty; those that only repeat are gone, with the times of the others as they were.
    """
    shown = [segment for segment in segments if segment.text.strip()]
    for parts, least in ((_lines, 1), (str.split, _LEAST_WORDS)):
        split = [_Caption(segment.start, segment.end, tuple(parts(segment.text))) for segment in shown]
        if _rolling(split, least):
            new = [caption.parts[old:] for old, caption in zip(_old(split, least), split, strict=True)]
            shown = [segment._replace(text=" ".join(own)) for segment, own in zip(shown, new, strict=True)]
            break
    # Only now, since a line that describes a sound rolls like any other.
    said = (segment._replace(text=spoken(segment.text)) for segment in shown)
    return tuple(segment for segment in said if segment.text)


def _lines(text: str) -> list[str]:
    return [line for line in (" ".join(line.split()) for line in text.splitlines()) if line]


class _Caption(NamedTuple):
    start: float
    end: float
    parts: tuple[str, ...]  # lines or words


def _rolling(captions: Sequence[_Caption], least: int) -> bool:
    old = _old(captions, least)[1:]
    rolled = [
        0 < number < len(caption.parts) or (number > 0 and _flashes(caption))
        for number, caption in zip(old, captions[1:], strict=True)
    ]
    return bool(rolled) and sum(rolled) >= _ROLLS * len(rolled)


def _old(captions: Sequence[_Caption], least: int) -> list[int]:
    """How many of each caption's first parts the one before has shown."""
    return [0, *(_repeated(*pair, least) for pair in pairwise(captions))] if captions else []


def _repeated(before: _Caption, caption: _Caption, least: int) -> int:
    fitting = [
        number
        for number in range(min(len(before.parts), len(caption.parts), _MOST), 0, -1)
        if before.parts[-number:] == caption.parts[:number] and number >= min(least, len(before.parts))
    ]
    if not fitting:
        return 0
    if fitting[0] < len(caption.parts) or _flashes(caption):
        return fitting[0]
    if len(fitting) > 1:
        return fitting[1]  # the same line is said again and again: one that is shown for long says something
    return 0 if caption.start > before.end + _TOUCH_SECONDS else fitting[0]


def _flashes(caption: _Caption) -> bool:
    return caption.end - caption.start <= _FLASH_SECONDS


def opening_said_twice(segments: Sequence[Segment]) -> int:
    """How many words the first segment says twice in a row at its beginning, from three on; else 0.

    The predecessor's merging began with the first caption and then took it again: in 81 of 111 routines, of 3 to 37 words.
    """
    words = segments[0].text.split() if segments else []
    return next(
        (n for n in range(min(len(words) // 2, _MOST), _LEAST_WORDS - 1, -1) if words[:n] == words[n : 2 * n]), 0
    )
