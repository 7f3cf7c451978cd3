"""`trasvase verify PATH`: hold what flows left against what it should be.

Nothing is changed. Every line says what was looked at and how much of it; a finding names file and row.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, isfinite
from pathlib import Path
from typing import Any, NamedTuple, get_args

from tasks.chunks.manifest import Chunk, Manifest, job_folder, read_manifest
from tasks.evaluation import plan as evaluating
from tasks.evaluation.gather import REASONS as UNPREDICTED
from tasks.jokes import plan as mining
from tasks.jokes import rules as jokes
from tasks.judging import plan as comparing
from tasks.judging import rules as judged
from tasks.llava.checks import SOFT
from tasks.llava.conversation import Conversation, Turn
from tasks.llava.corrections import HOW, read_corrections
from tasks.llava.translate import Translated, TurnResult, record
from tasks.llava.verify import verify_turn
from tasks.memes import plan as memes
from tasks.memes.readers.protocol import Line, joined
from tasks.memes.report import REJECTIONS as MEME_REJECTIONS
from tasks.mmhs.source import decide
from tasks.reviews.records import KINDS, VERDICTS, Part, Status, shown_digest
from tasks.splits.audit import Leak, find_files, find_leaks, read_splits, read_table_splits
from tasks.splits.build import CERTIFICATE, changed_files, leaks_of, read_certificate, version_of, wrong_counts
from tasks.splits.keys import check_distance
from tasks.storage.errors import ForeignTable, PermanentError, TornFile
from tasks.storage.files import sha256
from tasks.storage.schemas import (
    CLIP_ANSWERS,
    COMPARED,
    CONVERSATIONS,
    CORRECTIONS,
    EXAMPLES,
    JOKES,
    JOKES_EXTRACTED,
    JOKES_REFINED,
    JOKES_REJECTED,
    LLAVA,
    LLAVA_REJECTED,
    MEME_FILES,
    MEME_READINGS,
    MEMES,
    MEMES_CLASSIFIED,
    MEMES_REJECTED,
    MEMES_TO_CLASSIFY,
    MEMES_UNCLASSIFIED,
    MMHS,
    MMHS_REJECTED,
    PAIRS,
    PAIRS_JUDGED,
    PREDICTIONS,
    REQUESTS,
    RESPONSES,
    REVIEW_OPEN,
    REVIEWED,
    SCHEMAS,
    TRANSLATIONS,
    VLM_ANSWERS,
    WINDOW_JOKES,
    WINDOWS,
    WRITTEN,
    TableSchema,
)
from tasks.storage.tables import open_parquet, open_table, origin, read_group, read_table
from tasks.zeroshot import plan as classifying
from tasks.zeroshot.report import REJECTIONS as CLASSIFYING_REJECTIONS

_SHA256 = re.compile(r"[0-9a-f]{64}")
_EXAMPLES = 5  # shown for each code
_PROVENANCE = ".provenance.json"
_OF_REVIEWS = ("*-responses.parquet", "*-reviewed.parquet", "*-open.parquet")  # tables without a provenance file
_REVIEWED_LISTS = ("text_from", "reviewed_by", "reviewed_at")
_CLASSIFYING = (MEMES_TO_CLASSIFY, MEMES_UNCLASSIFIED, VLM_ANSWERS, CLIP_ANSWERS, MEMES_CLASSIFIED)
_OF_MEMES = (MEME_FILES, MEMES, MEME_READINGS, MEMES_REJECTED)
TEXT_FROM = ("machine", "accepted", "edited", "adjudicate")

_EPILOG = """\
what PATH may be:
  data/tables/llava-es.parquet       a table: columns, keys, roles, what must hold in every turn, its hash
  data/tables                        every table there, with its JSON file, counts and hashes; reviewers' tables too
  data/memory/en-es.parquet          what people settled
  data/jobs/translate-llava-3f2a…    a job: manifest, rows, every chunk that is done
  data/jobs/…/chunks/chunk-00017.parquet
  data/datasets/mmhs/3f2a9c01d7b4    a version of a dataset: files, name, counts, and leaks between its splits
  data                               all of it
  anything/with/train.csv            with --group-by: leaks between splits that others made (Parquet, Arrow, CSV, TSV,
                                     JSON, JSON Lines, packed or not; folders of images by image or phash)
  anything.parquet                   with --group-by: leaks between the splits that its column `split` names

