"""Windows of a transcript that fit one question, each overlapping the next.

Segments are joined into lines with one mark, since a mark for each of YouTube's captions is a third of the text::

    [03:12] llega un tipo al médico y le dice doctor me duele todo y el médico le dice …
    [03:31] …

A joke of up to ``overlap_chars`` characters stands whole in at least one window. Of 9,343 jokes that were recorded for 111
routines 99 % have at most 1,354, but those that a border goes through are the long ones, up to 2,739 (docs/decisions.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tasks.jokes.transcript import Transcript, Window

LINE_CHARS = 300  # a line that has as many is finished
MAX_LINE_CHARS = 600  # a segment that would make it longer begins the next; a longer segment is cut at words
_LEAST_LINE_CHARS = 250  # what windows must leave for a line; a word has at most 200
_MARK = re.compile(r"(?<!\d)(?:(\d{1,2}):)?(\d{1,4}):([0-5]\d)(?!\d)")
_BRACKETED = re.compile(r"\s*\[(?:\d{1,2}:)?\d{1,4}:[0-5]\d\]\s*")
_MARKS = 30  # what marks may take beside a line


class _Line(NamedTuple):
    first: int
    stop: int
    start: float
    end: float
    text: str


def mark(seconds: float) -> str:
    """A time as it stands in a window: ``[mm:ss]``, with more than two digits from 100 minutes on."""
    return f"[{int(seconds) // 60:02}:{int(seconds) % 60:02}]"


def read_mark(text: str | None) -> float | None:
    """The seconds of a mark as a model gives it back: ``[03:12]``, ``3:12``, ``01:03:12``; None where there is none."""
    found = _MARK.search(text or "")
    if not found:
        return None
    hours, minutes, seconds = found.groups()
    return int(hours or 0) * 3600.0 + int(minutes) * 60 + int(seconds)


def without_marks(text: str) -> str:
    """What a model gave back without the marks that stood between the lines that it quotes."""
    return _BRACKETED.sub(" ", text).strip()


def check_sizes(max_chars: int, overlap_chars: int) -> None:
    """Are these sizes that ``cut`` can keep?

    Raises:
        ValueError: No; says what can be.
    """
    if overlap_chars < 0:
        raise ValueError(f"overlap_chars is {overlap_chars}; it is 0 or more.")
    if _longest_line(max_chars, overlap_chars) < _LEAST_LINE_CHARS:
        least = overlap_chars * 5 // 4 + 2 * (_LEAST_LINE_CHARS + _MARKS)
        raise ValueError(
            f"max_chars is {max_chars:,}, but windows that overlap by {overlap_chars:,} characters need {least:,} or more."
        )


def cut(transcript: Transcript, max_chars: int = 12_000, overlap_chars: int = 2_800) -> list[Window]:
    """Cut a transcript into windows at the borders of segments.

    Args:
        transcript: One routine.
        max_chars: Of a window's text, marks included. Only a word that is longer than a line is more.
        overlap_chars: Of what was said (marks not counted) at the end of a window, at least, that the next begins with.

    Returns:
        Windows in order. Every word is in at least one, and each has words that the one before and the next have not.

    Raises:
        ValueError: A window of this size cannot overlap by as much.
    """
    check_sizes(max_chars, overlap_chars)
    lines = list(_lines(transcript, _longest_line(max_chars, overlap_chars)))
    windows: list[Window] = []
    first = stop = 0
    while stop < len(lines):
        size = sum(map(_size, lines[first : stop + 1]))  # what is shared, and one line that is new
        stop += 1
        while stop < len(lines) and size + _size(lines[stop]) <= max_chars:
            size += _size(lines[stop])
            stop += 1
        windows.append(_window(len(windows), lines[first:stop]))
        shared, begin, first = 0, first, stop
        while shared < overlap_chars and first - 1 > begin:
            first -= 1
            shared += len(lines[first].text) + 1
    return windows


def _longest_line(max_chars: int, overlap_chars: int) -> int:
    # An overlap may be a line longer than asked for, its lines have marks, and a new line has to fit beside it.
    return min(MAX_LINE_CHARS, (max_chars - overlap_chars * 5 // 4) // 2 - _MARKS)


def _size(line: _Line) -> int:
    return len(mark(line.start)) + 1 + len(line.text) + 1


def _window(number: int, lines: list[_Line]) -> Window:
    text = "\n".join(f"{mark(line.start)} {line.text}" for line in lines)
    return Window(number, lines[0].first, lines[-1].stop, lines[0].start, max(line.end for line in lines), text)


def _lines(transcript: Transcript, longest: int) -> Iterator[_Line]:
    """Segments joined to lines, and long ones cut at words."""
    line: _Line | None = None
    for piece in _pieces(transcript, longest):
        if line and (len(line.text) >= LINE_CHARS or len(line.text) + 1 + len(piece.text) > longest):
            yield line
            line = None
        if line:
            end = max(line.end, piece.end)
            line = _Line(line.first, piece.stop, line.start, end, f"{line.text} {piece.text}")
        else:
            line = piece
    if line:
        yield line


def _pieces(transcript: Transcript, longest: int) -> Iterator[_Line]:
    first = 0
    for segment in transcript.segments:
        words = segment.text.split()
        begin = 0
        while begin < len(words):
            stop, chars = begin + 1, len(words[begin])
            while stop < len(words) and chars + 1 + len(words[stop]) <= longest:
                chars += 1 + len(words[stop])
                stop += 1
            # Times inside a segment are guessed from the share of its words.
            start, end = (segment.start + (segment.end - segment.start) * share / len(words) for share in (begin, stop))
            yield _Line(first + begin, first + stop, start, end, " ".join(words[begin:stop]))
            begin = stop
        first += len(words)
