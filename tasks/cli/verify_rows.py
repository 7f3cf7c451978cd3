"""Every row of a table, or of a job's chunks, against what must hold in a row of its kind.

A finding names the row: ``row 17, turn 1: placeholder: '<imagen> ¿Qué es?'``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, isfinite
from pathlib import Path
from typing import Any, NamedTuple, get_args

from tasks.evaluation.gather import REASONS as UNPREDICTED
from tasks.jokes import rules as jokes
from tasks.judging import rules as judged
from tasks.llava.checks import SOFT
from tasks.llava.conversation import Conversation, Turn
from tasks.llava.corrections import HOW, read_corrections
from tasks.llava.translate import Translated, TurnResult, record
from tasks.llava.verify import verify_turn
from tasks.memes.readers.protocol import Line, joined
from tasks.memes.report import REJECTIONS as MEME_REJECTIONS
from tasks.reviews.records import KINDS, VERDICTS, Part, Status, shown_digest
from tasks.storage.errors import ForeignTable, TornFile
from tasks.storage.schemas import (
    CLIP_ANSWERS,
    JOKES,
    JOKES_EXTRACTED,
    LLAVA,
    LLAVA_REJECTED,
    MEME_FILES,
    MEME_READINGS,
    MEMES,
    MEMES_CLASSIFIED,
    MEMES_REJECTED,
    MEMES_TO_CLASSIFY,
    MEMES_UNCLASSIFIED,
    PREDICTIONS,
    RESPONSES,
    REVIEW_OPEN,
    REVIEWED,
    TRANSLATIONS,
    VLM_ANSWERS,
    TableSchema,
)
from tasks.storage.tables import open_table, read_group
from tasks.zeroshot.report import REJECTIONS as CLASSIFYING_REJECTIONS

_SHA256 = re.compile(r"[0-9a-f]{64}")
NAMED = 5  # shown for each code
_REVIEWED_LISTS = ("text_from", "reviewed_by", "reviewed_at")
_CLASSIFYING = (MEMES_TO_CLASSIFY, MEMES_UNCLASSIFIED, VLM_ANSWERS, CLIP_ANSWERS, MEMES_CLASSIFIED)
_OF_MEMES = (MEME_FILES, MEMES, MEME_READINGS, MEMES_REJECTED)
TEXT_FROM = ("machine", "accepted", "edited", "adjudicate")


@dataclass(slots=True)
class Check:
    """One thing that was held against what it should be.

    Args:
        path: The file or folder.
        what: What should be so.
        n: How many rows, turns or files were looked at.
        wrong: How many of them are not so, by code.
        examples: The first of each code, by name.
    """

    path: Path
    what: str
    n: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def find(self, code: str, where: str) -> None:
        """Note something that is not as it should be."""
        self.wrong[code] += 1
        if self.wrong[code] <= NAMED:
            self.examples.append(where)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "path": str(self.path),
            "what": self.what,
            "n": self.n,
            "wrong": dict(self.wrong),
            "examples": self.examples,
        }


@dataclass(slots=True)
class Held:
    """What the rows of a table hold, for counts that go over several files."""

    rows: list[int] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    turns: int = 0
    kept: int = 0
    translators: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)


def check_rows(path: Path, files: Sequence[Path], schema: TableSchema, held: Held) -> Iterator[Check]:
    """Every row of one table, in one file or several: keys, and what must hold in a row of its kind."""
    yield from _fitting(path, files, schema, held) if schema in _LOOKS else _turned(path, files, schema, held)


def _turned(path: Path, files: Sequence[Path], schema: TableSchema, held: Held) -> Iterator[Check]:
    """Rows of turns: keys, structure, what must hold in delivered turns."""
    keys = Check(path, "row numbers are unique and ascending")
    structure = Check(path, "roles, number of turns and lists per turn fit the source")
    hard = Check(path, "what must hold in every delivered turn holds")
    last = -1
    try:
        for item in items_of(files, schema):
            row = item["row"]
            keys.n += 1
            if row <= last:
                keys.find("key", f"row {row} comes after row {last}")
            last = row
            held.rows.append(row)
            if "translated" not in item:
                continue
            structure.n += 1
            for code, message in _structure(item, schema):
                structure.find(code, f"row {row}{message}")
            if item["error"] is None:
                _turns(item, held, hard)
            else:
                held.errors[item["error"]] += 1
    except (FileNotFoundError, TornFile, ForeignTable) as error:
        keys.find(type(error).__name__, str(error))
    yield from (check for check in (keys, structure, hard) if check.n or check is keys)


def _fitting(path: Path, files: Sequence[Path], schema: TableSchema, held: Held) -> Iterator[Check]:
    """Rows of anything else: keys, and parts that fit one another."""
    look = _LOOKS[schema]
    keys, fits = Check(path, "row numbers are unique and ascending"), Check(path, look.what)
    last, ids, named = -1, set(), set()
    try:
        for item in items_of(files, schema):
            keys.n += 1
            fits.n += 1
            if item["row"] <= last:
                keys.find("key", f"row {item['row']} comes after row {last}")
            last = item["row"]
            held.rows.append(last)
            held.errors.update([item["error"]] if item.get("error") is not None else [])
            held.checks[item.get("verdict", "")] += 1
            held.kept += bool(item.get("keep"))
            ids.add(item.get("id"))
            named |= {item.get("duplicate_of"), item.get("near_duplicate_of")} - {None}
            for code, message in look.faults(item, schema):
                fits.find(code, f"{look.where.format_map(item)}: {message}")
        if schema in (JOKES_EXTRACTED, JOKES) and named - ids:
            fits.find("duplicate", f"jokes are said to repeat {len(named - ids)} others that are not there")
    except (FileNotFoundError, TornFile, ForeignTable) as error:
        keys.find(type(error).__name__, str(error))
    yield keys
    yield fits


def items_of(files: Sequence[Path], schema: TableSchema) -> Iterator[dict[str, Any]]:
    """Rows of one table in several files, in their order."""
    for path in files:
        with open_table(path, schema) as file:
            groups = file.num_row_groups
        for number in range(groups):
            yield from read_group(path, schema, number).to_pylist()


def _structure(item: Mapping[str, Any], schema: TableSchema) -> Iterator[tuple[str, str]]:
    if schema in (LLAVA, REVIEWED) and item["error"] is not None:
        yield "error", f" is delivered and has the error {item['error']!r}"
    if schema is LLAVA_REJECTED and item["error"] is None:
        yield "error", " is rejected without a reason"
    source, target = item["conversations"] or [], item["translated"]
    if target is None:
        if item["error"] is None:
            yield "turns", " has no translation"
        return
    roles = [[turn["from"] for turn in turns] for turns in (source, target)]
    if len(roles[0]) != len(roles[1]):
        yield "turns", f" has {len(roles[0])} turns and {len(roles[1])} translated ones"
    elif roles[0] != roles[1]:
        yield "roles", f" has the roles {roles[0]}, translated {roles[1]}"
    if schema is REVIEWED:
        yield from _reviewers(item)
    for column in (
        ("translator", "turn_checks", *_REVIEWED_LISTS) if schema is REVIEWED else ("translator", "turn_checks")
    ):
        if len(item[column]) != len(source):
            yield column, f" has {len(source)} turns and {len(item[column])} entries in {column}"
    codes = {code for turn in item["turn_checks"] for code in turn}
    if item["checks"] != sorted(codes):
        yield "checks", f": checks {item['checks']} are not those of its turns, {sorted(codes)}"
    if unknown := sorted(codes - SOFT.keys()):
        yield "checks", f" has codes that no check gives: {', '.join(unknown)}"
    if schema is TRANSLATIONS and item["error"] is None and item["record"] != json_record(item):
        yield "record", ": its record for the JSON file is not its translation"


def _reviewers(item: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each turn says where its text comes from; a person's text says whose and since when."""
    for number, (text_from, by, at) in enumerate(zip(*(item[column] for column in _REVIEWED_LISTS), strict=False)):
        if text_from not in TEXT_FROM:
            yield "text_from", f", turn {number}: {text_from!r} is none of {', '.join(TEXT_FROM)}"
        elif text_from in ("accepted", "edited") and not (by and at):
            yield "reviewed_by", f", turn {number} is {text_from}, but not by whom and when"


