"""Tables with their provenance: hashes, counts over delivered and rejected rows, the JSON file beside them.

::

    tables/llava-es.provenance.json    names the files below, their sizes and SHA-256, and all counts
           llava-es.parquet, llava-es.rejected.parquet, llava-es.json
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.cli.verify_rows import NAMED, Check, Held, check_rows, items_of, json_record
from tasks.memes import plan as memes
from tasks.mmhs.source import decide
from tasks.storage.errors import ForeignTable, TornFile
from tasks.storage.files import sha256
from tasks.storage.schemas import (
    COMPARED,
    JOKES,
    JOKES_REJECTED,
    LLAVA,
    LLAVA_REJECTED,
    MEMES,
    MEMES_CLASSIFIED,
    MEMES_REJECTED,
    MEMES_UNCLASSIFIED,
    MMHS,
    MMHS_REJECTED,
    TableSchema,
)

PROVENANCE = ".provenance.json"


def check_tables(provenance: Path) -> Iterator[Check]:
    """The tables that a provenance file names."""
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
    yield check_json(text, table)


def _both(
    provenance: Path, written: Mapping[str, Any], delivered: TableSchema, rejected: TableSchema
) -> Generator[Check, None, tuple[Held, Held]]:
    """The hashes of all files, the table, and its rejected rows; what the two hold."""
    table, aside, *_ = files = [provenance.with_name(name) for name in written["files"]]
    yield check_hashes(provenance, files)
    held, refused = Held(), Held()
    yield from check_rows(table, [table], delivered, held)
    yield from check_rows(aside, [aside], rejected, refused)
    return held, refused


def _read_provenance(path: Path) -> dict[str, Any]:
    try:
        written: dict[str, Any] = json.loads(path.read_bytes())
        _ = written["files"].keys(), written["counts"]["rows"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TornFile(f"{path} is no provenance file ({error}). Delete it and run the flow again.") from error
    return written


def check_hashes(provenance: Path, paths: Sequence[Path]) -> Check:
    """Files against the sizes and hashes that are written down."""
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
        for item in items_of([table], MMHS):
            check.n += 1
            if unknown := set(item["labels"]) - set(written["classes"]):
                check.find("label", f"row {item['row']} has the labels {', '.join(sorted(unknown))}")
            elif item["votes"] and decide(item["votes"], written["parameters"]["votes"]) != item["labels"]:
                check.find("votes", f"row {item['row']} has the votes {item['votes']} and the labels {item['labels']}")
    except (FileNotFoundError, TornFile, ForeignTable) as error:
        check.find(type(error).__name__, str(error))
    yield check


def _meme_tables(
    provenance: Path, written: Mapping[str, Any], delivered: TableSchema, rest: TableSchema
) -> Iterator[Check]:
    held, refused = yield from _both(provenance, written, delivered, rest)
    yield _counts(provenance, written["counts"], held, refused)


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


def _compared_table(provenance: Path, written: Mapping[str, Any]) -> Iterator[Check]:
    (table,) = files = [provenance.with_name(name) for name in written["files"]]
    held, counts = Held(), written["counts"]
    yield check_hashes(provenance, files)
    yield from check_rows(table, files, COMPARED, held)
    check = Check(provenance, "pairs are all there, and all verdicts are counted as written down", counts["pairs"])
    if held.rows != list(range(counts["pairs"])):
        check.find("rows", f"of {counts['pairs']:,} pairs {len(held.rows):,} are there")
    if dict(held.checks) != counts["verdicts"]:
        check.find("verdicts", f"{counts['verdicts']} written down, {dict(held.checks)} in the table")
    yield check


def _some(rows: set[int]) -> str:
    return ", ".join(map(str, sorted(rows)[:NAMED])) + (", …" if len(rows) > NAMED else "") or "none"


def check_json(path: Path, table: Path) -> Check:
    """The JSON file against the table, record by record: one a line, as collect writes it."""
    check = Check(path, "it is JSON and has the table's rows")
    try:
        with path.open(encoding="utf-8") as lines:
            _compare(lines, items_of([table], LLAVA), check)
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
        if text == json_record(item):
            continue
        try:
            json.loads(text)
        except ValueError as error:
            check.find("json", f"row {row} (line {check.n + 1}) is no JSON: {error}")
            return
        check.find("row", f"row {row} (line {check.n + 1}) is not the table's row: {text[:90]!r}")
    if (rest := next(lines, "")) != "]\n":
        check.find("json", f"after the table's last row stands {rest[:40]!r}, not the end of the array")
