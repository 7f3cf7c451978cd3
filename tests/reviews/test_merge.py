from __future__ import annotations

import os
import signal
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks.llava.verify import HARD, verify_turn
from tasks.reviews.merge import (
    Candidate,
    Merged,
    as_taken,
    read_turns,
    settle,
    settle_shown,
    write_open,
    write_reviewed,
)
from tasks.reviews.records import Response
from tasks.storage.errors import PermanentError, TornFile
from tasks.storage.schemas import LLAVA, REVIEW_OPEN, REVIEWED
from tasks.storage.tables import read_table
from tests.reviews.answers import MACHINE, ORIGINAL, answer, at, write_llava

GOOD = "El autobús es blanco."
OTHER = "El bus es blanco."
THIRD = "Blanco es el autobús."


def merge(
    *responses: Response, original: str = ORIGINAL, machine: str = MACHINE, remembered: Sequence[tuple[int, int]] = ()
) -> Merged:
    return settle([((0, 0), (original, machine))], responses, verify_turn, HARD, remembered)


def one(*responses: Response) -> tuple[str, str, str, tuple[str, ...]]:
    """What is settled: whose text, the text, the rule, by whom."""
    (settled,) = merge(*responses).settled
    return settled.text_from, settled.text, settled.why, settled.by


# The rule


def test_the_only_answer_decides() -> None:
    assert ("accepted", MACHINE, "only", ("reviewer-1",)) == one(answer())
    assert ("edited", GOOD, "only", ("reviewer-1",)) == one(answer(text=GOOD))


def test_the_newest_answer_of_an_owner_or_admin_comes_first() -> None:
    given = [
        answer("a", GOOD, 9),
        answer("b", GOOD, 9),
        answer("boss", OTHER, 1, role="owner"),
        answer("vice", THIRD, 2, role="admin"),
    ]
    assert ("edited", THIRD, "owner", ("vice",)) == one(*given)
    assert ("accepted", MACHINE, "owner", ("boss",)) == one(*given[:2], answer("boss", MACHINE, role="owner"))


def test_all_who_gave_the_owners_text_are_named() -> None:
    assert ("edited", GOOD, "owner", ("a", "boss")) == one(
        answer("a", GOOD), answer("b", OTHER), answer("boss", GOOD, role="owner")
    )


def test_a_majority_is_more_than_half() -> None:
    assert ("edited", GOOD, "majority", ("a", "b")) == one(answer("a", GOOD), answer("b", GOOD), answer("c", OTHER))
    assert ("adjudicate", MACHINE, "split", ("a", "b")) == one(answer("a", GOOD), answer("b", OTHER))
    assert ("adjudicate", MACHINE, "split", ("a", "b")) == one(answer("a", GOOD), answer("b"))


def test_of_three_texts_the_one_closest_to_the_others_is_taken() -> None:
    long = "El autobús es blanco y rojo, dicen."
    assert ("edited", GOOD, "nearest", ("b",)) == one(answer("a", OTHER), answer("b", GOOD), answer("c", long))


def test_the_machines_text_may_be_the_closest() -> None:
    given = [answer("a", "El autobús es blanca y roja."), answer("b"), answer("c", "Un autobús es blanca.")]
    assert ("accepted", MACHINE, "nearest", ("b",)) == one(*given)


def test_a_tie_is_left_for_adjudication() -> None:
    given = [answer("a", GOOD), answer("b", GOOD), answer("c", OTHER), answer("d", OTHER)]
    merged = merge(*given)
    assert ("adjudicate", MACHINE, "split", ("a", "b", "c", "d")) == one(*given)
    ((turn, candidates),) = merged.open
    assert merged.settled[0] is turn
    assert (
        Candidate(OTHER, ("c", "d"), ("good", "good"), ()),
        Candidate(GOOD, ("a", "b"), ("good", "good"), ()),
    ) == tuple(sorted(candidates, key=lambda each: each.by, reverse=True))


def test_the_order_in_which_answers_come_changes_nothing() -> None:
    given = [
        answer(user, text, minutes=3) for user, text in zip("abcde", (GOOD, OTHER, THIRD, MACHINE, GOOD), strict=True)
    ]
    assert merge(*given) == merge(*given[::-1])


def test_when_is_when_the_last_of_those_answered_whose_text_it_is() -> None:
    (settled,) = merge(answer("a", GOOD, 1), answer("b", GOOD, 5), answer("c", OTHER, 9)).settled
    assert at(5) == settled.at


# Complaints


