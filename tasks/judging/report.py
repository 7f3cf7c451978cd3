"""Two writers compared, for people and for programs.

::

    reports/jokes-against-base-3f2a9c01/report.html    who wins how often, how sure that is, the judge's habits, pairs
                                        report.json    the same figures

Equal tables give equal bytes. With A and B exchanged every figure turns round.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tasks.chat.protocol import NO_MODEL
from tasks.judging import requests, write
from tasks.judging.collect import Tables
from tasks.judging.judge import LEAKED, NO_TEXT, REASONS
from tasks.judging.statistics import (
    POWER,
    Calibration,
    Comparison,
    Pair,
    Share,
    about,
    calibrate,
    compare,
    told_p,
)
from tasks.pages.page import Card, Cell, Page, Section, Table
from tasks.pages.plots import bars, intervals
from tasks.pages.words import dollars, markdown_table
from tasks.storage.files import write_bytes
from tasks.storage.schemas import COMPARED
from tasks.storage.tables import read_table

_SHOWN = 12  # pairs on the page
_MANY_UNJUDGED = 0.1  # share of pairs from which the page warns that those judged may be others than those not judged
_NAMES = {
    "a": "A wins",
    "b": "B wins",
    "tie": "tie",
    "neither": "neither is a joke",
    "inconsistent": "the orders contradict each other",
    "unjudged": "not judged",
}
# What begins a name of who answered, and what that means.
_MADE_BY = {**NO_MODEL, "toy:": "a tiny model with random weights"}


@dataclass(frozen=True, slots=True)
class Report:
    """What was written, the sentence that counts, the short form, and what each side cost."""

    folder: Path
    html: Path
    sentence: str
    markdown: str
    cost: Table


def write_report(folder: Path, tables: Tables, choices: Mapping[str, Mapping[str, str]] | None = None) -> Report:
    """Write the report of a table that is there.

    Args:
        folder: Where to.
        tables: What collecting left.
        choices: What people chose (a, b, tie, neither), by pair's id and person; None where none were given.

    Raises:
        TornFile: The table is damaged.
        DiskFull: No room; the old report is untouched.
    """
    rows = read_table(tables.table, COMPARED).to_pylist()
    made = json.loads(tables.provenance.read_bytes())
    pairs = [pair_of(row) for row in rows]
    comparison = compare(pairs)
    calibration = (
        calibrate([(p, choices.get(row["id"], {})) for p, row in zip(pairs, rows, strict=True)]) if choices else None
    )
    figures = _figures(rows, made, comparison, calibration)
    html = folder / "report.html"
    write_bytes(folder / "report.json", (json.dumps(figures, indent=2, ensure_ascii=False) + "\n").encode())
    write_bytes(html, _page(figures, comparison, calibration, rows).html().encode())
    return Report(folder, html, figures["sentence"], _markdown(figures, comparison, html), _cost_table(figures))


def pair_of(row: Mapping[str, Any]) -> Pair:
    """A row of ``COMPARED`` as the statistics take it."""
    chars = (len(row["text_a"] or ""), len(row["text_b"] or ""))
    return Pair(row["group"], row["verdict"], (row["said_a_first"], row["said_b_first"]), chars)


def sentence(found: Comparison, a: str, b: str) -> str:
    """What the comparison says, in one sentence."""
    needed = f", about {about(found.needed):,} pairs needed" if found.needed else ""
    if found.outcome == "not enough evidence":
        return f"Not enough evidence that {a} and {b} differ ({told_p(found.p)}{needed})."
    one, other = (a, b) if found.outcome == "better" else (b, a)
    return f"{one} is better than {other} in this judge's eyes ({told_p(found.p)})."


def _figures(
    rows: Sequence[Mapping[str, Any]],
    made: Mapping[str, Any],
    found: Comparison,
    calibration: Calibration | None,
) -> dict[str, Any]:
    jobs = made["jobs"]
    a, b = jobs["judge"]["parameters"]["a"], jobs["judge"]["parameters"]["b"]
    answered = {side: sorted({row[f"written_by_{side}"] for row in rows} - {""}) for side in "ab"} | {
        "judge": sorted({name for row in rows for name in row["judged_by"].split(", ")} - {""})
    }
    return {
        "a": a,
        "b": b,
        "judge": jobs["judge"]["parameters"]["model"],
        "sentence": sentence(found, a, b),
        "outcome": found.outcome,
        "warnings": list(_warnings(rows, found, answered, made["contestants"])),
        "comparison": found.plain(),
        "calibration": _plain_calibration(calibration),
        "not_judged": _counted(rows, "error"),
        "no_text": {side: _counted(rows, f"error_{side}") for side in "ab"},
        "settled": _counted(rows, "settled"),
        "median_chars": {side: _median([len(text) for row in rows if (text := row[f"text_{side}"])]) for side in "ab"},
        "cost_usd": {
            "a": sum(row["write_a_usd"] for row in rows),
            "b": sum(row["write_b_usd"] for row in rows),
            "judge": sum(row["judge_usd"] for row in rows),
        },
        "contestants": made["contestants"],
        "answered": answered,
        "dataset": made["dataset"],
        "split": made["split"],
        "counts": made["counts"],
        "jobs": jobs,
        "files": made["files"],
    }


def _warnings(
    rows: Sequence[Mapping[str, Any]],
    found: Comparison,
    answered: Mapping[str, Sequence[str]],
    contestants: Mapping[str, Mapping[str, str]],
) -> Iterator[str]:
    for side, names in answered.items():
        for name in names:
            for start, meaning in _MADE_BY.items():
                if name.startswith(start):
                    who = "The judge" if side == "judge" else f"{side.upper()}"
                    yield f"{who} is {name}: {meaning}. No figure here says anything about a real model."
    unjudged = found.counts["unjudged"]
    if unjudged > _MANY_UNJUDGED * len(rows):
        yield (
            f"{unjudged:,} of {len(rows):,} pairs are not judged. They may be unlike the others, and the figures are about "
            "the others alone."
        )
    leaked = sum(row["error"] == LEAKED for row in rows)
    if leaked:
        yield f"In {leaked:,} pairs the judge recited its instructions: look for texts that hold instructions of their own."
    if found.first_slot.value is not None and not found.first_slot.low <= 0.5 <= found.first_slot.high:
        where = "first" if found.first_slot.value > 0.5 else "second"
        yield (
            f"The judge prefers what stands {where} ({_told(found.first_slot)} of its winners stood first). Both orders "
            "were asked, so this makes nobody better, but such pairs decide nothing."
        )
    families = {_family(each["base"]) for each in contestants.values()} & {_family(name) for name in answered["judge"]}
    if families:
        yield f"Judge and contestant are of one family ({', '.join(sorted(families))}): judges favour their own."


def _family(model: str) -> str:
    """The word that a model's name begins with, without who recorded it: of mistralai/Mistral-7B-v0.3, mistral."""
    for start in _MADE_BY:
        model = model.removeprefix(start)
    return model.rpartition("/")[2].rpartition(":")[2].split("-")[0].lower()


