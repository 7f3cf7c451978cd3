"""Bad input says which file, which row, and what to do; legal oddities stay as they are."""

from __future__ import annotations

import json
import random
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.llava.conversation import Conversation, Turn
from tasks.llava.source import BadRow, BadSource, read_rows


def _row(number: int = 0, **changes: Any) -> dict[str, Any]:
    turns = [
        {"from": "human", "value": f"<image>\nWhat is {number}?"},
        {"from": "gpt", "value": f"It is {number}."},
    ]
    return {"id": f"{number:012}", "image": f"{number:012}.jpg", "conversations": turns, **changes}


def _file(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "source.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _read(path: Path) -> list[Conversation | BadRow]:
    return list(read_rows(path))


def _one_bad(tmp_path: Path, bad: dict[str, Any]) -> BadRow:
    """A bad row between good ones is refused alone."""
    rows = _read(_file(tmp_path, json.dumps([_row(0), bad, _row(2)])))
    assert ["Conversation", "BadRow", "Conversation"] == [type(row).__name__ for row in rows]
    assert isinstance(rows[1], BadRow)
    return rows[1]


def test_an_array_a_line_per_row_and_parquet_give_the_same_rows(tmp_path: Path) -> None:
    rows = [_row(n) for n in range(5)]
    lines = tmp_path / "lines.jsonl"
    lines.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    table = tmp_path / "table.parquet"
    pq.write_table(pa.Table.from_pylist(rows), table)

    read = _read(_file(tmp_path, json.dumps(rows)))

    assert [Conversation(n, f"{n:012}", f"{n:012}.jpg", (Turn("human", f"<image>\nWhat is {n}?"),
            Turn("gpt", f"It is {n}."))) for n in range(5)] == read  # fmt: skip
    assert read == _read(lines)
    assert read == _read(table)


@pytest.mark.parametrize("indent", [None, 2])
def test_rows_across_blocks_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: int | None) -> None:
    rng = random.Random(7)
    turns = ['a "quoted" \\ text', "\\u00e9 é 😀", "x" * 300, "1", "[{", ""]
    rows = [
        _row(n, conversations=[{"from": "gpt", "value": rng.choice(turns) + str(n)}], weight=rng.random())
        for n in range(200)
    ]
    expected = _read(_file(tmp_path, json.dumps(rows)))
    assert 200 == len(expected)
    path = _file(tmp_path, json.dumps(rows, indent=indent, ensure_ascii=bool(indent)).encode("utf-8", "surrogatepass"))
    for block in (1, 7, 64, 1_000):
        monkeypatch.setattr("tasks.llava.source._BLOCK", block)
        assert [r.turns for r in expected if isinstance(r, Conversation)] == [
            r.turns for r in _read(path) if isinstance(r, Conversation)
        ]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSource) as error:
        _read(tmp_path / "no.json")
    assert str(error.value) == (
        f"The source {tmp_path}/no.json does not exist. Give the path of the downloaded file, as the worker sees it."
    )


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="is a folder"):
        _read(tmp_path)


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSource) as error:
        _read(path := _file(tmp_path, ""))
    assert str(error.value) == f"{path} is empty. Download it again."


def test_an_empty_array_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSource) as error:
        _read(path := _file(tmp_path, " [ ] \n"))
    assert str(error.value) == f"{path} has no rows. Download it again."


def test_what_is_no_json_is_named_with_its_first_bytes(tmp_path: Path) -> None:
    with pytest.raises(BadSource) as error:
        _read(path := _file(tmp_path, "<!DOCTYPE html><title>Sorry"))
    assert str(error.value) == (
        f"{path} is no JSON array, no JSON Lines and no Parquet: it begins with b'<!DOCTYPE html><titl'. "
        "Give the file as it was downloaded (UTF-8)."
    )


@pytest.mark.parametrize(
    ("mark", "what"), [(b"\x1f\x8b\x08", "gzip"), (b"PK\x03\x04", "zip"), (b"\x28\xb5\x2f\xfd", "zstd")]
)
def test_a_packed_file_is_to_be_unpacked(tmp_path: Path, mark: bytes, what: str) -> None:
    with pytest.raises(
        BadSource, match=rf"source\.json is packed \({what}\)\. Unpack it, and give the file that was in it\."
    ):
        _read(_file(tmp_path, mark + bytes(20)))


