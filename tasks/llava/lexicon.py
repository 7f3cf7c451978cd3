"""Which word goes with which, learnt from pairs of texts: enough to see that an answer belongs elsewhere.

A few words as ``to_json`` writes them, learnt from 500 rows::

    {"pairs": 7563, "forward": {"bus": ["autobús", "autobuses"], …}, "backward": {"autobús": ["bus"], …}}

Two words go together by Dice's coefficient 2n / (a + b): n pairs with both, a with the one, b with the other
(Dice 1945). No model and no dictionary, so it works for any two languages that put white space between words.
"""

from __future__ import annotations

import json
import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, islice, pairwise

import numpy as np
from numpy.typing import NDArray

_Numbers = NDArray[np.intp]
_Shares = NDArray[np.float64]

_WORD = re.compile(r"\w{3,}")
_LATIN_WORDS = re.sub(r"\W", " ", bytes(range(256)).decode("latin-1")).encode("latin-1")  # every byte, or a space
_MAX_PAIRS = 90_000
_MAX_WORDS = 6_000  # a side: one table of 6,000 x 6,000 counts in 16 bits is 72 MB
_MIN_PAIRS_WITH = 3  # a word in fewer pairs says nothing; neither do two words in fewer pairs together
_MAX_SHARE = 0.2  # a word in more pairs ("the", "is") goes with everything
_MIN_DICE = 0.1
_OF_BEST = 0.3  # of a word's best partner
_PARTNERS = 4
_MIN_SCORED = 6  # both sides together
_PREFIX = 5  # "important" goes with "importante" and "importancia" beside its partners


# 25 MB: both sides of a chunk's sentences, which are first learnt from and then graded.
@lru_cache(maxsize=16_384)
def words(text: str) -> frozenset[str]:
    """The distinct words of three characters or more, in lower case."""
    text = text.lower()
    try:  # in three quarters of the time where Latin-1 holds the text
        parted = text.encode("latin-1").translate(_LATIN_WORDS).decode("latin-1").split()
    except UnicodeEncodeError:
        return frozenset(_WORD.findall(text))
    return frozenset([word for word in parted if len(word) >= 3])


