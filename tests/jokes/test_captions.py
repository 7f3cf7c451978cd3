"""Captions that roll say every word once; what is sung twice is sung twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.jokes.captions import merge, opening_said_twice, spoken
from tasks.jokes.transcript import Segment
from tests.jokes import told

# Few different words, so that lines are alike and repeat each other's beginnings and ends.
_WORD = st.sampled_from("ay no sí que chau el él perro médico Ñandú".split())
_LINES = st.lists(st.lists(_WORD, min_size=1, max_size=6).map(" ".join), min_size=1, max_size=40)


def _words(segments: tuple[Segment, ...]) -> list[str]:
    return " ".join(segment.text for segment in segments).split()


@given(_LINES)
def test_a_rolling_caption_comes_back_as_exactly_the_words_it_was_made_from(lines: list[str]) -> None:
    assert " ".join(lines).split() == _words(merge(told.rolling(lines)))


@given(_LINES)
def test_rolling_captions_without_the_flash_between_them_do_too(lines: list[str]) -> None:
    captions = [caption for caption in told.rolling(lines) if caption.end - caption.start > 0.1]
    assert " ".join(lines).split() == _words(merge(captions))


@given(st.lists(st.one_of(_WORD, st.just("[Música]")), min_size=1, max_size=40))
def test_a_line_that_describes_a_sound_rolls_like_any_other(lines: list[str]) -> None:
    assert [line for line in lines if line != "[Música]"] == _words(merge(told.rolling(lines)))


@given(_LINES, st.integers(2, 4))
def test_captions_that_do_not_roll_are_not_touched(lines: list[str], lines_each: int) -> None:
    """No line stands in two captions, so nothing may be taken out, however often it is said."""
    captions = [
        Segment(float(at), at + 0.9, "\n".join([f"{at}", *lines[at : at + lines_each]]))
        for at in range(0, len(lines), lines_each)
    ]
    assert " ".join(caption.text for caption in captions).split() == _words(merge(captions))


def test_a_refrain_that_whisper_wrote_down_stays() -> None:
    chau = [Segment(float(at), at + 1.0, "chau chau pero chau") for at in range(20)]
    assert ["chau chau pero chau"] * 20 == [segment.text for segment in merge(chau)]


def test_captions_that_grow_word_by_word_are_merged() -> None:
    said = told.JOKES[0].split()
    grown = [Segment(float(at), at + 1.0, " ".join(said[max(0, at - 6) : at + 1])) for at in range(len(said))]
    assert said == _words(merge(grown))


def test_times_are_those_of_the_captions_that_say_something_new() -> None:
    merged = merge(told.rolling(["llega un tipo", "al médico", "y dice"]))
    assert [(0.0, "llega un tipo"), (2.0, "al médico"), (4.0, "y dice")] == [(s.start, s.text) for s in merged]


def test_what_only_describes_sound_is_no_speech() -> None:
    assert "hola a todos" == spoken("[Música] hola (Risas del público)  a ♪ todos [APLAUSOS]")
    assert "me dijo [__] oiga" == spoken("me dijo [\xa0__\xa0] oiga >>")
    assert "uno [dos] tres (cuatro)" == spoken("[00:12] uno [dos] tres (cuatro) [1:02:03]")


def test_no_captions_are_no_segments() -> None:
    assert () == merge([])
    assert () == merge([Segment(0.0, 1.0, "[Música]"), Segment(1.0, 2.0, " ")])


def test_an_opening_is_said_twice_from_three_words_on() -> None:
    assert 3 == opening_said_twice([Segment(0, 9, "muy buenas noches muy buenas noches a todos")])
    assert 0 == opening_said_twice([Segment(0, 9, "bueno bueno vamos vamos")])
    assert 0 == opening_said_twice([])