@pytest.mark.parametrize("verdict", ["major", "unusable"])
def test_an_unchanged_text_with_a_grave_verdict_is_no_acceptance(verdict: str) -> None:
    complaint = answer("a", verdict=verdict, note="¡No!")
    assert ("adjudicate", MACHINE, "complaint", ("a",)) == one(complaint)
    assert ("adjudicate", MACHINE, "complaint", ("a", "b", "c")) == one(complaint, answer("b"), answer("c"))
    assert (Candidate(MACHINE, ("a",), (verdict,), ("¡No!",)),) == merge(complaint).open[0].candidates


def test_a_complaint_does_not_stand_against_a_correction() -> None:
    complaint = answer("a", verdict="major")
    assert ("edited", GOOD, "majority", ("b",)) == one(complaint, answer("b", GOOD, verdict="major"))


def test_a_complaint_stands_against_the_machines_text() -> None:
    given = [answer("a", verdict="major"), answer("b"), answer("c"), answer("d", GOOD)]
    assert "majority" != one(*given)[2]
    assert ("accepted", MACHINE, "majority", ("b", "c")) == one(*given[1:])


def test_an_owners_acceptance_settles_a_complaint_and_an_owners_complaint_settles_nothing() -> None:
    boss = answer("boss", role="owner")
    assert ("accepted", MACHINE, "owner", ("boss",)) == one(answer("a", verdict="major"), boss)
    grave = answer("boss", role="owner", verdict="unusable")
    assert ("adjudicate", MACHINE, "complaint", ("a", "boss")) == one(answer("a"), grave)
    assert ("edited", GOOD, "majority", ("a",)) == one(answer("a", GOOD), grave)


def test_small_errors_left_unchanged_are_an_acceptance_and_an_error() -> None:
    (settled,) = merge(answer(verdict="minor")).settled
    assert ("accepted", True) == (settled.text_from, settled.is_error)


@pytest.mark.parametrize(
    ("given", "is_error"),
    [
        ([answer("a")], False),
        ([answer("a", GOOD)], True),
        ([answer("a", verdict=None)], False),
        ([answer("a", verdict="minor"), answer("b")], True),  # half of them
        ([answer("a", verdict="minor"), answer("b"), answer("c")], False),
        ([answer("a", GOOD), answer("b", OTHER)], True),  # left open, and both found it wrong
        ([answer("a", GOOD), answer("b"), answer("c")], False),  # only those who decided count
        ([answer("a", status="discarded", verdict="major")], False),
    ],
)
def test_what_is_an_error_of_the_machine(given: Sequence[Response], is_error: bool) -> None:
    assert is_error == merge(*given).settled[0].is_error


# Which answers count


def test_drafts_and_discards_give_no_text() -> None:
    discarded = [answer(user, None, status="discarded", verdict=None) for user in "ab"]
    draft = answer("c", GOOD, status="draft")
    assert ("machine", MACHINE, "discarded", ()) == one(*discarded)
    assert None is merge(*discarded).settled[0].at
    assert () == merge(draft).settled
    assert () == merge(*discarded, draft).settled
    assert ("accepted", MACHINE, "only", ("d",)) == one(*discarded, draft, answer("d"))
    assert () == merge(draft).stale


def test_a_person_has_one_voice_their_newest() -> None:
    twice = [answer("a", GOOD, 1, id="argilla"), answer("a", OTHER, 2, id="pack")]
    assert ("edited", OTHER, "only", ("a",)) == one(*twice)
    assert ("adjudicate", MACHINE, "split", ("a", "b")) == one(*twice, answer("b", GOOD))


@pytest.mark.parametrize("changed", ["original", "machine"])
def test_an_answer_to_texts_of_before_is_stale(changed: str) -> None:
    before: dict[str, Any] = {changed: "Otra cosa."}
    old = answer("a", GOOD, **before)
    merged = merge(old, answer("b", None, status="discarded", **before), answer("c"))
    assert ((old,), ("c",)) == (merged.stale, merged.settled[0].by)
    assert [answer("c")] == list(merged.answers)


def test_an_answer_to_a_row_that_is_gone_is_stale() -> None:
    gone = answer(row=7)
    merged = merge(gone)
    assert ((gone,), ()) == (merged.stale, merged.settled)


def test_what_the_memory_brought_into_the_table_is_still_theirs() -> None:
    given = [answer("a", GOOD, 1), answer("b", GOOD, 2), answer("c", OTHER, 3)]
    merged = merge(*given, machine=GOOD)
    (settled,) = merged.settled
    assert ("edited", GOOD, MACHINE, "majority", ("a", "b"), at(2)) == (
        settled.text_from,
        settled.text,
        settled.machine,
        settled.why,
        settled.by,
        settled.at,
    )
    assert () == merged.stale
    assert tuple(given) == merge(*given, machine=OTHER).stale  # that is not what they settled


