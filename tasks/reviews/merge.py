"""What people answered, settled turn by turn and put into the table.

Three answers to one turn, and what becomes of them::

    shown  "The bus is white."  ->  "El autobús es blanca."
    reviewer-3f2a9c01  "El autobús es blanco."    minor
    reviewer-77d01b2e  "El autobús es blanco.\\n"  minor
    reviewer-0c5e11aa  "El autobús es blanca."    good
    ->  "El autobús es blanco."  edited  by the first two  "majority"

Which answers count: of each person the newest submitted one that was given to the texts that are in the table now. Where
the memory brought in what people settled, be it of another turn with the same original, the newest answers to this very
turn's original still count, and decide. All others are stale, and listed. A text is taken as NFC and without white space
at its end that the source does not have; one that is then the machine's is an acceptance, any other a correction. A
correction that breaks the turn's structure is broken: it is not merged, and goes back to its reviewer.

An unchanged text with the verdict major or unusable is a complaint: it gives no text, and speaks against the machine's.

The rule, of which the first that applies decides (``RULES``, also in the report): the newest answer of an owner or admin,
if it gives a text; where somebody complains and nobody corrects, adjudication; the only answer; the text of more than
half (of all answers for the machine's text, of those that give a text for another); of three texts or more the one
closest to the others; else adjudication. A turn left for adjudication keeps the machine's text.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tasks.reviews.records import ERRORS, Response
from tasks.storage.errors import PermanentError, TornFile
from tasks.storage.schemas import LLAVA, REVIEW_OPEN, REVIEWED
from tasks.storage.tables import open_table, origin, table_writer, write_table

TextFrom = Literal["machine", "accepted", "edited", "adjudicate"]
Key = tuple[int, int]  # row, turn
Texts = tuple[str, str]  # original, machine

# Why a turn is what it is, in the order in which they are tried.
RULES = {
    "discarded": "Everybody discarded it: the machine's text stays.",
    "owner": "The newest answer of an owner or admin, if it gives a text.",
    "complaint": "Somebody says major or unusable, and nobody corrected it: left for adjudication.",
    "only": "The only answer.",
    "majority": "The text of more than half.",
    "nearest": "Of three or more texts the one closest to the others: the highest mean chrF, both ways.",
    "split": "No text has a majority, nor is one closest: left for adjudication.",
}
_OWNERS = ("owner", "admin")
_GRAVE = ("major", "unusable")
_SAME = 1e-9  # chrF that differs by less is a tie


class Candidate(NamedTuple):
    """A text that somebody gave, and who did."""

    text: str
    by: tuple[str, ...]
    verdicts: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """A turn that was answered.

    Args:
        row, turn: Which.
        original: The source turn's value.
        machine: Its translation as it was shown.
        text: What the turn says now.
        text_from: Whose text it is.
        by: Pseudonyms of those whose text it is, sorted; of all who answered where it is left for adjudication.
        at: When the last of them answered, UTC; None where all discarded it.
        why: A key of ``RULES``.
        is_error: Whether the machine was wrong: at least half of those in ``by`` changed its text or gave a verdict in
            ``ERRORS``.
        codes: Codes of the checks.
        translator: Name and version.
    """

    row: int
    turn: int
    original: str
    machine: str
    text: str
    text_from: TextFrom
    by: tuple[str, ...]
    at: datetime | None
    why: str
    is_error: bool
    codes: tuple[str, ...]
    translator: str


class Open(NamedTuple):
    """A turn left for adjudication, with what people gave."""

    turn: Settled
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Merged:
    """What people's answers come to; all in order of rows and turns.

    Args:
        settled: The turns that were answered, or discarded by everybody.
        open: Those among them that are left for adjudication.
        broken: Corrections that break their turn, with the reason.
        stale: Submitted answers to texts that are no more in the table.
        answers: Submitted answers that are neither: one per person and turn; broken ones too, for their verdicts.
    """

    settled: tuple[Settled, ...]
    open: tuple[Open, ...]
    broken: tuple[tuple[Response, str], ...]
    stale: tuple[Response, ...]
    answers: tuple[Response, ...]


class _Answer(NamedTuple):
    """An answer that may stand; ``text`` is None for a complaint."""

    response: Response
    text: str | None
    is_edit: bool


def read_turns(table: Path, rows: Collection[int] | None = None) -> Iterator[tuple[Key, Texts]]:
    """The turns of a table of schema ``LLAVA``, row group by row group.

    Args:
        table: The table.
        rows: Only these rows.

    Raises:
        TornFile: The table is damaged.
        ForeignTable: It is another table.
    """
    wanted = None if rows is None else pa.array(sorted(rows), pa.int64())
    for group in _groups(table, ["row", "conversations", "translated"]):
        some = group if wanted is None else group.filter(pc.is_in(group["row"], wanted))
        for row in some.to_pylist():
            turns = zip(row["conversations"], row["translated"], strict=True)
            for turn, (asked, translated) in enumerate(turns):
                yield (row["row"], turn), (asked["value"], translated["value"])


def read_remembered(table: Path, rows: Collection[int], translator: str) -> set[Key]:
    """The turns of these rows whose text the memory brought: those of this translator.

    Raises:
        TornFile: The table is damaged.
        ForeignTable: It is another table.
    """
    wanted = pa.array(sorted(rows), pa.int64())
    return {
        (row["row"], turn)
        for group in _groups(table, ["row", "translator"])
        for row in group.filter(pc.is_in(group["row"], wanted)).to_pylist()
        for turn, name in enumerate(row["translator"])
        if name == translator
    }


def settle(
    turns: Iterable[tuple[Key, Texts]],
    responses: Iterable[Response],
    verify: Callable[[str, str], Sequence[str]],
    reasons: Mapping[str, str] | None = None,
    remembered: Collection[Key] = (),
) -> Merged:
    """Settle every turn that was answered. The module says how.

    Args:
        turns: The table's turns as they are now, such as ``read_turns`` gives.
        responses: Each answer in its newest version.
        verify: Codes of what a text breaks, from the original and the text; none where it may stand.
        reasons: What the codes mean, in words for reviewers.
        remembered: Turns whose text the memory brought, such as ``read_remembered`` gives.
    """
    given: dict[Key, list[Response]] = defaultdict(list)
    for response in responses:
        given[response.row, response.turn].append(response)
    current = {key: texts for key, texts in turns if key in given}
    settled: list[Settled] = []
    left: list[Open] = []
    broken: list[tuple[Response, str]] = []
    stale: list[Response] = []
    counted: list[Response] = []
    for key in sorted(given):
        taken, old = _current(given[key], current.get(key), verify, reasons or {}, key in remembered)
        stale += old
        if taken is None:
            continue
        broken += taken.broken
        counted += taken.counted
        if taken.settled:
            settled.append(taken.settled)
            if taken.settled.text_from == "adjudicate":
                left.append(Open(taken.settled, _candidates(taken.settled.machine, taken.answers)))
    return Merged(tuple(settled), tuple(left), tuple(broken), tuple(stale), tuple(counted))


def settle_table(
    table: Path,
    responses: Collection[Response],
    verify: Callable[[str, str], Sequence[str]],
    reasons: Mapping[str, str],
    translator: str,
) -> Merged:
    """Settle every turn of a table that was answered, as ``settle`` does.

    Args:
        table: The table of schema ``LLAVA``.
        responses: Each answer in its newest version.
        verify: Codes of what a text breaks, from the original and the text; none where it may stand.
        reasons: What the codes mean, in words for reviewers.
        translator: Name of the one that stands for the memory.

    Raises:
        TornFile: The table is damaged.
        ForeignTable: It is another table.
    """
    answered = {response.row for response in responses}
    remembered = read_remembered(table, answered, translator)
    return settle(read_turns(table, answered), responses, verify, reasons, remembered)


def settle_shown(responses: Iterable[Response], verify: Callable[[str, str], Sequence[str]]) -> list[Settled]:
    """What people settled for every pair of texts that they were shown, whether the table still holds it or not.

    For the memory: a text that is gone from the table, or was changed since, stays settled.
    """
    by_shown: dict[tuple[int, int, str, str], list[Response]] = defaultdict(list)
    for response in responses:
        by_shown[response.row, response.turn, response.original, response.machine].append(response)
    taken = (_take(some, verify, {}) for _, some in sorted(by_shown.items()))
    return [each.settled for each in taken if each.settled]


def write_reviewed(table: Path, merged: Merged, path: Path) -> Path:
    """Write the delivered rows again, with people's texts. Equal answers give equal bytes.

    Args:
        table: The table of schema ``LLAVA`` that was settled.
        merged: What was settled.
        path: The table of schema ``REVIEWED`` to write.

    Raises:
        PermanentError: The table is not the one that was settled, so a settled turn is not in it; nothing is written.
        TornFile: The table is damaged.
        DiskFull: No room; the old table is untouched.
    """
    by_row: dict[int, list[Settled]] = defaultdict(list)
    for each in merged.settled:
        by_row[each.row].append(each)
    with open_table(table, LLAVA) as file:
        rows_in, made_by = file.metadata.num_rows, {**origin(file), "schema": REVIEWED.name}
    rows_out = placed = 0
    with table_writer(path, REVIEWED, made_by) as writer:
        for group in _groups(table):
            reviewed, put = _reviewed(group, by_row)
            writer.write_table(reviewed)
            rows_out += reviewed.num_rows
            placed += put
        if rows_out != rows_in or placed != len(merged.settled):
            raise PermanentError(
                f"{table}: {rows_in} rows went in and {rows_out} came out, with {placed} of {len(merged.settled)} "
                "settled turns. The table was changed meanwhile; pull again. Nothing was written."
            )
    return path


def write_open(merged: Merged, path: Path) -> Path:
    """Write what is left to do: turns to adjudicate, and broken corrections, with what people gave."""
    left = [_left(each.turn, "adjudicate", RULES[each.turn.why], each.candidates) for each in merged.open]
    left += [
        _left(response, "broken", reason, [_candidate(response.text or "", [response])])
        for response, reason in merged.broken
    ]
    rows = sorted(left, key=lambda row: (row["row"], row["turn"], row["what"], row["candidates"][0]["by"]))
    return write_table(pa.Table.from_pylist(rows, REVIEW_OPEN.columns), path, REVIEW_OPEN, {})


def as_taken(text: str, original: str) -> str:
    r"""A text as it is compared and merged: NFC, and at its end only white space that the source has there too.

    Editors add a line break at the end, and turn ``\r\n`` into ``\n``.
    """
    text = unicodedata.normalize("NFC", text)
    if "\r\n" in original and "\r" not in text and "\n" not in original.replace("\r\n", ""):
        text = text.replace("\n", "\r\n")
    body = text.rstrip()
    end, allowed = text[len(body) :], original[len(original.rstrip()) :]
    while not allowed.startswith(end):
        end = end[:-1]
    return body + end


class _Taken(NamedTuple):
    """A turn's answers to the same two texts."""

    settled: Settled | None  # None where all are broken, or nobody has finished
    answers: list[_Answer]
    counted: list[Response]
    broken: list[tuple[Response, str]]


