from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks.llava.verify import verify_turn
from tasks.reviews import agreement
from tasks.reviews.agreement import figures, levenshtein
from tasks.reviews.history import History
from tasks.reviews.merge import Key, settle
from tasks.reviews.records import Response
from tasks.stats.alpha import alpha, masi, ordinal
from tasks.stats.intervals import wilson
from tests.reviews.answers import MACHINE, ORIGINAL, answer

GOOD = "El autobús es blanco."
OTHER = "El bus es blanco."


def told(responses: Sequence[Response], drawn: Collection[Key] | None = frozenset()) -> dict[str, Any]:
    """The figures, as they are after JSON; every answer's turn is in the table."""
    turns = {(each.row, each.turn): (ORIGINAL, MACHINE) for each in responses}
    merged = settle(turns.items(), responses, verify_turn)
    history = History(Path("llava-es-responses.parquet"), tuple(responses), len(responses) + 1, 0)
    read: dict[str, Any] = json.loads(json.dumps(figures(history, merged, drawn), allow_nan=False))
    return read


def test_nobody_has_answered_yet() -> None:
    nothing = told([], {(1, 0)})
    assert (0, {}, {}, {"n": 0}) == tuple(nothing[name] for name in ("answered", "answers", "reviewers", "corrections"))
    assert {"drawn": 1, "answered": 0, "count": 0, "n": 0, "share": 0.0, "interval_95": [0.0, 1.0]} == nothing["audit"][
        "rows"
    ]
    assert (None, "no unit has two answers") == tuple(
        nothing["agreement"]["verdict"][name] for name in ("value", "reason")
    )


def test_each_reviewers_answers_are_counted_by_what_became_of_them() -> None:
    given = [
        answer("a", row=1),
        answer("a", GOOD, row=2, minutes=7, role="owner"),
        answer("a", MACHINE + "\n", row=3),
        answer("a", None, row=4, status="discarded", verdict=None),
        answer("b", GOOD, row=1, status="draft"),
    ]
    assert {
        "a": {
            "role": "owner",
            "submitted": 3,
            "accepted": 2,
            "edited": 1,
            "draft": 0,
            "discarded": 1,
            "last": "2026-11-20T10:07:00+00:00",
        },
        "b": {
            "role": "annotator",
            "submitted": 0,
            "accepted": 0,
            "edited": 0,
            "draft": 1,
            "discarded": 0,
            "last": "2026-11-20T10:00:00+00:00",
        },
    } == told(given)["reviewers"]


def test_turns_are_counted_by_whose_text_they_have_and_by_rule() -> None:
    found = told(
        [
            answer("a", row=1),
            answer("a", GOOD, row=2),
            answer("a", GOOD, row=3),
            answer("b", OTHER, row=3),
            answer("a", None, row=4, status="discarded"),
            answer("a", "", row=5),
            answer("a", GOOD, row=6, machine="Antes."),
        ]
    )
    assert {"accepted": 1, "edited": 1, "adjudicate": 1, "machine": 1} == found["text_from"]
    assert {"only": 2, "split": 1, "discarded": 1} == found["decided_by"]
    assert (3, 8) == (found["answered"], found["versions"])
    assert [{"row": 3, "turn": 0, "why": "split", "by": ["a", "b"], "texts": 2}] == found["open"]
    assert [{"row": 5, "turn": 0, "user": "a", "reason": "empty"}] == found["broken"]
    assert [{"row": 6, "turn": 0, "user": "a"}] == found["stale"]


def test_a_row_is_wrong_if_one_of_its_turns_is_and_counts_when_all_are_answered() -> None:
    drawn = {(row, turn) for row in range(10) for turn in range(2)}
    given = [
        answer("a", GOOD if row < 2 and turn else MACHINE, row=row, turn=turn) for row in range(8) for turn in range(2)
    ]
    given += [answer("a", GOOD, row=8), answer("a", None, row=8, turn=1, status="discarded"), answer("a", GOOD, row=77)]
    audit = told(given, drawn)["audit"]
    assert {"drawn": 10, "answered": 8, "count": 2, "n": 8, "share": 0.25, "interval_95": list(wilson(2, 8))} == audit[
        "rows"
    ]
    assert (1, True) == (audit["rows_begun"], audit["drawn_is_known"])
    turns = audit["turns"]
    assert (20, 17, 3, 17, 3 / 17) == tuple(turns[name] for name in ("drawn", "answered", "count", "n", "share"))
    assert turns["interval_95"][0] < turns["share"] < turns["interval_95"][1]


def test_where_nobody_wrote_down_what_was_drawn_the_answers_stand_for_it() -> None:
    given = [
        answer("a", GOOD, row=1, part="audit"),
        answer("a", None, row=1, turn=1, part="audit", status="draft"),
        answer("a", row=2, part="audit"),
        answer("a", GOOD, row=3),
    ]
    audit = told(given, None)["audit"]
    assert (False, 2, 1, 0) == (
        audit["drawn_is_known"],
        audit["rows"]["drawn"],
        audit["rows"]["answered"],
        audit["rows"]["count"],
    )


