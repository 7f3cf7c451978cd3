r"""Faults that no translation may have: the turn is asked again, and in the end its row is rejected.

A turn as it must not come back, and what is said of it::

    source  <image>\nWhat is the man doing?
    target  <imagen>¿Qué está haciendo el hombre?        -> ["lines", "placeholder"]
"""

from __future__ import annotations

import re

from tasks.llava.segments import BREAK, BREAKS, IN_BRACKETS, sentences, tidy

HARD = {
    "control": "The translation has a control or zero-width character or U+FFFD that the source has not.",
    "echo": "The translation gives a whole sentence back in the source's own words.",
    "empty": "The translation is empty, or a line with words has become blank.",
    "lines": "The translation has other line breaks or other blank lines than the source.",
    "placeholder": "A special token such as <image> is changed, missing, added, or no longer in its place.",
}

# Looser than what segments keeps at home, so that a damaged token ("< image>") is seen as one.
_TOKEN = re.compile(f"< ?{IN_BRACKETS} ?>")
_MARK = re.compile(f"([<{BREAKS}](?:(?<=\\r)\\n|(?<=<) ?{IN_BRACKETS} ?>|(?<!<)))")
_CONTROL = re.compile("[\x00-\x09\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u200b\u2060\ufeff\ufffd\ud800-\udfff]")
_LETTER = re.compile(r"[^\W\d_]")
# Addresses, paths, formulas and code, which a translator leaves as they are: "https://a.b/c", "\\sin(x)", "user_id".
_SYMBOLIC = re.compile(r"(?<![!-~])[!-~]*(?:[\\_=@{}|^~<>]|/[!-~]*/|\w\.[a-z])[!-~]*", re.ASCII)
_SPACES = re.compile(" {2,}")
# A character of a script that puts no white space between words counts as a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0eff]|[^\W\d_]+")


def verify_turn(source: str, target: str) -> list[str]:
    """Compare a whole turn with its translation.

    Returns:
        The codes of ``HARD`` that apply, sorted; empty where the turn may stand.
    """
    return sorted({*verify_frame(source, target), *(["echo"] if _has_echo(source, target) else [])})


def verify_frame(source: str, target: str) -> list[str]:
    """``verify_turn`` without the echo: for a turn whose every text has passed ``verify_segment``."""
    faults = set() if _frame(source) == _frame(target) else _frame_faults(source, target)
    if _is_lost(source, target):
        faults.add("empty")
    if _has_new_control(source, target):
        faults.add("control")
    return sorted(faults)


def verify_segment(source: str, answer: str) -> list[str]:
    """Compare one text that travelled with its answer, as ``join`` would put it in its place.

    Returns:
        Sorted codes among ``control``, ``echo``, ``empty`` and ``lines``; empty where the answer may stand.
    """
    answer = tidy(answer)
    faults = []
    if _has_new_control(source, answer):
        faults.append("control")
    same_ends = source[:1] == answer[:1] and source[-1:] == answer[-1:]  # most answers are told apart by these
    if same_ends and _squeezed(source) == _squeezed(answer) and is_prose(source):
        faults.append("echo")
    if not answer:
        faults.append("empty")
    if BREAK.search(answer):
        faults.append("lines")
    return faults


def is_prose(text: str) -> bool:
    """True where a translation cannot well be the same text: not for "Thomas the Train" nor "BMW R 1200 GS".

    Three words and 15 letters at least, and most of the words without a capital; addresses, paths, formulas and code
    are no words.
    """
    words = _WORD.findall(_SYMBOLIC.sub(" ", text))
    plain = sum(not word[0].isupper() for word in words)
    return len(words) >= 3 and 2 * plain > len(words) and sum(map(len, words)) >= 15


def _has_echo(source: str, target: str) -> bool:
    if "  " in source or "  " in target:
        source, target = _SPACES.sub(" ", source), _SPACES.sub(" ", target)
    suspects = {text for text in sentences(source) if text in target and is_prose(text)}
    # Inside another sentence it is a title or a quotation.
    return bool(suspects) and not suspects.isdisjoint(sentences(target))


def _is_lost(source: str, target: str) -> bool:
    return not target.strip() and bool(_LETTER.search(source))


def _has_new_control(source: str, target: str) -> bool:
    if target.isprintable() and "\ufffd" not in target:  # most sentences, at a tenth of the cost
        return False
    found = _CONTROL.findall(target)
    return bool(found) and not set(found) <= set(_CONTROL.findall(source))


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _frame(value: str) -> tuple[list[str], list[bool]]:
    """Tokens and line breaks in order, and whether there is text between them: what must not change."""
    parts = _MARK.split(value)
    return parts[1::2], [bool(part.strip()) for part in parts[::2]]


def _frame_faults(source: str, target: str) -> set[str]:
    faults: set[str] = set()
    if _places(source) != _places(target):
        faults.add("placeholder")
    if BREAK.findall(source) != BREAK.findall(target):
        return faults | {"lines"}
    for line, answer in zip(BREAK.split(source), BREAK.split(target), strict=True):
        if _is_lost(line, answer):
            faults.add("empty")
        elif answer.strip() and not line.strip():
            faults.add("lines")
    return faults


def _places(value: str) -> list[tuple[str | int | bool, ...]]:
    """Each token with its line, the line breaks that touch it, and whether its line has text beside it."""
    places: list[tuple[str | int | bool, ...]] = []
    for token in _TOKEN.finditer(value):
        before, after = value[: token.start()], value[token.end() :]
        touching_before = BREAK.findall(before[len(before.rstrip()) :])
        touching_after = BREAK.findall(after[: len(after) - len(after.lstrip())])
        places.append(
            (
                token.group(),
                len(BREAK.findall(before)),
                "".join(touching_before),
                "".join(touching_after),
                bool(before.strip()) and not touching_before,
                bool(after.strip()) and not touching_after,
            )
        )
    return places
