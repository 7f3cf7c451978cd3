"""`trasvase verify PATH`: hold what flows left against what it should be.

Nothing is changed. Every line says what was looked at and how much of it; a finding names file and row.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tasks.cli.verify_job import check_job
from tasks.cli.verify_rows import Check, Held, check_answers, check_left_to_do, check_rows, check_settled
from tasks.cli.verify_tables import PROVENANCE, check_hashes, check_json, check_tables
from tasks.splits.audit import Leak, find_files, find_leaks, read_splits, read_table_splits, told
from tasks.splits.build import CERTIFICATE, changed_files, leaks_of, read_certificate, version_of, wrong_counts
from tasks.splits.keys import check_distance
from tasks.storage.errors import ForeignTable, PermanentError, TornFile
from tasks.storage.schemas import CORRECTIONS, RESPONSES, REVIEW_OPEN, SCHEMAS
from tasks.storage.tables import open_parquet, open_table, origin

_OF_REVIEWS = ("*-responses.parquet", "*-reviewed.parquet", "*-open.parquet")  # tables without a provenance file

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
                                     JSON, JSON Lines, packed or not; images by image or phash)
  anything.parquet                   with --group-by: leaks between the splits that its column `split` names

examples:
  trasvase verify data/tables
  trasvase verify downloads/some-dataset --group-by image
  trasvase verify data --json | jq '.[] | select(.wrong != {})'

exit codes: 0 no finding; 1 at least one; 2 there is nothing that could be verified
"""


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
        yield from check_job(path)
    elif (path / CERTIFICATE).exists():
        yield from _dataset(path)
    elif sets := sorted(path.glob(f"*{PROVENANCE}")):
        for provenance in sets:
            yield from _to_the_end(provenance, check_tables(provenance))
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


def _file(path: Path) -> Iterator[Check]:
    if path.name.endswith(PROVENANCE):
        yield from check_tables(path)
        return
    stem = path.name.removesuffix(".json").removesuffix(".parquet").removesuffix(".rejected")
    provenance = path.with_name(stem + PROVENANCE)
    if provenance.exists():
        yield check_hashes(provenance, [path])
    if path.suffix == ".json":
        if not provenance.exists():
            raise PermanentError(f"{path} has no {provenance.name} beside it, so there is nothing to hold it against.")
        yield check_json(path, path.with_suffix(".parquet"))
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
        yield from check_answers(path)
    elif name == CORRECTIONS.name:
        yield from check_settled(path)
    elif name == REVIEW_OPEN.name:
        yield check_left_to_do(path)
    else:
        yield from check_rows(path, [path], SCHEMAS[name], Held())


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
    yield Check(path, f"rows were read: {told(splits)}", sum(map(len, splits.values())))
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
