"""One HTML page: facts, tables and plots, in one file that needs no network.

Knows no domain. What a caller says::

    page = Page(
        "Translation of LLaVA-Instruct",
        facts={"Rows": 157712, "Source": "llava_instruct_150k.json"},
        sections=[
            Section("Checks", "Share of turns.", [Table(["code", "turns"], [["seam", 812]]), bars(…)]),
        ],
    )
    page.html()

Light or dark as the reader's system is, readable on a phone, printable. All text is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under named columns.

    Args:
        columns: Their names.
        rows: Cells, as many per row as there are columns; None is an empty cell.
        caption: What the table shows, or nothing.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""

    def records(self) -> list[dict[str, Cell]]:
        """Each row by its columns' names, as an artifact shows it."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def html(self) -> str:
        """The table as HTML; a column of figures is set to the right."""
        right = [
            all(row[at] is None or _FIGURE.fullmatch(text(row[at])) for row in self.rows)
            for at in range(len(self.columns))
        ]
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        head = "".join(
            f'<th scope="col"{_ALIGN[is_right]}>{escape(name)}</th>'
            for name, is_right in zip(self.columns, right, strict=True)
        )
        body = "\n".join(f"<tr>{_cells(row, right)}</tr>" for row in self.rows)
        return (
            f'<div class="wide"><table>{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
        )


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing with its figures beside it, made by ``tasks.pages.plots``.

    Args:
        title: What it shows; also read aloud in place of the drawing.
        svg: The drawing.
        table: The drawn figures.
    """

    title: str
    svg: str
    table: Table

    def html(self) -> str:
        """The plot as a figure; its table folds out."""
        return (
            f"<figure><figcaption>{escape(self.title)}</figcaption>\n{self.svg}\n"
            f"<details><summary>Figures of this plot</summary>{self.table.html()}</details></figure>"
        )


@dataclass(frozen=True, slots=True)
class Pictures:
    """Small pictures side by side, each with its words: a contact sheet.

    Args:
        pictures: Where each is (a data URI, so that the page needs nothing else) and what stands below it.
    """

    pictures: Sequence[tuple[str, str]]

    def html(self) -> str:
        """The pictures as figures."""
        figures = [
            f'<figure><img src="{escape(at)}" alt=""><figcaption>{escape(words)}</figcaption></figure>'
            for at, words in self.pictures
        ]
        return '<div class="wide pictures">' + "\n".join(figures) + "</div>"


@dataclass(frozen=True, slots=True)
class Card:
    """One case: pictures side by side, a table, and texts under names of their own.

    Args:
        title: What it is called.
        pictures: Where each is (a data URI) and what stands below it.
        table: Its figures.
        texts: Texts as they are, line breaks kept, by name.
    """

    title: str
    pictures: Sequence[tuple[str, str]]
    table: Table
    texts: Mapping[str, str]

    def html(self) -> str:
        """The card as an article."""
        figures = "\n".join(
            f'<figure><img src="{escape(at)}" alt="" loading="lazy"><figcaption>{escape(words)}</figcaption></figure>'
            for at, words in self.pictures
        )
        texts = "\n".join(
            f'<p class="name">{escape(name)}</p><p class="text" dir="auto">{escape(words)}</p>'
            for name, words in self.texts.items()
        )
        return (
            f'<article class="wide"><h3>{escape(self.title)}</h3>\n<div class="shots">{figures}</div>\n'
            f"{self.table.html()}\n{texts}</article>"
        )


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, text, then tables and plots in order; plots stand side by side where there is room.

    Args:
        title: The heading.
        text: Paragraphs, parted by an empty line.
        parts: What follows them.
    """

    title: str
    text: str = ""
    parts: Sequence[Table | Plot | Pictures | Card] = ()

    def html(self) -> str:
        """The section as HTML."""
        paragraphs = "\n".join(f"<p>{escape(each)}</p>" for each in self.text.split("\n\n") if each)
        parts = "\n".join(part.html() for part in self.parts)
        heading = f"<h2>{escape(self.title)}</h2>"
        return f'<section>{heading}\n{paragraphs}\n<div class="parts">\n{parts}\n</div></section>'


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page.

    Args:
        title: Heading and name of the window.
        facts: What a reader wants to know first, by name.
        sections: The rest, in order.
        language: Of the page's own words.
    """

    title: str
    facts: Mapping[str, Cell] = field(default_factory=dict)
    sections: Sequence[Section] = ()
    language: str = "en"

    def html(self) -> str:
        """The page, ready to be written as UTF-8. Equal content gives equal text."""
        facts = "\n".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(text(cell))}</dd></div>" for name, cell in self.facts.items()
        )
        sections = "\n".join(section.html() for section in self.sections)
        return f"""<!doctype html>