def test_json_broken_in_the_middle_is_named_with_row_and_character(tmp_path: Path) -> None:
    text = json.dumps([_row(0), _row(1), _row(2)]).replace('"id": "000000000001"', '"id" "000000000001"')
    at = text.index('"id" ') + 5
    with pytest.raises(BadSource) as error:
        _read(path := _file(tmp_path, text))
    assert str(error.value) == (
        f"{path} is no JSON at row 1, character {at}: Expecting ':' delimiter. "
        "Mend the file there, or download it again."
    )


@pytest.mark.parametrize("cut", [10, 40, 190, 195, 400])
def test_a_truncated_array_is_named_with_the_row(tmp_path: Path, cut: int) -> None:
    text = json.dumps([_row(n) for n in range(3)])[:cut]
    with pytest.raises(BadSource, match=r"is cut off (in|after) row \d .*Download it again\."):
        _read(_file(tmp_path, text))


def test_something_after_the_array_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match=r"goes on after the array's end: '\[\]'"):
        _read(_file(tmp_path, json.dumps([_row()]) + "\n[]"))


def test_a_torn_parquet_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match=r"source\.json is not a whole Parquet file\. Download it again\."):
        _read(_file(tmp_path, b"PAR1 and nothing more"))


def test_parquet_without_conversations_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(BadSource, match="has no column `conversations`; it has text"):
        _read(path)


def test_a_column_that_json_cannot_hold_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    table = pa.Table.from_pylist([_row(0, image={"bytes": b"\xff\xd8", "path": "0.jpg"}, at=date(2026, 11, 28))])
    pq.write_table(table, path)
    expected = (
        f"{path}: JSON, in which the rows come out again, cannot hold `image` (struct<bytes: binary, path: string>), `at` "
        "(date32[day]). Make text of such a column (of an image its name), or leave it out."
    )
    with pytest.raises(BadSource) as caught:
        _read(path)
    assert expected == str(caught.value)


def test_parquet_damaged_inside_is_named_with_the_row(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.Table.from_pylist([_row(n, id="not-utf8") for n in range(3)]), path, compression="none")
    path.write_bytes(path.read_bytes().replace(b"not-utf8", b"not-utf\xff"))
    with pytest.raises(BadSource, match=r"table\.parquet cannot be read from row 0 on \('utf-8' codec"):
        _read(path)


def test_a_number_of_too_many_digits_costs_its_line_or_is_named(tmp_path: Path) -> None:
    number = json.dumps(_row(1, id=0)).replace(": 0,", f": {'9' * 5_000},")
    lines = _read(_file(tmp_path, "\n".join([json.dumps(_row(0)), number, json.dumps(_row(2))])))
    assert ["Conversation", "BadRow", "Conversation"] == [type(row).__name__ for row in lines]
    with pytest.raises(BadSource, match=r"source\.json, row 1: a number that cannot be read \(.*\)\. Remove the row\."):
        _read(_file(tmp_path, f"[{json.dumps(_row(0))}, {number}]"))


def test_a_line_that_is_no_json_costs_its_row(tmp_path: Path) -> None:
    rows = _read(_file(tmp_path, json.dumps(_row(0)) + "\n{broken\n" + json.dumps(_row(2)) + "\n"))
    assert isinstance(rows[1], BadRow)
    assert (1, "not-json", '"{broken\\n"') == (rows[1].row, rows[1].code, rows[1].raw)
    assert isinstance(rows[2], Conversation)


def test_a_truncated_last_line_costs_its_row(tmp_path: Path) -> None:
    rows = _read(_file(tmp_path, json.dumps(_row(0)) + "\n" + json.dumps(_row(1))[:50]))
    assert ["Conversation", "BadRow"] == [type(row).__name__ for row in rows]


