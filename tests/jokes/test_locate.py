"""A quote is found where it was said, also if a model has handled it roughly; what was never said is not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.jokes.locate import LEAST_FOUND, _aligned, _most, _whole, locate, share_told
from tasks.jokes.transcript import Span
from tests.jokes import told

_TOLD = told.transcript()


def _place(joke: str) -> tuple[int, int]:
    words = joke.split()
    first = next(at for at in range(len(_TOLD.words)) if list(_TOLD.words[at : at + len(words)]) == words)
    return first, first + len(words)


def _found(quote: str, start: str | None = None, end: str | None = None) -> Span:
    span = locate(quote, _TOLD, start, end)
    assert span is not None
    return span


@given(st.data())
def test_words_as_they_were_said_are_found_whole(data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(_TOLD.words) - 6))
    stop = data.draw(st.integers(first + 6, min(len(_TOLD.words), first + 60)))
    span = _found(" ".join(_TOLD.words[first:stop]))
    assert (first, stop, 1.0) == (span.first, span.stop, span.found)
    assert (first // 8 * 3.0, ((stop - 1) // 8 + 1) * 3.0) == (span.start, span.end)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=6), st.lists(st.sampled_from("abc"), max_size=30))
def test_what_stands_there_word_for_word_is_where_the_alignment_finds_it(quote: list[str], stretch: list[str]) -> None:
    aligned = _aligned(quote, stretch)
    whole = any(stretch[at : at + len(quote)] == quote for at in range(len(stretch)))
    assert (aligned if whole else None) == _whole(quote, stretch)
    assert (aligned.words if aligned else 0) <= _most(quote, stretch) * len(quote)


_LOST = told.JOKES[1].encode("ascii", "ignore").decode()
_REPLACED = told.JOKES[1].encode("ascii", "replace").decode()


@pytest.mark.parametrize(
    "joke",
    [
        _LOST,
        _LOST.upper().replace(" Y ", "; y ") + "?!",
        _REPLACED,
        _REPLACED.replace("?", "\ufffd"),
        told.JOKES[1].replace("é", "e").replace("á", "a").replace(" y ", "... ¡y "),
    ],
)
def test_damaged_letters_capitals_and_punctuation_hide_nothing(joke: str) -> None:
    span = _found(joke)
    assert _place(told.JOKES[1]) == (span.first, span.stop)
    assert 1.0 == span.found


def test_words_left_out_and_put_in_lower_the_share_only() -> None:
    words = told.JOKES[2].split()
    span = _found(" ".join(["Escuchen", *words[:7], "entonces", *words[9:]]))
    assert _place(told.JOKES[2]) == (span.first, span.stop)
    assert pytest.approx((len(words) - 2) / len(words)) == span.found


def test_a_word_that_stands_far_from_the_others_does_not_stretch_the_span() -> None:
    far = "reloj " + told.JOKES[1]  # of the joke before
    span = _found(far)
    assert _place(told.JOKES[1]) == (span.first, span.stop)


def test_what_nobody_said_is_not_found() -> None:
    invented = "había una vez un astronauta checo que vendía paraguas baratos en plena cordillera nevada"
    span = locate(invented, _TOLD)
    assert span is None or span.found < LEAST_FOUND
    shuffled = told.JOKES[3].split()
    random.Random(3).shuffle(shuffled)
    span = locate(" ".join(shuffled), _TOLD)
    assert span is None or span.found < LEAST_FOUND


def test_a_correction_is_told_where_its_quote_is_and_another_text_is_not() -> None:
    span = _found(told.JOKES[1])
    assert 1.0 == share_told("Fui al médico y le dije: «Doctor, me olvido de todo.»", _TOLD, span)
    assert 0.5 < share_told("Un hombre fue al médico y le dijo: doctor, me olvido de todo", _TOLD, span) < 1.0
    assert 0.2 > share_told(told.JOKES[7], _TOLD, span)
    assert 0.0 == share_told("¿…?", _TOLD, span)


def test_nothing_is_found_of_nothing() -> None:
    assert None is locate("", _TOLD)
    assert None is locate("¿…?", _TOLD)
    assert None is locate("xyzzy", _TOLD)


def test_marks_choose_between_places_that_say_the_same() -> None:
    twice = told.transcript(" ".join([*told.JOKES, told.JOKES[0], *told.JOKES[1:]]))
    early, late = locate(told.JOKES[4], twice, "[00:28]", "[00:40]"), locate(told.JOKES[4], twice, "[01:40]", "[01:50]")
    assert early is not None
    assert late is not None
    assert len(told.transcript().words) == late.first - early.first
    unhinted = locate(told.JOKES[4], twice)
    assert unhinted is not None
    assert early == unhinted


def test_a_wrong_mark_hides_nothing() -> None:
    assert _found(told.JOKES[0]) == _found(told.JOKES[0], "[59:59]", "[99:99]")
    assert _found(told.JOKES[0]) == _found(told.JOKES[0], "no idea", "")


def test_words_that_stand_together_without_a_blank_are_words() -> None:
    dotted = told.transcript("hola,amigo mío...llegó el perro-policía y dijo -nada")
    span = locate("Hola amigo mío llegó el perro policía y dijo nada", dotted)
    assert Span(0, len(dotted.words), 0.0, 3.0, 1.0) == span