def _current(
    responses: Sequence[Response],
    texts: Texts | None,
    verify: Callable[[str, str], Sequence[str]],
    reasons: Mapping[str, str],
    is_remembered: bool,
) -> tuple[_Taken | None, list[Response]]:
    """A turn's answers that hold for the table, if any, and the submitted ones that do not."""
    by_texts: dict[Texts, list[Response]] = defaultdict(list)
    for response in responses:
        by_texts[response.original, response.machine].append(response)
    submitted = [response for response in responses if response.status == "submitted"]
    if texts is None:
        return None, submitted
    if texts in by_texts:
        taken = _take(by_texts[texts], verify, reasons)
        if taken.settled or taken.counted:
            return taken, [each for each in submitted if (each.original, each.machine) != texts]
    # The memory has brought into the table what was settled before: these answers are where its text comes from.
    for shown, some in sorted(by_texts.items()):
        if shown[0] == texts[0]:
            taken = _take(some, verify, reasons)
            if (
                taken.settled
                and taken.settled.text_from == "edited"
                and taken.settled.text == as_taken(texts[1], texts[0])
            ):
                settled = replace(taken.settled, text=texts[1])
                old = [each for each in submitted if (each.original, each.machine) != shown]
                return taken._replace(settled=settled), old
    # It has brought in what people settled of another turn that says the same: of this one its own answers decide.
    asked = [each for each in submitted if each.original == texts[0]]
    if is_remembered and asked:
        newest = max(asked, key=_age)
        shown = newest.original, newest.machine
        taken = _take(by_texts[shown], verify, reasons)
        if taken.settled and taken.settled.text_from == "adjudicate":
            taken = taken._replace(settled=replace(taken.settled, text=texts[1]))
        return taken, [each for each in submitted if (each.original, each.machine) != shown]
    return None, submitted


