from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.llava.checks import SOFT
from tasks.llava.collect import Tables
from tasks.llava.memory import MemorySummary
from tasks.llava.report import REJECTIONS, Report, write_report
from tasks.llava.source import REASONS
from tasks.llava.verify import HARD
from tasks.remote.journal import Call
from tasks.storage.root import DataRoot
from tests.cli.small_job import make_tables


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Tables, Report]:
    return make_tables(DataRoot(tmp_path_factory.mktemp("data")))


@pytest.fixture
def figures(made: tuple[Any, Tables, Report]) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(made[2].json.read_bytes())
    return read


def test_rows_in_are_rows_delivered_and_rejected(figures: dict[str, Any]) -> None:
    assert figures["rows"] == figures["delivered"]["count"] + figures["rejected"]["count"] == 7
    assert {code: item["rows"] for code, item in figures["rejected_by_reason"].items()} == {
        "refused": 1,
        "unknown-role": 1,
    }
    assert [item["row"] for item in figures["rejected_rows"]] == [2, 3]


def test_every_share_has_its_n_and_interval(figures: dict[str, Any]) -> None:
    end = figures["checks"]["end"]
    assert (end["count"], end["n"], end["share"]) == (1, 10, 0.1)
    assert end["interval_95"] == pytest.approx([0.0179, 0.4042], abs=1e-4)
    assert end["reason"] == SOFT["end"]


def test_turns_and_requests_add_up(figures: dict[str, Any]) -> None:
    assert sum(figures["turns_by_translator"].values()) == figures["turns"] == 10
    assert sum(figures["length_ratio"]["turns"]) == 10
    requests, rate = figures["requests"], figures["rate"]
    assert sum(requests["outcomes"].values()) == requests["requests"] == 6
    assert sum(rate["requests_per_minute"]) * rate["step_seconds"] / 60 == pytest.approx(6)
    assert sum(rate["chars_per_minute"]) * rate["step_seconds"] / 60 == pytest.approx(requests["chars"])


def test_only_rows_that_a_translator_refused_are_to_be_asked_again(figures: dict[str, Any]) -> None:
    assert figures["chunks_to_ask_again"] == [1]


def test_the_page_says_what_was_made_and_what_to_do(made: tuple[Any, Tables, Report]) -> None:
    html = made[2].html.read_text(encoding="utf-8")
    for said in (
        made[0].source.sha256,
        str(made[1].table),
        "chunks=[1] and force=true",
        REJECTIONS["refused"],
        "role &#x27;robot&#x27;",
        "Turns by length ratio",
    ):
        assert said in html


def test_the_short_form_has_figures_reasons_checks_and_the_page(made: tuple[Any, Tables, Report]) -> None:
    markdown = made[2].markdown
    assert markdown.startswith("# 5 of 7 rows into es\n")
    assert made[2].html.as_uri() in markdown
    assert "| refused | 1 | the translator will not take a text of this row |" in markdown
    assert "| end | 1 | 10.00 % (1.79 to 40.42 %, n = 10) |" in markdown


def test_written_again_it_is_the_same(made: tuple[Any, Tables, Report], tmp_path: Path) -> None:
    manifest, tables, _ = made
    calls = [Call(1763629200.5 + 40 * n, manifest.job, "google/4.0.2", 30, 4000, 0.3, "answered") for n in range(200)]
    first = write_report(tmp_path / "a", manifest, tables, calls)
    second = write_report(tmp_path / "b", manifest, tables, calls)
    assert first.html.read_bytes() == second.html.read_bytes()
    assert first.json.read_bytes() == second.json.read_bytes()
    assert "Characters per minute, in steps of 300 s" in first.html.read_text(encoding="utf-8")


def test_without_requests_and_with_a_memory_it_says_so(made: tuple[Any, Tables, Report], tmp_path: Path) -> None:
    manifest, tables, _ = made
    memory = MemorySummary("ab" * 32, turns=10, distinct=9, taken=6)
    memory.flagged["seam"] += 1
    memory.refused["placeholder"] += 3
    html = write_report(tmp_path, manifest, tables, [], memory).html.read_text(encoding="utf-8")
    assert "6 without a finding are taken over, 1 with a flag only where" in html
    assert "By code, refused: placeholder 3." in html
    assert "<h2>Requests</h2>" not in html


def test_every_reason_is_explained() -> None:
    assert REASONS.keys() | HARD.keys() | {"refused", "unanswered"} == REJECTIONS.keys()
