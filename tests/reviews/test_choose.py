from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.llava.checks import SOFT
from tasks.llava.translate import KEPT
from tasks.reviews import choose as choosing
from tasks.reviews.choose import WEIGHTS, choose, turn_score
from tasks.reviews.records import ReviewTurn, record_id
from tasks.storage.errors import ForeignTable, PermanentError, TornFile
from tasks.storage.schemas import CONVERSATIONS, LLAVA
from tasks.storage.tables import table_writer, write_table

GOOGLE = "google/4.0.2"


def make_row(
    row: int, codes: Sequence[Sequence[str]] = ((), ()), translator: Sequence[str] = (GOOGLE, GOOGLE)
) -> dict[str, Any]:
    roles = ["human", "gpt"] * len(codes)
    return {
        "row": row,
        "id": str(row),
        "image": f"{row}.jpg",
        "conversations": [{"from": roles[turn], "value": f"Bus {row}.{turn}."} for turn in range(len(codes))],
        "translated": [{"from": roles[turn], "value": f"Autobús {row}.{turn}."} for turn in range(len(codes))],
        "translator": list(translator),
        "checks": sorted({code for some in codes for code in some}),
        "turn_checks": [list(some) for some in codes],
    }


def make_table(folder: Path, rows: Sequence[dict[str, Any]], chunk_size: int = 4) -> Path:
    path = folder / "llava-es.parquet"
    with table_writer(path, LLAVA, {"job": "translate-llava-1"}) as writer:
        for start in range(0, len(rows), chunk_size):
            writer.write_table(pa.Table.from_pylist(rows[start : start + chunk_size], schema=LLAVA.columns))
    (folder / "llava-es.provenance.json").write_text(json.dumps({"chunk_size": chunk_size}))
    return path


def drawn(turns: Sequence[ReviewTurn], part: str) -> list[int]:
    return list(dict.fromkeys(turn.row for turn in turns if turn.part == part))


def test_a_turn_is_shown_with_all_that_a_reviewer_needs(tmp_path: Path) -> None:
    path = make_table(tmp_path, [make_row(row, (("numbers",), ("seam", "end"))) for row in range(10)])
    turns = choose(path, "llava-es", 10, 0, 0)
    assert len(turns) == 20
    assert turns[19] == ReviewTurn(
        id=record_id("llava-es", 9, 1, "Bus 9.1.", "Autobús 9.1."),
        row=9,
        turn=1,
        chunk=2,
        role="gpt",
        image="9.jpg",
        original="Bus 9.1.",
        machine="Autobús 9.1.",
        context=(("human", "Autobús 9.0."),),
        translator=GOOGLE,
        codes=("end", "seam"),
        score=0.0114,
        ratio=1.3077,
        part="worst",
        version="translate-llava-1",
    )


def test_the_worst_rows_come_first_and_ties_in_order_of_rows(tmp_path: Path) -> None:
    codes = {2: ((), ("coverage",)), 5: (("seam",), ()), 6: (("seam",), ("numbers",)), 7: ((), ("coverage",))}
    path = make_table(tmp_path, [make_row(row, codes.get(row, ((), ()))) for row in range(9)])
    assert drawn(choose(path, "x", 6, 0, 0), "worst") == [6, 5, 2, 7, 0, 1]
    assert drawn(choose(path, "x", 99, 0, 0), "worst") == [6, 5, 2, 7, 0, 1, 3, 4, 8]


def test_what_people_settled_and_what_never_travelled_is_not_shown_and_does_not_count(tmp_path: Path) -> None:
    rows = [
        make_row(0, (("seam",), ("seam",)), ("reviewed/abc", KEPT)),
        make_row(1, (("seam",), ("coverage",), ()), (KEPT, GOOGLE, "reviewed")),
        make_row(2, (("numbers",), ())),
    ]
    turns = choose(make_table(tmp_path, rows), "x", 3, 0, 0)
    assert [(turn.row, turn.turn) for turn in turns] == [(2, 0), (2, 1), (1, 1)]
    assert turns[2].context == (("human", "Autobús 1.0."),)
    assert drawn(choose(tmp_path / "llava-es.parquet", "x", 0, 3, 0), "audit") == [1, 2]


