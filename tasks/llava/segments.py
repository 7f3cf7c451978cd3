r"""A turn's value, cut into what travels to a translator and what stays at home.

One value as it comes, and its spans (those kept at home in brackets)::

    <image>\n1. **Safety:** Wear a helmet. Look twice!
    [<image>] [\n] [1. ] [**] Safety: [**] [ ] Wear a helmet. [ ] Look twice!

What never travels cannot be damaged: of the published rows, sent whole, 25.8 % lost ``<image>`` or the line
break beside it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

Unit = Literal["sentence", "line"]

# Patterns that scan whole values begin with a character class: the engine then skips ahead, 3 times as fast.
# Everything str.splitlines splits on: each of them would make two lines of one text.
BREAKS = "\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
BREAK = re.compile(f"[{BREAKS}](?:(?<=\r)\n)?")
# <image>, <|im_start|>, </s>, <https://a.b>: anything in angle brackets without white space inside; and
# <a href="https://a.b">: a tag with its attributes.
_ATTRIBUTE = f"""[\\w:-]{{1,40}}=(?:"[^"<>{BREAKS}]{{0,500}}"|'[^'<>{BREAKS}]{{0,500}}')"""
IN_BRACKETS = rf"(?:[^<>\s]{{1,200}}|[a-zA-Z][\w-]{{0,40}}(?: +{_ATTRIBUTE})+ ?/?)"
TOKEN = re.compile(f"<{IN_BRACKETS}>")
_HOME = re.compile(f"([<\x00-\x1f\x7f-\x9f\ud800-\udfff](?:(?<=<){IN_BRACKETS}>|(?<!<)))")
_FENCE = re.compile(r"^[ \t]*(`{3,}).*?^[ \t]*\1`*[ \t]*(?=[\r\n]|\Z)", re.MULTILINE | re.DOTALL)
# White space and markers that open a line: "1. ", "1) ", "(a) ", "- ", "* ", "• ", "> ", "## ".
_HEAD = re.compile(r"\s*(?:(?:\d{1,3}\.|\(?(?:\d{1,3}|[a-zA-Z])\)|[-*+•–—>]|#{1,6})\s+)*")
# "A. cat", and a line with "B. …" below it: then these letters are markers too, and no initials.
_CHOICES = re.compile(r"^[ \t]*A\.[ \t].*[\r\n]+[ \t]*B\.[ \t]", re.MULTILINE)
_CHOICE = re.compile(r"\s*[A-Z]\.\s+")
_LETTER_ALONE = re.compile(r"\s*\(?[A-Za-z][.)]?\s*$")  # an answer to such a question
_TABLE_ROW = re.compile(r"\s*\|.*\|\s*$")
# "**Label:** text", "**Label**: text", "**Whole line**"; never "**Note** that …", which is one sentence.
_LABEL = re.compile(r"(\*\*)([^*\s](?:[^*]*[^*\s])?)(\*\*(?:\s*$|\s*[:–—-]\s+)|(?<=[:.!?])\*\*\s+)")
_URL = re.compile(r"\s*(?:[a-zA-Z][a-zA-Z+.-]*://|www\.)\S+\s*$")
_LETTER = re.compile(r"[^\W\d_]")
# A stop with its closing quotes and brackets, then white space; CJK stops need none.
_STOP = re.compile(r"""([.!?…。！？।۔።။។؟][.!?…。！？।۔።။។؟]*)["'”’»)\]*」』）]*(\s*)""")
_OPENERS = "\"'“‘«‹„([¿¡*_「『（"
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]$")
# A full stop after these does not end a sentence; after those of the second list not where a number follows.
ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st mt ft vs sr sra srta dra jr gen col sgt capt cmdr lt maj rev hon gov sen rep pres "
    "messrs mme mlle inc ltd co corp ca cf al approx dept est ext esp incl ud uds ee uu ej bzw usw".split()
)
_BEFORE_NUMBER = frozenset(
    "no nos nr núm num fig figs vol p pp pg pág ch sec art op ed "
    "jan feb mar apr jun jul aug sept sep oct nov dec".split()
)
# Of a text once percent-encoded: Google takes no longer address, and no pack can hold it (Limits.max_bytes).
MAX_BYTES = 12_000
_PLAIN = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~ "
)  # a byte each, all others three
# Google leaves these where it cuts a long text: 3.2 % of the real rows had U+200B, always after a space.
_ZERO_WIDTH = re.compile("[\u200b\u2060\ufeff]")


