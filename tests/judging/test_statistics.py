from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from tasks.judging.statistics import (
    Comparison,
    Pair,
    Said,
    Share,
    Verdict,
    about,
    arms,
    calibrate,
    compare,
    length_effect,
    share,
    told_p,
    verdict_of,
)
from tests.judging.simulated import Judge, rounds

HABITS = Judge(better=0.6, sees=0.5, first=0.8, ties=0.2)
GROUPED = Judge(better=0.6, sees=0.5, first=0.8, ties=0.2, alike=0.3)


def swapped(pairs: list[Pair]) -> list[Pair]:
    """The same judging with the names A and B exchanged: what was the first order is the second."""
    verdicts = {"a": "b", "b": "a"}
    return [
        Pair(pair.group, verdicts.get(pair.verdict, pair.verdict), pair.said[::-1], pair.chars[::-1])  # type: ignore[arg-type]
        for pair in pairs
    ]


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (("A", "B"), "a"),
        (("B", "A"), "b"),
        (("tie", "tie"), "tie"),
        (("neither", "neither"), "neither"),
        (("A", "A"), "inconsistent"),
        (("B", "B"), "inconsistent"),
        (("A", "tie"), "inconsistent"),
        (("tie", "neither"), "inconsistent"),
        (("A", None), "unjudged"),
        ((None, None), "unjudged"),
    ],
)
def test_a_winner_must_win_in_both_orders(said: tuple[Said | None, Said | None], verdict: str) -> None:
    assert verdict == verdict_of(said)


def test_ties_count_as_a_half_and_what_was_not_judged_not_at_all() -> None:
    times: list[tuple[tuple[Said | None, Said | None], int]] = [
        (("A", "B"), 5),
        (("B", "A"), 2),
        (("A", "A"), 3),
        (("tie", "tie"), 1),
        (("neither", "neither"), 1),
        (("A", None), 4),
    ]
    said = [each for each, count in times for _ in range(count)]
    found = compare([Pair(str(at), verdict_of(each), each, (10, 20)) for at, each in enumerate(said)])
    counts = {"a": 5, "b": 2, "tie": 1, "neither": 1, "inconsistent": 3, "unjudged": 4}
    assert counts == found.counts
    assert (7.5 / 12, 12) == (found.win_rate.value, found.win_rate.n)
    assert (5 / 7, 7) == (found.without_ties.value, found.without_ties.n)
    assert pytest.approx(2 * (1 + 7 + 21) / 2**7) == found.p  # exact: 2 or fewer of 7 fair coins, both sides
    assert (3 / 12, 3 / 12) == (found.flips.value, found.slot_flips.value)
    assert "not enough evidence" == found.outcome


