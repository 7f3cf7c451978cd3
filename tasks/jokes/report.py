"""What became of transcripts, for people and for programs.

::

    reports/mine-jokes/report.html    funnel, costs, lengths, places and accents, rejected windows, some jokes
                       report.json    the same figures

Equal tables give equal bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.chat.protocol import NO_MODEL
from tasks.chunks.manifest import Manifest
from tasks.jokes import extract
from tasks.jokes.collect import Tables, latest_text
from tasks.jokes.locate import LEAST_TOLD
from tasks.jokes.plan import notes_of
from tasks.pages.page import Cell, Page, Plot, Section, Table
from tasks.pages.plots import bars, histogram
from tasks.pages.rejected import rejected_section
from tasks.pages.words import dollars, markdown_table, percent, with_interval
from tasks.stats.intervals import clustered
from tasks.storage.files import write_bytes
from tasks.storage.schemas import JOKES, JOKES_REJECTED
from tasks.storage.tables import read_table

_SHOWN = 20  # jokes and notes that are named


@dataclass(frozen=True, slots=True)
class Report:
    """What was written, and the short forms.

    Args:
        html: The page.
        json: Its figures.
        markdown: The short form.
        funnel: Jokes after each stage, as rows of a table.
        cost: What each step cost.
    """

    html: Path
    json: Path
    markdown: str
    funnel: list[dict[str, Any]]
    cost: Table


def write_report(folder: Path, windows: Manifest, refined: Manifest, tables: Tables) -> Report:
    """Write the report of a walk whose tables are there.

    Raises:
        TornFile: A table is damaged.
        DiskFull: No room; the old report is untouched.
    """
    rows = read_table(tables.table, JOKES).to_pylist()
    rejected = read_table(tables.rejected, JOKES_REJECTED).to_pylist()
    figures = _figures(windows, refined, tables, rows)
    written = write_bytes(folder / "report.json", json.dumps(figures, indent=2, ensure_ascii=False).encode())
    html = write_bytes(folder / "report.html", _page(figures, rows, rejected, notes_of(windows)).html().encode())
    return Report(html, written, _markdown(figures, html), figures["funnel"], _cost_table(figures["cost"]))


def _figures(windows: Manifest, refined: Manifest, tables: Tables, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    spent = sum(cost.usd for cost in tables.costs.values())
    return {
        "source": asdict(windows.source),
        "jobs": [manifest.identity() for manifest in (windows, refined)],
        "windows": tables.windows,
        "jokes": len(rows),
        "kept": tables.kept,
        "routines": len({row["routine"] for row in rows}),
        "located": _share(rows, lambda row: row["first_word"] is not None and not row["invented"]),
        "told_otherwise": sum(not row["invented"] and row["text_found"] < LEAST_TOLD for row in rows),
        "with_damaged_words": _share(rows, lambda row: row["damaged_words"] > 0),
        "repeats_by_span": sum(row["duplicate_of"] is not None for row in rows),
        "repeats_by_text": sum(row["near_duplicate_of"] is not None for row in rows),
        "words": [row["words"] for row in rows],
        "levels": dict(sorted(Counter(row["levels"] for row in rows if row["levels"] is not None).items())),
        "funnel": [{"stage": name, "jokes": n} for name, n in tables.stages],
        "cost": [{"step": step, **asdict(cost)} for step, cost in tables.costs.items()],
        "cost_usd": spent,
        "cost_per_kept_joke_usd": spent / tables.kept if tables.kept else None,
        "rejected_by_reason": {
            code: {"windows": n, "reason": extract.REASONS.get(code, "the routine cannot be used")}
            for code, n in tables.reasons.most_common()
        },
        "files": [str(tables.table), str(tables.rejected), str(tables.provenance)],
    }


def _share(rows: Sequence[Mapping[str, Any]], holds: Any) -> dict[str, Any]:
    """How many jokes, and what share with its interval; jokes of one routine were drawn together."""
    by_routine: dict[str, list[bool]] = {}
    for row in rows:
        by_routine.setdefault(row["routine"], []).append(bool(holds(row)))
    hits = [sum(some) for some in by_routine.values()]
    interval = clustered(hits, [len(some) for some in by_routine.values()])
    share = sum(hits) / len(rows) if rows else 0.0
    return {"jokes": sum(hits), "n": len(rows), "share": share, "interval_95": list(interval)}


def _page(
    figures: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    rejected: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
) -> Page:
    return Page(
        f"Jokes: {Path(figures['source']['path']).name}",
        facts={
            "Windows": figures["windows"],
            "Jokes found": figures["jokes"],
            "Kept": figures["kept"],
            "Located": percent(figures["located"]["share"]),
            "Windows and routines rejected": len(rejected),
            "Cost": dollars(figures["cost_usd"]),
        },
        sections=list(_sections(figures, rows, rejected, notes)),
    )


def _sections(
    figures: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    rejected: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
) -> Iterator[Section]:
    if warnings := list(_made_by(figures)):
        yield Section("Not the work of a model", " ".join(warnings))
    yield Section(
        "Funnel",
        "No joke is dropped from the table: its column reason names the first of these stages that it does not pass.",
        [
            Table(["stage", "jokes after it"], [[item["stage"], item["jokes"]] for item in figures["funnel"]]),
            *_spread("Words of a joke", figures["words"], "words"),
            *_levels(figures["levels"]),
        ],
    )
    yield Section(
        "Cost",
        f"{dollars(figures['cost_usd'])} in all, in US dollars after the price file; "
        f"{dollars(figures['cost_per_kept_joke_usd'])} per joke that is kept. Answers of earlier runs count with what "
        "they cost then; calls that were cut off before their answer came are not in it.",
        [_cost_table(figures["cost"])],
    )
    located, damaged = figures["located"], figures["with_damaged_words"]
    yield Section(
        "Places and accents",
        f"{with_interval(located)} of the jokes are found in their transcript; the others are flagged as invented. Of "
        f"{figures['told_otherwise']:,} hardly a word of the corrected text was said there. In "
        f"{with_interval(damaged)} a word lost its accents on the way. {figures['repeats_by_span']:,} stand where another "
        f"joke stands, and {figures['repeats_by_text']:,} have nearly its words. Intervals: 95 %, routines taken as drawn.",
    )
    kept = [row for row in rows if row["keep"]]
    if kept:
        some = [kept[at] for at in np.linspace(0, len(kept) - 1, min(len(kept), _SHOWN)).round().astype(int)]
        lines: list[list[Cell]] = [[row["routine"], _clock(row), row["keyword"], latest_text(row)] for row in some]
        yield Section(
            "Some that are kept",
            f"{len(some)} of {len(kept):,}, evenly spread.",
            [Table(["routine", "at", "keyword", "joke"], lines)],
        )
    if rejected:
        columns = {each: each for each in ("row", "routine", "window", "message")}
        yield rejected_section(rejected, figures, "windows", columns)
    if notes:
        told = [[note] for note in notes[:_SHOWN]]
        yield Section(
            "Mended transcripts", parts=[Table(["what"], told, f"The first {len(told)} of {len(notes):,} notes")]
        )
    yield Section("What was done with what", parts=[Table(["", ""], list(_origin(figures)))])


def _made_by(figures: Mapping[str, Any]) -> Iterator[str]:
    """What a reader must know before any figure."""
    for name in sorted({name for item in figures["cost"] for name in item["models"]}):
        for start, meaning in NO_MODEL.items():
            if name.startswith(start):
                yield f"{name}: {meaning}. No figure here says anything about a real model."


def _cost_table(cost: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        [item["step"], item["asked"], item["failed"], ", ".join(item["models"]), dollars(item["usd"])] for item in cost
    ]
    return Table(["step", "answered or failed", "failed", "models that answered", "cost"], rows)


def _origin(figures: Mapping[str, Any]) -> Iterator[list[Cell]]:
    yield ["transcripts", figures["source"]["path"]]
    yield ["digest", figures["source"]["sha256"]]
    for job in figures["jobs"]:
        yield ["job", job["job"]]
        for name, value in {**job["parameters"], **job["versions"]}.items():
            yield [name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)]
    for path in figures["files"]:
        yield ["file", path]


def _spread(title: str, values: Sequence[float], unit: str) -> list[Plot]:
    if not values:
        return []
    counts, edges = np.histogram(values, bins=min(20, max(1, len(set(values)))))
    return [histogram(title, edges.tolist(), counts.tolist(), unit)]


def _levels(counts: Mapping[int, int]) -> list[Plot]:
    if not counts:
        return []
    every = range(min(counts), max(counts) + 1)
    return [bars("Levels of intentionality", {str(level): counts.get(level, 0) for level in every}, "jokes")]


def _clock(row: Mapping[str, Any]) -> str:
    if row["start"] is None:
        return ""
    return f"{int(row['start']) // 60:02}:{int(row['start']) % 60:02}"


def _markdown(figures: Mapping[str, Any], html: Path) -> str:
    rows = [
        ["windows", f"{figures['windows']:,}"],
        ["jokes found", f"{figures['jokes']:,}"],
        ["kept", f"{figures['kept']:,}"],
        ["located", with_interval(figures["located"])],
        ["with damaged words", with_interval(figures["with_damaged_words"])],
        ["cost", dollars(figures["cost_usd"])],
    ]
    funnel = [[item["stage"], f"{item['jokes']:,}"] for item in figures["funnel"]]
    cost = [
        [item["step"], f"{item['asked']:,}", ", ".join(item["models"]), dollars(item["usd"])]
        for item in figures["cost"]
    ]
    parts = [
        f"# {figures['kept']:,} of {figures['jokes']:,} jokes kept",
        *(f"**{warning}**" for warning in _made_by(figures)),
        f"[Report]({html.absolute().as_uri()}): `{html.absolute()}`",
        markdown_table(["", "n"], rows),
        "## Funnel",
        markdown_table(["stage", "jokes after it"], funnel),
        "## Cost",
        markdown_table(["step", "answered or failed", "models", "cost"], cost),
    ]
    if reasons := figures["rejected_by_reason"]:
        lines = [[code, f"{item['windows']:,}", item["reason"]] for code, item in reasons.items()]
        parts += ["## Rejected", markdown_table(["reason", "n", "which means"], lines)]
    return "\n\n".join(parts) + "\n"
