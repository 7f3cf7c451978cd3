"""Text search as the web UI's search box speaks it: Elasticsearch's simple query strings.

What is searched is one line of words a record, lower case, accents kept, fields apart::

    searchable(["El autobús es blanco.", "¿Qué?"])  ->  " el autobús es blanco \n qué "
    parse('autobús -rojo')(that line)               ->  1
    parse('"es blanco"')(that line)                 ->  1
    parse('blan*|negro')(that line)                 ->  1

All words have to be there; ``|`` is or, ``-`` is not, ``"…"`` a phrase, ``…*`` a beginning, ``( )`` a group. As in
Elasticsearch there is no precedence: ``a b | c d`` is ``((a b) | c) d``. A word that punctuation divides is a phrase, so
``l'autobús`` and ``3.5`` are found as they stand.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Hits = Callable[[str], int]  # a searchable line -> how often it is hit; 0 where it does not match

_IDEOGRAPH = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_JOINERS = "_\u200c\u200d"  # inside words of Persian and of India's languages
_PART = re.compile(r'"(?P<phrase>[^"]*)"?|(?P<sign>[()|+]|-(?=[^\s-]))|(?P<word>[^\s"()|+]+)')


class _Spaced(dict[int, str]):
    """What each character becomes, so that words have spaces around them; found out when it is first seen."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        self[code] = char if unicodedata.category(char)[0] in "LMN" or char in _JOINERS else " "
        if _IDEOGRAPH.match(char):  # Chinese and Japanese have no spaces, so each character is a word
            self[code] = f" {char} "
        return self[code]


_spaced = _Spaced()


def words(text: str) -> list[str]:
    """Words of a text, folded so that equal ones are equal."""
    return unicodedata.normalize("NFC", text).casefold().translate(_spaced).split()


def searchable(texts: Iterable[str]) -> str:
    """One line for all texts of a record. The web UI shows them as HTML, so ``&lt;`` is searched as it is seen."""
    return "".join(f" {line} \n" for line in (" ".join(words(html.unescape(text))) for text in texts) if line)


@dataclass
class _Group:
    """What stands between two parentheses, so far; None is no condition yet."""

    test: Hits | None = None
    either: bool = False  # the next condition may hold instead
    negated: bool = False  # the next condition must not hold

    def add(self, test: Hits | None) -> None:
        """Take the next condition; a group without words is none."""
        if test:
            test = _not(test) if self.negated else test
            self.test = (_either if self.either else _both)(self.test, test) if self.test else test
            self.either = self.negated = False


def parse(query: str) -> Hits:
    """The test that a query asks for. Any text is a query; one without a word matches nothing."""
    if query.strip() == "*":
        return lambda _: 1
    groups = [_Group()]
    for part in _PART.finditer(query):
        match part["sign"]:
            case None:
                groups[-1].add(_holds(part))
            case "(":
                groups.append(_Group())
            case ")" if len(groups) > 1:
                inner = groups.pop()
                groups[-1].add(inner.test)
            case "|":
                groups[-1].either = True
            case "-":
                groups[-1].negated ^= True
    while len(groups) > 1:  # not closed
        inner = groups.pop()
        groups[-1].add(inner.test)
    return groups[0].test or (lambda _: 0)


def _holds(part: re.Match[str]) -> Hits | None:
    """Look for whole words, or for a beginning where a ``*`` ends them."""
    line = " ".join(words(part["word"] or part["phrase"]))
    if not line:
        return None
    wanted = f" {line}" if (part["word"] or "").endswith("*") else f" {line} "
    return lambda text: text.count(wanted)


def _not(test: Hits) -> Hits:
    return lambda text: not test(text)


def _both(one: Hits, other: Hits) -> Hits:
    return lambda text: (first := one(text)) and (second := other(text)) and first + second


def _either(one: Hits, other: Hits) -> Hits:
    return lambda text: one(text) + other(text)
