from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.llava.verify import HARD, verify_turn
from tasks.reviews.history import add_responses
from tasks.reviews.merge import RULES, settle
from tasks.reviews.records import Response
from tasks.reviews.report import ERROR, Report, write_review_report
from tests.pages.test_page import Reader
from tests.reviews.answers import MACHINE, ORIGINAL, answer

GOOD = "El autobús es blanco."
DRAWN = {(row, 0) for row in range(20, 42)}


def responses() -> list[Response]:
    given = [
        answer(user, GOOD if row % 3 == 0 else MACHINE, row=row, part="audit", codes=("numbers",) if row % 2 else ())
        for row in range(20, 40)
        for user in ("reviewer-a", "reviewer-b")
    ]
    given += [answer("reviewer-a", GOOD, row=row, kinds=("grammar", "style"), verdict="minor") for row in range(3)]
    given += [answer(user, f"El autobús de {user}.", row=4) for user in ("reviewer-a", "reviewer-b")]
    given += [answer("reviewer-a", "", row=5), answer("<b>hostile</b>", GOOD, row=6, machine="Antes.")]
    return [*given, answer("reviewer-a", None, row=7, status="discarded", verdict=None)]


def write(folder: Path, given: list[Response], drawn: set[tuple[int, int]] | None = DRAWN) -> Report:
    turns = {(each.row, each.turn): (ORIGINAL, MACHINE) for each in given}
    history = add_responses(folder / "llava-es-responses.parquet", given)
    merged = settle(turns.items(), history.latest, verify_turn, HARD)
    return write_review_report(
        folder / "report", "llava-es", history, merged, Path("tables/llava-es-open.parquet"), drawn
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return write(tmp_path_factory.mktemp("data"), responses())


@pytest.fixture
def html(report: Report) -> str:
    return report.html.read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_loads_nothing(html: str) -> None:
    read = Reader(html)
    assert [] == read.open
    assert all(load.startswith("#") for load in read.loads)


def test_the_error_rate_stands_with_its_n_its_interval_and_its_words(html: str) -> None:
    for said in (
        "Rows drawn at random with at least one error: 35.00 % (18.12 to 56.71 %, n = 20).",
        "20 of 22 rows drawn are answered, 20 of 22 turns.",
        "are not in the share of rows: it holds for all if they are like the others.",
        ERROR,
    ):
        assert said.replace("'", "&#x27;") in html


def test_the_rule_is_written_down(html: str) -> None:
    for words in RULES.values():
        assert words.replace("'", "&#x27;") in html


def test_every_part_of_the_review_has_its_section(html: str) -> None:
    for title in (
        "How often the machine is wrong",
        "How turns were settled",
        "What was wrong",
        "Corrections",
        "Do reviewers agree?",
        "Reviewers",
        "Translators",
        "Does a check predict an edit?",
        "Turns to adjudicate",
        "Corrections that break their turn",
        "Answers to texts that are no more in the table",
        "What to do next",
    ):
        assert f"<h2>{title}</h2>" in html
    assert 5 == html.count("<figure>")


def test_what_people_typed_is_text_on_the_page(html: str) -> None:
    assert "<b>hostile" not in html
    assert "&lt;b&gt;hostile" in html


def test_the_short_form_says_what_to_do_next(report: Report) -> None:
    assert report.markdown.startswith("# 24 turns of llava-es reviewed\n")
    assert report.html.absolute().as_uri() in report.markdown
    for said in (
        "| of them with an error | 35.00 % (18.12 to 56.71 %, n = 20) |",
        "- 1 turn to adjudicate: the answer of an owner or admin to its record decides. Until then the",
        "What people gave: tables/llava-es-open.parquet",
        "- 1 correction back on the reviewers' lists, with the reason: merged when submitted again, and whole.",
        "- 1 answer to texts that are no more in the table: kept with these texts, without a part in the figures.",
        "- 2 rows drawn at random and not fully answered. Review these first: the error rate is theirs.",
        "- Corrections are in the translation memory. Run translate-llava again: equal texts get them.",
        "llava-es-responses.parquet",
    ):
        assert said in report.markdown


def test_the_figures_are_those_of_the_page(report: Report) -> None:
    told: dict[str, Any] = json.loads(report.json.read_bytes())
    assert (24, 20, 7) == (told["answered"], told["audit"]["rows"]["n"], told["audit"]["rows"]["count"])
    assert "llava-es" == told["review"]


def test_equal_answers_give_equal_bytes(report: Report, tmp_path: Path) -> None:
    again = write(tmp_path, responses()[::-1])
    assert report.json.read_text().replace(str(report.json.parents[1]), "") == again.json.read_text().replace(
        str(tmp_path), ""
    )
    assert report.html.read_text().replace(str(report.json.parents[1]), "") == again.html.read_text().replace(
        str(tmp_path), ""
    )


def test_without_answers_it_says_what_to_do(tmp_path: Path) -> None:
    empty = write(tmp_path, [])
    assert "Nobody has answered yet. Push translations, and ask people to review them." in empty.markdown
    assert "| of them with an error | not known yet |" in empty.markdown
    assert "<h2>Corrections</h2>" not in empty.html.read_text(encoding="utf-8")


def test_a_single_answer_is_enough_for_a_report(tmp_path: Path) -> None:
    html = write(tmp_path, [answer()]).html.read_text(encoding="utf-8")
    assert "No turn has answers of two people yet." in html
    assert "<h2>Corrections</h2>" not in html


def test_where_what_was_drawn_is_not_known_it_says_so(tmp_path: Path) -> None:
    html = write(tmp_path, responses(), None).html.read_text(encoding="utf-8")
    assert "Which rows were drawn is not written down here" in html
