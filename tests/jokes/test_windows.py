"""Every word is in a window, and a joke of the overlap's length is whole in one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.jokes.transcript import Segment, Transcript
from tasks.jokes.windows import cut, mark, read_mark
from tests.jokes import told

_WORD = st.integers(1, 30).map(lambda chars: "abñ"[chars % 3] * chars)  # letters drawn one by one take seconds
_SEGMENT = st.lists(_WORD, min_size=1, max_size=150).map(" ".join)
_SIZES = st.tuples(st.integers(0, 1_500), st.integers(0, 2_000)).map(
    lambda two: (two[0] * 5 // 4 + 562 + two[1], two[0])
)


def _transcript(texts: list[str]) -> Transcript:
    return Transcript("1", "es", tuple(Segment(3.0 * at, 3.0 * at + 3, text) for at, text in enumerate(texts)), "1.vtt")


@given(st.lists(_SEGMENT, min_size=1, max_size=20), _SIZES)
def test_every_word_is_in_a_window_none_of_which_is_too_long_or_inside_another(
    texts: list[str], sizes: tuple[int, int]
) -> None:
    max_chars, overlap_chars = sizes
    transcript = _transcript(texts)

    windows = cut(transcript, max_chars, overlap_chars)

    assert list(range(len(windows))) == [window.number for window in windows]
    assert (0, len(transcript.words)) == (windows[0].first, windows[-1].stop)
    for window in windows:
        assert max_chars >= len(window.text)
        said = [word for line in window.text.splitlines() for word in line.split()[1:]]
        assert list(transcript.words[window.first : window.stop]) == said
    for one, other in pairwise(windows):
        assert one.first < other.first <= one.stop < other.stop
        if other.first > 0:
            assert overlap_chars <= len(" ".join(transcript.words[other.first : one.stop])) + 1


@given(st.lists(_SEGMENT, min_size=1, max_size=20), _SIZES, st.data())
def test_a_joke_as_long_as_the_overlap_is_whole_in_a_window(
    texts: list[str], sizes: tuple[int, int], data: st.DataObject
) -> None:
    transcript = _transcript(texts)
    first = data.draw(st.integers(0, len(transcript.words) - 1))
    stop = first + 1
    while stop < len(transcript.words) and len(" ".join(transcript.words[first : stop + 1])) <= sizes[1]:
        stop += 1
    assert any(window.first <= first and stop <= window.stop for window in cut(transcript, *sizes))


def test_lines_have_a_mark_and_about_300_to_600_characters() -> None:
    text = " ".join(told.JOKES * 5)
    windows = cut(told.transcript(text), max_chars=3_000, overlap_chars=500)
    lines = [line for window in windows for line in window.text.splitlines()]
    assert all(300 <= len(line) - len("[00:00] ") <= 600 for line in lines[:-1])
    assert (
        "[00:00] mi abuela se compró un reloj que habla"
        == lines[0][: len("[00:00] mi abuela se compró un reloj que habla")]
    )
    assert all(read_mark(line) is not None for line in lines)


def test_windows_begin_and_end_where_segments_do() -> None:
    transcript = told.transcript(" ".join(told.JOKES * 5), words=8)
    for window in cut(transcript, 3_000, 500):
        assert 0 == window.first % 8
        assert (window.first / 8 * 3.0, -(-window.stop // 8) * 3.0) == (window.start, window.end)


def test_a_segment_longer_than_a_window_is_cut_at_words() -> None:
    text = " ".join(told.JOKES * 5)
    transcript = Transcript("1", "es", (Segment(0.0, 100.0, text),), "1.vtt")
    windows = cut(transcript, 2_000, 300)
    assert 1 < len(windows)
    assert len(text.split()) == windows[-1].stop
    assert 0.0 < windows[1].start < windows[0].end < 100.0


def test_a_short_routine_is_one_window() -> None:
    transcript = told.transcript("hola")
    assert ["[00:00] hola"] == [window.text for window in cut(transcript)]
    assert [] == cut(Transcript("1", "es", (), "1.vtt"))


@pytest.mark.parametrize(
    ("max_chars", "overlap_chars", "message"),
    [
        (10_000, -1, "overlap_chars is -1; it is 0 or more"),
        (500, 0, "need 560 or more"),
        (2_000, 1_400, "need 2,310 or more"),
    ],
)
def test_sizes_that_cannot_be_kept_are_refused(max_chars: int, overlap_chars: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cut(told.transcript(), max_chars, overlap_chars)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("[03:12]", 192),
        ("3:12", 192),
        ("1:03:12", 3_792),
        ("[123:05]", 7_385),
        ("[12:75]", None),
        ("", None),
        (None, None),
    ],
)
def test_marks_are_read_back(text: str | None, seconds: float | None) -> None:
    assert seconds == read_mark(text)


@given(st.integers(0, 50_000))
def test_a_mark_is_read_as_it_was_written(seconds: int) -> None:
    assert seconds == read_mark(mark(seconds))