@pytest.mark.parametrize(
    ("given", "text_from", "text"),
    [
        ([answer("a", GOOD)], "edited", GOOD),
        ([answer("a")], "accepted", MACHINE),
        ([answer("a", GOOD), answer("b", THIRD)], "adjudicate", OTHER),
        ([answer("a", GOOD), answer("b", THIRD, 2, machine="Antes.")], "edited", THIRD),
    ],
)
def test_what_the_memory_brought_from_another_turn_stands_behind_this_turns_own_answers(
    given: Sequence[Response], text_from: str, text: str
) -> None:
    merged = merge(*given, machine=OTHER, remembered=[(0, 0)])
    assert [(text_from, text)] == [(each.text_from, each.text) for each in merged.settled]
    assert [each for each in given if each.machine != given[-1].machine] == list(merged.stale)
    assert () == merge(answer("a", None, status="discarded"), machine=OTHER, remembered=[(0, 0)]).settled
    gone = answer("a", GOOD, original="Otra cosa.")
    assert (gone,) == merge(gone, machine=OTHER, remembered=[(0, 0)]).stale


def test_an_answer_to_the_new_texts_comes_before_what_was_settled_on_the_old() -> None:
    old, new = answer("a", GOOD, 1), answer("b", OTHER, 2, machine=GOOD)
    merged = merge(old, new, machine=GOOD)
    assert ((old,), OTHER) == (merged.stale, merged.settled[0].text)


def test_a_draft_on_the_new_texts_takes_nothing_from_what_was_settled_on_the_old() -> None:
    merged = merge(answer("a", GOOD, 1), answer("b", OTHER, 2, machine=GOOD, status="draft"), machine=GOOD)
    assert ((), "edited", ("a",)) == (merged.stale, merged.settled[0].text_from, merged.settled[0].by)


def test_for_the_memory_every_pair_of_texts_is_settled_that_people_were_shown() -> None:
    given = [
        answer("a", GOOD, 1),
        answer("b", OTHER, 2, machine="Antes."),
        answer("c", "", 3, row=1),
        answer("d", row=9),
    ]
    assert [("Antes.", OTHER), (MACHINE, GOOD), (MACHINE, MACHINE)] == [
        (each.machine, each.text) for each in settle_shown(given, verify_turn)
    ]


# How a text is taken


@pytest.mark.parametrize(
    ("typed", "original", "taken"),
    [
        ("Sí.\n", "Yes.", "Sí."),
        ("Sí. \n\n", "Yes.", "Sí."),
        ("Sí.\n\n", "Yes.\n", "Sí.\n"),
        ("Sí.", "Yes.\n", "Sí."),
        (" Sí.", "Yes.", " Sí."),
        ("Sí.\nNo.\n", "Yes.\r\nNo.", "Sí.\r\nNo."),
        ("Sí.\nNo.", "Yes.\r\nNo.\nWell.", "Sí.\nNo."),
        (unicodedata.normalize("NFD", "¿Él?"), "He?", "¿Él?"),
        ("\n", "", ""),
    ],
)
def test_a_text_is_taken_without_what_editors_do_to_it(typed: str, original: str, taken: str) -> None:
    assert taken == as_taken(typed, original)


@pytest.mark.parametrize("typed", [MACHINE + "\n", unicodedata.normalize("NFD", MACHINE), MACHINE + "  ", None])
def test_a_text_that_is_only_typed_otherwise_is_accepted_and_the_machines_bytes_stay(typed: str | None) -> None:
    assert ("accepted", MACHINE, "only", ("reviewer-1",)) == one(answer(text=typed))


def test_a_machines_text_that_is_not_normal_itself_is_accepted_as_it_is() -> None:
    machine = unicodedata.normalize("NFD", MACHINE) + " "
    (settled,) = merge(answer(text=MACHINE, machine=machine), machine=machine).settled
    assert ("accepted", machine) == (settled.text_from, settled.text)


# Broken corrections