class Span(NamedTuple):
    """A piece of a value.

    Args:
        text: The piece, byte for byte.
        kept: True where it stays at home; False where it travels.
    """

    text: str
    kept: bool


def cut(value: str, unit: Unit, max_chars: int = 4500) -> list[Span]:
    """Cut a value so that the texts of its spans, joined, are the value again.

    Kept at home are special tokens, line breaks, control characters, white space around texts, the markers
    that open a line, the bars of a table, fenced code, lines that are a URL or a letter, and everything without a letter.

    Args:
        value: What one side said; any text.
        unit: ``sentence`` sends one sentence at a time, ``line`` what is left of a line.
        max_chars: A longer text is cut at white space, and without white space between two characters; so is one of
            more than ``MAX_BYTES``.

    Returns:
        Spans in order. Those that travel are never empty, have no outer white space, no line break and no
        control character, at least one letter, and at most ``max_chars`` characters and ``MAX_BYTES``.
    """
    return list(_cut(value, unit, max_chars))


@lru_cache(maxsize=4096)
def _cut(value: str, unit: Unit, max_chars: int) -> tuple[Span, ...]:
    # Cached because a value is cut, joined and verified in turn, and one question opens thousands of rows.
    spans: list[Span] = []
    done = 0
    for fence in _FENCE.finditer(value) if "```" in value else ():
        _cut_lines(value[done : fence.start()], unit, max_chars, spans)
        spans.append(Span(fence.group(), True))
        done = fence.end()
    _cut_lines(value[done:], unit, max_chars, spans)
    return tuple(spans)


def _cut_lines(value: str, unit: Unit, max_chars: int, spans: list[Span]) -> None:
    done = 0
    heads = _CHOICE if "B." in value and _CHOICES.search(value) else _HEAD
    for line_break in BREAK.finditer(value):
        _cut_line(value[done : line_break.start()], heads, unit, max_chars, spans)
        spans.append(Span(line_break.group(), True))
        done = line_break.end()
    _cut_line(value[done:], heads, unit, max_chars, spans)


def _cut_line(line: str, heads: re.Pattern[str], unit: Unit, max_chars: int, spans: list[Span]) -> None:
    start = 0
    if (("://" in line or "www." in line) and _URL.match(line)) or (len(line) < 9 and _LETTER_ALONE.match(line)):
        spans.append(Span(line, True))
        return
    if "|" in line and _TABLE_ROW.match(line):
        for cell in re.split(r"(\|)", line):
            _cut_piece(cell, unit, max_chars, spans)
        return
    if (head := heads.match(line) or _HEAD.match(line)) and head.end():
        start = head.end()
        spans.append(Span(line[:start], True))
    if "**" in line and (label := _LABEL.match(line, start)):
        _keep(label[1], spans)
        _cut_piece(label[2], unit, max_chars, spans)
        _keep(label[3], spans)
        start = label.end()
    _cut_piece(line[start:], unit, max_chars, spans)


def _cut_piece(piece: str, unit: Unit, max_chars: int, spans: list[Span]) -> None:
    """Set tokens and control characters apart; ``re.split`` puts them at the odd places."""
    for place, text in enumerate(_HOME.split(piece)):
        bare = text.strip()
        if place % 2 or not _LETTER.search(bare):
            _keep(text, spans)
            continue
        before = text.index(bare)
        _keep(text[:before], spans)
        if unit == "line":
            _send(bare, max_chars, spans)
        else:
            done = 0
            for stop, following in _boundaries(bare):
                _send(bare[done:stop], max_chars, spans)
                _keep(bare[stop:following], spans)
                done = following
            _send(bare[done:], max_chars, spans)
        _keep(text[before + len(bare) :], spans)


