"""What people's answers come to, for people and for programs.

::

    reports/review-llava-es/report.html    facts, tables and plots in one file that needs no network
                            report.json    the same figures, and more

The Markdown that comes back is the short form for the Prefect UI. Equal answers give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.pages.page import Cell, Page, Plot, Section, Table
from tasks.pages.plots import bars, histogram
from tasks.pages.words import interval, markdown_table, percent, with_interval
from tasks.reviews.agreement import figures
from tasks.reviews.history import History
from tasks.reviews.merge import RULES, Key, Merged
from tasks.storage.files import write_bytes

_SHOWN = 20  # open turns, broken and stale answers, and reviewers in a plot
_UNKNOWN = "not known yet"

# What counts as an error, in one place for the page and the docs.
ERROR = (
    "A turn has an error when at least half of the answers that decided it changed the text, or gave another "
    "verdict than good. Those that decided are the ones whose text was taken; of a turn left for adjudication, all. "
    "So every edited turn is an error of the machine, however small the edit."
)


@dataclass(frozen=True, slots=True)
class Report:
    """What was written, and the short form."""

    html: Path
    json: Path
    markdown: str


def write_review_report(
    folder: Path,
    name: str,
    history: History,
    merged: Merged,
    left: Path,
    drawn: Collection[Key] | None,
) -> Report:
    """Write the report of a review.

    Args:
        folder: Where ``report.html`` and ``report.json`` go.
        name: Of the review.
        history: All answers.
        merged: What they come to.
        left: The table of what is left to do, which the page names.
        drawn: Row and turn of all that was drawn at random; None where that is not known.

    Raises:
        DiskFull: No room; the old report is untouched.
    """
    told = {"review": name, "left": str(left), "responses": str(history.path), **figures(history, merged, drawn)}
    written = write_bytes(folder / "report.json", json.dumps(told, indent=2, ensure_ascii=False).encode())
    html = write_bytes(folder / "report.html", _page(told).html().encode())
    return Report(html, written, _markdown(told, html))


def _page(told: Mapping[str, Any]) -> Page:
    rows = told["audit"]["rows"]
    return Page(
        f"Review of {told['review']}",
        facts={
            "Turns answered": told["answered"],
            "Accepted": told["text_from"].get("accepted", 0),
            "Edited": told["text_from"].get("edited", 0),
            "To adjudicate": len(told["open"]),
            "Reviewers": len(told["reviewers"]),
            "Answers": told["answers"].get("submitted", 0),
            "Audited rows with an error": percent(rows["share"]) if rows["n"] else _UNKNOWN,
            "Audited rows": f"{rows['n']:,} of {rows['drawn']:,}",
        },
        sections=list(_sections(told)),
    )


def _sections(told: Mapping[str, Any]) -> Iterator[Section]:
    yield Section("How often the machine is wrong", "\n\n".join(_error_rate(told["audit"])))
    yield Section(
        "How turns were settled",
        "Of each person the newest submitted answer counts, if it was given to the texts that are in the table. The "
        "first rule that applies decides. A majority for the machine's text is one of all answers; for a correction "
        "one of all that give a text: an unchanged text called major or unusable gives none.",
        [
            Table(
                ["rule", "turns", "which means"],
                [[rule, told["decided_by"].get(rule, 0), words] for rule, words in RULES.items()],
            )
        ],
    )
    if not told["answered"]:
        yield Section("What to do next", "\n\n".join(_next_steps(told)))
        return
    yield Section(
        "What was wrong",
        "Submitted answers to the texts in the table; one may name several kinds.",
        list(_errors(told)),
    )
    if told["corrections"]["n"]:
        yield Section("Corrections", "\n\n".join(_corrected(told["corrections"])), [_distances(told["corrections"])])
    yield Section("Do reviewers agree?", "\n\n".join(_agreement(told["agreement"])), [_alphas(told["agreement"])])
    yield Section(
        "Reviewers",
        "Names stand for people without saying who they are. Accepted and edited are submitted answers.",
        list(_reviewers(told["reviewers"])),
    )
    yield Section(
        "Translators",
        "Of the turns that were answered, worst and random ones together: worst rows are edited more than others, "
        "so these shares are not the error rate above. Intervals: 95 %, with rows as clusters.",
        [_translators(told["translators"])],
    )
    yield Section(
        "Does a check predict an edit?",
        "Of the answered turns with a check's code, how many were edited, and of those without it. An interval of "
        "the difference that lies above 0 says that the code predicts edits, here: worst rows were picked for their "
        "codes, so turns without a code come partly from rows that have others. Intervals: 95 %, with rows as "
        "clusters; the difference by Newcombe's method.",
        list(_codes(told["codes"], told["no_code"])),
    )
    yield from _left(told)
    yield Section("What to do next", "\n\n".join(_next_steps(told)))


def _error_rate(audit: Mapping[str, Any]) -> Iterator[str]:
    rows, turns = audit["rows"], audit["turns"]
    yield (
        f"Rows drawn at random with at least one error: {_or_unknown(rows)}. Turns of them with an error: "
        f"{_or_unknown(turns)}."
    )
    yield (
        f"{rows['answered']:,} of {rows['drawn']:,} rows drawn are answered, {turns['answered']:,} of "
        f"{turns['drawn']:,} turns. Rows without an answer to each of their turns ({audit['rows_begun']:,} are "
        "begun) are not in the share of rows: it holds for all if they are like the others. Turns that everybody "
        "discarded count as not answered."
    )
    if not audit["drawn_is_known"]:
        yield (
            "Which rows were drawn is not written down here: those that anybody has answered stand for them, so the "
            "share answered is too high. Push once more from this machine with the same seed."
        )
    yield ERROR
    yield (
        "It is the rate of the texts as reviewers saw them. Intervals, 95 %: of rows Wilson's; of turns also "
        "Wilson's, with as many turns as would tell as much if they had been drawn one by one, since turns of a row "
        "share their faults."
    )


def _errors(told: Mapping[str, Any]) -> Iterator[Plot]:
    yield bars("Answers by verdict", told["verdicts"], "answers")
    kinds = {name: number for name, number in sorted(told["kinds"].items(), key=lambda item: -item[1]) if number}
    if kinds:
        yield bars("Answers by kind of error", kinds, "answers")


def _corrected(corrections: Mapping[str, Any]) -> Iterator[str]:
    chars, rewritten = corrections["chars_changed"], corrections["ter_without_shifts"]
    yield (
        f"{_n(corrections['n'], 'turn')} corrected. The machine's text held against people's: chrF "
        f"{corrections['chrf']:.1f}, TER {corrections['ter']:.1f}; {chars['mean']:,.1f} characters changed per turn "
        f"on average, median {chars['median']:,.0f}."
    )
    yield (
        f"By sacrebleu, chrF {corrections['chrf_signature']} and TER {corrections['ter_signature']}."
        + f" Shifts of words were not searched for in {_n(rewritten, 'long turn')} that people wrote mostly anew, so TER "
        "may be a little high." * bool(rewritten)
    )


def _distances(corrections: Mapping[str, Any]) -> Plot:
    changed = corrections["chars_changed_percent"]
    return histogram(
        "Corrected turns by share of characters changed", changed["edges"], changed["turns"], "% of the corrected text"
    )


def _agreement(agreement: Mapping[str, Any]) -> Iterator[str]:
    if not agreement["turns_answered_twice"]:
        yield "No turn has answers of two people yet."
        return
    yield (
        f"{_n(agreement['turns_answered_twice'], 'turn')} with answers of two people or more. All of them edited it, "
        f"or all accepted it: {with_interval(agreement['both_edit_or_both_accept'])}."
    )
    yield (
        "Krippendorff's alpha is 1 where all agree, and 0 where they agree as chance would. Krippendorff asks for "
        "0.8, and for 0.667 where conclusions may be tentative (Content Analysis, 2004). Intervals: 95 %, by "
        "drawing the rows anew 2,000 times."
    )


def _alphas(agreement: Mapping[str, Any]) -> Table:
    named = {
        "edited or not (nominal)": agreement["edit"],
        "verdict (ordinal: good to unusable)": agreement["verdict"],
        "kinds of error (sets, MASI distance)": agreement["kinds"],
    }
    return Table(
        ["question", "alpha", "95 % interval", "turns", "answers", "remark"],
        [
            [
                name,
                _alpha(item["value"]),
                _ends(item["low"], item["high"]),
                item["units"],
                item["answers"],
                item["reason"],
            ]
            for name, item in named.items()
        ],
    )


def _reviewers(reviewers: Mapping[str, Any]) -> Iterator[Table | Plot]:
    columns = ["reviewer", "role", "submitted", "accepted", "edited", "discarded", "draft", "last answer, UTC"]
    yield Table(
        columns,
        [
            [name, *(item[column] for column in columns[1:-1]), item["last"][:16].replace("T", " ")]
            for name, item in reviewers.items()
        ],
    )
    edited = {name: 100 * item["edited"] / item["submitted"] for name, item in reviewers.items() if item["submitted"]}
    if len(edited) > 1:
        some = dict(list(edited.items())[:_SHOWN])
        yield bars(
            "Edited, of 100 submitted answers", {name: round(share, 1) for name, share in some.items()}, "edited"
        )


def _translators(translators: Mapping[str, Any]) -> Table:
    return Table(
        ["translator", "turns", "edited", "95 % interval", "with an error", "95 % interval"],
        [
            [
                name,
                item["edited"]["n"],
                percent(item["edited"]["share"]),
                interval(item["edited"]),
                percent(item["errors"]["share"]),
                interval(item["errors"]),
            ]
            for name, item in translators.items()
        ],
    )


def _codes(codes: Mapping[str, Any], no_code: Mapping[str, Any]) -> Iterator[Table | Plot]:
    if not codes:
        return
    columns = ["check", "turns with", "edited", "turns without", "edited", "difference", "95 % interval", "lift"]
    yield Table(columns, [_code(name, item) for name, item in codes.items()])
    shares = {name: item["with"]["share"] for name, item in codes.items()}
    if no_code["n"]:
        shares["no code at all"] = no_code["share"]
    yield bars("Edited, of 100 turns", {name: round(100 * share, 1) for name, share in shares.items()}, "edited")


def _code(name: str, item: Mapping[str, Any]) -> list[Cell]:
    flagged, others, ends = item["with"], item["without"], item["difference_interval_95"]
    compared: list[Cell] = [None] * 4
    if ends:
        compared = [
            percent(others["share"]),
            f"{100 * item['difference']:+.1f} points",
            f"{100 * ends[0]:+.1f} to {100 * ends[1]:+.1f}",
            f"× {item['lift']:.2f}" if item["lift"] is not None else None,
        ]
    return [name, flagged["n"], percent(flagged["share"]), others["n"], *compared]


def _left(told: Mapping[str, Any]) -> Iterator[Section]:
    tables = {
        "Turns to adjudicate": (
            ["row", "turn", "texts", "answered by", "rule"],
            [[item["row"], item["turn"], item["texts"], ", ".join(item["by"]), item["why"]] for item in told["open"]],
        ),
        "Corrections that break their turn": (
            ["row", "turn", "reviewer", "reason"],
            [[item["row"], item["turn"], item["user"], item["reason"]] for item in told["broken"]],
        ),
        "Answers to texts that are no more in the table": (
            ["row", "turn", "reviewer"],
            [[item["row"], item["turn"], item["user"]] for item in told["stale"]],
        ),
    }
    for title, (columns, rows) in tables.items():
        if rows:
            more = f", the first {_SHOWN} of them" if len(rows) > _SHOWN else ""
            yield Section(title, f"{len(rows):,} in all{more}.", [Table(columns, rows[:_SHOWN])])


def _next_steps(told: Mapping[str, Any]) -> Iterator[str]:
    if not told["answers"]:
        yield "Nobody has answered yet. Push translations, and ask people to review them."
    if told["open"]:
        yield (
            f"{_n(len(told['open']), 'turn')} to adjudicate: the answer of an owner or admin to its record decides. "
            f"Until then the machine's text stays. What people gave: {told['left']}"
        )
    if told["broken"]:
        yield (
            f"{_n(len(told['broken']), 'correction')} back on the reviewers' lists, with the reason: merged when "
            f"submitted again, and whole. They stand in {told['left']} too."
        )
    if told["stale"]:
        yield (
            f"{_n(len(told['stale']), 'answer')} to texts that are no more in the table: kept with these texts, "
            "without a part in the figures. Push again to have the new texts reviewed."
        )
    rows = told["audit"]["rows"]
    if rows["answered"] < rows["drawn"]:
        yield (
            f"{_n(rows['drawn'] - rows['answered'], 'row')} drawn at random and not fully answered. Review these "
            "first: the error rate is theirs."
        )
    if told["text_from"].get("edited"):
        yield "Corrections are in the translation memory. Run translate-llava again: equal texts get them."
    yield f"All answers in all their versions ({told['versions']:,}): {told['responses']}"


def _markdown(told: Mapping[str, Any], html: Path) -> str:
    audit, agreement = told["audit"], told["agreement"]
    rows = [
        ["turns answered", f"{told['answered']:,}"],
        *([name, f"{told['text_from'].get(name, 0):,}"] for name in ("accepted", "edited", "adjudicate")),
        ["broken corrections", f"{len(told['broken']):,}"],
        ["answers to texts of before", f"{len(told['stale']):,}"],
        ["rows drawn at random and answered", f"{audit['rows']['answered']:,} of {audit['rows']['drawn']:,}"],
        ["of them with an error", _or_unknown(audit["rows"])],
        ["their turns with an error", _or_unknown(audit["turns"])],
        *(
            [
                f"alpha of the {name}",
                " ".join(filter(None, [_alpha(item["value"]), _bracketed(item), item["reason"]])),
            ]
            for name, item in (
                ("edits", agreement["edit"]),
                ("verdict", agreement["verdict"]),
                ("kinds of error", agreement["kinds"]),
            )
        ),
    ]
    if told["corrections"]["n"]:
        rows.append(
            ["chrF, TER of corrections", f"{told['corrections']['chrf']:.1f}, {told['corrections']['ter']:.1f}"]
        )
    parts = [
        f"# {told['answered']:,} turns of {told['review']} reviewed",
        f"[Report with plots]({html.absolute().as_uri()}): `{html.absolute()}`",
        markdown_table(["", "n"], rows),
        "## Next",
        "\n".join(f"- {step}" for step in _next_steps(told)),
    ]
    return "\n\n".join(parts) + "\n"


def _or_unknown(item: Mapping[str, Any]) -> str:
    return with_interval(item) if item["n"] else _UNKNOWN


def _n(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _alpha(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _bracketed(item: Mapping[str, Any]) -> str | None:
    ends = _ends(item["low"], item["high"])
    return ends and f"({ends})"


def _ends(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"{low:.3f} to {high:.3f}"