def test_a_larger_audit_holds_the_smaller_one_and_depends_on_the_seed_alone(tmp_path: Path) -> None:
    path = make_table(tmp_path, [make_row(row) for row in range(60)])
    some, more = set(drawn(choose(path, "x", 0, 7, 3), "audit")), set(drawn(choose(path, "x", 0, 30, 3), "audit"))
    assert (len(some), len(more)) == (7, 30)
    assert some < more
    assert set(drawn(choose(path, "other", 50, 7, 3), "audit")) == some
    assert set(drawn(choose(path, "x", 0, 7, 4), "audit")) != some


def test_the_draw_stays_the_same_when_people_have_settled_some_of_it(tmp_path: Path) -> None:
    before = drawn(choose(make_table(tmp_path, [make_row(row) for row in range(60)]), "x", 0, 10, 0), "audit")
    done = before[:4]
    settled = ("reviewed", "reviewed")
    rows = [make_row(row, translator=settled if row in done else (GOOGLE, GOOGLE)) for row in range(60)]
    assert before[4:] == drawn(choose(make_table(tmp_path, rows), "x", 0, 10, 0), "audit")


def test_a_row_of_both_parts_is_audited_and_the_sample_takes_the_next(tmp_path: Path) -> None:
    path = make_table(tmp_path, [make_row(row, ((), ("seam",) if row < 30 else ())) for row in range(60)])
    turns = choose(path, "x", 30, 20, 0)
    audited, worst = drawn(turns, "audit"), drawn(turns, "worst")
    assert (len(audited), len(worst)) == (20, 30)
    assert not set(audited) & set(worst)
    bad = [row for row in range(30) if row not in audited]
    assert worst == bad + [row for row in range(30, 60) if row not in audited][: 30 - len(bad)]


@pytest.mark.parametrize("number", [0, 1, 4, 5])
def test_a_table_of_any_size_is_shown_whole(tmp_path: Path, number: int) -> None:
    path = make_table(tmp_path, [make_row(row) for row in range(number)])
    assert drawn(choose(path, "x", 99, 0, 0), "worst") == list(range(number))
    assert sorted(drawn(choose(path, "x", 9, 99, 0), "audit")) == list(range(number))


def test_every_code_has_a_weight_and_an_unknown_one_is_a_doubt() -> None:
    assert WEIGHTS.keys() == SOFT.keys()
    assert choosing.KEPT == KEPT
    assert turn_score([]) == 1
    assert turn_score(["numbers", "of a later version"]) == 0.25


def test_a_table_without_its_provenance_is_refused(tmp_path: Path) -> None:
    path = make_table(tmp_path, [make_row(0)])
    provenance = tmp_path / "llava-es.provenance.json"
    for content in ("[]", "{", '{"chunk_size": 0}', '{"chunk_size": "4"}', '{"job": "x"}'):
        provenance.write_text(content)
        with pytest.raises(PermanentError) as caught:
            choose(path, "x", 1, 1, 0)
        assert str(caught.value) == (
            f"{provenance} does not say the chunk size. Run translate-llava again: it is written anew."
        )
    provenance.unlink()
    with pytest.raises(PermanentError) as caught:
        choose(path, "x", 1, 1, 0)
    assert str(caught.value) == (
        f"{provenance} is missing; it says which chunk a row was translated in. "
        "Put it back, or run translate-llava again."
    )


def test_a_table_of_unknown_making_is_refused(tmp_path: Path) -> None:
    path = make_table(tmp_path, [])
    write_table(LLAVA.columns.empty_table(), path, LLAVA, {})
    with pytest.raises(PermanentError) as caught:
        choose(path, "x", 1, 1, 0)
    assert str(caught.value) == f"{path} does not say which job made it. Give a table of translate-llava."
    write_table(CONVERSATIONS.columns.empty_table(), path, CONVERSATIONS, {"job": "x"})
    with pytest.raises(ForeignTable):
        choose(path, "x", 1, 1, 0)


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    path = make_table(tmp_path, [make_row(row) for row in range(20)])
    content = bytearray(path.read_bytes())
    content[100:120] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(TornFile, match=r"llava-es.parquet is damaged .* Move it away and run again: it is made anew."):
        choose(path, "x", 20, 1, 0)


def test_fewer_than_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        choose(make_table(tmp_path, []), "x", 5, -1, 0)
    assert str(caught.value) == "sample=5, audit=-1: neither can be less than 0."