@pytest.mark.parametrize(
    ("bad", "code", "message"),
    [
        ({"id": "1", "image": "1.jpg"}, "no-conversations", "Row 1 has no conversations."),
        (_row(1, conversations=[]), "no-conversations", "Row 1 has no conversations."),
        (_row(1, conversations="hi"), "no-conversations", "Row 1 has no conversations."),
        (
            _row(1, conversations=["hi"]),
            "bad-turn",
            "Row 1, turn 0 is not an object with `from` and `value`.",
        ),
        (
            _row(1, conversations=[{"from": "human"}]),
            "bad-turn",
            "Row 1, turn 0 is not an object with `from` and `value`.",
        ),
        (
            _row(1, conversations=[{"from": "user", "value": "hi"}]),
            "unknown-role",
            "Row 1, turn 0: role 'user' is none of human, gpt, system.",
        ),
        (
            _row(1, conversations=[{"from": "human", "value": None}]),
            "turn-not-text",
            "Row 1, turn 0: the value is null, not text.",
        ),
        (
            _row(1, conversations=[{"from": "human", "value": float("nan")}]),
            "turn-not-text",
            "Row 1, turn 0: the value is NaN, not text.",
        ),
        (
            _row(1, image=float("nan")),
            "nan",
            "Row 1, field 'image' is NaN, which JSON does not have: remove the field.",
        ),
        (
            _row(1, score=float("inf")),
            "nan",
            "Row 1 has NaN in a field, which JSON does not have: remove it.",
        ),
        (
            _row(1, conversations=[{"from": "human", "value": "\ud83d"}]),
            "not-unicode",
            "Row 1 has half a surrogate pair.",
        ),
        (
            _row(1, conversations=[{"from": "human", "value": "x" * 10_000_000}]),
            "turn-too-long",
            "Row 1, turn 0 has 10,000,000 characters; at most 100,000 are taken.",
        ),
        (_row(0), "duplicate-row", "Row 1 is row 0 again."),
    ],
)
def test_a_bad_row_is_refused_alone_with_its_reason(
    tmp_path: Path, bad: dict[str, Any], code: str, message: str
) -> None:
    refused = _one_bad(tmp_path, bad)

    assert (1, code, message) == (refused.row, refused.code, refused.message)
    assert json.dumps(bad) == json.dumps(json.loads(refused.raw))


def test_a_row_that_is_no_object_is_refused_alone(tmp_path: Path) -> None:
    rows = _read(_file(tmp_path, json.dumps([_row(0), 7, _row(2)])))
    assert isinstance(rows[1], BadRow)
    assert "Row 1 is int, not an object." == rows[1].message


def test_bytes_that_are_not_utf8_cost_their_row(tmp_path: Path) -> None:
    text = json.dumps([_row(0), _row(1), _row(2)]).encode().replace(b"It is 1.", b"caf\xe9")
    rows = _read(_file(tmp_path, text))
    assert isinstance(rows[1], BadRow)
    assert ("not-unicode", "Row 1 has bytes that are not UTF-8.") == (rows[1].code, rows[1].message)
    assert "caf\\udce9" in rows[1].raw


@pytest.mark.parametrize(
    "value",
    [
        "<image>\r\nWhat?\r\nThis.",
        "No image here.",
        "<image>\n<image>\nCompare them.",
        "A family 👨‍👩‍👧 and a 😀.",
        "שלום עולם",
        "tab\there",
    ],
)
def test_legal_text_is_kept_as_it_is(tmp_path: Path, value: str) -> None:
    rows = _read(_file(tmp_path, json.dumps([_row(0, conversations=[{"from": "human", "value": value}])])))
    assert isinstance(rows[0], Conversation)
    assert value == rows[0].turns[0].value


def test_other_fields_come_along(tmp_path: Path) -> None:
    row = _row(0, id=7, model="gpt-4", image=["a.jpg", "b.jpg"])
    row["conversations"][1]["weight"] = 0
    read = _read(_file(tmp_path, json.dumps([row])))[0]
    assert isinstance(read, Conversation)
    assert {
        "conversations": [{}, {"weight": 0}],
        "id": 7,
        "image": ["a.jpg", "b.jpg"],
        "model": "gpt-4",
    } == json.loads(read.extra or "")


def test_lists_and_structs_of_a_parquet_file_come_along_as_those_of_json(tmp_path: Path) -> None:
    row = _row(0, image=["a.jpg", "b.jpg"], model={"name": "gpt-4"})
    table = tmp_path / "table.parquet"
    pq.write_table(pa.Table.from_pylist([row | {"translated": ["No field of the row."]}]), table)
    assert _read(_file(tmp_path, json.dumps([row]))) == _read(table)


def test_a_row_without_image_is_legal(tmp_path: Path) -> None:
    row = _row(0)
    del row["image"], row["id"]
    read = _read(_file(tmp_path, json.dumps([row])))[0]
    assert isinstance(read, Conversation)
    assert (None, None) == (read.id, read.image)
