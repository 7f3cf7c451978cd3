"""Where a quote stands in its transcript, also if a model has left out words, mended some, or lost their accents.

The quote's runs of three words (two or one where these are not there) say which stretches of the transcript come into
question. In each the words are aligned in order, and matches that stand far from the others are let go. The marks that a
model gives decide between stretches that hold about as much of the quote; a wrong mark hides nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from tasks.jokes.spelling import bare, plain, split
from tasks.jokes.transcript import Span, Transcript
from tasks.jokes.windows import read_mark

LEAST_FOUND = 0.6  # of a joke's words; a joke of which fewer stand in order in the transcript was not said there
LEAST_TOLD = 0.2  # of a joke's corrected words; one with fewer at its quote's place tells something else

_CANDIDATES = 3  # stretches that are aligned, beside the best one near the marks
_BESIDE = 10  # words beside a quote that its correction may begin or end with
_NEAR_SECONDS = 60.0
_FOR_MARKS = 0.1  # what being near the marks is worth, as a share of words found
_GAP = 0.25  # what a skipped word of the transcript takes from a match across it, in words


def locate(
    quote: str, transcript: Transcript, start_mark: str | None = None, end_mark: str | None = None
) -> Span | None:
    """Find the stretch of a transcript that a quote was taken from.

    Args:
        quote: As a model gave it.
        transcript: The routine; what is looked up in it is kept for the next quote.
        start_mark: Where the model says that it begins, such as ``[03:12]``: a hint.
        end_mark: Where the model says that it ends.

    Returns:
        The stretch that holds most of the quote, with the share of the quote's words that stand there in order; what is
        under ``LEAST_FOUND`` should not count as found. None where not even one word is.
    """
    return _places(transcript).find(quote, read_mark(start_mark), read_mark(end_mark))


def share_told(text: str, transcript: Transcript, span: Span) -> float:
    """The share of a text's words that stand in order where a quote was found, from 0 to 1.

    A model gives a joke twice, quoted and corrected; what it writes the second time need not have been said there.
    """
    return _places(transcript).told(text, span)


@lru_cache(maxsize=4)
def _places(transcript: Transcript) -> _Places:
    return _Places(transcript)


class _Match(NamedTuple):
    words: int  # of the quote, found in order
    first: int
    last: int


class _Places:
    """Where the words of a transcript and their runs stand."""

    def __init__(self, transcript: Transcript) -> None:
        self._segments = transcript.segments
        self._firsts = [0, *accumulate(len(segment.text.split()) for segment in transcript.segments)]
        self._tokens: list[str] = []
        self._positions: list[int] = []
        self._by_bare: dict[str, str] = {}
        for position, word in enumerate(transcript.words):
            for part in split(word):
                self._tokens.append(plain(part))
                self._positions.append(position)
                self._by_bare.setdefault(bare(part), plain(part))
        self._known = frozenset(self._tokens)
        self._runs: dict[int, dict[tuple[str, ...], list[int]]] = {}

    def find(self, quote: str, start: float | None, end: float | None) -> Span | None:
        words = [self._word(part) for word in quote.split() for part in split(word)]
        hits = self._hits(words)
        if not hits:
            return None
        if start is None:
            start = end
        best: tuple[float, Span] | None = None
        for low, high in self._stretches(hits, len(words), start, end):
            stretch = self._tokens[low:high]
            if best is not None and _most(words, stretch) + (0.0 if start is None else _FOR_MARKS) <= best[0]:
                continue
            match = _align(words, stretch)
            if match is None:
                continue
            span = self._span(low + match.first, low + match.last, match.words / len(words))
            worth = span.found + (_FOR_MARKS if _near(span, start, end) else 0.0)
            if best is None or worth > best[0]:
                best = worth, span
        return best[1] if best else None

    def told(self, text: str, span: Span) -> float:
        words = [self._word(part) for word in text.split() for part in split(word)]
        low, high = (bisect_left(self._positions, position) for position in (span.first, span.stop))
        match = _align(words, self._tokens[max(low - _BESIDE, 0) : high + _BESIDE])
        return match.words / len(words) if match else 0.0

    def _word(self, word: str) -> str:
        """As the transcript has it, if only accents are between them."""
        if (whole := plain(word)) in self._known:
            return whole
        return self._by_bare.get(bare(word), whole)

    def _hits(self, words: Sequence[str]) -> list[tuple[int, float]]:
        """Places of the quote's runs, each with its weight: what stands everywhere says little."""
        for length in (3, 2, 1):
            hits = [
                (at, 1 / len(places))
                for run in dict.fromkeys(_runs(words, length))  # once each: "la la la …" is sung 200 times
                for places in (self._places_of(length).get(run, []),)
                for at in places
            ]
            if hits:
                return sorted(hits)
        return []

    def _places_of(self, length: int) -> dict[tuple[str, ...], list[int]]:
        """Where each run of so many words stands; nearly all quotes have three that are there."""
        if length not in self._runs:
            self._runs[length] = defaultdict(list)
            for at, run in enumerate(_runs(self._tokens, length)):
                self._runs[length][run].append(at)
        return self._runs[length]

    def _stretches(
        self, hits: list[tuple[int, float]], words: int, start: float | None, end: float | None
    ) -> list[tuple[int, int]]:
        """From and to, in tokens: those with the weightiest hits, and the one near the marks."""
        width = 2 * words + 10
        chosen: list[tuple[int, int]] = []
        ranked = _heaviest(hits, width)
        for low, high in ranked:
            if all(high < one or low > other for one, other in chosen):
                chosen.append((low, high))
                if len(chosen) == _CANDIDATES:
                    break
        if start is not None:
            near = next((place for place in ranked if _near(self._span(*place, 0.0), start, end)), None)
            chosen += [near] if near is not None and near not in chosen else []
        return [(max(low - words, 0), high + words + 3) for low, high in chosen]

    def _span(self, first: int, last: int, found: float) -> Span:
        first, last = self._positions[first], self._positions[last]
        begin, finish = (self._segments[bisect_right(self._firsts, position) - 1] for position in (first, last))
        return Span(first, last + 1, begin.start, finish.end, found)