<html lang="{escape(self.language)}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(self.title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{escape(self.title)}</h1>
<dl>
{facts}
</dl>
{sections}
</main>
</body>
</html>
"""


def _cells(row: Sequence[Cell], right: Sequence[bool]) -> str:
    cells = []
    for cell, is_right in zip(row, right, strict=True):
        read = text(cell)
        # A hash may break anywhere, a code nowhere; a sentence needs room even on a phone.
        kind = "figure" if is_right else "sentence" if " " in read and len(read) > 40 else ""
        kind = kind or ("hash" if len(read) > 30 else "")
        cells.append(f'<td class="{kind}">{escape(read)}</td>' if kind else f"<td>{escape(read)}</td>")
    return "".join(cells)


def text(cell: Cell) -> str:
    """A cell as it is read: thousands set apart, floats with four figures."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) or abs(cell) >= 1000 else f"{cell:.4g}"


_FIGURE = re.compile(r"(?!0\d)[$<≥−–-]?\d[\d,.]*( ?[%×a-zA-Z/]{1,5})?( ?(–|to) ?[\d.,]+ ?%?)?")
_ALIGN = {True: ' class="figure"', False: ""}

# The three colours that plots use by name are here, so that a drawing follows the reader's light or dark.
_STYLE = """
:root { --ink: #1d2026; --faint: #5d6470; --line: #d5d9e0; --ground: #fff; --bar: #2a6fb0; --panel: #f5f7fa; }
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e7e9ed; --faint: #a0a8b5; --line: #3a404b; --ground: #15181d; --bar: #6cb0ee; --panel: #1e2229;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.25rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 1.25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p { max-width: 44rem; margin: .5rem 0; overflow-wrap: anywhere; }
dl { display: grid; gap: .6rem; margin: 0; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); }
dl div { background: var(--panel); border-radius: .4rem; padding: .6rem .8rem; }
dt { color: var(--faint); font-size: .85rem; }
dd { margin: 0; font-size: 1.2rem; font-weight: 600; overflow-wrap: anywhere; }
.parts { display: grid; gap: 1rem 2rem; }
.parts { grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)); }
.wide { overflow-x: auto; grid-column: 1 / -1; }
table { border-collapse: collapse; font-size: .92rem; }
caption { text-align: left; color: var(--faint); padding-bottom: .3rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem 1.2rem .3rem 0; }
th, td { border-bottom: 1px solid var(--line); }
.sentence { min-width: 13rem; }
.hash { overflow-wrap: anywhere; min-width: 9rem; }
th { font-weight: 600; }
.figure { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
figure { margin: .5rem 0; min-width: 0; }
figcaption { font-weight: 600; margin-bottom: .25rem; }
.pictures { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); }
.pictures img { display: block; width: 100%; height: 8rem; object-fit: contain; background: var(--panel); }
.pictures figcaption { font-weight: 400; font-size: .8rem; overflow-wrap: anywhere; }
article { border-top: 1px solid var(--line); padding: .5rem 0 1rem; break-inside: avoid; }
h3 { font-size: 1rem; margin: .5rem 0; overflow-wrap: anywhere; }
.shots { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 10rem), 1fr)); }
.shots img { display: block; max-width: 100%; max-height: 24rem; }
.shots figcaption { font-weight: 400; font-size: .8rem; color: var(--faint); }
.name { color: var(--faint); font-size: .85rem; margin: .75rem 0 0; }
.text { margin: 0; white-space: pre-line; }
svg { display: block; width: 100%; max-width: 34rem; height: auto; }
svg text { font-family: inherit !important; }
details { margin-top: .25rem; color: var(--faint); font-size: .9rem; }
summary { cursor: pointer; }
"""