def test_corrections_are_held_against_the_machines_text_by_sacrebleu() -> None:
    found = told([answer("a", GOOD, row=1), answer("a", "El autobús es blanca y roja.", row=2), answer("a", row=3)])[
        "corrections"
    ]
    assert (2, 1) == (found["n"], found["chars_changed_percent"]["turns"][0])
    assert pytest.approx({"mean": 4.0, "median": 4.0}) == found["chars_changed"]
    # blanca. -> blanco.; blanca. -> blanca y roja.: 4 words changed or put in, of 4 + 6.
    assert pytest.approx(40.0) == found["ter"]
    assert 60 < found["chrf"] < 90
    assert found["chrf_signature"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
    assert found["ter_signature"].startswith("nrefs:1|case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:")
    assert 2 == sum(found["chars_changed_percent"]["turns"])


def test_a_long_text_that_was_written_anew_is_held_against_the_machines_without_shifts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turned = answer("a", "Blanco es el autobús.", machine="el autobús es blanca.")
    assert 0 == _ter(turned)["ter_without_shifts"]
    with_shifts = _ter(turned)["ter"]
    monkeypatch.setattr(agreement, "_SHIFTS", 0)
    assert (1, True) == (_ter(turned)["ter_without_shifts"], _ter(turned)["ter"] >= with_shifts)


def _ter(response: Response) -> dict[str, Any]:
    merged = settle([((0, 0), (ORIGINAL, response.machine))], [response], verify_turn)
    found: dict[str, Any] = figures(History(Path("x"), (response,), 1, 1), merged, None)["corrections"]
    return found


def test_agreement_is_alpha_over_turns_with_two_answers() -> None:
    rated = [
        ("good", "good", ""),
        ("minor", "major", "g"),
        ("major", "major", "gs"),
        ("good", "minor", "s"),
        ("good", None, ""),
    ]
    given = []
    for row, (one, other, kinds) in enumerate(rated):
        given.append(answer("a", GOOD, row=row, verdict=one, kinds=tuple(kinds)))
        given.append(answer("b", GOOD, row=row, verdict=other, kinds=tuple(kinds[:1])))
    given.append(answer("a", GOOD, row=9, verdict="unusable"))
    found = told(given)["agreement"]
    assert (5, 10) == (found["turns_answered_twice"], found["answers"])
    scale = ordinal(("good", "minor", "major", "unusable"))
    verdicts = alpha([[one, other] for one, other, _ in rated if other], scale)
    assert (verdicts.value, 4) == (found["verdict"]["value"], found["verdict"]["units"])
    sets = alpha([[frozenset(each), frozenset(each[:1])] for _, _, each in rated], masi)
    assert (sets.value, 5) == (found["kinds"]["value"], found["kinds"]["units"])
    assert (5, 5) == (found["both_edit_or_both_accept"]["count"], found["both_edit_or_both_accept"]["n"])


def test_a_code_that_predicts_edits_lies_above_nothing() -> None:
    given = [answer("a", GOOD if row % 4 else MACHINE, row=row, codes=("numbers",)) for row in range(40)]
    given += [
        answer("a", MACHINE if row % 4 else GOOD, row=row, codes=("seam",) if row % 2 else ()) for row in range(40, 120)
    ]
    codes = told(given)["codes"]
    numbers, seam = codes["numbers"], codes["seam"]
    assert (30, 40, 20, 80) == tuple(numbers[side][name] for side in ("with", "without") for name in ("count", "n"))
    assert pytest.approx((0.5, 3.0)) == (numbers["difference"], numbers["lift"])
    assert 0 < numbers["difference_interval_95"][0] < 0.5 < numbers["difference_interval_95"][1]
    assert seam["difference_interval_95"][1] < 0
    assert ["numbers", "seam"] == list(codes)


def test_a_code_that_all_turns_have_is_compared_with_nothing() -> None:
    found = told([answer("a", GOOD, row=row, codes=("seam",)) for row in range(5)])["codes"]["seam"]
    assert [None, None, None] == [found[name] for name in ("difference", "difference_interval_95", "lift")]


def test_each_translator_has_its_own_shares() -> None:
    given = [
        answer("a", GOOD, row=1, translator="google/4"),
        answer("a", row=2, translator="google/4", verdict="minor"),
    ]
    found = told([*given, answer("a", row=3, translator="apertium/3")])["translators"]
    assert ["google/4", "apertium/3"] == list(found)
    assert (1, 2, 2) == (
        found["google/4"]["edited"]["count"],
        found["google/4"]["errors"]["count"],
        found["google/4"]["edited"]["n"],
    )


@pytest.mark.parametrize(
    ("one", "other", "steps"),
    [
        ("", "", 0),
        ("a", "", 1),
        ("", "abc", 3),
        ("kitten", "sitting", 3),
        ("flaw", "lawn", 2),
        ("abcd", "abxcd", 1),
        ("aaa", "aa", 1),
    ],
)
def test_the_distance_is_levenshteins(one: str, other: str, steps: int) -> None:
    assert (steps, steps) == (levenshtein(one, other), levenshtein(other, one))


def test_long_texts_have_a_distance_too() -> None:
    assert 2000 == levenshtein("ab" * 2000, "b" * 2000)
