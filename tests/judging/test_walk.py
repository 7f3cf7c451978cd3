from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.chat.protocol import CUT, REFUSED, UNREADABLE, Reply
from tasks.judging.report import write_report
from tasks.judging.requests import BadRequests, read_requests
from tasks.storage.schemas import COMPARED
from tasks.storage.tables import read_table
from tests.judging.fakes import FakeJudge, longer, texts_of
from tests.judging.walk import PROMPT, collected, compared, split_of

WORDS: list[str | None] = ["suegra", "micro", "fútbol", "doctor", "perro", "lunes", "asado"]


def short(request: str) -> str:
    return request[:12]


def long(request: str) -> str:
    return f"{request} y otra cosa"


def rows(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_table(path, COMPARED).to_pylist()
    return found


def test_every_pair_is_asked_in_both_orders_and_stands_in_the_table(tmp_path: Path) -> None:
    engine = FakeJudge(longer)
    tables = collected(tmp_path, compared(tmp_path, split_of(tmp_path, WORDS), long, short), engine)
    found = rows(tables.table)
    assert (7, {"a"}, "Cuenta un chiste sobre: suegra") == (
        len(found),
        {r["verdict"] for r in found},
        found[0]["request"],
    )
    assert ("A", "B", "I say A.", "I say B.") == tuple(
        found[0][name] for name in ("said_a_first", "said_b_first", "reason_a_first", "reason_b_first")
    )
    assert ("fake:one", "fake:other", "fake-w", "fake-1") == tuple(
        found[0][name] for name in ("model_a", "model_b", "written_by_a", "judged_by")
    )
    assert (0.002, 0.002) == (found[0]["write_a_usd"], found[0]["judge_usd"])
    orders = [texts_of(question)[1:] for question in engine.asked]
    assert 14 == len(orders)
    assert [one[::-1] for one in orders[::2]] == orders[1::2]
    assert {0.0} == {question.temperature for question in engine.asked}


def test_swapping_the_contestants_asks_the_same_questions_and_turns_the_report_round(tmp_path: Path) -> None:
    source, turned = split_of(tmp_path, [*WORDS, *(f"cosa {at}" for at in range(20))]), {"a": "b", "b": "a"}

    def moody(request: str, first: str, second: str) -> str:
        return "A" if "micro" in request else "neither" if "perro" in request else longer(request, first, second)

    one, other = FakeJudge(moody), FakeJudge(moody)
    there = collected(tmp_path, compared(tmp_path, source, long, short), one, "there")
    back = collected(tmp_path, compared(tmp_path, source, short, long, ("other", "one")), other, "back")
    assert sorted(q.identity for q in one.asked) == sorted(q.identity for q in other.asked)
    verdicts = [[row["verdict"] for row in rows(tables.table)] for tables in (there, back)]
    assert [turned.get(verdict, verdict) for verdict in verdicts[0]] == verdicts[1]
    figures = [
        json.loads((write_report(tmp_path / name, tables).folder / "report.json").read_bytes())
        for name, tables in (("there", there), ("back", back))
    ]
    assert figures[0]["sentence"] == figures[1]["sentence"]
    assert "fake:one is better than fake:other in this judge's eyes" in figures[0]["sentence"]
    assert ["better", "worse"] == [each["outcome"] for each in figures]
    win, lose = (each["comparison"]["win_rate"] for each in figures)
    assert pytest.approx([1 - end for end in reversed(win["interval_95"])]) == lose["interval_95"]
    for name in ("flips", "first_slot", "p", "needed"):
        assert figures[0]["comparison"][name] == figures[1]["comparison"][name]


def test_second_run_asks_nothing_and_gives_the_same_bytes(tmp_path: Path) -> None:
    source, engine = split_of(tmp_path, WORDS), FakeJudge(longer)
    first = collected(tmp_path, compared(tmp_path, source, long, short), engine).table.read_bytes()
    again = FakeJudge(longer)
    assert first == collected(tmp_path, compared(tmp_path, source, long, short), again).table.read_bytes()
    assert [] == again.asked


def test_equal_and_empty_texts_are_settled_without_asking(tmp_path: Path) -> None:
    def told(*texts: str) -> Any:
        return lambda request: dict(zip(WORDS, texts, strict=False)).get(request.split()[-1], request)

    a = told("Hola  que\u0301", "", "", "algo")
    b = told("Hola qu\u00e9", "", "algo", " \n")
    engine = FakeJudge(longer)
    found = rows(collected(tmp_path, compared(tmp_path, split_of(tmp_path, WORDS[:4]), a, b), engine).table)
    assert [("tie", "equal"), ("neither", "empty"), ("b", "empty"), ("a", "empty")] == [
        (row["verdict"], row["settled"]) for row in found
    ]
    assert [] == engine.asked


@pytest.mark.parametrize(
    ("reply", "code", "message"),
    [
        (Reply(None, REFUSED, "not this"), "refused", "Row 1: not this"),
        (Reply(None, CUT), "length", "Row 1: the judge's answer does not fit"),
        (Reply(None, UNREADABLE, "no JSON", "fake-1", cost_usd=0.01), "unreadable", "Row 1: no JSON"),
    ],
)
def test_an_answer_that_is_none_leaves_the_pair_unjudged(tmp_path: Path, reply: Reply, code: str, message: str) -> None:
    def moody(request: str, first: str, second: str) -> str | Reply:
        return reply if "micro" in request and first > second else longer(request, first, second)

    tables = collected(tmp_path, compared(tmp_path, split_of(tmp_path, WORDS), long, short), FakeJudge(moody))
    row = rows(tables.table)[1]
    assert ("unjudged", code, message) == (row["verdict"], row["error"], row["message"])
    assert {"unjudged": 1, "a": 6} == tables.verdicts
    report = write_report(tmp_path / "report", tables)
    figures = json.loads((report.folder / "report.json").read_bytes())
    assert (1.0, 6) == (figures["comparison"]["win_rate"]["share"], figures["comparison"]["win_rate"]["n"])
    assert {code: 1} == figures["not_judged"]


def test_a_text_that_is_missing_is_nobodys_loss(tmp_path: Path) -> None:
    def cut(request: str) -> str | Reply:
        return Reply(None, CUT, "did not end") if "micro" in request else long(request)

    row = rows(collected(tmp_path, compared(tmp_path, split_of(tmp_path, WORDS), cut, short), FakeJudge(longer)).table)[
        1
    ]
    assert ("unjudged", "no-text", "Row 1: no text of A (length).") == (row["verdict"], row["error"], row["message"])


def test_pairs_that_are_all_refused_in_both_orders_are_unjudged(tmp_path: Path) -> None:
    refusing = FakeJudge(lambda *_: Reply(None, REFUSED, "not this text"))
    found = rows(collected(tmp_path, compared(tmp_path, split_of(tmp_path, WORDS[:2]), long, short), refusing).table)
    assert [("unjudged", REFUSED, f"Row {n}: not this text") for n in (0, 1)] == [
        (row["verdict"], row["error"], row["message"]) for row in found
    ]


def test_rows_in_are_requests_and_rows_left_out(tmp_path: Path) -> None:
    keep = pa.array([True, True, False, None, True], pa.bool_())
    source = split_of(tmp_path, ["suegra", " ", "micro", "suegra", "asado"], keep=keep)
    found = read_requests(Path(source.path), "keyword", PROMPT)
    assert (5, {"no-request": 1, "not-kept": 1, "repeated": 1}) == (found.rows, found.left_out)
    assert [0, 4] == [request.row for request in found.requests]
    assert ["routine-0", "routine-2"] == [request.group for request in found.requests]


def test_of_a_conversation_the_right_answer_is_left_out(tmp_path: Path) -> None:
    turns = [
        [("user", "Eres guionista."), ("assistant", "Ya."), ("user", "Sobre: suegra"), ("assistant", "SECRETO")],
        [("assistant", "Nadie preguntó.")],
    ]
    messages = [*([{"role": role, "content": text} for role, text in each] for each in turns), None]
    source = split_of(tmp_path, ["x", "y", "z"], messages=messages)
    found = read_requests(Path(source.path), "messages", "")
    assert ("Sobre: suegra", 3) == (found.requests[0].text, len(found.requests[0].messages))
    assert "SECRETO" not in str(found)
    assert {"no-request": 2} == found.left_out


@pytest.mark.parametrize(
    ("column", "prompt", "message"),
    [
        ("word", PROMPT, "has no column 'word' to ask about. It has: keyword, split_group."),
        ("keyword", "Un chiste", "Give a prompt with {text} where the text belongs."),
        ("split_group", "", "Give a prompt with {text}"),
    ],
)
def test_a_split_that_cannot_be_asked_about_says_why(tmp_path: Path, column: str, prompt: str, message: str) -> None:
    with pytest.raises(BadRequests) as error:
        read_requests(Path(split_of(tmp_path, WORDS).path), column, prompt)
    assert message in str(error.value)


def test_a_split_that_asks_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadRequests, match=r"No row of .* asks anything \(2 there is nothing to ask"):
        read_requests(Path(split_of(tmp_path, [" ", None]).path), "keyword", PROMPT)