@pytest.mark.parametrize(
    ("original", "machine", "typed", "reason"),
    [
        ("<image>\nWhat?", "<image>\n¿Qué?", "¿Qué es?", f"lines: {HARD['lines']} placeholder: {HARD['placeholder']}"),
        (ORIGINAL, MACHINE, "", f"empty: {HARD['empty']}"),
        (ORIGINAL, MACHINE, " \n", f"empty: {HARD['empty']}"),
        ("42", "42", "", f"empty: {HARD['empty']}"),
        (ORIGINAL, MACHINE, "El autobús\nes blanco.", f"lines: {HARD['lines']}"),
    ],
)
def test_a_correction_that_breaks_the_turn_is_not_merged(original: str, machine: str, typed: str, reason: str) -> None:
    bad = answer("a", typed, original=original, machine=machine)
    merged = merge(bad, original=original, machine=machine)
    assert (((bad, reason),), (), (bad,)) == (merged.broken, merged.settled, merged.answers)
    good = answer("b", machine, original=original, machine=machine)
    assert ("b",) == merge(bad, good, original=original, machine=machine).settled[0].by


def test_a_code_without_words_is_said_as_it_is() -> None:
    merged = settle([((0, 0), (ORIGINAL, MACHINE))], [answer(text=GOOD)], lambda original, text: ["seam", "end"])
    assert "seam end" == merged.broken[0][1]


def test_an_accepted_text_is_not_verified_again() -> None:
    merged = settle([((0, 0), (ORIGINAL, MACHINE))], [answer()], lambda original, text: ["seam"])
    assert "accepted" == merged.settled[0].text_from


def test_a_text_of_20_000_characters_is_settled_like_any_other() -> None:
    original, machine = "A white bus stands here. " * 800, "Aquí hay un autobús blanca. " * 800
    texts = [machine.replace("blanca", "blanco"), machine.replace("blanca", "claro"), machine.replace("hay", "está")]
    given = [answer(user, text, original=original, machine=machine) for user, text in zip("abc", texts, strict=True)]
    assert "edited" == settle([((0, 0), (original, machine))], given, lambda *_: []).settled[0].text_from


# The tables


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = [[(f"What is {row}?", f"¿Qué es {row}?"), (ORIGINAL, MACHINE)] for row in range(4)]
    return write_llava(tmp_path / "llava-es.parquet", [*rows, [], [(ORIGINAL, MACHINE)] * 3])


def test_turns_are_read_with_their_texts_and_only_the_wanted_rows(table: Path) -> None:
    turns = list(read_turns(table))
    assert (11, ((1, 0), ("What is 1?", "¿Qué es 1?")), ((5, 2), (ORIGINAL, MACHINE))) == (
        len(turns),
        turns[2],
        turns[-1],
    )
    assert [turns[2], turns[3], *turns[8:]] == list(read_turns(table, {1, 4, 5, 99}))


def test_peoples_texts_stand_in_the_reviewed_table_and_all_else_is_as_it_was(table: Path, tmp_path: Path) -> None:
    responses = [
        answer("a", GOOD, 1, row=1, turn=1),
        answer("a", row=2, turn=1),
        answer("a", GOOD, 2, row=5, turn=2),
        answer("b", OTHER, 3, row=5, turn=2),
        answer("c", None, row=5, turn=1, status="discarded"),
    ]
    merged = settle(read_turns(table), responses, verify_turn)
    reviewed = read_table(write_reviewed(table, merged, tmp_path / "reviewed.parquet"), REVIEWED)
    before, after = read_table(table, LLAVA), reviewed.to_pylist()
    same = [name for name in LLAVA.columns.names if name != "translated"]
    assert before.select(same).cast(reviewed.select(same).schema) == reviewed.select(same)
    assert {
        0: ["machine", "machine"],
        1: ["machine", "edited"],
        2: ["machine", "accepted"],
        3: ["machine", "machine"],
        4: [],
        5: ["machine", "machine", "adjudicate"],
    } == {row["row"]: row["text_from"] for row in after}
    assert [[], ["a"]] == after[1]["reviewed_by"]
    assert [None, at(1)] == after[1]["reviewed_at"]
    assert [[], [], ["a", "b"]] == after[5]["reviewed_by"]
    assert ["¿Qué es 1?", GOOD] == [turn["value"] for turn in after[1]["translated"]]
    assert ["human", "gpt"] == [turn["from"] for turn in after[1]["translated"]]
    untouched = [row["translated"] for row in after if row["row"] != 1]
    assert [row["translated"] for row in before.to_pylist() if row["row"] != 1] == untouched


