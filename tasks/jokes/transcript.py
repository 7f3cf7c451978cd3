"""What was said in one routine, and when.

::

    Transcript("100", "es", (Segment(12.0, 15.4, "llega un tipo al médico"), …))
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple


class Segment(NamedTuple):
    """A stretch of speech; seconds from the beginning of the recording."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Transcript:
    """One routine.

    Args:
        routine: Its name, unique in the source.
        language: Of the speech, such as ``es``.
        segments: In order of time, each word once: captions that roll have been merged.
        origin: The file, for messages.
        notes: What was mended or odd while it was read, a sentence each with file and line; nothing else was changed.
    """

    routine: str
    language: str
    segments: tuple[Segment, ...]
    origin: str
    notes: tuple[str, ...] = ()

    def __hash__(self) -> int:
        """Of its name alone: what is kept per transcript is looked up for every joke, and segments are thousands."""
        return hash(self.routine)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All words as they stand, in order: what positions in a transcript count."""
        return tuple(word for segment in self.segments for word in segment.text.split())


class Window(NamedTuple):
    """A stretch of a transcript that fits one question; it begins and ends where segments do.

    Args:
        number: In the routine, from 0.
        first: The first word's position in ``Transcript.words``.
        stop: One after the last word's.
        start: Seconds.
        end: Seconds.
        text: What a model reads: a line per segment, or a few, each begun by its mark ``[mm:ss]``.
    """

    number: int
    first: int
    stop: int
    start: float
    end: float
    text: str


class Span(NamedTuple):
    """Where a joke stands in its transcript.

    Args:
        first: The first word's position.
        stop: One after the last word's.
        start: Seconds, of the segment that the first word stands in.
        end: Seconds, of the segment that the last word stands in.
        found: Share of the joke's words that are found there, in order, from 0 to 1.
    """

    first: int
    stop: int
    start: float
    end: float
    found: float
