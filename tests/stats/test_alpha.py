from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tasks.stats.alpha import Alpha, alpha, masi, nominal, ordinal

SCALE = ("good", "minor", "major", "unusable")


def by_unit(*observers: str) -> list[list[str]]:
    """Units from one line per observer; a full stop is a missing answer."""
    return [
        [value for value in unit if value != "."] for unit in zip(*(each.split() for each in observers), strict=True)
    ]


# The worked examples of Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011.
BINARY = by_unit("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0")
TWO_OBSERVERS = by_unit("a a b b d c c c e d d a", "b a b b b c c c e d d d")
FOUR_OBSERVERS = by_unit(
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)


@pytest.mark.parametrize(
    ("units", "distance", "value"),
    [
        (BINARY, nominal, 0.095),
        (BINARY, ordinal("01"), 0.095),
        (TWO_OBSERVERS, nominal, 0.692),
        (FOUR_OBSERVERS, nominal, 0.743),
        (FOUR_OBSERVERS, ordinal("12345"), 0.815),
    ],
)
def test_krippendorffs_worked_examples(units: list[list[str]], distance: object, value: float) -> None:
    found = alpha(units, distance)  # type: ignore[arg-type]
    assert value == round(found.value or 0, 3)


def test_a_unit_with_one_answer_has_no_pair_and_does_not_count() -> None:
    found = alpha(FOUR_OBSERVERS, nominal)
    assert (11, 40) == (found.units, found.answers)


def test_the_order_of_units_and_answers_changes_nothing() -> None:
    turned = [unit[::-1] for unit in FOUR_OBSERVERS[::-1]]
    assert pytest.approx(alpha(FOUR_OBSERVERS, ordinal("12345")).value) == alpha(turned, ordinal("12345")).value


def sets(*units: str) -> list[list[frozenset[str]]]:
    """Units of sets of one-letter kinds, "-" for none: "ab a" is one unit with two answers."""
    return [[frozenset(each.replace("-", "")) for each in unit.split()] for unit in units]


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ("a", "a", 0),
        ("-", "-", 0),
        ("a", "-", 1),
        ("a", "b", 1),
        ("a", "ab", 1 - 1 / 2 * 2 / 3),
        ("ab", "bc", 1 - 1 / 3 * 1 / 3),
    ],
)
def test_sets_are_as_far_apart_as_masi_says(one: str, other: str, distance: float) -> None:
    assert pytest.approx(distance) == masi(sets(f"{one} {other}")[0], np.zeros((1, 2)))[0][0][1]


def test_for_sets_of_one_kind_alpha_is_the_nominal_one() -> None:
    units = [[frozenset(each) for each in unit] for unit in TWO_OBSERVERS]
    assert pytest.approx(alpha(TWO_OBSERVERS, nominal).value) == alpha(units, masi).value


def test_sets_that_overlap_agree_more_than_sets_that_do_not() -> None:
    overlap = alpha(sets("ab a", "c c", "- -", "d d"), masi).value
    apart = alpha(sets("ab e", "c c", "- -", "d d"), masi).value
    assert overlap is not None
    assert apart is not None
    assert overlap > apart


@pytest.mark.parametrize(
    ("units", "found"),
    [
        ([], Alpha(None, None, None, 0, 0, "no unit has two answers")),
        ([["a"], ["b"], []], Alpha(None, None, None, 0, 0, "no unit has two answers")),
        (
            [["a", "a"], ["a", "a", "a"]],
            Alpha(None, None, None, 2, 5, "all answers are the same: chance would agree as well"),
        ),
        (
            [["a", "a"], ["b", "b"]],
            Alpha(1.0, None, None, 2, 4, "no disagreement was seen, so its spread is unknown"),
        ),
        ([["a", "b"]], Alpha(0.0, None, None, 1, 2, "all was drawn together, so its spread is unknown")),
    ],
)
def test_where_there_is_no_value_it_says_why(units: Sequence[Sequence[str]], found: Alpha) -> None:
    assert found == alpha(units, nominal)


def test_the_same_seed_gives_the_same_interval() -> None:
    first = alpha(FOUR_OBSERVERS, nominal, seed=4)
    assert first == alpha(FOUR_OBSERVERS, nominal, seed=4)
    assert first != alpha(FOUR_OBSERVERS, nominal, seed=5)
    assert first.low is not None
    assert first.high is not None
    assert first.value is not None
    assert first.low < first.value < first.high


def test_units_that_were_drawn_together_tell_less() -> None:
    units = by_unit("a b a b a a b b c c", "a b b b a a b a c c") * 12
    alone = alpha(units, nominal)
    together = alpha(units, nominal, groups=[at % 10 for at in range(len(units))])
    assert alone.value == together.value
    assert (together.high or 0) - (together.low or 0) > 2 * ((alone.high or 0) - (alone.low or 0))


@pytest.mark.parametrize(("seed", "copied", "observers", "missing"), [(1, 0.7, 2, 0.0), (2, 0.5, 3, 0.2)])
def test_the_interval_covers_95_percent(seed: int, copied: float, observers: int, missing: float) -> None:
    random = np.random.default_rng(seed)
    base = [0.6, 0.25, 0.1, 0.05]

    def draw(units: int) -> list[list[str]]:
        truth = random.choice(4, size=units, p=base)
        chance = random.choice(4, size=(observers, units), p=base)
        seen = np.where(random.random((observers, units)) < copied, truth, chance)
        there = random.random((observers, units)) >= missing
        return [
            [SCALE[value] for value, kept in zip(*unit, strict=True) if kept]
            for unit in zip(seen.T, there.T, strict=True)
        ]

    # An observer copies the truth or answers by chance, so that two agree beyond chance with copied².
    true, times = copied**2, 1000
    found = [alpha(draw(100), ordinal(SCALE), seed=at, draws=300) for at in range(times)]
    covered = sum(each.low is not None and each.high is not None and each.low <= true <= each.high for each in found)
    assert pytest.approx(0.95, abs=0.01) == covered / times