@dataclass(frozen=True, slots=True)
class Lexicon:
    """For each word of one language, the words of the other that go with it.

    Args:
        forward: Source word to target words.
        backward: Target word to source words.
        pairs: How many pairs of texts this was learnt from.
    """

    forward: Mapping[str, frozenset[str]]
    backward: Mapping[str, frozenset[str]]
    pairs: int

    @classmethod
    def learn(cls, pairs: Iterable[tuple[str, str]]) -> Lexicon:
        """Learn from (source, target) texts, best single sentences; the first 90,000 count.

        The same pairs in the same order give the same lexicon in every process. Takes 0.2 GB at most.
        """
        ours, theirs = _Texts(), _Texts()
        for source, target in islice(pairs, _MAX_PAIRS):
            ours.add(source)
            theirs.add(target)
        sources, source_counts, source_words = ours.vocabulary()
        targets, target_counts, target_words = theirs.vocabulary()
        table = np.zeros(len(sources) * len(targets), dtype=np.uint16)
        for rows, columns in zip(source_words, target_words, strict=True):
            table[np.add.outer(rows * len(targets), columns)] += 1
        together = np.flatnonzero(table >= _MIN_PAIRS_WITH)
        rows, columns = np.divmod(together, max(len(targets), 1))
        dice = 2 * table[together] / (source_counts[rows] + target_counts[columns])
        strong = dice >= _MIN_DICE
        return cls(
            forward=_partners(sources, targets, rows[strong], columns[strong], dice[strong]),
            backward=_partners(targets, sources, columns[strong], rows[strong], dice[strong]),
            pairs=len(ours),
        )

    def hits(self, source: frozenset[str], target: frozenset[str]) -> tuple[int, int]:
        """How many words of both sides have a partner on the other side, and how many could have one."""
        found, scored = self.hits_forward(source, target)
        backward = list(filter(None, map(self.backward.get, target)))
        return found + len(backward) - sum(map(source.isdisjoint, backward)), scored + len(backward)

    def hits_forward(self, source: frozenset[str], target: frozenset[str]) -> tuple[int, int]:
        """How many words of the source have a partner in the target, and how many could have one."""
        forward = list(filter(None, map(self.forward.get, source)))
        return len(forward) - sum(map(target.isdisjoint, forward)), len(forward)

    def coverage(self, source: str, target: str) -> float | None:
        """The share of known words, counted on both sides, with a partner on the other side.

        Returns:
            0.0 to 1.0, or None where fewer than 6 words are known.
        """
        found, scored = self.hits(words(source), words(target))
        return found / scored if scored >= _MIN_SCORED else None

    def to_json(self) -> str:
        """As JSON text, the same bytes for the same lexicon."""
        forward = {word: sorted(partners) for word, partners in self.forward.items()}
        backward = {word: sorted(partners) for word, partners in self.backward.items()}
        plain = {"pairs": self.pairs, "forward": forward, "backward": backward}
        return json.dumps(plain, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Lexicon:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: Not JSON.
            KeyError: Not a lexicon.
        """
        plain = json.loads(text)
        forward = {word: frozenset(partners) for word, partners in plain["forward"].items()}
        backward = {word: frozenset(partners) for word, partners in plain["backward"].items()}
        return cls(forward, backward, plain["pairs"])


class _Texts:
    """The words of many texts as numbers, in one array: a tenth of the memory of the words."""

    def __init__(self) -> None:
        self._numbers: defaultdict[str, int] = defaultdict(count().__next__)  # new words are numbered as they come
        self._flat = array("q")
        self._ends = [0]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, text: str) -> None:
        self._flat.extend(map(self._numbers.__getitem__, words(text)))
        self._ends.append(len(self._flat))

    def vocabulary(self) -> tuple[list[str], _Numbers, Iterator[_Numbers]]:
        """The words worth a row, sorted; how many texts have each row's word; for each text its words' rows."""
        flat = np.frombuffer(self._flat, dtype=np.int64)
        counts = np.bincount(flat, minlength=len(self._numbers))
        # In a handful of pairs every word is frequent.
        most = max(_MAX_SHARE * len(self), 20)
        usable = [
            (-texts, word)
            for word, texts in zip(self._numbers, counts.tolist(), strict=True)
            if _MIN_PAIRS_WITH <= texts <= most
        ]
        chosen = sorted(word for _, word in sorted(usable)[:_MAX_WORDS])
        at_numbers = np.array([self._numbers[word] for word in chosen], dtype=np.intp)
        places = np.full(len(self._numbers), -1, dtype=np.intp)
        places[at_numbers] = np.arange(len(chosen))
        rows = places[flat]
        has_row = rows >= 0
        ends = np.concatenate([[0], np.cumsum(has_row)])[self._ends].tolist()
        rows = rows[has_row]
        return chosen, counts[at_numbers], (rows[start:end] for start, end in pairwise(ends))


def _partners(
    ours: list[str], theirs: list[str], our_places: _Numbers, their_places: _Numbers, dice: _Shares
) -> dict[str, frozenset[str]]:
    alike = defaultdict(list)
    for word in theirs:
        alike[word[:_PREFIX]].append(word)
    partners: dict[str, list[str]] = {}
    best = 0.0
    # By word, best first; the words are sorted, so of two equal partners the alphabet's first wins.
    order = np.lexsort((their_places, -dice, our_places))
    for our, their, share in zip(*(of[order].tolist() for of in (our_places, their_places, dice)), strict=True):
        word = ours[our]
        if word not in partners:
            partners[word] = []
            best = share
        if share >= _OF_BEST * best and len(partners[word]) < _PARTNERS:
            partners[word].append(theirs[their])
    return {word: frozenset([word, *alike[word[:_PREFIX]], *found]) for word, found in partners.items()}