def _boundaries(text: str) -> Iterator[tuple[int, int]]:
    """Where a sentence stops and where the next one starts. In doubt there is no boundary."""
    start = 0
    for found in _STOP.finditer(text):
        if found.end() < len(text) and _is_boundary(text, start, found):
            yield found.start(2), found.end()
            start = found.end()


def _is_boundary(text: str, start: int, found: re.Match[str]) -> bool:
    stop, space = found.groups()
    if stop[-1] in "。！？":
        return True
    following = text[found.end()]
    if following in _OPENERS:
        following = text[found.end() : found.end() + 4].lstrip(_OPENERS)[:1]
    if not space or not following.isalnum() or following.islower() or stop == "…" or stop.startswith(".."):
        return False
    if stop != ".":
        return True
    word = text[max(text.rfind(" ", start, found.start()) + 1, start) : found.start()].lstrip(_OPENERS)
    if len(word) < 3 and (word.isdigit() or (len(word) == 1 and word.isupper())):
        return False  # "J. Smith", "… are: 1. Bread 2. Wine"
    lower = word.lower()
    if lower in ABBREVIATIONS or (following.isdigit() and lower in _BEFORE_NUMBER):
        return False
    return not ("." in word and _DOTTED.match(word))


def _send(text: str, max_chars: int, spans: list[Span]) -> None:
    while (room := _room(text, max_chars)) < len(text):
        stop = _last_space(text, room) or _between_characters(text, room)
        following = len(text) - len(text[stop:].lstrip())
        spans.append(Span(text[:stop], not _LETTER.search(text[:stop])))
        _keep(text[stop:following], spans)
        text = text[following:]
    spans.append(Span(text, not _LETTER.search(text)))


def _room(text: str, max_chars: int) -> int:
    """How many of its first characters may travel together."""
    if len(text) <= min(max_chars, MAX_BYTES // 12):  # no character takes more than 12 bytes
        return len(text)
    size = 0
    for at, character in enumerate(text[:max_chars]):
        size += 1 if character in _PLAIN else 3 * len(character.encode())
        if size > MAX_BYTES:
            return at
    return min(len(text), max_chars)


def _last_space(text: str, max_chars: int) -> int:
    """Where the last word that fits ends; 0 where the text starts with a longer word."""
    ends = (at for at in range(max_chars, 0, -1) if text[at].isspace() and not text[at - 1].isspace())
    return next(ends, 0)


def _between_characters(text: str, max_chars: int) -> int:
    """The last place that does not part a letter from its accent or an emoji from its joiner."""
    for at in range(max_chars, max(max_chars - 32, 0), -1):
        if not unicodedata.category(text[at]).startswith("M") and "\u200d" not in text[at - 1 : at + 1]:
            return at
    return max_chars


def _keep(text: str, spans: list[Span]) -> None:
    if text:
        spans.append(Span(text, True))


def texts(spans: Sequence[Span]) -> list[str]:
    """What travels, in order; a text that occurs twice is there twice."""
    return [span.text for span in spans if not span.kept]


@lru_cache(maxsize=4096)
def sentences(value: str) -> tuple[str, ...]:
    """The texts of ``cut(value, "sentence")``, in order: what the checks compare one by one."""
    return tuple(span.text for span in _cut(value, "sentence", 4500) if not span.kept)


def tidy(answer: str) -> str:
    """An answer as it goes into its place: outer white space stayed at home, and zero-width means nothing."""
    return without_zero_width(answer).strip()


def without_zero_width(text: str) -> str:
    """Zero-width spaces and joiners of words mean nothing in a translation."""
    return _ZERO_WIDTH.sub("", text) if "\u200b" in text or "\u2060" in text or "\ufeff" in text else text


def join(spans: Sequence[Span], answers: Mapping[str, str]) -> str:
    """Put the answers where their texts were.

    Args:
        spans: What ``cut`` returned.
        answers: For each text that travelled, its translation.

    Raises:
        KeyError: A text has no answer.
    """
    return "".join(span.text if span.kept else tidy(answers[span.text]) for span in spans)
