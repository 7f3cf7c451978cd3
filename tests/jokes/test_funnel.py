"""A joke is out for its first reason, nothing is asked about a joke that is out, and the counts are of these reasons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.cli import main
from tasks.jokes.funnel import PRESETS, STEPS, Comparison, own_keywords, predecessor, words
from tests.jokes.told import REAL

recorded = pytest.mark.skipif(not REAL.exists(), reason="the predecessor's records are not on this machine")


def _joke(**changes: Any) -> dict[str, Any]:
    return {
        "text": "le dijo " * 20, "words": 40, "invented": False, "text_found": 1.0, "damaged_words": 0,
        "duplicate_of": None, "near_duplicate_of": None, "levels": 4, "keywords": ["pan"],
        "quality": "funny", "corrected_keywords": ["pan"],
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"words": 5}, "words"),
        ({"words": 251}, "words"),
        ({"invented": True, "damaged_words": 3}, "located"),
        ({"text_found": 0.1}, "as told"),
        ({"damaged_words": 1}, "accents"),
        ({"duplicate_of": "a"}, "same place"),
        ({"near_duplicate_of": "a"}, "same words"),
        ({"levels": 2}, "levels"),
        ({"levels": None}, "levels"),
        ({"keywords": []}, "keywords"),
        ({"quality": "not_funny"}, "funny"),
        ({"quality": None}, "funny"),
    ],
)
def test_a_joke_is_out_for_its_first_reason(changes: dict[str, Any], reason: str | None) -> None:
    joke = _joke(**changes)
    PRESETS["default"].run([joke])
    assert (reason is None, reason) == (joke["keep"], joke["reason"])


def test_counts_are_what_is_in_after_each_stage() -> None:
    jokes = [_joke(), _joke(words=2), _joke(levels=1), _joke(levels=9), _joke()]
    counts = PRESETS["default"].run(jokes)
    assert [
        ("found", 5), ("words", 4), ("located", 4), ("as told", 4), ("accents", 4), ("same place", 4), ("same words", 4),
        ("levels", 2), ("keywords", 2), ("funny", 2),
    ] == counts  # fmt: skip
    assert 2 == sum(joke["keep"] for joke in jokes)


def test_no_step_is_paid_for_a_joke_that_is_out_by_then() -> None:
    funnel = PRESETS["default"]
    asked = {"levels": None, "keywords": None, "quality": None}
    assert funnel.wants(_joke(**asked), "levels")
    assert not funnel.wants(_joke(**asked, damaged_words=1), "levels")
    assert not funnel.wants(_joke(**asked), "keywords")
    assert funnel.wants(_joke(keywords=None, quality=None), "keywords")
    assert funnel.wants(_joke(quality=None), "refinement")
    assert not funnel.wants(_joke(quality="not_funny"), "rewrite")


def test_what_is_looked_at_after_a_step_keeps_nobody_from_it() -> None:
    """The predecessor asked for keywords before it looked for long jokes, so that is the reason it gives."""
    short = _joke(text="le dijo " * 10, keywords=None)
    assert predecessor().wants(short, "keywords")
    assert not predecessor().wants(short | {"keywords": ["pan"]}, "refinement")


@pytest.mark.parametrize("name", list(PRESETS))
def test_stages_of_steps_that_are_switched_off_are_passed_over(name: str) -> None:
    funnel = PRESETS[name].of_steps(["keywords"])
    assert all(stage.step in ("", "keywords") for stage in funnel.stages)
    assert len(PRESETS[name].stages) == len(funnel.stages) + len(funnel.skipped)
    joke = _joke(levels=None, quality=None)
    funnel.run([joke])
    assert joke["keep"]


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_stage_waits_for_no_later_step(name: str) -> None:
    assert all(stage.step in STEPS for stage in PRESETS[name].stages)
    assert all(stage.name != "found" for stage in PRESETS[name].stages)


def test_words_are_counted_as_the_predecessor_read_them() -> None:
    assert (2, 3) == (words("bàrbaro pues"), words("bàrbaro pues", misread=True))
    assert (2, 2) == (words("año médico"), words("año médico", misread=True))


def test_no_keyword_is_taken_twice() -> None:
    rows = [{"corrected_keywords": given} for given in (["pan"], ["pan", "Pan"], ["pan"], [], None, ["agua", "pan"])]
    assert ["pan", "Pan", None, None, None, "agua"] == own_keywords(rows)


def test_a_keyword_is_taken_only_by_a_joke_that_is_still_in() -> None:
    jokes = [_joke(text="a " * 40, quality="not_funny"), _joke(text="b " * 40), _joke(text="c " * 40)]
    counts = predecessor().run(jokes)
    assert ["funny", None, "own keyword"] == [joke["reason"] for joke in jokes]
    assert [("funny", 2), ("own keyword", 1)] == counts[-2:]


def test_of_equal_texts_the_first_stays() -> None:
    jokes = [_joke(), _joke(), _joke(text="otro " * 40, corrected_keywords=["agua"])]
    predecessor().run(jokes)
    assert [None, "same text", None] == [joke["reason"] for joke in jokes]


def test_nothing_runs_through() -> None:
    assert [("found", 0)] == PRESETS["predecessor"].run([])[:1]


def test_the_command_shows_the_funnel_of_any_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "jokes.parquet"
    pq.write_table(pa.table({"joke": ["a " * 20, "a " * 20, "b", "c " * 50]}), path)
    assert 0 == main(["funnel", str(path), "--preset", "predecessor", "--text", "joke"])
    shown = capsys.readouterr().out.splitlines()
    assert ["found", "4", "0"] == shown[2].split()
    assert ["same", "text", "3", "1"] == shown[3].split()
    assert ["words", "2", "1"] == shown[4].split()
    assert "passed over: graph, there is no column levels" in shown
    assert 0 == main(["funnel", str(path), "--preset", "predecessor", "--text", "joke", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert {"found": 4, "same text": 3, "words": 2} == told["stages"]
    assert ["corrected_keywords"] == told["skipped"]["own keyword"]


def test_the_command_says_what_a_table_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "jokes.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    assert 2 == main(["funnel", str(path), "--preset", "predecessor"])
    assert "has none of the columns that the funnel 'predecessor' looks at" in capsys.readouterr().err


@recorded
def test_the_predecessors_last_stages_give_its_own_rows_and_split() -> None:
    jokes = pq.read_table(REAL / "jokes_high_quality.parquet").to_pylist()
    assert 2_881 == len(jokes)
    expected = pd.read_parquet(REAL / "jokes_processed.parquet")

    counts = predecessor().of_columns(jokes[0]).run(jokes)

    assert [("found", 2_881), ("same text", 2_881), ("words", 2_881)] == counts[:3]
    assert [("funny", 2_235), ("own keyword", 2_203)] == counts[-2:]
    kept = [joke for joke in jokes if joke["keep"]]
    texts = [str(joke["rewritten_text"]) for joke in kept]
    keywords = own_keywords(kept)
    assert list(expected["keyword"]) == keywords
    assert list(expected["text"]) == texts

    train = pd.Series(range(len(texts))).sample(frac=0.95, random_state=200)
    rest = [at for at in range(len(texts)) if at not in set(train)]
    for name, places in (("train", list(train)), ("eval", rest)):
        with pa.input_stream(REAL / f"formatted_df_{name}.jsonl.zst", compression="zstd") as stream:
            messages = [json.loads(line)["messages"] for line in stream.read().splitlines()]
        assert [(told[-1]["content"], told[-2]["content"]) for told in messages] == [
            (texts[at], f"Write a joke in Chilean Spanish based on the following keyword: {keywords[at]}.")
            for at in places
        ]
    assert (2_093, 110) == (len(train), len(rest))


@recorded
@pytest.mark.parametrize("misread", [True, False])
def test_the_predecessors_first_stages_keep_what_it_kept(misread: bool) -> None:
    """Of 130 routines it had 10,989 jokes, 10,902 with texts of their own, and 7,806 of 11 to 85 words; here are 111."""
    table = pd.read_parquet(REAL / "repertoire_mistral_large.parquet")
    jokes: list[dict[str, Any]] = [{"text": text} for text in table["corrected_transcript"]]
    counts = predecessor(misread).of_columns(["text"]).run(jokes)
    assert [("found", 9_343), ("same text", 9_280), ("words", 6_655)] == counts

    ours = {joke["text"]: joke["reason"] for joke in reversed(jokes)}
    later = [_as_written(text) for text in pd.read_parquet(REAL / "jokes_fine_tuning.parquet")["text"]]
    found = [ours[text] for text in later if text in ours]
    assert 5_301 == len(found)
    assert {None} == set(found)


def _as_written(text: str) -> str:
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def test_comparisons_keep_nobody_from_a_step() -> None:
    assert any(isinstance(stage, Comparison) for stage in predecessor().stages)
    assert predecessor().wants(_joke(levels=None, keywords=None, quality=None, corrected_keywords=None), "levels")