def _take(
    responses: Sequence[Response], verify: Callable[[str, str], Sequence[str]], reasons: Mapping[str, str]
) -> _Taken:
    """Settle one turn by the answers to the same two texts."""
    original, machine = responses[0].original, responses[0].machine
    unchanged = as_taken(machine, original)
    newest: dict[str, Response] = {}
    for response in sorted(responses, key=_age):
        if response.status == "submitted":
            newest[response.user] = response
    if not newest:
        dropped = all(response.status == "discarded" for response in responses)
        return _Taken(_settled(responses, machine, "machine", "discarded") if dropped else None, [], [], [])
    answers: list[_Answer] = []
    broken: list[tuple[Response, str]] = []
    for response in sorted(newest.values(), key=_age):
        text = unchanged if response.text is None else as_taken(response.text, original)
        is_edit = text != unchanged
        codes = list(verify(original, text)) if is_edit else []
        if is_edit and not text.strip() and original.strip():
            codes = sorted({*codes, "empty"})
        if codes:
            broken.append(
                (response, " ".join(f"{code}: {reasons[code]}" if code in reasons else code for code in codes))
            )
        elif is_edit:
            answers.append(_Answer(response, text, True))
        else:
            answers.append(_Answer(response, None if response.verdict in _GRAVE else machine, False))
    settled = _decide(answers, machine) if answers else None
    return _Taken(settled, answers, list(newest.values()), broken)


