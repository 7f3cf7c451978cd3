"""Recorded jokes, found again in the document that a prompt shows.

::

    document  "[00:12] hola qué tal / [00:15] mi suegra y el micro …"
    recorded  {"transcript": "mi suegra y el micro …", "corrected_transcript": "Mi suegra y el micro …"}
    ->        the joke, from the line marked 00:15 on

A joke is in a document when more than half of its runs of four words are: recordings have lost letters.
"""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

RUN = 4
SHARE = 0.5
_WORD = re.compile(r"\w+")


class Joke(NamedTuple):
    """What a model once wrote."""

    transcript: str
    corrected_transcript: str


class Found(NamedTuple):
    """A recorded joke and the lines of the document from which to which it goes."""

    joke: Joke
    first: int
    last: int


class Jokes:
    """Recorded jokes by their runs of words."""

    def __init__(self, jokes: Iterable[Joke]) -> None:
        self.jokes = list(jokes)
        self._runs: dict[int, array[int]] = {}
        self._lengths = []
        for number, joke in enumerate(self.jokes):
            runs = set(_runs(_words(joke.transcript)))
            self._lengths.append(len(runs))
            for run in runs:
                self._runs.setdefault(run, array("i")).append(number)

    def __len__(self) -> int:
        return len(self.jokes)

    def among(self, lines: list[str]) -> list[Found]:
        """The recorded jokes that these lines hold, in order."""
        words = [(word, at) for at, line in enumerate(lines) for word in _words(line)]
        where = [at for _, at in words]
        hits: Counter[int] = Counter()
        spans: dict[int, tuple[int, int]] = {}
        for start, run in enumerate(_runs([word for word, _ in words])):
            for number in self._runs.get(run, ()):
                hits[number] += 1
                first = spans.get(number, (where[start], 0))[0]
                spans[number] = (first, where[start + RUN - 1])
        found = [Found(self.jokes[n], *spans[n]) for n, times in hits.items() if times > SHARE * self._lengths[n]]
        return sorted(found, key=lambda one: (one.first, one.last, one.joke))


def read_jokes(path: Path) -> Iterator[Joke]:
    """Read recorded jokes from Parquet or JSON Lines with ``transcript`` and ``corrected_transcript``."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        rows = pq.read_table(path, columns=list(Joke._fields)).to_pylist()
    else:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for row in rows:
        yield Joke(row["transcript"], row["corrected_transcript"])


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _runs(words: list[str]) -> list[int]:
    return [hash(tuple(words[at : at + RUN])) for at in range(len(words) - RUN + 1)]
