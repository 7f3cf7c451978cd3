"""Jokes: conversations that are split by routine, told twice or not, and written as chat models are trained on them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tasks.splits.build import GROUP, Dataset, Wanted, build, check_version, leaks_of
from tasks.splits.keys import BadTable, follow_repeats

TURN = pa.struct([("role", pa.string()), ("content", pa.string())])
COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("routine", pa.string()),
        ("near_duplicate_of", pa.string()),
        ("keep", pa.bool_()),
        ("reason", pa.string()),
        ("messages", pa.list_(TURN)),
    ]
)
BY_ROUTINE = Wanted(("routine",), keep="keep")
SPLITS = ("train", "validation", "test")


def _joke(n: int, **changed: Any) -> dict[str, Any]:
    """Four jokes a routine, the last one of which is not kept."""
    keep = n % 4 != 3
    said = [{"role": "user", "content": f"ratón, {n}"}, {"role": "assistant", "content": f"¿Qué le dijo?\n«{n}»"}]
    joke = {"id": f"j{n}", "routine": f"r{n // 4}", "near_duplicate_of": None, "keep": keep}
    return {**joke, "reason": None if keep else "few-words", "messages": said if keep else None, **changed}


def _table(path: Path, jokes: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(jokes, COLUMNS), path)
    return path


def _made(tmp_path: Path, jokes: list[dict[str, Any]], wanted: Wanted = BY_ROUTINE) -> Dataset:
    return build(_table(tmp_path / "jokes.parquet", jokes), tmp_path / "datasets", "jokes", wanted)


def _rows(dataset: Dataset, split: str) -> list[dict[str, Any]]:
    path = "left-out.parquet" if split == "left-out" else f"data/{split}-00000-of-00001.parquet"
    rows: list[dict[str, Any]] = pq.read_table(dataset.folder / path).to_pylist()
    return rows


def _splits(dataset: Dataset, key: str) -> dict[str, set[str]]:
    """In which splits each value stands."""
    found: dict[str, set[str]] = {}
    for split in SPLITS:
        for row in _rows(dataset, split):
            found.setdefault(row[key], set()).add(split)
    return found


def test_no_two_jokes_of_a_routine_stand_in_different_splits(tmp_path: Path) -> None:
    dataset = _made(tmp_path, [_joke(n) for n in range(400)])
    assert {1} == {len(splits) for splits in _splits(dataset, "routine").values()}
    assert 100 == sum(split["groups"] for split in dataset.certificate["splits"].values())
    assert 0 == dataset.certificate["leaks"]["found"]
    assert ["routine", "near_duplicate_of"] == dataset.certificate["parameters"]["group_by"]


def test_rows_in_are_rows_out_and_rows_left_out_with_their_reason(tmp_path: Path) -> None:
    jokes = [_joke(n) for n in range(400)]
    jokes[0] |= {"keep": False, "reason": None}
    dataset = _made(tmp_path, jokes)
    left = _rows(dataset, "left-out")
    out = [row["id"] for split in SPLITS for row in _rows(dataset, split)]
    assert sorted(joke["id"] for joke in jokes) == sorted([*out, *(row["id"] for row in left)])
    assert 101 == len(left) == dataset.certificate["left_out"]
    assert {"few-words": 100, "not keep": 1} == dataset.certificate["not_taken"]
    assert {"few-words", None} == {row["reason"] for row in left}
    assert {None} == {row[GROUP] for row in left}
    card = (dataset.folder / "README.md").read_text()
    assert "101 of 400 rows were not taken (`keep` is false) and stand in `left-out.parquet`: few-words 100" in card


def test_a_joke_that_is_told_in_two_routines_never_stands_in_two_splits(tmp_path: Path) -> None:
    # Every routine tells a joke of the next but one: a -> b -> c, and b is not even kept.
    jokes = [_joke(n) for n in range(240)]
    for n in range(0, 240, 12):
        jokes[n + 4] |= {"near_duplicate_of": f"j{n}", "keep": False, "reason": "few-words", "messages": None}
        jokes[n + 8] |= {"near_duplicate_of": f"j{n + 4}"}
    alone = _made(tmp_path, [{**joke, "near_duplicate_of": None} for joke in jokes])
    apart = [n for n in range(0, 240, 12) if _splits(alone, "id")[f"j{n}"] != _splits(alone, "id")[f"j{n + 8}"]]
    assert apart, "without the column some stand apart, or this test shows nothing"
    dataset = _made(tmp_path, jokes)
    where = _splits(dataset, "id")
    assert [where[f"j{n}"] for n in range(0, 240, 12)] == [where[f"j{n + 8}"] for n in range(0, 240, 12)]
    assert {1} == {len(splits) for splits in _splits(dataset, "routine").values()}
    # The routine of b has no joke left that a or c has: it goes where it likes.
    assert 40 == sum(split["groups"] for split in dataset.certificate["splits"].values())
    assert "near_duplicate_of was followed from row to row" in dataset.certificate["leaks"]["how"]


def test_the_audit_finds_a_joke_that_somebody_put_into_test_and_train(tmp_path: Path) -> None:
    dataset = _made(tmp_path, [_joke(n) for n in range(400)])
    test, train = (dataset.folder / f"data/{split}-00000-of-00001.parquet" for split in ("test", "train"))
    rows = pq.read_table(test).to_pylist()
    rows[0]["near_duplicate_of"] = pq.read_table(train).to_pylist()[0]["id"]
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(test)), test)
    leaks = [leak for leak in leaks_of(dataset.folder, ["routine", "near_duplicate_of"], 0) if leak.rows]
    assert [("near_duplicate_of", "test", "train", 1)] == [(x.column, x.split, x.other, x.rows) for x in leaks]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30) | st.none()), max_size=40))
def test_whoever_is_linked_shares_a_chain_whatever_the_order(pairs: list[tuple[int, int | None]]) -> None:
    ids = [f"j{own}" for own, _ in pairs]
    repeats = [None if other is None else f"j{other}" for _, other in pairs]
    chains = follow_repeats(ids, repeats)
    for row, other in enumerate(repeats):
        for also, own in enumerate(ids):
            if other == own and row != also:
                assert chains[row] == chains[also] is not None
    backwards = follow_repeats(ids[::-1], repeats[::-1])
    assert chains == backwards[::-1]


def test_the_lines_are_the_rows_as_chat_models_are_trained_on(tmp_path: Path) -> None:
    dataset = _made(tmp_path, [_joke(n) for n in range(400)])
    for split in SPLITS:
        path = dataset.folder / f"data/{split}.jsonl"
        lines = path.read_bytes().decode().splitlines()
        assert [{"messages": row["messages"]} for row in _rows(dataset, split)] == [json.loads(line) for line in lines]
        assert path.stat().st_size == dataset.certificate["files"][f"data/{split}.jsonl"]["bytes"]
    assert "ratón" in path.read_text("utf-8")
    path.write_text("")
    with pytest.raises(Exception, match=r"data/test\.jsonl has another SHA-256"):
        check_version(dataset.folder)


def test_the_card_says_how_the_lines_are_read_and_its_code_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _table(tmp_path / "jokes.parquet", [_joke(n) for n in range(400)])
    path.with_suffix(".provenance.json").write_text(json.dumps({"parameters": {"language": "es"}, "licence": "other"}))
    dataset = build(path, tmp_path / "datasets", "jokes", BY_ROUTINE)
    text = (dataset.folder / "README.md").read_text("utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    assert (["es"], ["text-generation"]) == (front["language"], front["task_categories"])

    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(dataset.folder)
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(code, "README.md", "exec"), names)  # our own card
    assert dict(names["rows"].num_rows) == dict(names["chats"].num_rows)
    assert ["messages"] == names["chats"]["train"].column_names
    assert "'content': 'ratón, " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "wanted", "told"),
    [
        ({"messages": None}, BY_ROUTINE, r"row 5 has no messages\. Name the column that says which rows are taken"),
        ({"messages": [{"role": "user", "content": "x"}]}, BY_ROUTINE, r"row 5 ends with the user's turn"),
        ({"keep": None}, BY_ROUTINE, r"row 5: the column 'keep' is empty"),
        ({}, Wanted(("routine",), keep="reason"), r"column 'reason' is string\. Give a column of true and false"),
        ({}, Wanted(("routine",), keep="kept"), r"has no column 'kept'"),
        (
            {},
            Wanted(("routine",)),
            r"row 3 has no messages\. Name the column that says which rows are taken \(keep=…\)",
        ),
    ],
)
def test_what_cannot_be_taken_is_named(tmp_path: Path, changed: dict[str, Any], wanted: Wanted, told: str) -> None:
    jokes = [_joke(n) for n in range(100)]
    jokes[5] |= changed
    with pytest.raises(BadTable, match=told):
        _made(tmp_path, jokes, wanted)


def test_a_table_of_which_nothing_is_taken_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadTable, match=r"has no rows that 'keep' is true of, so there is nothing to split"):
        _made(tmp_path, [_joke(3), _joke(7)])