def _decide(answers: Sequence[_Answer], machine: str) -> Settled:
    """Apply the rule; answers are in order of time."""
    texts = [answer.text for answer in answers if answer.text is not None]
    owners = [answer for answer in answers if answer.response.role in _OWNERS]
    if owners and owners[-1].text is not None:
        return _by_text(answers, owners[-1].text, machine, "owner")
    has_complaint, has_edit = len(texts) < len(answers), any(answer.is_edit for answer in answers)
    if has_complaint and not has_edit:
        return _settled([answer.response for answer in answers], machine, "adjudicate", "complaint")
    if len(answers) == 1:
        return _by_text(answers, texts[0], machine, "only")
    for text, times in Counter(texts).items():
        if 2 * times > (len(answers) if text == machine else len(texts)):
            return _by_text(answers, text, machine, "majority")
    nearest = _nearest(texts) if len(texts) >= 3 else None
    if nearest is not None:
        return _by_text(answers, nearest, machine, "nearest")
    return _settled([answer.response for answer in answers], machine, "adjudicate", "split")


def _nearest(texts: Sequence[str]) -> str | None:
    """The text with the highest mean chrF to the others; None on a tie.

    Both ways, since chrF takes one of two texts as the reference and is not the same the other way round.
    """
    from sacrebleu.metrics.chrf import CHRF

    chrf = CHRF()
    scores: dict[str, float] = {}
    for text in dict.fromkeys(texts):
        others = list(texts)
        others.remove(text)
        both = [(one, other) for each in others for one, other in ((text, each), (each, text))]
        scores[text] = sum(chrf.sentence_score(one, [other]).score for one, other in both) / len(both)
    best = max(scores.values())
    nearest = [text for text, score in scores.items() if score > best - _SAME]
    return nearest[0] if len(nearest) == 1 else None


def _by_text(answers: Sequence[_Answer], text: str, machine: str, why: str) -> Settled:
    chosen = [answer.response for answer in answers if answer.text == text]
    return _settled(chosen, text, "accepted" if text == machine else "edited", why, machine)