def _page(
    figures: Mapping[str, Any],
    found: Comparison,
    calibration: Calibration | None,
    rows: Sequence[Mapping[str, Any]],
) -> Page:
    facts: dict[str, Cell] = {
        "Verdict on A": found.outcome,
        "A wins (ties half)": _told(found.win_rate),
        "95 % interval": _ends(found.win_rate),
        "Pairs judged": found.win_rate.n,
        "p": told_p(found.p).removeprefix("p ").removeprefix("= "),
        "Pairs needed": found.needed if found.outcome == "not enough evidence" else None,
        "Orders contradict": _told(found.flips),
        "Cost": dollars(sum(figures["cost_usd"].values())),
    }
    title = f"{figures['a']} (A) against {figures['b']} (B)"
    facts = {name: cell for name, cell in facts.items() if cell is not None}
    return Page(title, facts, list(_sections(figures, found, calibration, rows)))


def _sections(
    figures: Mapping[str, Any],
    found: Comparison,
    calibration: Calibration | None,
    rows: Sequence[Mapping[str, Any]],
) -> Iterator[Section]:
    if figures["warnings"]:
        yield Section("Read this first", "\n\n".join(figures["warnings"]))
    yield Section("What it says", f"{figures['sentence']}\n\n{_how(found)}", list(_of_winning(found)))
    yield Section("The judge's habits", _HABITS, list(_of_habits(found)))
    yield Section("Held against people", *_of_people(calibration))
    counts = figures["counts"]
    told = ", ".join(f"{n:,} {requests.REASONS[why]}" for why, n in counts["left_out"].items())
    yield Section(
        "What was compared",
        f"{counts['rows']:,} rows of {figures['dataset']}, {figures['split']}: {counts['pairs']:,} requests"
        f"{', left out: ' + told if told else ''}.",
        list(_of_rows(figures, rows)),
    )
    cards = [_card(row) for row in _worth_reading(rows)]
    yield Section(
        "Pairs",
        f"{len(cards):,} of {len(rows):,}, some of each verdict. All of them, with the judge's reasons: "
        f"{', '.join(figures['files'])}",
        cards,
    )
    yield Section("What was done with what", parts=[Table(["", ""], list(_made(figures)))])