examples:
  trasvase verify data/tables
  trasvase verify downloads/some-dataset --group-by image
  trasvase verify data --json | jq '.[] | select(.wrong != {})'

exit codes: 0 no finding; 1 at least one; 2 there is nothing that could be verified
"""


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
        if self.wrong[code] <= _EXAMPLES:
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `trasvase verify`."""
    parser.description = "Hold a table, a chunk, a job or a folder against what it should be. Nothing is changed."
    parser.epilog = _EPILOG
    parser.add_argument("path", metavar="PATH", type=Path, help="a file or folder of the data root")
    parser.add_argument(
        "--group-by",
        metavar="COLUMN",
        action="append",
        help="look for leaks: rows of two splits with equal values there, such as image (again for another column)",
    )
    parser.add_argument(
        "--distance",
        metavar="BITS",
        type=int,
        default=6,
        help="in columns named phash: how many of 64 bits may differ in one image (default: 6)",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run_command=run)


def run(options: argparse.Namespace) -> int:
    """Print each check as it ends; the exit code."""
    done: list[Check] = []
    shown = None
    path = options.path.absolute()
    checks = checks_of(path) if not options.group_by else _foreign(path, options.group_by, options.distance)
    for check in checks:
        done.append(check)
        if not options.json:
            if check.path != shown:
                print(check.path)
                shown = check.path
            print("\n".join(_lines(check)), flush=True)
    findings = sum(check.wrong.total() for check in done)
    if options.json:
        print(json.dumps([check.plain() for check in done], indent=2, ensure_ascii=False))
    else:
        print(f"{findings:,} findings." if findings else "No findings.")
    return 1 if findings else 0


def checks_of(path: Path) -> Iterator[Check]:
    """Verify whatever this is.

    Raises:
        PermanentError: There is nothing here that could be verified.
    """
    if not path.exists():
        raise PermanentError(f"{path} does not exist. Give a table, a chunk, a job's folder or the tables' folder.")
    yield from _to_the_end(path, _checks_of(path))


def _to_the_end(path: Path, checks: Iterator[Check]) -> Iterator[Check]:
    """What cannot be read is a finding, and no reason to leave out what comes after it."""
    try:
        yield from checks
    except (FileNotFoundError, TornFile, ForeignTable) as error:
        check = Check(path, "its files are there and can be read", 1)
        check.find(type(error).__name__, str(error))
        yield check


def _checks_of(path: Path) -> Iterator[Check]:
    if path.is_file():
        yield from _file(path)
    elif (path / "manifest.json").exists():
        yield from _job(path)
    elif (path / CERTIFICATE).exists():
        yield from _dataset(path)
    elif sets := sorted(path.glob(f"*{_PROVENANCE}")):
        for provenance in sets:
            yield from _to_the_end(provenance, _tables(provenance))
        for pattern in _OF_REVIEWS:
            for table in sorted(path.glob(pattern)):
                yield from _parquet(table)
    elif folders := [folder for name in ("jobs", "tables") if (folder := path / name).is_dir()]:
        versions = sorted(path.glob(f"datasets/*/*/{CERTIFICATE}"))
        for inner in (*folders, *sorted(path.glob("memory/*.parquet")), *(version.parent for version in versions)):
            yield from checks_of(inner)
    elif versions := sorted([*path.glob(f"*/{CERTIFICATE}"), *path.glob(f"*/*/{CERTIFICATE}")]):
        for version in versions:
            yield from _dataset(version.parent)
    elif within := sorted([*path.glob("*/manifest.json"), *path.glob("*.parquet")]):
        for inner in within:
            yield from checks_of(inner.parent if inner.name == "manifest.json" else inner)
    else:
        raise PermanentError(
            f"{path} holds no table, no job and no provenance file. Give data/tables or data/jobs/JOB; for splits "
            "that others made give --group-by COLUMN too."
        )


