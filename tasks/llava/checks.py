"""Doubts about a translated turn: it stays in the table, its codes stand beside it, and a person can look.

One turn of the real data and what is found::

    source  The bench is free around 8am. It was built in 1950.
    target  El banco está libre las 24 horas. fue construido en 1950.
    -> [Finding("numbers", "24 new; 8 gone"), Finding("seam", "horas. fue construido en")]

Thresholds and their figures: docs/decisions.md, 2026-11-20.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.llava.language import KNOWN_LANGUAGES, base_code, is_in
from tasks.llava.lexicon import Lexicon, words
from tasks.llava.segments import ABBREVIATIONS, TOKEN, sentences
from tasks.llava.verify import is_prose

SOFT = {
    "coverage": "Few words have a counterpart on the other side: a sentence may be lost or out of place.",
    "end": "The source ends with a full stop, an exclamation or a question mark that is lost.",
    "length-long": "The translation is much longer than translations of texts of this length are.",
    "length-short": "The translation is much shorter than translations of texts of this length are: cut off?",
    "numbers": "A number of the source is missing in the translation, or the translation has another one.",
    "quotes": "The translation has more or fewer double quotes than the source.",
    "seam": "A sentence goes on in lower case after a full stop: the engine cut the text in the middle.",
    "untranslated": "A sentence of the translation is still in the source language.",
}

# Source characters from which a band holds, and the ratio's bounds (len(target)+5)/(len(source)+5) within it.
_BAND_STARTS = (0, 20, 40, 80, 200, 600)
_BANDS = {
    # A little beyond the 0.05th and 99.95th percentile of real turns without a flag; the first is a guess.
    ("en", "es"): ((0.45, 2.20), (0.58, 1.85), (0.60, 1.70), (0.69, 1.58), (0.86, 1.36), (0.87, 1.32)),
}
_WIDE_BANDS = ((0.25, 4.00), (0.35, 3.00), (0.45, 2.20), (0.55, 1.90), (0.65, 1.70), (0.70, 1.60))
_DENSE = frozenset({"ja", "ko", "yue", "zh"})  # two to three times fewer characters than an alphabet
_NO_SPACES = frozenset({"ja", "km", "lo", "my", "th", "yue", "zh"})
_NO_CASE = frozenset("am ar bn fa gu he hi ja ka km kn ko lo ml mr my ne pa ps si ta te th ug ur yi yue zh".split())
_OTHER_STOPS = frozenset({"el", "hy", "lo", "th"})  # Greek asks with a semicolon, Thai ends with nothing

_MIN_SENTENCE = 25  # characters; the detectors guess below
_MIN_SHARED = 0.3  # of a sentence's words; one that was left as it is shares all of them with its source
# The least coverage, and the known words it takes to say so.
_LOW_TURN, _MIN_TURN = 0.4, 8  # of a turn, words of both sides
_LOW_PAIR, _MIN_PAIR = 0.25, 8  # of one sentence and its answer, words of both sides
_LOW_LOST, _MIN_LOST = 0.4, 5  # of one source sentence anywhere in the translation, its own words

_QUOTE = re.compile('["“”„«»「」『』]')
_SINGLE_QUOTED = re.compile(r"(?<!\w)['‘][^'’]+['’](?!\w)")
_FINAL = re.compile(r"([.…。।۔።။។!！?？؟]?)[\s\"'“”’»)\]*」』）]*$")
_QUESTION = "?？؟"
_NO_SEAM = ABBREVIATIONS | {"etc"}
_SEAM = re.compile(r"\.(?<!\.\.)\s+([^\W\d_A-Z]|[.,;:])")
_DIGIT = re.compile("[0-9]")
_NUMBER = re.compile(r"\d(?:\d{0,2}([., \u00a0\u202f'’٬])\d{3}(?:\1\d{3})*(?!\d)|\d*(?:[.,٫]\d+)?)")
_HALF_DAY = re.compile(r"\d\s?[ap]\.?\s?m\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+")
_ROMAN = re.compile(r"\b[IVX]+\b")


@dataclass(frozen=True, slots=True)
class Finding:
    """One doubt about one turn.

    Args:
        code: A code of ``SOFT``.
        detail: What was measured, for the person who looks.
    """

    code: str
    detail: str


class Checks:
    """The soft checks of one pair of languages.

    Args:
        source_language: Such as ``en``; a region (``pt-BR``) is ignored.
        target_language: Such as ``es``.
        lexicon: Learnt from the same texts or others of their kind; None leaves ``coverage`` out.
    """

    def __init__(self, source_language: str, target_language: str, lexicon: Lexicon | None) -> None:
        self._source = base_code(source_language)
        self._target = base_code(target_language)
        self._lexicon = lexicon
        # Measured for English to Spanish; wide guesses between other alphabets.
        self._bands = _BANDS.get((self._source, self._target), _WIDE_BANDS)
        self._off = frozenset(self._find_off())

    @property
    def not_run(self) -> list[str]:
        """The codes that cannot be given for this pair, sorted; that they are absent is no good news."""
        return sorted(self._off)

    def _find_off(self) -> Iterator[str]:
        pair = {self._source, self._target}
        if not pair <= KNOWN_LANGUAGES or len(pair) == 1:
            yield "untranslated"
        if self._lexicon is None or not self._lexicon.forward or pair & _NO_SPACES:
            yield "coverage"
        if len(pair & _DENSE) == 1:
            yield from ("length-long", "length-short")
        if self._target in _NO_CASE:
            yield "seam"
        if pair & _OTHER_STOPS:
            yield "end"

    def grade(self, source: str, target: str, pairs: Sequence[tuple[str, str]] = ()) -> list[str]:
        """The codes of the findings, sorted, each once."""
        return sorted({finding.code for finding in self.findings(source, target, pairs)})

    def findings(self, source: str, target: str, pairs: Sequence[tuple[str, str]] = ()) -> list[Finding]:
        """All doubts about one turn, each with what was measured.

        Args:
            source: The turn's value.
            target: Its translation, special tokens in place.
            pairs: Its sentences with their translations, where they are known; else both sides are cut and compared.
        """
        if "<" in source:
            source, target = TOKEN.sub("", source).strip(), TOKEN.sub("", target).strip()
        found = [
            *_length(source, target, self._bands),
            *_numbers(source, target, self._source, self._target),
            *_seams(source, target),
            *_end(source, target),
            *_quotes(source, target),
            *self._compare_sentences(source, target, pairs),
        ]
        return [finding for finding in found if finding.code not in self._off]

    def _compare_sentences(self, source: str, target: str, pairs: Sequence[tuple[str, str]]) -> Iterator[Finding]:
        asked = [pair[0] for pair in pairs] or sentences(source)
        given = [pair[1] for pair in pairs] or sentences(target)
        their_words = [words(text) for text in given]
        aligned = len(asked) == len(given)
        our_words = [words(text) for text in asked] if aligned else [words(source)] * len(given)
        if "untranslated" not in self._off:
            for text, ours, theirs in zip(given, our_words, their_words, strict=True):
                # The detectors take 0.1 ms, so they come last.
                suspect = len(ours & theirs) >= _MIN_SHARED * len(theirs) and len(text) >= _MIN_SENTENCE
                if suspect and is_prose(text) and is_in(text, self._source, self._target):
                    yield Finding("untranslated", text)
        if "coverage" not in self._off and self._lexicon:
            if aligned:
                yield from _compare_pairs(asked, given, list(map(self._lexicon.hits, our_words, their_words)))
            else:
                yield from _compare_turns(source, asked, frozenset().union(*their_words), self._lexicon)


def _length(source: str, target: str, bands: tuple[tuple[float, float], ...]) -> Iterator[Finding]:
    if not source:
        return
    ratio = (len(target) + 5) / (len(source) + 5)
    low, high = bands[bisect_right(_BAND_STARTS, len(source)) - 1]
    if not low <= ratio <= high:
        code = "length-short" if ratio < low else "length-long"
        yield Finding(code, f"{len(target)} characters for {len(source)}: {ratio:.2f}, not {low} to {high}")


def _end(source: str, target: str) -> Iterator[Finding]:
    asked, given = _final_mark(source), _final_mark(target)
    if asked and (not given or (asked in _QUESTION and given not in _QUESTION)):
        yield Finding("end", f"{asked} at the end of the source, {given or 'nothing'} in the translation")


def _final_mark(text: str) -> str:
    found = _FINAL.search(text[-8:])
    return found[1] if found else ""


def _quotes(source: str, target: str) -> Iterator[Finding]:
    asked, given = len(_QUOTE.findall(source)), len(_QUOTE.findall(target))
    if asked == given:
        return
    # 'So' may well become "so".
    if given - asked != 2 * len(_SINGLE_QUOTED.findall(source)):
        yield Finding("quotes", f"{asked} double quotes in the source, {given} in the translation")


def _seams(source: str, target: str) -> Iterator[Finding]:
    here = _find_seams(target)
    if here and len(here) > len(_find_seams(source)):
        yield Finding("seam", here[0])


def _find_seams(text: str) -> list[str]:
    found = []
    for seam in _SEAM.finditer(text):
        before = text[max(0, seam.start() - 20) : seam.start()].rsplit(maxsplit=1)
        word = before[-1].lstrip('("“«').lower() if before else ""
        if not seam[1].isupper() and len(word) > 1 and word not in _NO_SEAM and "." not in word:
            found.append(f"{word}. {text[seam.end() - 1 : seam.end() + 15]}")
    return found


def _compare_pairs(asked: Sequence[str], given: Sequence[str], hits: Sequence[tuple[int, int]]) -> Iterator[Finding]:
    """Sentence against sentence, which also sees what is swapped within the turn."""
    yield from _low_turn(sum(count[0] for count in hits), sum(count[1] for count in hits))
    for place, (found, scored) in enumerate(hits):
        if scored >= _MIN_PAIR and found < _LOW_PAIR * scored:
            texts = f"“{asked[place]}” and “{given[place]}”"
            yield Finding("coverage", f"{found} of {scored} known words of {texts} have a counterpart")


def _compare_turns(
    source: str, asked: Sequence[str], their_words: frozenset[str], lexicon: Lexicon
) -> Iterator[Finding]:
    """A sentence more or less: the turn as a whole, and each source sentence anywhere in it."""
    yield from _low_turn(*lexicon.hits(words(source), their_words))
    for text in asked:
        found, scored = lexicon.hits_forward(words(text), their_words)
        if scored >= _MIN_LOST and found < _LOW_LOST * scored:
            yield Finding("coverage", f"{found} of {scored} known words of “{text}” have a counterpart")


def _low_turn(found: int, scored: int) -> Iterator[Finding]:
    if scored >= _MIN_TURN and found < _LOW_TURN * scored:
        yield Finding("coverage", f"{found} of {scored} known words of the turn have a counterpart")


def _numbers(source: str, target: str, source_language: str, target_language: str) -> Iterator[Finding]:
    if not _DIGIT.search(source) and not _DIGIT.search(target):
        return
    ours, theirs = _read_numbers(source), _read_numbers(target)
    if ours == theirs:
        return
    gone, new = ours - theirs, theirs - ours
    _forgive_years(gone, new, target, target_language)
    _forgive_years(new, gone, source, source_language)
    if _HALF_DAY.search(source) or _HALF_DAY.search(target):
        _forgive_half_days(gone, new)
    _forgive_words(gone, target, target_language)
    _forgive_words(new, source, source_language)
    parts = [f"{', '.join(left)} {what}" for left, what in ((list(new), "new"), (list(gone), "gone")) if left]
    if parts:
        yield Finding("numbers", "; ".join(parts))


def _read_numbers(text: str) -> Counter[str]:
    """The numbers as digits: nothing between thousands, a point before decimals, no zeros after them."""
    numbers: Counter[str] = Counter()
    for found in _NUMBER.finditer(text):
        number = found.group()
        if not number.isascii():  # digits of other scripts become ours
            number = "".join("." if each == "٫" else str(unicodedata.decimal(each, each)) for each in number)
        if found[1]:
            number = number.replace(found[1], "")
        elif not number.isdigit():
            number = number.replace(",", ".").rstrip("0").rstrip(".")
        # 15:00 is 15.
        if number != "00":
            numbers[str(int(number)) if number.isdigit() and len(number) < 20 else number] += 1
    return numbers


def _forgive_years(years: Counter[str], decades: Counter[str], other: str, language: str) -> None:
    """1950s may become "años 50" or "años cincuenta", and 1800s "siglo XIX"; also the other way round."""
    for year in [number for number in years if len(number) == 4 and number.isdigit() and number[3] == "0"]:
        century, decade = divmod(int(year), 100)
        if str(decade) in decades:
            # Both may be said twice here and once there.
            del decades[str(decade)], years[year]
        elif decade in _spelled_numbers(other, language) or _roman(century + 1) in _ROMAN.findall(other):
            del years[year]


def _forgive_half_days(gone: Counter[str], new: Counter[str]) -> None:
    """3 pm may become 15."""
    for hour in range(1, 12):
        if str(hour) in gone and str(hour + 12) in new:
            del gone[str(hour)], new[str(hour + 12)]


def _forgive_words(numbers: Counter[str], other: str, language: str) -> None:
    """2 may become "dos" or "II", 19th "XIX", and the other way round."""
    spelled = _spelled_numbers(other, language) if numbers else set()
    roman = set(_ROMAN.findall(other)) if numbers else set()
    for number in [number for number in numbers if number.isdigit()]:
        value = int(number) if len(number) < 10 else 0
        # Small numbers are the ones spelled out; without the language's words they are not compared.
        known = value in spelled if language in _NUMBER_WORDS else value <= 12
        if known or (value <= 30 and _roman(value) in roman):
            del numbers[number]


def _roman(value: int) -> str:
    tens, rest = divmod(value, 10)
    return "X" * tens + ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")[rest]


def _spelled_numbers(text: str, language: str) -> set[int]:
    """Every value that the number words of the text may stand for, generously: it only ever forgives."""
    table = _NUMBER_WORDS.get(language, {})
    values = {table[word] for word in _WORD.findall(text.lower()) if word in table}
    small = {value for value in values if 0 < value < 100}
    small |= {tens + unit for tens in small for unit in small if tens % 10 == 0 and unit < 10}
    return values | small | {factor * value for factor in values & {100, 1000, 1_000_000} for value in small}


def _number_words(table: str) -> dict[str, int]:
    """Read "1 one first 2 two second": a value, then its words."""
    values: dict[str, int] = {}
    value = 0
    for word in table.split():
        if word.isdigit():
            value = int(word)
        else:
            values[word] = value
    return values


_NUMBER_WORDS = {
    "en": _number_words(
        "0 zero 1 one first once 2 two second twice both couple pair half 3 three third thirds 4 four "
        "fourth quarter 5 five fifth 6 six sixth 7 seven seventh 8 eight eighth 9 nine ninth 10 ten tenth "
        "11 eleven eleventh 12 twelve twelfth dozen 13 thirteen 14 fourteen 15 fifteen 16 sixteen 17 "
        "seventeen 18 eighteen 19 nineteen 20 twenty twenties 30 thirty thirties 40 forty forties 50 fifty "
        "fifties 60 sixty sixties 70 seventy seventies 80 eighty eighties 90 ninety nineties 100 hundred "
        "hundreds 1000 thousand thousands 1000000 million millions"
    ),
    "es": _number_words(
        "0 cero 1 uno un una primer primero primera 2 dos segundo segunda ambos ambas par 3 tres tercer "
        "tercero tercera 4 cuatro cuarto cuarta 5 cinco quinto quinta 6 seis sexto sexta 7 siete séptimo "
        "séptima 8 ocho octavo octava 9 nueve noveno novena 10 diez décimo décima 11 once undécimo undécima "
        "12 doce docena duodécimo duodécima 13 trece 14 catorce 15 quince 16 dieciséis 17 diecisiete 18 "
        "dieciocho 19 diecinueve 20 veinte vigésimo vigésima 21 veintiuno veintiún veintiuna 22 veintidós "
        "23 veintitrés 24 veinticuatro 25 veinticinco 26 veintiséis 27 veintisiete 28 veintiocho 29 "
        "veintinueve 30 treinta trigésimo trigésima 40 cuarenta 50 cincuenta 60 sesenta 70 setenta 80 "
        "ochenta 90 noventa 100 cien ciento cientos centenario centésimo 1000 mil miles 1000000 millón "
        "millones"
    ),
}