def _turns(item: Mapping[str, Any], held: Held, hard: Check) -> None:
    held.turns += len(item["conversations"])
    held.translators.update(item["translator"])
    held.checks.update(code for turn in item["turn_checks"] for code in turn)
    for number, (source, target) in enumerate(zip(item["conversations"], item["translated"] or [], strict=False)):
        hard.n += 1
        for code in verify_turn(source["value"], target["value"] or ""):
            hard.find(code, f"row {item['row']}, turn {number}: {code}: {target['value'][:90]!r}")


def json_record(item: Mapping[str, Any]) -> str:
    """The row as the JSON file should hold it."""
    turns = tuple(Turn(turn["from"], turn["value"]) for turn in item["conversations"])
    row = Conversation(item["row"], item["id"], item["image"], turns, item["extra"])
    return record(Translated(row, [TurnResult(turn["value"]) for turn in item["translated"]], None, None))


def check_answers(path: Path) -> Iterator[Check]:
    """Every version of every answer once, and each for the very texts that its record's id stands for."""
    check = Check(path, "answers are there once, fit their records, and have known values")
    seen = set()
    for item in items_of([path], RESPONSES):
        check.n += 1
        version = (item["id"], item["updated_at"])
        if version in seen:
            check.find("key", f"answer {item['id']} of {item['updated_at']} stands there twice")
        seen.add(version)
        for code, message in _answer(item):
            check.find(code, f"answer {item['id']} of {item['updated_at']} {message}")
    yield check