def _lines(check: Check) -> Iterator[str]:
    mark = "WRONG" if check.wrong else "ok"
    codes = ": " + ", ".join(f"{code} {n:,}" for code, n in check.wrong.most_common()) if check.wrong else ""
    yield f"  {mark:5}  {check.what} (n = {check.n:,}){codes}"
    for example in check.examples:
        yield f"           {example}"


# Files


def _file(path: Path) -> Iterator[Check]:
    if path.name.endswith(_PROVENANCE):
        yield from _tables(path)
        return
    stem = path.name.removesuffix(".json").removesuffix(".parquet").removesuffix(".rejected")
    provenance = path.with_name(stem + _PROVENANCE)
    if provenance.exists():
        yield _hashes(provenance, [path])
    if path.suffix == ".json":
        if not provenance.exists():
            raise PermanentError(f"{path} has no {provenance.name} beside it, so there is nothing to hold it against.")
        yield _json(path, path.with_suffix(".parquet"))
    else:
        yield from _parquet(path)


def _parquet(path: Path) -> Iterator[Check]:
    """A table by the schema that it says it has."""
    check = Check(path, "the file is whole and has its declared columns", 1)
    try:
        with open_parquet(path) as file:
            name = origin(file).get("schema")
        if name not in SCHEMAS:
            raise ForeignTable(
                f"{path} is no table of this project: its metadata names "
                f"{'no schema' if name is None else f'the schema {name!r}'}. Known: {', '.join(SCHEMAS)}."
            )
        open_table(path, SCHEMAS[name]).close()
    except (TornFile, ForeignTable) as error:
        check.find(type(error).__name__, str(error))
        yield check
        return
    yield check
    if name == RESPONSES.name:
        yield from _answers(path)
    elif name == CORRECTIONS.name:
        yield from _settled(path)
    elif name == REVIEW_OPEN.name:
        yield _left_to_do(path)
    else:
        yield from _rows(path, [path], SCHEMAS[name], Held())


@dataclass(slots=True)
class Held:
    """What the rows of a table hold, for counts that go over several files."""

    rows: list[int] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    turns: int = 0
    kept: int = 0
    translators: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)


def _rows(path: Path, files: Sequence[Path], schema: TableSchema, held: Held) -> Iterator[Check]:
    """Every row of one table, in one file or several: keys, and what must hold in a row of its kind."""
    yield from _fitting(path, files, schema, held) if schema in _LOOKS else _turned(path, files, schema, held)


def _turned(path: Path, files: Sequence[Path], schema: TableSchema, held: Held) -> Iterator[Check]:
    """Rows of turns: keys, structure, what must hold in delivered turns."""
    keys = Check(path, "row numbers are unique and ascending")
    structure = Check(path, "roles, number of turns and lists per turn fit the source")
    hard = Check(path, "what must hold in every delivered turn holds")
    last = -1
    try:
        for item in _items(files, schema):
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
        for item in _items(files, schema):
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


def _items(files: Sequence[Path], schema: TableSchema) -> Iterator[dict[str, Any]]:
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
    if schema is TRANSLATIONS and item["error"] is None and item["record"] != _record(item):
        yield "record", ": its record for the JSON file is not its translation"


