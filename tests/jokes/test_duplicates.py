"""One of several stands, the others point to it, and nothing is dropped."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tasks.jokes import duplicates
from tasks.jokes.transcript import Span
from tests.jokes import told


def by_span(routines: Sequence[str], spans: Sequence[Span | None]) -> list[int | None]:
    return duplicates.by_span(routines, spans, [True] * len(spans))


def near(texts: Sequence[str], least: float = duplicates.LEAST_ALIKE) -> list[int | None]:
    return duplicates.near(texts, [None] * len(texts), [True] * len(texts), least)


_TEXT = st.lists(st.sampled_from("ay no sí que chau el él perro médico".split()), max_size=6).map(" ".join)


def _span(first: int, stop: int) -> Span:
    return Span(first, stop, 0.0, 1.0, 1.0)


def test_the_same_place_in_two_windows_is_one_joke() -> None:
    spans = [_span(0, 20), _span(30, 50), _span(2, 21), None, _span(30, 50), None]
    assert [None, None, 0, None, 1, None] == by_span(["1"] * 6, spans)
    assert [None, 0] == by_span(["1", "1"], [_span(0, 20), _span(0, 20)])


def test_of_a_joke_that_a_window_has_cut_the_whole_one_stands() -> None:
    assert [1, None, 1] == by_span(["1"] * 3, [_span(0, 12), _span(0, 20), _span(1, 20)])


def test_half_of_the_words_are_not_more_than_half() -> None:
    assert [None, None] == by_span(["1", "1"], [_span(0, 10), _span(0, 20)])
    assert [1, None] == by_span(["1", "1"], [_span(0, 11), _span(0, 20)])


def test_equal_places_of_two_routines_are_two_jokes() -> None:
    assert [None, None] == by_span(["1", "2"], [_span(0, 20), _span(0, 20)])


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 15)), max_size=25))
def test_who_points_to_another_points_to_one_that_stands_and_is_as_long(places: list[tuple[int, int]]) -> None:
    spans = [_span(first, first + words) for first, words in places]
    of = by_span(["1"] * len(spans), spans)
    for at, other in enumerate(of):
        if other is not None:
            assert None is of[other]
            assert spans[at].stop - spans[at].first <= spans[other].stop - spans[other].first
    standing = [span for span, other in zip(spans, of, strict=True) if other is None]
    assert all(
        duplicates._shared(one, other) <= 0.5
        for number, one in enumerate(standing)
        for other in standing[:number]
        if one.first < other.stop and other.first < one.stop
    )


def test_nearly_the_same_words_are_one_joke_in_any_routine() -> None:
    first = told.JOKES[0]
    lost = first.encode("ascii", "ignore").decode().upper() + "!"
    longer = "oiga " + first
    assert [None, 0, 0, None, 0] == near([first, lost, longer, told.JOKES[1], first])


def test_another_end_of_a_short_joke_is_another_joke() -> None:
    assert [None, None] == near(["qué le dijo un pan a otro pan", "qué le dijo una taza a otra taza"])


def test_texts_without_words_are_never_duplicates() -> None:
    assert [None, None, None, None] == near(["", "...", "", "¿?"])
    assert [] == near([])


@given(st.lists(_TEXT, max_size=30), st.sampled_from([0.3, 0.5, 0.6, 0.9, 1.0]))
def test_leaving_out_comparisons_changes_nothing(texts: list[str], least: float) -> None:
    """The slow way: each text against all that stand."""
    pairs = [duplicates._pairs(text) for text in texts]
    expected: list[int | None] = []
    for at, own in enumerate(pairs):
        standing = [other for other in range(at) if expected[other] is None and own and pairs[other]]
        alike, other = max(((duplicates._alike(own, pairs[n]), -n) for n in standing), default=(0.0, 0))
        expected.append(-other if alike >= least else None)
    assert expected == near(texts, least)


def test_a_joke_that_is_well_is_never_stood_for_by_one_that_is_not() -> None:
    well = [False, False, True]
    spans = [_span(0, 20), _span(0, 19), _span(0, 18)]
    assert [2, 2, None] == duplicates.by_span(["1"] * 3, spans, well)
    texts = [told.JOKES[0].upper(), "oiga " + told.JOKES[0], told.JOKES[0]]
    assert [2, 2, None] == duplicates.near(texts, [None] * 3, well)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 12), st.integers(1, 12), st.booleans(), st.sampled_from(["ay no sí", "que chau el él"])
        ),
        max_size=12,
    )
)
def test_of_jokes_that_are_one_exactly_one_stands(jokes: list[tuple[int, int, bool, str]]) -> None:
    """Whatever the window has cut: following the pointers from any joke ends at one that stands and is as well."""
    well = [each[2] for each in jokes]
    place = duplicates.by_span(["1"] * len(jokes), [_span(first, first + n) for first, n, _, _ in jokes], well)
    words = duplicates.near([text for _, _, _, text in jokes], place, well)
    for at in range(len(jokes)):
        assert place[at] is None or words[at] is None
        here = at
        for _ in jokes:
            other = place[here] if words[here] is None else words[here]
            here = here if other is None else other
        assert place[here] is None
        assert words[here] is None
        assert well[here] >= well[at]
