from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tasks.pages.page import Page, Section, Table, text
from tasks.pages.plots import bars, curves, histogram, intervals, line

VOID = {"meta", "br", "path", "use"}


class Reader(HTMLParser):
    """Checks that tags are closed in order; collects ids and attributes that load something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "data")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def page() -> str:
    sections = [
        Section(
            "Checks",
            "Of <image> & others.\n\nMore.",
            [Table(["code", "turns"], [["seam", 1812], ["end", 3]])],
        ),
        Section(
            "Plots",
            parts=[
                bars("Turns by check", {"seam": 1812, "<end>": 3}, "turns"),
                histogram("Ratio", [0.5, 1.0, 1.5], [3, 4], "target / source"),
                line("Requests", [1763629200.0, 1763629260.0], [4, 2.5], "per minute"),
            ],
        ),
    ]
    return Page("Report <1>", {"Rows": 157712, "Source": "a & b"}, sections).html()


def test_the_page_is_well_formed_and_loads_nothing() -> None:
    read = Reader(page())
    assert read.open == []
    assert all(load.startswith("#") for load in read.loads)
    assert "<script" not in page()
    assert set(re.findall(r"https?://[^\"]+", page())) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_all_text_is_escaped() -> None:
    assert "<title>Report &lt;1&gt;</title>" in page()
    assert "Of &lt;image&gt; &amp; others." in page()
    assert "a &amp; b" in page()
    assert "<end>" not in page()


def test_equal_figures_give_equal_bytes() -> None:
    assert page() == page()


def test_no_id_stands_twice() -> None:
    ids = Reader(page()).ids
    assert sorted(set(ids)) == sorted(ids)


def test_a_plot_has_words_and_its_figures_beside_it() -> None:
    html = line("Requests", [1763629200.0, 1763629260.0], [4, 2.5], "per minute").html()
    assert '<svg role="img" aria-label="Requests"' in html
    assert '<td>2025-11-20 09:01:00</td><td class="figure">2.5</td>' in html


def test_text_in_a_plot_is_text_in_the_colours_of_the_page() -> None:
    svg = bars("Turns", {"seam": 1812}).svg
    assert ">seam</text>" in svg
    assert ">1,812</text>" in svg
    assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)) <= {
        "none",
        "var(--ink)",
        "var(--line)",
        "var(--bar)",
    }


@pytest.mark.parametrize("span", [1, 7, 100, 185, 3600, 7000, 20_000, 200_000, 3_000_000])
@pytest.mark.filterwarnings("error")
def test_a_line_finds_ticks_for_any_span(span: int) -> None:
    assert line("Rate", [1763629211.3, 1763629211.3 + span], [0, 0]).svg.count("</text>") >= 4


def test_a_histogram_of_nothing_can_be_drawn() -> None:
    assert "Ratio" in histogram("Ratio", [0, 1], [0]).html()


def test_two_curves_are_told_apart_and_one_has_no_legend() -> None:
    both = curves("Loss", {"training": ([1, 2], [4, 2.5]), "validation": ([2], [3])}, "step", "loss")
    assert ">training</text>" in both.svg
    assert "<td>validation</td>" in both.html()
    assert ">rate</text>" not in curves("Rate", {"rate": ([1, 2], [4, 2.5])}, "step", "rate").svg


def test_shares_stand_beside_the_line_of_no_difference() -> None:
    plot = intervals("Win rate", {"of A": (0.57, 0.49, 0.65)}, 0.5, "share")
    assert ">of A</text>" in plot.svg
    assert "stroke-dasharray" in plot.svg
    assert [["of A", 0.57, 0.49, 0.65]] == plot.table.rows
    assert "stroke-dasharray" not in intervals("Win rate", {"of A": (0.57, 0.49, 0.65)}).svg


def test_a_column_of_figures_is_set_to_the_right_and_ids_are_not() -> None:
    html = Table(
        ["n", "share", "id", "name"], [[1, "0.4 %", "000000033471", "a"], [None, "12 to 13 %", "7", "b"]]
    ).html()
    assert '<th scope="col" class="figure">n</th><th scope="col" class="figure">share</th>' in html
    assert '<th scope="col">id</th><th scope="col">name</th>' in html


@pytest.mark.parametrize(
    ("cell", "read"),
    [(None, ""), (157712, "157,712"), (0.123456, "0.1235"), (12345.6, "12,345.6"), ("x", "x")],
)
def test_cells_read_as_people_write_them(cell: str | float | None, read: str) -> None:
    assert text(cell) == read