def _how(found: Comparison) -> str:
    reach = ""
    if found.detectable:
        reach = (
            f" So many pairs show a win rate of {100 * (0.5 + found.detectable):.0f} % or more in {100 * POWER:.0f} of 100 "
            "such comparisons."
        )
    return (
        "Every pair was asked about in both orders, blind, without a right answer. A wins a pair that it wins in both "
        "orders; a tie, a pair where neither is a joke, and one where the orders contradict each other count a half; pairs "
        f"that could not be judged are left out. Intervals are 95 %, over {found.groups:,} groups of pairs that were drawn "
        f"together; {told_p(found.p)} is of the {found.test}, ties left out. Somebody is called better only where interval "
        f"and p both say so.{reach}"
    )


_HABITS = (
    "A judge without a habit of place names the first text half the time; one that only knows places contradicts itself "
    "when they are exchanged. Asking one order alone, as is often done, would have given the win rate in the line "
    "“A, asked first”. At equal length: a logistic regression of the win on the ratio of lengths, ties a half."
)


_NO_PEOPLE = (
    "No choices of people were given, so nobody knows how far this judge agrees with people. Give some, 50 or more, as "
    "`human`: a table with the columns id (of a pair), choice (a, b, tie or neither) and, with several people, user."
)


def _of_winning(found: Comparison) -> Iterator[Table | Any]:
    shares = {
        "A wins, ties half": found.win_rate,
        "the same, bootstrap": found.bootstrap,
        "without ties": found.without_ties,
        "at equal length": found.length.at_equal_length,
    }
    if drawn := {name: each[:3] for name, each in shares.items() if each and each.value is not None}:
        yield intervals("Win rate of A", drawn, 0.5, "share")  # type: ignore[arg-type]
    yield bars("Pairs by verdict", {_NAMES[name]: count for name, count in found.counts.items()})
    yield _table(shares)


def _of_habits(found: Comparison) -> Iterator[Table | Any]:
    shares = {
        "orders contradict each other": found.flips,
        "the same place wins twice": found.slot_flips,
        "named winner stood first": found.first_slot,
        "A, asked first": found.one_order,
        "the longer text wins": found.length.longer_wins,
        "twice as long, as good, wins": found.length.doubled,
    }
    if drawn := {name: each[:3] for name, each in shares.items() if each and each.value is not None}:
        yield intervals("Habits", drawn, 0.5, "share")  # type: ignore[arg-type]
    yield _table(shares, found.length.reason)


def _table(shares: Mapping[str, Share | None], reason: str = "") -> Table:
    rows: list[list[Cell]] = [
        [name, _told(each), _ends(each), each.n]
        if each
        else [name, None, f"not known: {reason}" if reason else None, None]
        for name, each in shares.items()
    ]
    return Table(["figure", "share", "95 % interval", "n"], rows)


def _of_people(found: Calibration | None) -> tuple[str, list[Table]]:
    if found is None:
        return _NO_PEOPLE, []
    alpha = found.alpha
    ends = f"{alpha.low:.2f} to {alpha.high:.2f}" if alpha.low is not None and alpha.high is not None else alpha.reason
    who = f"{found.people:,} {'person' if found.people == 1 else 'people'}"
    return (
        f"{who} looked at {alpha.units:,} of the judged pairs. An inconsistent verdict counts as a tie.",
        [
            Table(
                ["figure", "value", "95 % interval", "n"],
                [
                    ["same choice as the judge", _told(found.agreement), _ends(found.agreement), found.agreement.n],
                    ["Krippendorff's alpha", alpha.value, ends, alpha.units],
                ],
            )
        ],
    )


def _cost_table(figures: Mapping[str, Any]) -> Table:
    return Table(
        ["side", "model", "answered as", "median characters", "cost"],
        [
            [name, figures[side], ", ".join(figures["answered"][side]), figures["median_chars"].get(side), dollars(usd)]
            for (side, usd), name in zip(figures["cost_usd"].items(), ("A", "B", "judge"), strict=True)
        ],
    )