def _answer(item: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    shown = f":{item['row']}:{item['turn']}:{shown_digest(item['original'] or '', item['machine'] or '')}"
    if not item["record"].endswith(shown):
        yield "record", f"belongs to the record {item['record']}, which has another row, turn or text"
    if item["status"] == "submitted" and item["text"] is None:
        yield "text", "is submitted without a text"
    for column, known in (("part", get_args(Part)), ("status", get_args(Status)), ("verdict", (*VERDICTS, None))):
        if item[column] not in known:
            yield column, f"has the {column} {item[column]!r}"
    if unknown := set(item["kinds"] or []) - KINDS.keys():
        yield "kinds", f"has the kinds {', '.join(sorted(unknown))}"


def check_left_to_do(path: Path) -> Check:
    """Turns that wait for a person, in order."""
    check = Check(path, "turns left to do stand in order, each with what people gave")
    last = (-1, -1)
    for item in items_of([path], REVIEW_OPEN):
        check.n += 1
        here = (item["row"], item["turn"])
        if here < last:
            check.find("key", f"row {here[0]}, turn {here[1]} comes after row {last[0]}, turn {last[1]}")
        last = here
        if item["what"] not in ("adjudicate", "broken") or not item["candidates"]:
            check.find(
                "what", f"row {here[0]}, turn {here[1]} is {item['what']!r} with {len(item['candidates'] or [])} texts"
            )
    return check


def check_settled(path: Path) -> Iterator[Check]:
    """What people settled: each entry once, and fit to be used."""
    keys = Check(path, "entries are there once and say how they were settled")
    hard = Check(path, "what must hold in every translation holds")
    seen = set()
    for correction in read_corrections(path):
        keys.n += 1
        hard.n += 1
        where = f"{correction.origin}: {correction.source[:90]!r}"
        if correction in seen:
            keys.find("key", f"{where} stands there twice")
        seen.add(correction)
        if correction.how not in HOW:
            keys.find("how", f"{where} is {correction.how!r}, none of {', '.join(HOW)}")
        for code in verify_turn(correction.source, correction.target):
            hard.find(code, f"{where}: {code}: {correction.target[:90]!r}")
    yield keys
    yield hard


def _reason(error: str | None, known: Container[str], rejected: bool) -> Iterator[tuple[str, str]]:
    """Whether a row that was refused says why, and in a word that there is."""
    if error is None and rejected:
        yield "error", "is rejected without a reason"
    if error is not None and error not in known:
        yield "error", f"{error!r} is no reason that there is"


def _meme(item: Mapping[str, Any], schema: TableSchema) -> Iterator[tuple[str, str]]:
    yield from _reason(item.get("error"), MEME_REJECTIONS, schema is MEMES_REJECTED)
    if item.get("error") is not None:
        return
    if not _SHA256.fullmatch(item["sha256"] or ""):
        yield "sha256", f"{item['sha256']!r} is no SHA-256"
    if schema is MEME_FILES:
        return
    lines = [Line(**line) for line in item["lines"] or []]
    if item["text"] != joined(lines):
        yield "text", "its text is not that of its lines"
    for line in lines:
        inside = 0 <= line.left <= line.right <= item["width"] and 0 <= line.top <= line.bottom <= item["height"]
        if not inside or not 0 <= line.confidence <= 100:
            yield "box", f"{tuple(line)} does not lie in {item['width']} x {item['height']} pixels"


def _classified(item: Mapping[str, Any], schema: TableSchema) -> Iterator[tuple[str, str]]:
    """A meme before models without training."""
    yield from _reason(item.get("error"), CLASSIFYING_REJECTIONS, schema is MEMES_UNCLASSIFIED)
    if item.get("error") is not None:
        return
    for name in schema.columns.names:
        if name.endswith("_probabilities") and not abs(sum(item[name] or []) - 1) < 1e-6:
            yield "probabilities", f"{name} are {item[name]} and do not make up 1"
    if item.get("words_used", 0) > item.get("words", 0):
        yield "words", f"CLIP took {item['words_used']} of {item['words']} words"


def _prediction(item: Mapping[str, Any], schema: TableSchema) -> Iterator[tuple[str, str]]:
    logs, written = item["log_probabilities"], item["generated"]
    yield from _reason(item["error"], UNPREDICTED, False)
    if item["error"] is not None:
        return
    if (logs is None) == (written is None):
        yield "answer", "has neither probabilities nor a written answer, or both"
    if logs is not None:
        share = sum(map(exp, logs)) if all(map(isfinite, logs)) else 0.0
        if not 0 < share <= 1.05 or abs(share - item["valid"]) > 1e-6:
            yield "probabilities", f"its probabilities sum to {share:.6g}, not to {item['valid']}"
        if item["answer"] is None:
            yield "answer", "has probabilities and no answer"


class _Look(NamedTuple):
    """What is looked for in each row of a table.

    Args:
        what: What should be so.
        faults: What is not so in a row, as code and message.
        where: A row's name, made of its columns.
    """

    what: str
    faults: Callable[[Mapping[str, Any], TableSchema], Iterator[tuple[str, str]]]
    where: str = "row {row}"


_REASONED = "fit one another; what is refused has a reason"
_LOOKS = {
    **dict.fromkeys(_OF_MEMES, _Look(f"hashes, sizes, text and boxes {_REASONED}", _meme, "row {row}, {path}")),
    **dict.fromkeys(_CLASSIFYING, _Look(f"answers {_REASONED}", _classified, "row {row}, {path}")),
    **dict.fromkeys(
        jokes.TABLES,
        _Look("places, answers, costs and reasons fit one another", jokes.faults, "row {row}, routine {routine}"),
    ),
    **dict.fromkeys(judged.TABLES, _Look("texts, answers, verdicts and reasons fit one another", judged.faults)),
    PREDICTIONS: _Look("each row has a reason, or an answer that fits its probabilities", _prediction),
}