def _settled(
    deciding: Sequence[Response], text: str, text_from: TextFrom, why: str, machine: str | None = None
) -> Settled:
    first, machine = deciding[0], deciding[0].machine if machine is None else machine
    answered = text_from != "machine"
    wrong = sum(_finds_error(each) for each in deciding)
    return Settled(
        row=first.row,
        turn=first.turn,
        original=first.original,
        machine=machine,
        text=text,
        text_from=text_from,
        by=tuple(sorted({each.user for each in deciding})) if answered else (),
        at=max(each.updated_at for each in deciding) if answered else None,
        why=why,
        is_error=answered and 2 * wrong >= len(deciding),
        codes=first.codes,
        translator=first.translator,
    )


def is_edit(response: Response) -> bool:
    """Whether an answer changes the text that was shown."""
    shown = as_taken(response.machine, response.original)
    return response.text is not None and as_taken(response.text, response.original) != shown


def _finds_error(response: Response) -> bool:
    return is_edit(response) or response.verdict in ERRORS


def _candidates(machine: str, answers: Sequence[_Answer]) -> tuple[Candidate, ...]:
    by_text: dict[str, list[Response]] = defaultdict(list)
    for answer in answers:
        by_text[machine if answer.text is None else answer.text].append(answer.response)
    return tuple(_candidate(text, some) for text, some in sorted(by_text.items()))


def _candidate(text: str, responses: Sequence[Response]) -> Candidate:
    return Candidate(
        text,
        tuple(each.user for each in responses),
        tuple(each.verdict or "" for each in responses),
        tuple(each.note for each in responses if each.note),
    )


def _left(each: Settled | Response, what: str, reason: str, candidates: Sequence[Candidate]) -> dict[str, Any]:
    return {
        "row": each.row,
        "turn": each.turn,
        "what": what,
        "reason": reason,
        "original": each.original,
        "machine": each.machine,
        "candidates": [
            {"text": given.text, "by": given.by, "verdicts": given.verdicts, "notes": given.notes}
            for given in candidates
        ],
    }


def _age(response: Response) -> tuple[datetime, str]:
    return response.updated_at, response.id


def _groups(table: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of a table of schema ``LLAVA``, one at a time."""
    with open_table(table, LLAVA) as file:
        try:
            for number in range(file.num_row_groups):
                yield file.read_row_group(number, columns=None if columns is None else list(columns))
        except (OSError, pa.ArrowInvalid) as error:
            raise TornFile(f"{table} is damaged ({error}). Move it away and run translate-llava again.") from error


def _reviewed(group: pa.Table, by_row: Mapping[int, Sequence[Settled]]) -> tuple[pa.Table, int]:
    """A row group with people's texts in it, and how many settled turns were placed."""
    lists = pa.concat_arrays(group["translated"].chunks)
    starts = lists.offsets.to_numpy() - lists.offsets[0].as_py()
    flat, turns = lists.flatten(), int(starts[-1])
    values = flat.field("value").to_pylist()
    text_from: list[str] = ["machine"] * turns
    by: list[tuple[str, ...]] = [()] * turns
    at: list[datetime | None] = [None] * turns
    placed = 0
    for place, row in enumerate(group["row"].to_pylist()):
        for each in by_row.get(row, ()):
            if each.turn < starts[place + 1] - starts[place]:
                where = starts[place] + each.turn
                values[where], text_from[where], by[where], at[where] = each.text, each.text_from, each.by, each.at
                placed += 1
    columns = {
        "translated": pa.StructArray.from_arrays(
            [flat.field("from"), pa.array(values, pa.string())], ["from", "value"]
        ),
        "text_from": pa.array(text_from, pa.string()),
        "reviewed_by": pa.array(by, pa.list_(pa.string())),
        "reviewed_at": pa.array(at, pa.timestamp("us", "UTC")),
    }
    offsets = pa.array(starts, pa.int32())
    per_row = {name: pa.ListArray.from_arrays(offsets, column) for name, column in columns.items()}
    kept = {name: group[name] for name in group.column_names if name not in per_row}
    names = REVIEWED.columns.names
    return pa.table({name: {**kept, **per_row}[name] for name in names}).cast(REVIEWED.columns), placed
