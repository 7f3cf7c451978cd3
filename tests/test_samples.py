"""The committed sample is what its generator writes, and holds the odd cases that the tests rely on."""

from __future__ import annotations

import json
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

SAMPLES = Path(__file__).parent.parent / "data" / "samples"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((SAMPLES / "llava_sample.json").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def texts(rows: list[dict[str, Any]]) -> list[str]:
    return [turn["value"] for row in rows for turn in row["conversations"]]


def test_the_generator_writes_the_committed_file_byte_for_byte() -> None:
    written = runpy.run_path(str(SAMPLES / "make_llava_sample.py"))["sample"]()
    assert (SAMPLES / "llava_sample.json").read_bytes() == written.encode()


def test_the_transcripts_are_what_their_generator_writes_byte_for_byte() -> None:
    written: dict[str, str] = runpy.run_path(str(SAMPLES / "make_transcripts.py"))["transcripts"]()
    there = {path.name: path.read_bytes() for path in (SAMPLES / "transcripts").iterdir()}
    assert {name: content.encode() for name, content in written.items()} == there


def test_there_are_1212_rows_in_llavas_layout(rows: list[dict[str, Any]]) -> None:
    assert len(rows) == 1_212
    for row in rows:
        assert list(row) == ["id", "image", "conversations"]
        assert row["image"] == f"{row['id']}.jpg"
        assert len(row["id"]) == 12
        turns = row["conversations"]
        assert [turn["from"] for turn in turns] == ["human", "gpt"] * (len(turns) // 2)


def test_the_placeholder_stands_in_the_first_turn_only_half_before_and_half_after(
    rows: list[dict[str, Any]], texts: list[str]
) -> None:
    first = [row["conversations"][0]["value"] for row in rows]
    before, after = (
        sum(text.startswith("<image>\n") for text in first),
        sum(text.endswith("\n<image>") for text in first),
    )
    assert before + after == len(rows) == sum(text.count("<image>") for text in texts)
    assert abs(before - after) < 0.1 * len(rows)


def test_ids_come_up_to_three_times(rows: list[dict[str, Any]]) -> None:
    assert set(Counter(Counter(row["id"] for row in rows).values())) == {1, 2, 3}


def test_sizes_and_repeats_are_as_the_readme_says(rows: list[dict[str, Any]], texts: list[str]) -> None:
    bare = [text.replace("<image>\n", "").replace("\n<image>", "") for text in texts]
    repeated = 1 - len(set(bare)) / len(bare)
    assert 0.13 < repeated < 0.18
    assert 450 < sum(map(len, texts)) / len(rows) < 600
    assert {len(row["conversations"]) for row in rows} == {2, 4, 6, 8, 10}


@pytest.mark.parametrize("odd", ["\n1. ", "\n- ", "\n\n", '"', "'", "°C", "1970s", "7:45", "?", "Bogotá", "%"])
def test_odd_text_is_there(texts: list[str], odd: str) -> None:
    assert any(odd in text for text in texts)


def test_no_template_shows_through(texts: list[str]) -> None:
    for text in texts:
        plain = text.replace("<image>", "")
        assert not set("[]{}|<>") & set(plain), plain
        assert plain.strip()[0].isupper() or plain.strip()[0] in '"1-', plain
