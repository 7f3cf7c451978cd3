from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.judging.people import BadChoices, read_choices

PAIRS = frozenset({"p1", "p2"})


def test_choices_are_read_by_pair_and_person_and_the_last_word_counts(tmp_path: Path) -> None:
    path = tmp_path / "choices.csv"
    path.write_text("id,choice,user\np1,a,ana\np1,TIE,bea\np1,b,ana\np3,a,ana\n", "utf-8-sig")
    assert ({"p1": {"ana": "b", "bea": "tie"}}, 1) == read_choices(path, PAIRS)


def test_a_sheet_may_be_half_filled_in(tmp_path: Path) -> None:
    path = tmp_path / "choices.csv"
    path.write_text("text,id,choice\n…,p1,\n…,p2,b,and a remark\n…\n,,\n")
    assert ({"p2": {"someone": "b"}}, 0) == read_choices(path, PAIRS)


def test_a_parquet_file_without_users_is_one_person(tmp_path: Path) -> None:
    path = tmp_path / "choices.parquet"
    pq.write_table(pa.table({"id": ["p1", "p2"], "choice": ["a", "neither"]}), path)
    assert ({"p1": {"someone": "a"}, "p2": {"someone": "neither"}}, 0) == read_choices(path, PAIRS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,choice\np1,joke1\n", "row 1: the choice is 'joke1'. Choices are a, b, tie, neither."),
        ("pair,choice\np1,a\n", "has no column 'id'. It has: pair, choice."),
        ("id,choice\np1,\n", "holds no choice of a pair of this comparison, and 0 of others."),
        ("id,choice\np9,a\n", "holds no choice of a pair of this comparison, and 1 of others."),
        ("", "has no column 'id'. It has: none."),
        ("id,choice\np1,ma\xf1ana\n", "is not UTF-8"),
        ('id,choice\np1,a\n"p2,b\np1,b\n', "is no CSV after line 2 (unexpected end of data). Mend the quotes there."),
    ],
)
def test_what_holds_no_choices_says_why(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "choices.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(BadChoices) as error:
        read_choices(path, PAIRS)
    assert message in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadChoices, match=r"There is no file .*nowhere\.csv"):
        read_choices(tmp_path / "nowhere.csv", PAIRS)