def _runs(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[at:] for at in range(length)), strict=False))


def _heaviest(hits: list[tuple[int, float]], width: int) -> list[tuple[int, int]]:
    """Stretches of at most this width from one hit to another, the weightiest first."""
    total = [0.0, *accumulate(weight for _, weight in hits)]
    places = [at for at, _ in hits]
    stretches = []
    for number, low in enumerate(places):
        stop = bisect_right(places, low + width)
        stretches.append((total[number] - total[stop], low, places[stop - 1]))
    return [(low, high) for _, low, high in sorted(stretches)]


def _near(span: Span, start: float | None, end: float | None) -> bool:
    if start is None:
        return False
    return span.end >= start - _NEAR_SECONDS and span.start <= max(start, end or start) + _NEAR_SECONDS


def _most(quote: Sequence[str], stretch: Sequence[str]) -> float:
    """No larger share of a quote's words can stand in a stretch."""
    there = frozenset(stretch)
    return sum(word in there for word in quote) / len(quote)


def _align(quote: Sequence[str], stretch: Sequence[str]) -> _Match | None:
    return _whole(quote, stretch) or _aligned(quote, stretch)


def _whole(quote: Sequence[str], stretch: Sequence[str]) -> _Match | None:
    """A quote that stands there word for word, where ``_aligned`` finds it too: half of all do, at a tenth of its cost."""
    before, found, _ = f" {' '.join(stretch)} ".partition(f" {' '.join(quote)} ")
    if not (found and quote):
        return None
    first = before.count(" ")
    return _Match(len(quote), first, first + len(quote) - 1)


def _aligned(quote: Sequence[str], stretch: Sequence[str]) -> _Match | None:
    """The run of matches that is worth most: its words, less a part of what the transcript has between them."""
    best: tuple[float, _Match] | None = None
    worth, run, before = 0.0, _Match(0, 0, -1), 0
    for ours, theirs, size in SequenceMatcher(None, quote, stretch, autojunk=False).get_matching_blocks():
        if not size:
            continue
        lost = _GAP * max(0, (theirs - run.last - 1) - (ours - before)) if run.words else 0.0
        if worth > lost:
            worth += size - lost
            run = _Match(run.words + size, run.first, theirs + size - 1)
        else:
            worth, run = float(size), _Match(size, theirs, theirs + size - 1)
        before = ours + size
        if best is None or worth > best[0]:
            best = worth, run
    return best[1] if best else None
