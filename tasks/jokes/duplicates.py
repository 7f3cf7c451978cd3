"""Jokes that are another one again: at the same place, or in nearly the same words.

Windows overlap, so a joke there is extracted twice; a comedian tells the same one in two years. Nothing is dropped: one
stands, and the others point to it. Who is told to be well (located, its accents kept) stands before who is not, or one that
is left out for another reason would take those with it that it stands for::

    place = by_span(routines, spans, well)
    words = near(texts, place, well)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import ceil

from tasks.jokes.spelling import bare, split
from tasks.jokes.transcript import Span

LEAST_SHARED = 0.5  # of the words that either of two spans covers, both do
LEAST_ALIKE = 0.6  # of the pairs of words that stand side by side in either of two texts, both have


def by_span(
    routines: Sequence[str], spans: Sequence[Span | None], well: Sequence[bool], least: float = LEAST_SHARED
) -> list[int | None]:
    """Jokes at one place of one routine.

    Args:
        routines: Of each joke.
        spans: Where each stands; None for one that was not located, which is no duplicate.
        well: Whether nothing else speaks against it.
        least: More of the words that either covers are covered by both.

    Returns:
        For each joke the position of the one that stands for it; None for those that stand. Of jokes at one place that are
        well, or of those that are not, the one with most words stands, since the end of a window may have cut the other;
        of equals the first.
    """
    of: list[int | None] = [None] * len(spans)
    standing: dict[str, list[tuple[int, Span]]] = defaultdict(list)
    located = [(at, span) for at, span in enumerate(spans) if span is not None]
    for at, span in sorted(located, key=lambda item: (not well[item[0]], item[1].first - item[1].stop, item[0])):
        others = standing[routines[at]]
        touching = [item for item in others if item[1].first < span.stop and span.first < item[1].stop]
        shared, other = max(((_shared(span, theirs), -other) for other, theirs in touching), default=(0.0, 0))
        if shared > least:
            of[at] = -other
        else:
            others.append((at, span))
    return of


def _shared(one: Span, other: Span) -> float:
    both = min(one.stop, other.stop) - max(one.first, other.first)
    return both / (one.stop - one.first + other.stop - other.first - both)


def near(
    texts: Sequence[str], place: Sequence[int | None], well: Sequence[bool], least: float = LEAST_ALIKE
) -> list[int | None]:
    """Jokes in nearly the same words, of any routine; case, punctuation and lost accents make no difference.

    Two texts are compared only if they share one of their rarest pairs of words, of which one is enough to be seen:
    sets that have a share ``least`` in common have at least one of the rarest ``1 - least`` of each in common.

    Args:
        texts: Of each joke; one without words is no duplicate.
        place: What ``by_span`` says: a joke for which another stands already neither stands nor points to a second one.
        well: As for ``by_span``.
        least: Jaccard similarity of the pairs of neighbouring words, from where on two texts are one.

    Returns:
        For each joke the position of the one that stands for it, the first that is well or else the first; None for those
        that stand.
    """
    pairs = [_pairs(text) if other is None else frozenset() for text, other in zip(texts, place, strict=True)]
    known = Counter(pair for own in pairs for pair in own)
    of: list[int | None] = [None] * len(texts)
    standing: dict[tuple[str, str], list[int]] = defaultdict(list)
    for at in sorted(range(len(texts)), key=lambda at: (not well[at], at)):
        own = pairs[at]
        rarest = sorted(own, key=lambda pair: (known[pair], pair))[: len(own) - ceil(least * len(own) - 1e-9) + 1]
        others = {other for pair in rarest for other in standing[pair]}
        alike, earliest = max(((_alike(own, pairs[other]), -other) for other in others), default=(0.0, 0))
        if alike >= least:
            of[at] = -earliest
        else:
            for pair in rarest:
                standing[pair].append(at)
    return of


def _pairs(text: str) -> frozenset[tuple[str, str]]:
    words = [bare(part) or part for word in text.split() for part in split(word)]
    return frozenset(zip(["", *words], [*words, ""], strict=True)) if words else frozenset()


def _alike(one: frozenset[tuple[str, str]], other: frozenset[tuple[str, str]]) -> float:
    both = len(one & other)
    return both / (len(one) + len(other) - both)