def test_equal_answers_give_equal_bytes(table: Path, tmp_path: Path) -> None:
    responses = [answer(user, text, row=row, turn=1) for user, text in (("a", GOOD), ("b", OTHER)) for row in (0, 3)]
    for name, given in (("one", responses), ("other", responses[::-1])):
        merged = settle(read_turns(table), given, verify_turn)
        write_reviewed(table, merged, tmp_path / f"{name}.parquet")
        write_open(merged, tmp_path / f"{name}-open.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "other.parquet").read_bytes()
    assert (tmp_path / "one-open.parquet").read_bytes() == (tmp_path / "other-open.parquet").read_bytes()


def test_without_answers_the_reviewed_table_is_the_machines(table: Path, tmp_path: Path) -> None:
    reviewed = read_table(write_reviewed(table, settle([], [], verify_turn), tmp_path / "reviewed.parquet"), REVIEWED)
    assert {"machine"} == {each for row in reviewed["text_from"].to_pylist() for each in row}
    empty = write_llava(tmp_path / "empty.parquet", [])
    assert (
        0
        == read_table(write_reviewed(empty, settle([], [], verify_turn), tmp_path / "none.parquet"), REVIEWED).num_rows
    )


def test_a_table_that_changed_meanwhile_is_named_and_nothing_is_written(table: Path, tmp_path: Path) -> None:
    merged = settle(read_turns(table), [answer(row=5, turn=2, text=GOOD)], verify_turn)
    write_llava(table, [[(ORIGINAL, MACHINE)]])
    with pytest.raises(PermanentError) as error:
        write_reviewed(table, merged, tmp_path / "reviewed.parquet")
    assert (
        f"{table}: 1 rows went in and 1 came out, with 0 of 1 settled turns. The table was changed meanwhile; pull again. "
        "Nothing was written."
    ) == str(error.value)
    assert [table] == list(tmp_path.iterdir())


def test_a_damaged_table_is_named(table: Path, tmp_path: Path) -> None:
    content = bytearray(table.read_bytes())
    content[60:400] = bytes(340)
    table.write_bytes(content)
    with pytest.raises(TornFile, match="Move it away and run translate-llava again"):
        list(read_turns(table))
    with pytest.raises(TornFile):
        write_reviewed(table, settle([], [], verify_turn), tmp_path / "reviewed.parquet")
    assert [table] == list(tmp_path.iterdir())


def test_what_is_left_to_do_is_listed_with_what_people_gave(table: Path, tmp_path: Path) -> None:
    responses = [
        answer("a", GOOD, row=3, turn=1, verdict="minor", note="Género."),
        answer("b", OTHER, row=3, turn=1),
        answer("c", "", row=0, turn=1, verdict=None),
    ]
    merged = settle(read_turns(table), responses, verify_turn)
    left = read_table(write_open(merged, tmp_path / "open.parquet"), REVIEW_OPEN).to_pylist()
    shown = {"turn": 1, "original": ORIGINAL, "machine": MACHINE}
    assert [
        {
            **shown,
            "row": 0,
            "what": "broken",
            "reason": "empty",
            "candidates": [{"text": "", "by": ["c"], "verdicts": [""], "notes": []}],
        },
        {
            **shown,
            "row": 3,
            "what": "adjudicate",
            "reason": "No text has a majority, nor is one closest: left for adjudication.",
            "candidates": [
                {"text": GOOD, "by": ["a"], "verdicts": ["minor"], "notes": ["Género."]},
                {"text": OTHER, "by": ["b"], "verdicts": ["good"], "notes": []},
            ],
        },
    ] == left


def test_kill_9_while_writing_leaves_the_old_reviewed_table(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_reviewed(table, settle([], [], verify_turn), tmp_path / "reviewed.parquet")
    before = path.read_bytes()
    merged = settle(read_turns(table), [answer(row=5, turn=2, text=GOOD)], verify_turn)
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(os, "replace", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        write_reviewed(table, merged, path)
    os.waitpid(child, 0)
    assert before == path.read_bytes()
    write_reviewed(table, merged, path)
    assert before != path.read_bytes()


def test_each_text_gets_to_its_turn_in_a_large_table(tmp_path: Path) -> None:
    rows = [[(ORIGINAL, f"Texto {row} {turn}.") for turn in range(row % 4)] for row in range(300)]
    table = write_llava(tmp_path / "llava-es.parquet", rows, group=100)
    texts = dict(read_turns(table))
    responses = [
        answer(text=f"Nuevo {row} {turn}.", row=row, turn=turn, machine=machine)
        for (row, turn), (_, machine) in texts.items()
        if (row + turn) % 7 == 0
    ]
    merged = settle(texts.items(), responses, verify_turn)
    reviewed = read_table(write_reviewed(table, merged, tmp_path / "reviewed.parquet"), REVIEWED)
    wanted = [
        [f"{'Nuevo' if (row + turn) % 7 == 0 else 'Texto'} {row} {turn}." for turn in range(row % 4)]
        for row in range(300)
    ]
    assert wanted == [[turn["value"] for turn in row] for row in reviewed["translated"].to_pylist()]
