"""What lost its accents is seen; what exists both ways is left alone."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.jokes.accents import Vocabulary, damaged
from tests.jokes import told

_TOLD = Vocabulary.of(told.transcript().words)


@pytest.mark.parametrize("joke", told.JOKES)
def test_what_was_said_is_whole(joke: str) -> None:
    assert [] == damaged(joke, _TOLD)
    assert [] == damaged(f"¡{joke.upper()}!", _TOLD)
    assert [] == damaged(unicodedata.normalize("NFD", joke), _TOLD)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fui al mdico, y l me dijo", ["mdico", "l"]),
        ("Fui al m\ufffddico, y él me dijo", ["mdico"]),
        ("Fui al m?dico, y él me dijo", ["mdico"]),
        ("Fui al mÃ©dico, y él me dijo", ["mÃ©dico,"]),
        ("Fui al m\x00e9dico, y él me dijo", ["m\x00e9dico,"]),
        ("Fui al medico y a la heladeria", ["medico", "heladeria"]),
        ("Fui al medico y él me dijo", []),
        ("la seora del ao", ["ao"]),
        ("", []),
    ],
)
def test_words_without_their_letters_are_named_in_order(text: str, expected: list[str]) -> None:
    assert expected == damaged(text, _TOLD)


def test_a_word_that_was_said_both_ways_is_no_false_alarm() -> None:
    both = Vocabulary.of("sí si él el tú tu más mas qué que año ano s".split())
    assert [] == damaged("si el tu mas que ano s", both)
    assert ["l", "t", "ms", "qu", "ao"] == damaged("l t ms qu ao", both)


@given(st.lists(st.sampled_from(told.JOKES), min_size=1, max_size=4))
def test_every_word_that_lost_a_letter_is_found_unless_what_is_left_is_a_word(jokes: list[str]) -> None:
    said = " ".join(jokes)
    lost = said.encode("ascii", "ignore").decode()
    expected = [
        left
        for word, left in zip(said.split(), lost.split(), strict=True)
        if word != left and left not in told.transcript().words
    ]
    assert expected == damaged(lost, _TOLD)
