"""What a translation came to, for people and for programs.

::

    reports/translate-llava-es/report.html    facts, tables and plots in one file that needs no network
                               report.json    the same figures, and more

The Markdown that comes back is the short form for the Prefect UI. Equal work gives equal bytes: the only
times are those of the requests.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tasks.chunks.manifest import Manifest
from tasks.llava.checks import SOFT, Checks
from tasks.llava.collect import Tables
from tasks.llava.counts import RATIO_BINS
from tasks.llava.lexicon import Lexicon
from tasks.llava.memory import MemorySummary
from tasks.llava.source import REASONS
from tasks.llava.verify import HARD
from tasks.pages.drawn import write_page
from tasks.pages.page import Cell, Page, Plot, Section, Table
from tasks.pages.plots import bars, histogram, line
from tasks.pages.words import dollars, interval, markdown_table, percent, with_interval
from tasks.remote.journal import Call
from tasks.stats.intervals import wilson
from tasks.storage.files import write_bytes
from tasks.storage.schemas import LLAVA_REJECTED
from tasks.storage.tables import read_table

# Why a row is rejected, for every code that a table may hold.
REJECTIONS = {
    **REASONS,
    **HARD,
    "refused": "the translator will not take a text of this row",
    "unanswered": "the translator fails on a text of this row while it answers others",
}

_SHOWN = 20  # rejected rows, and chunks to ask again, that are named
_STEPS_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 6 * 3600, 86_400)
_MAX_STEPS = 120  # points of a line that is 330 points wide


@dataclass(frozen=True, slots=True)
class Report:
    """What was written, the short form, and what each service cost."""

    html: Path
    json: Path
    markdown: str
    cost: Table


def write_report(
    folder: Path,
    manifest: Manifest,
    tables: Tables,
    calls: Sequence[Call],
    memory: MemorySummary | None = None,
) -> Report:
    """Write the report of a job whose tables are there; one that is there and would be the same is left alone.

    Args:
        folder: Where ``report.html`` and ``report.json`` go.
        manifest: The job.
        tables: What collecting left.
        calls: The job's requests, over all of its runs, in order of time.
        memory: What importing the translation memory did, if there was one.

    Raises:
        TornFile: The rejected table is damaged.
        DiskFull: No room; the old report is untouched.
    """
    figures = _figures(manifest, tables, calls, memory)
    text = json.dumps(figures, indent=2, ensure_ascii=False)
    told = folder / "report.json"
    if not told.is_file() or told.read_bytes() != text.encode():
        write_bytes(told, text.encode())
    html = write_page(folder / "report.html", text, Path(__file__).parent, lambda: _page(figures))
    return Report(html, told, _markdown(figures, html), _cost_table(figures["requests"]))


def _figures(manifest: Manifest, tables: Tables, calls: Sequence[Call], memory: MemorySummary | None) -> dict[str, Any]:
    counts = tables.counts
    rejected = counts.rejected.total()
    rows = read_table(tables.rejected, LLAVA_REJECTED, ["row", "id", "error", "message", "raw"]).to_pylist()
    refused_later = [item["row"] for item in rows if item["raw"] is None]
    return {
        **manifest.identity(),
        "rows": counts.rows,
        "delivered": _share(counts.delivered, counts.rows),
        "rejected": _share(rejected, counts.rows),
        "rejected_by_reason": {
            code: {"rows": number, "reason": REJECTIONS.get(code, code)}
            for code, number in counts.rejected.most_common()
        },
        "rejected_rows": [{key: item[key] for key in ("row", "id", "error", "message")} for item in rows[:_SHOWN]],
        "chunks_to_ask_again": sorted({row // manifest.chunk_size for row in refused_later}),
        "turns": counts.turns,
        "turns_by_translator": dict(counts.translators.most_common()),
        "flagged_rows": _share(counts.flagged_rows, counts.delivered),
        "checks": {
            code: {**_share(number, counts.turns), "reason": SOFT.get(code, code)}
            for code, number in counts.checks.most_common()
        },
        "checks_not_run": _not_run(manifest),
        "chars": {"source": counts.source_chars, "target": counts.target_chars},
        "length_ratio": {"edges": RATIO_BINS, "turns": counts.ratios},
        "requests": _requests(calls),
        "rate": _rate(calls),
        "memory": None if memory is None else _memory_figures(memory),
        "files": [str(path) for path in (tables.table, tables.rejected, tables.json, tables.provenance)],
        "folder": str(manifest.folder),
    }


def _memory_figures(memory: MemorySummary) -> dict[str, Any]:
    return {
        "digest": memory.digest,
        "turns": memory.turns,
        "distinct": memory.distinct,
        "taken": memory.taken,
        "flagged": dict(memory.flagged.most_common()),
        "refused": dict(memory.refused.most_common()),
    }


def _not_run(manifest: Manifest) -> list[str]:
    """Checks that the two languages do not allow; nothing found is then no good news."""
    some_lexicon = Lexicon({"": frozenset()}, {}, 0)
    return Checks(manifest.parameters["source_language"], manifest.parameters["target"], some_lexicon).not_run


def _share(hits: int, n: int) -> dict[str, Any]:
    return {"count": hits, "n": n, "share": hits / n if n else 0.0, "interval_95": list(wilson(hits, n))}


def _requests(calls: Sequence[Call]) -> dict[str, Any]:
    def total(some: Sequence[Call]) -> dict[str, Any]:
        return {
            "requests": len(some),
            "outcomes": dict(Counter(call.outcome for call in some).most_common()),
            "texts": sum(call.texts for call in some),
            "chars": sum(call.chars for call in some),
            "seconds": sum(call.seconds for call in some),
            "cost_usd": sum(call.cost_usd for call in some),
        }

    services = sorted({call.service for call in calls})
    return {
        **total(calls),
        "first": _utc(calls[0].at) if calls else None,
        "last": _utc(calls[-1].at) if calls else None,
        "services": {service: total([call for call in calls if call.service == service]) for service in services},
    }


def _rate(calls: Sequence[Call]) -> dict[str, Any]:
    """Requests and characters per minute, in steps of equal length from the first request to the last."""
    if not calls:
        return {"step_seconds": 0, "at": [], "requests_per_minute": [], "chars_per_minute": []}
    at = np.array([call.at for call in calls])
    span = float(at[-1] - at[0])
    step = next((seconds for seconds in _STEPS_SECONDS if span / seconds <= _MAX_STEPS), _STEPS_SECONDS[-1])
    place = ((at - at[0]) // step).astype(int)
    chars = np.bincount(place, weights=[call.chars for call in calls])
    return {
        "step_seconds": step,
        "at": [float(at[0]) + step * n for n in range(len(chars))],
        "requests_per_minute": (np.bincount(place) * 60 / step).tolist(),
        "chars_per_minute": (chars * 60 / step).tolist(),
    }


def _page(figures: Mapping[str, Any]) -> Page:
    requests, target = figures["requests"], figures["parameters"].get("target", "?")
    return Page(
        f"Translation into {target}: {Path(figures['source']['path']).name}",
        facts={
            "Rows in": figures["rows"],
            "Delivered": figures["delivered"]["count"],
            "Rejected": figures["rejected"]["count"],
            "Turns": figures["turns"],
            "Rows with a flag": percent(figures["flagged_rows"]["share"]),
            "Requests": requests["requests"],
            "Characters sent": requests["chars"],
            "Cost": dollars(requests["cost_usd"]),
        },
        sections=list(_sections(figures)),
    )


def _sections(figures: Mapping[str, Any]) -> Iterator[Section]:
    rows, requests = figures["rows"], figures["requests"]
    yield Section("What to do next", "\n\n".join(_next_steps(figures)))
    yield Section(
        "Rows",
        f"{rows:,} rows in, {figures['delivered']['count']:,} delivered, "
        f"{figures['rejected']['count']:,} rejected: {with_interval(figures['rejected'])}.",
        list(_rejected(figures)),
    )
    yield Section(
        "Turns by translator",
        "A turn comes from one translator as a whole. In “kept” turns there was nothing to translate. “memory” turns were "
        "taken over from the translation that was given, “reviewed” ones from what people settled.",
        [
            Table(
                ["translator", "turns", "share"],
                [
                    [name, number, percent(number / max(figures["turns"], 1))]
                    for name, number in figures["turns_by_translator"].items()
                ],
            )
        ],
    )
    yield Section(
        "Checks",
        "A check flags a turn for a second look; the turn is delivered all the same. What must hold "
        "(placeholders, lines, no control characters, nothing empty) holds in every delivered turn.\n\n"
        f"Rows with at least one flag: {with_interval(figures['flagged_rows'])}.\n\n"
        "Intervals: Wilson, 95 %, turns taken as independent: what to expect of more rows of this kind.\n\n"
        f"Not run between these languages: {', '.join(figures['checks_not_run']) or 'none'}.",
        list(_checks(figures)),
    )
    yield Section(
        "Length",
        f"{figures['chars']['source']:,} characters became {figures['chars']['target']:,}. The ratio of a "
        "turn is (characters of the translation + 5) / (characters of the source + 5). The outer bars "
        "take what lies beyond.",
        [histogram("Turns by length ratio", RATIO_BINS, figures["length_ratio"]["turns"], "target / source")],
    )
    if requests["requests"]:
        yield Section(
            "Requests",
            f"Over all runs of this job, from {requests['first']} to {requests['last']}. What the journal or "
            "the memory knew was not asked. Seconds are those of all requests, added up.",
            list(_requests_parts(figures)),
        )
    if figures["memory"]:
        yield Section("Memory", "\n\n".join(_memory(figures["memory"])))
    yield Section("What was done with what", parts=[Table(["", ""], list(_origin(figures)))])


def _next_steps(figures: Mapping[str, Any]) -> Iterator[str]:
    yield f"The table: {figures['files'][0]}"
    yield f"In LLaVA's own layout: {figures['files'][2]}"
    if figures["rejected"]["count"]:
        yield f"Rejected rows with their reasons: {figures['files'][1]}"
    if again := figures["chunks_to_ask_again"]:
        some = ", ".join(map(str, again[:_SHOWN])) + (", …" if len(again) > _SHOWN else "")
        yield (
            f"Rows that no translator could do stand in {len(again)} of the chunks. To ask them again, run "
            f"the flow with the same parameters, chunks=[{some}] and force=true. More translators are a new "
            "job, which asks only what is not in the journal."
        )
    if figures["rejected"]["count"]:
        yield "Rows rejected for what they are stay so until the source is mended; then only they are asked."
    yield f"One row from source to result: trasvase explain {figures['files'][0]} ROW"


def _rejected(figures: Mapping[str, Any]) -> Iterator[Table]:
    if by_reason := figures["rejected_by_reason"]:
        rows = [[code, item["rows"], item["reason"]] for code, item in by_reason.items()]
        yield Table(["reason", "rows", "which means"], rows)
        first = [[item["row"], item["id"], item["error"], item["message"]] for item in figures["rejected_rows"]]
        yield Table(["row", "id", "reason", "message"], first, f"The first {len(first)} rejected rows")


def _checks(figures: Mapping[str, Any]) -> Iterator[Table | Plot]:
    if checks := figures["checks"]:
        rows: list[list[Cell]] = [
            [code, item["count"], percent(item["share"]), interval(item), item["reason"]]
            for code, item in checks.items()
        ]
        caption = f"n = {figures['turns']:,} turns"
        yield Table(["check", "turns", "share", "95 % interval", "which means"], rows, caption)
        yield bars("Turns by check", {code: item["count"] for code, item in checks.items()}, "turns")


def _cost_table(requests: Mapping[str, Any]) -> Table:
    totals = {**requests["services"], "all": requests} if len(requests["services"]) > 1 else requests["services"]
    return Table(
        ["service", "requests", "texts", "characters", "seconds", "cost"],
        [
            [
                name,
                item["requests"],
                item["texts"],
                item["chars"],
                f"{item['seconds']:,.1f}",
                dollars(item["cost_usd"]),
            ]
            for name, item in totals.items()
        ],
    )


def _requests_parts(figures: Mapping[str, Any]) -> Iterator[Table | Plot]:
    requests, rate = figures["requests"], figures["rate"]
    yield _cost_table(requests)
    yield Table(["outcome", "requests"], list(requests["outcomes"].items()))
    if len(rate["at"]) < 2:
        return
    step = f"in steps of {rate['step_seconds']:,} s"
    yield line(f"Requests per minute, {step}", rate["at"], rate["requests_per_minute"], "requests per minute")
    yield line(f"Characters per minute, {step}", rate["at"], rate["chars_per_minute"], "characters per minute")


def _memory(memory: Mapping[str, Any]) -> Iterator[str]:
    kept = memory["turns"] - sum(memory["refused"].values())
    yield (
        f"The file has {memory['turns']:,} turns: {memory['taken']:,} without a finding are taken over, "
        f"{kept - memory['taken']:,} with a flag only where no translator does better, "
        f"{sum(memory['refused'].values()):,} are refused."
    )
    for name in ("flagged", "refused"):
        if memory[name]:
            yield f"By code, {name}: {', '.join(f'{code} {n:,}' for code, n in memory[name].items())}."


def _origin(figures: Mapping[str, Any]) -> Iterator[Sequence[Cell]]:
    source = figures["source"]
    yield "source", source["path"]
    yield "SHA-256", source["sha256"]
    yield "size", f"{source['bytes']:,} bytes"
    yield "job", figures["folder"]
    yield "chunk_size", f"{figures['chunk_size']:,} rows"
    for name, value in figures["parameters"].items():
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    for name, value in figures["versions"].items():
        yield f"version of {name}", value
    for path in figures["files"]:
        yield "file", path


def _markdown(figures: Mapping[str, Any], html: Path) -> str:
    requests, delivered = figures["requests"], figures["delivered"]["count"]
    parts = [
        f"# {delivered:,} of {figures['rows']:,} rows into {figures['parameters'].get('target', '?')}",
        f"[Report with plots]({html.absolute().as_uri()}): `{html.absolute()}`",
        markdown_table(
            ["", "n"],
            [
                ["rows in", f"{figures['rows']:,}"],
                ["delivered", f"{delivered:,}"],
                ["rejected", f"{figures['rejected']['count']:,}"],
                ["turns", f"{figures['turns']:,}"],
                ["rows with a flag", with_interval(figures["flagged_rows"])],
                ["requests", f"{requests['requests']:,}"],
                ["texts asked", f"{requests['texts']:,}"],
                ["characters sent", f"{requests['chars']:,}"],
                ["cost", dollars(requests["cost_usd"])],
            ],
        ),
    ]
    if figures["rejected_by_reason"]:
        rows = [[code, f"{item['rows']:,}", item["reason"]] for code, item in figures["rejected_by_reason"].items()]
        parts += ["## Rejected", markdown_table(["reason", "rows", "which means"], rows)]
    if figures["checks"]:
        rows = [[code, f"{item['count']:,}", with_interval(item)] for code, item in figures["checks"].items()]
        parts += ["## Checks", markdown_table(["check", "turns", "share"], rows)]
    parts += ["## Next", "\n".join(f"- {step}" for step in _next_steps(figures))]
    return "\n\n".join(parts) + "\n"


def _utc(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