def _reviewers(item: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each turn says where its text comes from; a person's text says whose and since when."""
    for number, (text_from, by, at) in enumerate(zip(*(item[column] for column in _REVIEWED_LISTS), strict=False)):
        if text_from not in TEXT_FROM:
            yield "text_from", f", turn {number}: {text_from!r} is none of {', '.join(TEXT_FROM)}"
        elif text_from in ("accepted", "edited") and not (by and at):
            yield "reviewed_by", f", turn {number} is {text_from}, but not by whom and when"


def _answers(path: Path) -> Iterator[Check]:
    """Every version of every answer once, and each for the very texts that its record's id stands for."""
    check = Check(path, "answers are there once, fit their records, and have known values")
    seen = set()
    for item in _items([path], RESPONSES):
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


def _left_to_do(path: Path) -> Check:
    check = Check(path, "turns left to do stand in order, each with what people gave")
    last = (-1, -1)
    for item in _items([path], REVIEW_OPEN):
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


def _settled(path: Path) -> Iterator[Check]:
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


def _turns(item: Mapping[str, Any], held: Held, hard: Check) -> None:
    held.turns += len(item["conversations"])
    held.translators.update(item["translator"])
    held.checks.update(code for turn in item["turn_checks"] for code in turn)
    for number, (source, target) in enumerate(zip(item["conversations"], item["translated"] or [], strict=False)):
        hard.n += 1
        for code in verify_turn(source["value"], target["value"] or ""):
            hard.find(code, f"row {item['row']}, turn {number}: {code}: {target['value'][:90]!r}")


def _record(item: Mapping[str, Any]) -> str:
    """The row as the JSON file should hold it."""
    turns = tuple(Turn(turn["from"], turn["value"]) for turn in item["conversations"])
    row = Conversation(item["row"], item["id"], item["image"], turns, item["extra"])
    return record(Translated(row, [TurnResult(turn["value"]) for turn in item["translated"]], None, None))


# Tables with their provenance


def _tables(provenance: Path) -> Iterator[Check]:
    written = _read_provenance(provenance)
    if written.get("kind") == "mmhs":
        yield from _prepared(provenance, written)
        return
    if written.get("kind") == memes.KIND:
        yield from _meme_tables(provenance, written, MEMES, MEMES_REJECTED)
        return
    if written.get("kind") == "classify-memes":
        yield from _meme_tables(provenance, written, MEMES_CLASSIFIED, MEMES_UNCLASSIFIED)
        return
    if written.get("kind") == "mine-jokes":
        yield from _joke_tables(provenance, written)
        return
    if written.get("kind") == "compare-jokes":
        yield from _compared_table(provenance, written)
        return
    held, refused = yield from _both(provenance, written, LLAVA, LLAVA_REJECTED)
    yield _counts(provenance, written["counts"], held, refused)
    table, _, text = (provenance.with_name(name) for name in written["files"])
    yield _json(text, table)


def _both(
    provenance: Path, written: Mapping[str, Any], delivered: TableSchema, rejected: TableSchema
) -> Generator[Check, None, tuple[Held, Held]]:
    """The hashes of all files, the table, and its rejected rows; what the two hold."""
    table, aside, *_ = files = [provenance.with_name(name) for name in written["files"]]
    yield _hashes(provenance, files)
    held, refused = Held(), Held()
    yield from _rows(table, [table], delivered, held)
    yield from _rows(aside, [aside], rejected, refused)
    return held, refused


def _read_provenance(path: Path) -> dict[str, Any]:
    try:
        written: dict[str, Any] = json.loads(path.read_bytes())
        _ = written["files"].keys(), written["counts"]["rows"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TornFile(f"{path} is no provenance file ({error}). Delete it and run the flow again.") from error
    return written


def _hashes(provenance: Path, paths: Sequence[Path]) -> Check:
    check = Check(provenance, "size and SHA-256 are those written down", len(paths))
    files = _read_provenance(provenance)["files"]
    for path in paths:
        if not path.exists():
            check.find("missing", f"{path.name} is not there")
        elif path.name not in files:
            check.find("unnamed", f"{path.name} is not named there")
        elif path.stat().st_size != files[path.name]["bytes"]:
            check.find("size", f"{path.name} has {path.stat().st_size:,} bytes, not {files[path.name]['bytes']:,}")
        elif sha256(path) != files[path.name]["sha256"]:
            check.find("sha256", f"{path.name} has another SHA-256: it was changed after it had been written")
    if check.wrong:
        check.examples.append(f"Next: delete {provenance.name} and run the flow again as before; its chunks are kept.")
    return check


def _counts(provenance: Path, counts: Mapping[str, Any], held: Held, refused: Held) -> Check:
    check = _each_once(provenance, counts, held, refused)
    found = {
        "delivered": len(held.rows),
        "rejected": dict(refused.errors),
        "turns": held.turns,
        "translators": dict(held.translators),
        "checks": dict(held.checks),
    }
    for name, value in found.items():
        if name in counts and counts[name] != value:
            check.find(name, f"{name}: {counts[name]} written down, {value} in the tables")
    return check


def _each_once(provenance: Path, counts: Mapping[str, Any], held: Held, refused: Held) -> Check:
    check = Check(provenance, "rows in are rows delivered and rows rejected, and all counts are those written down")
    check.n = counts["rows"]
    if sorted(held.rows + refused.rows) != list(range(counts["rows"])):
        both = set(held.rows) & set(refused.rows)
        neither = set(range(counts["rows"])) - set(held.rows) - set(refused.rows)
        check.find("rows", f"of {counts['rows']:,} rows, {len(both):,} are in both tables: {_some(both)}")
        check.find("rows", f"of {counts['rows']:,} rows, {len(neither):,} are in neither table: {_some(neither)}")
    return check


def _prepared(provenance: Path, written: Mapping[str, Any]) -> Iterator[Check]:
    """A prepared data set: a table, its rejected rows, and labels that follow from the votes."""
    held, refused = yield from _both(provenance, written, MMHS, MMHS_REJECTED)
    check = _each_once(provenance, written["counts"], held, refused)
    if written["counts"]["delivered"] != len(held.rows):
        check.find("delivered", f"{written['counts']['delivered']} written down, {len(held.rows)} in the table")
    yield check
    table = provenance.with_name(next(iter(written["files"])))
    check = Check(table, f"labels are known and follow from the votes (votes={written['parameters']['votes']})")
    try:
        for item in _items([table], MMHS):
            check.n += 1
            if unknown := set(item["labels"]) - set(written["classes"]):
                check.find("label", f"row {item['row']} has the labels {', '.join(sorted(unknown))}")
            elif item["votes"] and decide(item["votes"], written["parameters"]["votes"]) != item["labels"]:
                check.find("votes", f"row {item['row']} has the votes {item['votes']} and the labels {item['labels']}")
    except (FileNotFoundError, TornFile, ForeignTable) as error:
        check.find(type(error).__name__, str(error))
    yield check


def _some(rows: set[int]) -> str:
    return ", ".join(map(str, sorted(rows)[:_EXAMPLES])) + (", …" if len(rows) > _EXAMPLES else "") or "none"


def _json(path: Path, table: Path) -> Check:
    """The JSON file against the table, record by record: one a line, as collect writes it."""
    check = Check(path, "it is JSON and has the table's rows")
    try:
        with path.open(encoding="utf-8") as lines:
            _compare(lines, _items([table], LLAVA), check)
    except FileNotFoundError as error:
        check.find("missing", f"{error.filename} is not there")
    except UnicodeDecodeError as error:
        check.find("encoding", f"not UTF-8 at byte {error.start:,} of a block after row {check.n - 1}")
    except (TornFile, ForeignTable) as error:
        check.find(type(error).__name__, str(error))
    return check


def _compare(lines: Iterator[str], items: Iterator[dict[str, Any]], check: Check) -> None:
    opening = next(lines, "")
    if opening == "[]\n":
        lines = iter(["]\n"])
    elif opening != "[\n":
        check.find("json", f"it begins with {opening[:20]!r}, not with a line '['")
        return
    for item in items:
        row, line = item["row"], next(lines, "").rstrip("\n")
        check.n += 1
        text = line.removesuffix(",")
        if text == _record(item):
            continue
        try:
            json.loads(text)
        except ValueError as error:
            check.find("json", f"row {row} (line {check.n + 1}) is no JSON: {error}")
            return
        check.find("row", f"row {row} (line {check.n + 1}) is not the table's row: {text[:90]!r}")
    if (rest := next(lines, "")) != "]\n":
        check.find("json", f"after the table's last row stands {rest[:40]!r}, not the end of the array")


# Datasets


def _dataset(folder: Path) -> Iterator[Check]:
    """A version of a dataset by its certificate, and its leaks anew."""
    try:
        certificate = read_certificate(folder)
    except TornFile as error:
        check = Check(folder, "the certificate can be read", 1)
        check.find("TornFile", str(error))
        yield check
        return
    check = Check(folder, "every file is the one that was certified", len(certificate["files"]))
    for wrong in changed_files(folder, certificate):
        check.find("file", wrong)
    if check.wrong:
        check.examples.append("Next: move the folder away and build the dataset again; a version is never overwritten.")
    yield check
    check = Check(folder, "the version is named by its content and parameters", 1)
    named = version_of(certificate["table"]["sha256"], certificate["parameters"])
    if not named == folder.name == certificate["version"]:
        check.find("version", f"the certificate says {certificate['version']}, its parameters give {named}")
    yield check
    check = Check(folder, "rows, groups and labels are as many as were certified", certificate["table"]["rows"])
    try:
        for wrong in wrong_counts(folder, certificate):
            check.find("counts", wrong)
    except TornFile as error:
        check.find("TornFile", str(error))
    yield check
    asked = certificate["parameters"]
    yield from _leaks(folder, lambda: leaks_of(folder, asked["group_by"], asked["distance"]))


def _foreign(path: Path, columns: Sequence[str], distance: int) -> Iterator[Check]:
    """Splits that anyone made."""
    if not path.exists():
        raise PermanentError(f"{path} does not exist. Give the folder that holds the files of train, val and test.")
    check_distance(distance)
    splits = read_splits(find_files(path), columns) if path.is_dir() else read_table_splits(path, columns)
    told = ", ".join(f"{split} {len(keys):,}" for split, keys in splits.items())
    yield Check(path, f"rows were read: {told}", sum(map(len, splits.values())))
    yield from _leaks(path, lambda: find_leaks(splits, distance))


def _leaks(folder: Path, look: Callable[[], Sequence[Leak]]) -> Iterator[Check]:
    try:
        leaks = look()
    except (FileNotFoundError, TornFile, PermanentError) as error:
        check = Check(folder, "splits can be compared", 1)
        check.find(type(error).__name__, str(error))
        yield check
        return
    for leak in leaks:
        check = Check(folder, f"no row of {leak.split} shares {leak.column} with {leak.other}", leak.of)
        if leak.rows:
            check.wrong["leak"] = leak.rows
            check.examples.append(str(leak))
        yield check


# Memes


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


def _meme_tables(
    provenance: Path, written: Mapping[str, Any], delivered: TableSchema, rest: TableSchema
) -> Iterator[Check]:
    held, refused = yield from _both(provenance, written, delivered, rest)
    yield _counts(provenance, written["counts"], held, refused)


# Jokes


def _joke_tables(provenance: Path, written: Mapping[str, Any]) -> Iterator[Check]:
    held, refused = yield from _both(provenance, written, JOKES, JOKES_REJECTED)
    counts = written["counts"]
    check = Check(provenance, "jokes are all there, and all counts are those written down", counts["jokes"])
    found = {"jokes": len(held.rows), "kept": held.kept, "rejected": dict(refused.errors)}
    if held.rows != list(range(counts["jokes"])):
        check.find(
            "rows",
            f"of {counts['jokes']:,} jokes some are missing: {_some(set(range(counts['jokes'])) - set(held.rows))}",
        )
    for name, value in found.items():
        if counts[name] != value:
            check.find(name, f"{name}: {counts[name]} written down, {value} in the tables")
    yield check


# Jokes compared


def _compared_table(provenance: Path, written: Mapping[str, Any]) -> Iterator[Check]:
    (table,) = files = [provenance.with_name(name) for name in written["files"]]
    held, counts = Held(), written["counts"]
    yield _hashes(provenance, files)
    yield from _rows(table, files, COMPARED, held)
    check = Check(provenance, "pairs are all there, and all verdicts are counted as written down", counts["pairs"])
    if held.rows != list(range(counts["pairs"])):
        check.find("rows", f"of {counts['pairs']:,} pairs {len(held.rows):,} are there")
    if dict(held.checks) != counts["verdicts"]:
        check.find("verdicts", f"{counts['verdicts']} written down, {dict(held.checks)} in the table")
    yield check


# Predictions of models


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


# Jobs


# By kind of job: the shape of a chunk, of the rows that are laid out, and of those that were refused then.
_LAYOUTS: dict[str, tuple[TableSchema, TableSchema, TableSchema | None]] = {
    "translate-llava": (TRANSLATIONS, CONVERSATIONS, LLAVA_REJECTED),
    memes.KIND: (MEME_READINGS, MEME_FILES, MEMES_REJECTED),
    classifying.VLM: (VLM_ANSWERS, MEMES_TO_CLASSIFY, MEMES_UNCLASSIFIED),
    classifying.CLIP: (CLIP_ANSWERS, MEMES_TO_CLASSIFY, MEMES_UNCLASSIFIED),
    evaluating.KIND: (PREDICTIONS, EXAMPLES, None),  # nothing is refused before a model is asked
    evaluating.TEXT_KIND: (PREDICTIONS, EXAMPLES, None),
    mining.EXTRACT: (WINDOW_JOKES, WINDOWS, JOKES_REJECTED),
    mining.REFINE: (JOKES_REFINED, JOKES_EXTRACTED, None),
    comparing.WRITE: (WRITTEN, REQUESTS, None),
    comparing.JUDGE: (PAIRS_JUDGED, PAIRS, None),
}


def _job(folder: Path) -> Iterator[Check]:
    manifest = read_manifest(folder)
    if manifest is None:
        raise PermanentError(f"{folder} has no manifest: the job was not planned to its end. Run the flow again.")
    check = Check(folder, "the manifest is the one that gave the folder its name", 1)
    named = job_folder(
        folder.parent,
        manifest.kind,
        manifest.source.sha256,
        manifest.parameters,
        manifest.versions,
        manifest.chunk_size,
    )
    if named != folder:
        check.find("manifest", f"manifest.json belongs to {named.name}: it was changed, or the folder renamed")
    if manifest.kind not in _LAYOUTS:
        check.find("kind", f"its kind {manifest.kind!r} is not known here: another version may have made it")
        yield check
        return
    yield check
    shape, laid_out, refused = _LAYOUTS[manifest.kind]
    yield _laid_out(manifest, laid_out, refused)
    chunks = manifest.chunks()
    there = [chunk for chunk in chunks if manifest.path(chunk).exists()]
    check = Check(
        folder,
        f"chunks that are done are whole and of this job ({len(chunks) - len(there)} to do)",
        len(there),
    )
    whole = [chunk for chunk in there if manifest.done(chunk, shape)]
    for chunk in there:
        if chunk not in whole:
            check.find("chunk", f"{chunk.name} is torn or of another job; a retry of the run makes it again")
    yield check
    yield _same_source(manifest, whole, laid_out, shape)
    yield from _rows(folder / "chunks", [manifest.path(chunk) for chunk in whole], shape, Held())


def _laid_out(manifest: Manifest, laid_out: TableSchema, rejected: TableSchema | None) -> Check:
    """rows.parquet and rejected.parquet hold every position of the source once."""
    check = Check(manifest.folder, "rows laid out and rows rejected are the source's rows, each once", manifest.rows)
    try:
        refused = read_table(manifest.rejected_path, rejected, ["row"])["row"].to_pylist() if rejected else []
        if len(refused) != manifest.rejected:
            check.find("rejected", f"rejected.parquet has {len(refused)} rows, the manifest says {manifest.rejected}")
        rest = set(refused)
        for chunk in manifest.chunks():
            rows = read_group(manifest.rows_path, laid_out, chunk.number)["row"].to_pylist()
            expected = [row for row in range(chunk.start, chunk.stop) if row not in rest]
            if rows != expected:
                check.find("rows", f"{chunk.name} should have {len(expected)} rows, rows.parquet has others")
    except (FileNotFoundError, TornFile, ForeignTable, IndexError) as error:
        check.find(type(error).__name__, f"{error} Move {manifest.folder} away and run the flow again.")
    return check


def _same_source(manifest: Manifest, chunks: Sequence[Chunk], laid_out: TableSchema, shape: TableSchema) -> Check:
    check = Check(manifest.folder, "chunks hold the rows that were laid out for them", len(chunks))
    columns = [name for name in laid_out.columns.names if name in shape.columns.names]
    for chunk in chunks:
        rows = read_group(manifest.rows_path, laid_out, chunk.number, columns)
        done = read_table(manifest.path(chunk), shape, columns).sort_by("row")
        if not done.select(columns).equals(rows):
            check.find(
                "chunk",
                f"{chunk.name} has other rows than rows.parquet; move it away and run again",
            )
    return check