def _of_rows(figures: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    yield _cost_table(figures)
    if figures["settled"]:
        told = {"equal": "both texts are the same: a tie", "empty": "an empty text loses, two are neither"}
        yield Table(
            ["settled without asking", "pairs", "which means"],
            [[code, count, told[code]] for code, count in figures["settled"].items()],
        )
    if figures["not_judged"]:
        yield Table(
            ["not judged", "pairs", "which means"],
            [[code, count, REASONS[code]] for code, count in figures["not_judged"].items()],
        )
    missing = [
        [side.upper(), code, count, write.REASONS[code]]
        for side in "ab"
        for code, count in figures["no_text"][side].items()
    ]
    if missing:
        yield Table(["no text of", "reason", "pairs", "which means"], missing)
    first = [[row["row"], row["error"], row["message"]] for row in rows if row["error"] not in (None, NO_TEXT)]
    if first:
        yield Table(
            ["row", "reason", "message"], first[:_SHOWN], f"The first {len(first[:_SHOWN])} that the judge left"
        )


def _worth_reading(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Some of each verdict, in turn, in the order of the table."""
    by_verdict = {name: [row for row in rows if row["verdict"] == name and not row["settled"]] for name in _NAMES}
    by_verdict["unjudged"] = [row for row in by_verdict["unjudged"] if row["error"] != NO_TEXT]
    turns = max(map(len, by_verdict.values()), default=0)
    order = [some[at] for at in range(turns) for some in by_verdict.values() if at < len(some)]
    return order[:_SHOWN]


def _card(row: Mapping[str, Any]) -> Card:
    said: list[list[Cell]] = [
        [f"{first}'s text first", _whose(row[f"said_{key}"], first, second), row[f"reason_{key}"]]
        for first, second, key in (("A", "B", "a_first"), ("B", "A", "b_first"))
    ]
    return Card(
        f"Row {row['row']}, {row['id']}: {_NAMES[row['verdict']]}",
        (),
        Table(["order", "better", "because (A is here what stood first)"], said),
        {"Request": row["request"], "Text of A": row["text_a"] or "", "Text of B": row["text_b"] or ""},
    )


def _whose(said: str | None, first: str, second: str) -> str | None:
    """Whose text is meant by what the judge said of the first and the second."""
    return f"{first}'s" if said == "A" else f"{second}'s" if said == "B" else said


def _made(figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "dataset", figures["dataset"]
    yield "split", figures["split"]
    for kind, job in figures["jobs"].items():
        yield kind, job["job"]
        yield f"{kind}: source", f"{job['source']['path']}, SHA-256 {job['source']['sha256']}"
        for name, value in job["parameters"].items():
            yield f"{kind}: {name}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in job["versions"].items():
            yield f"{kind}: version of {name}", value
    for side, names in figures["answered"].items():
        yield f"answered, {side}", ", ".join(names) or "nobody was asked"
    for name, told in figures["files"].items():
        yield name, f"SHA-256 {told['sha256']}"


def _markdown(figures: Mapping[str, Any], found: Comparison, html: Path) -> str:
    shares = {
        "A wins, ties half": found.win_rate,
        "without ties": found.without_ties,
        "at equal length": found.length.at_equal_length,
        "orders contradict each other": found.flips,
        "named winner stood first": found.first_slot,
        "the longer text wins": found.length.longer_wins,
    }
    parts = [
        f"# {figures['a']} (A) against {figures['b']} (B)",
        f"**{figures['sentence']}** Judge: {', '.join(figures['answered']['judge']) or figures['judge']}, both orders.",
        *(f"**{warning}**" for warning in figures["warnings"]),
        f"[Report]({html.absolute().as_uri()}): `{html.absolute()}`",
        markdown_table(
            ["figure", "share", "95 % interval", "n"],
            [[name, _told(each), _ends(each) or "", f"{each.n:,}"] for name, each in shares.items() if each],
        ),
        markdown_table(["verdict", "pairs"], [[_NAMES[name], f"{count:,}"] for name, count in found.counts.items()]),
        markdown_table(["", "cost"], [[name, dollars(usd)] for name, usd in figures["cost_usd"].items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _plain_calibration(found: Calibration | None) -> dict[str, Any] | None:
    if found is None:
        return None
    value, low, high, n = found.agreement
    return {
        "agreement": {"share": value, "interval_95": [low, high], "n": n},
        "alpha": asdict(found.alpha),
        "people": found.people,
    }


def _counted(rows: Sequence[Mapping[str, Any]], column: str) -> dict[str, int]:
    return dict(sorted(Counter(row[column] for row in rows if row[column]).items()))


def _median(values: Sequence[int]) -> float | None:
    return median(values) if values else None


def _told(found: Share) -> str:
    return "none" if found.value is None else f"{100 * found.value:.1f} %"


def _ends(found: Share) -> str | None:
    return None if found.value is None else f"{100 * found.low:.1f} to {100 * found.high:.1f} %"