def test_pairs_of_a_group_are_one_draw_of_the_sign_test() -> None:
    pairs = [Pair(str(at // 3), "a", ("A", "B"), (10, 20)) for at in range(12)]
    found = compare([*pairs, Pair("9", "tie", ("tie", "tie"), (10, 20))])
    assert (2 / 2**4, "exact sign test over groups", "not enough evidence") == (found.p, found.test, found.outcome)
    assert 1.0 == compare(pairs[:1]).p


def test_swapping_a_and_b_turns_everything_round() -> None:
    pairs = GROUPED.pairs(7, 80, 3)
    one, other = compare(pairs), compare(swapped(pairs))
    turned = {"a": "b", "b": "a"}
    assert {turned.get(name, name): count for name, count in one.counts.items()} == other.counts
    for name in ("win_rate", "bootstrap", "without_ties"):
        assert_turned(getattr(one, name), getattr(other, name))
    assert one.length.at_equal_length
    assert other.length.at_equal_length
    assert_turned(one.length.at_equal_length, other.length.at_equal_length)
    for name in ("flips", "slot_flips", "first_slot", "p", "test", "needed", "groups"):
        assert pytest.approx(getattr(one, name)) == getattr(other, name)
    assert one.length.doubled
    assert pytest.approx(one.length.doubled) == other.length.doubled
    assert one.length.longer_wins == other.length.longer_wins


def assert_turned(one: Share, other: Share) -> None:
    assert one.value is not None
    assert pytest.approx((1 - one.value, 1 - one.high, 1 - one.low), abs=1e-12) == other[:3]


def test_better_becomes_worse_when_swapped() -> None:
    pairs = Judge(better=0.9).pairs(1, 60)
    assert ("better", "worse") == (compare(pairs).outcome, compare(swapped(pairs)).outcome)


FIGURES: dict[str, Callable[[Comparison], Share]] = {
    "win_rate": lambda found: found.win_rate,
    "without_ties": lambda found: found.without_ties,
    "flips": lambda found: found.flips,
    "first_slot": lambda found: found.first_slot,
    "one_order": lambda found: found.one_order,
}


def test_a_judge_of_known_strength_and_habit_is_recovered() -> None:
    found = compare(HABITS.pairs(11, 12_000))
    for name, figure in FIGURES.items():
        value = figure(found).value
        assert value is not None
        assert pytest.approx(getattr(HABITS, name), abs=0.015) == value, name  # 3 standard errors or more
    assert "better" == found.outcome
    # Asked in one order alone, the same judge would be taken for one that likes A by 12 points more.
    assert pytest.approx(0.12, abs=1e-9) == HABITS.one_order - HABITS.win_rate


def test_a_habit_of_place_makes_nobody_better() -> None:
    habit = Judge(better=0.5, sees=0.2, first=0.95)
    found = compare(habit.pairs(3, 2_000))
    assert "not enough evidence" == found.outcome
    assert found.one_order.low > 0.8
    assert found.first_slot.low > 0.8


def test_the_win_rate_at_equal_length_is_recovered() -> None:
    found = length_effect(Judge(better=0.5, longer=1.0).pairs(5, 6_000))
    assert found.at_equal_length
    assert found.doubled
    assert pytest.approx(0.5, abs=0.03) == found.at_equal_length.value
    assert pytest.approx(1 / (1 + np.exp(-1)), abs=0.02) == found.doubled.value
    assert found.longer_wins.low > 0.6


@pytest.mark.parametrize(
    ("judge", "groups", "most"), [(HABITS, 110, 1), (GROUPED, 150, 3), (Judge(0.7, 0.8, 0.7, 0.3), 60, 1)]
)
def test_intervals_cover_95_percent(judge: Judge, groups: int, most: int) -> None:
    """Of the win rate, over 3,000 rounds; the other figures and the bootstrap are in bench/judging.py."""
    values = {"a": 1.0, "b": 0.0}
    held = [
        low <= judge.win_rate <= high
        for pairs in rounds(judge, 3_000, groups, most)
        for _, low, high, _ in [share([values.get(p.verdict, 0.5) for p in pairs], [p.group for p in pairs])]
    ]
    assert pytest.approx(0.95, abs=0.01) == float(np.mean(held))


def test_the_predecessors_claim_is_not_enough_evidence() -> None:
    found = arms(47, 109, 54, 110)
    assert "not enough evidence (p = 0.37, about 1,100 per arm needed)" == str(found)
    assert (0.3745, 1090) == (round(found.p, 4), found.needed)
    assert pytest.approx((0.0597, -0.0713, 0.1879), abs=1e-4) == found.gain


def test_two_arms_turn_round_when_swapped() -> None:
    one, other = arms(47, 109, 54, 110), arms(54, 110, 47, 109)
    assert (one.p, one.needed) == (other.p, other.needed)
    assert pytest.approx((-one.gain[0], -one.gain[2], -one.gain[1])) == other.gain


@pytest.mark.parametrize(
    ("counts", "outcome", "needed"),
    [
        ((400, 1000, 500, 1000), "better", 385),
        ((500, 1000, 400, 1000), "worse", 385),
        ((0, 10, 10, 10), "better", None),
        ((5, 10, 5, 10), "not enough evidence", None),
        ((0, 10, 0, 10), "not enough evidence", None),
    ],
)
def test_arms_at_their_edges(counts: tuple[int, int, int, int], outcome: str, needed: int | None) -> None:
    found = arms(*counts)
    assert (outcome, needed) == (found.outcome, found.needed)


def test_more_won_than_played_is_refused() -> None:
    with pytest.raises(ValueError, match="5 of 3 cannot be"):
        arms(5, 3, 1, 2)


@pytest.mark.parametrize(
    ("judge", "most"),
    [(Judge(better=0.65, sees=0.7, first=0.7), 1), (Judge(better=0.62, sees=0.7, first=0.7, ties=0.3, alike=0.3), 10)],
)
def test_the_pairs_that_are_needed_call_the_better_one_better_four_times_in_five(judge: Judge, most: int) -> None:
    needed = compare(judge.pairs(0, 6_000, most)).needed
    assert needed
    groups = round(needed / ((1 + most) / 2))
    outcomes = [compare(pairs).outcome for pairs in rounds(judge, 150, groups, most)]
    assert pytest.approx(0.8, abs=0.1) == outcomes.count("better") / len(outcomes)


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        (Judge().pairs(0, 2), "fewer than three groups"),
        ([pair._replace(chars=(10, 10)) for pair in Judge().pairs(0, 20)], "all pairs are equally long"),
        (
            [pair._replace(chars=(10, 20)) for pair in Judge().pairs(0, 20)],
            "the texts of all pairs differ in length by the same ratio",
        ),
        ([pair._replace(verdict="tie") for pair in Judge().pairs(0, 20)], "all verdicts are the same"),
    ],
)
def test_a_length_effect_that_cannot_be_told_says_why(pairs: list[Pair], reason: str) -> None:
    found = length_effect(pairs)
    assert (None, None, reason) == (found.at_equal_length, found.doubled, found.reason)


@pytest.mark.parametrize(("judge", "groups", "most"), [(Judge(longer=1.0), 40, 3), (Judge(longer=3.0), 60, 1)])
def test_intervals_of_the_effect_of_length_cover_95_percent(judge: Judge, groups: int, most: int) -> None:
    """Over 500 rounds, which tell 1 point; more in bench/judging.py."""
    doubled = 1 / (1 + np.exp(-judge.longer))
    held = [
        (equal.low <= 0.5 <= equal.high, twice.low <= doubled <= twice.high)
        for pairs in rounds(judge, 500, groups, most)
        for found in [length_effect(pairs)]
        for equal, twice in [(found.at_equal_length, found.doubled)]
        if equal and twice
    ]
    assert pytest.approx([0.95, 0.95], abs=0.02) == np.mean(held, axis=0).tolist()


@pytest.mark.parametrize("lengths", [[(10, 20), (11, 20), (12, 20)], [(1, 100_000), (100_000, 1), (10, 11)]])
def test_three_pairs_leave_finite_figures_and_next_to_nothing_known(lengths: list[tuple[int, int]]) -> None:
    verdicts: list[Verdict] = ["b", "a", "a"]
    found = length_effect(
        [
            Pair(str(at), verdict, ("A", "B"), chars)
            for at, (verdict, chars) in enumerate(zip(verdicts, lengths, strict=True))
        ]
    )
    assert found.at_equal_length
    assert 0 <= found.at_equal_length.low < 0.5 < found.at_equal_length.high <= 1


def test_length_that_decides_every_pair_leaves_finite_figures() -> None:
    lengths = [(10, 20) if at % 2 else (20, 10) for at in range(40)]
    pairs = [Pair(str(at), "a" if chars[0] > chars[1] else "b", ("A", "B"), chars) for at, chars in enumerate(lengths)]
    found = length_effect(pairs)
    assert found.doubled
    assert found.doubled.value
    assert 0.9 < found.doubled.value < 1
    assert found.at_equal_length
    assert pytest.approx(0.5) == found.at_equal_length.value


@pytest.mark.parametrize("pairs", [[Pair("g", "unjudged", (None, None), (0, 0))], Judge().pairs(0, 1)])
def test_next_to_nothing_gives_a_report_all_the_same(pairs: list[Pair]) -> None:
    found = compare(pairs)
    assert "not enough evidence" == found.outcome
    assert json.loads(json.dumps(found.plain(), allow_nan=False))["counts"]["unjudged"] == found.counts["unjudged"]


def test_people_are_held_against_the_judge() -> None:
    pairs = [pair for pair in HABITS.pairs(2, 60) if pair.verdict != "unjudged"]
    same = [(pair, {"ana": "tie" if pair.verdict == "inconsistent" else str(pair.verdict)}) for pair in pairs]
    found = calibrate([*same[:-1], (pairs[-1], {"ana": "neither", "bea": "neither"})])
    assert (59 / 61, 61, 2) == (found.agreement.value, found.agreement.n, found.people)
    assert found.alpha.value
    assert found.alpha.value > 0.9


@pytest.mark.parametrize(("n", "told"), [(1, 1), (99, 99), (100, 100), (1090, 1100), (1049, 1000), (123_456, 120_000)])
def test_a_number_is_told_to_two_figures(n: int, told: int) -> None:
    assert told == about(n)


@pytest.mark.parametrize(("p", "told"), [(0.3745, "p = 0.37"), (0.004, "p = 0.004"), (1e-9, "p < 0.0001")])
def test_a_p_value_is_told_briefly(p: float, told: str) -> None:
    assert told == told_p(p)
