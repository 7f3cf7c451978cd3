"""`trasvase funnel TABLE`: how many jokes of a table stay after each stage of a funnel."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tasks.cli.terminal import table
from tasks.jokes.funnel import PRESETS
from tasks.storage.errors import PermanentError
from tasks.storage.tables import open_parquet

_EPILOG = """\
Nothing is changed. Stages whose columns the table does not have are named and passed over.

examples:
  trasvase funnel data/tables/jokes.parquet
  trasvase funnel data/tables/jokes.parquet --preset predecessor
  trasvase funnel repertoire.parquet --preset predecessor --text corrected_transcript
  trasvase funnel data/tables/jokes.parquet --json | jq '.stages'

exit codes: 0 shown; 1 the file is damaged; 2 there is no such file, or it has none of the columns
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `trasvase funnel`."""
    parser.description = "How many jokes of a table stay after each stage of a funnel."
    parser.epilog = _EPILOG
    parser.add_argument("table", metavar="TABLE", type=Path, help="any Parquet file with a row per joke")
    parser.add_argument("--preset", choices=list(PRESETS), default="default", help="the funnel, default: %(default)s")
    parser.add_argument("--text", metavar="COLUMN", default="text", help="where the jokes stand, default: %(default)s")
    parser.add_argument("--json", action="store_true", help="for other programs")
    parser.set_defaults(run_command=_run)


def _run(options: argparse.Namespace) -> int:
    with open_parquet(options.table) as file:
        names = {name: name for name in file.schema_arrow.names}
        if options.text in names:
            names["text"] = options.text
        funnel = PRESETS[options.preset].of_columns(names)
        columns = {column: names[column] for stage in funnel.stages for column in stage.columns}
        if not columns:
            wanted = sorted({column for stage in funnel.skipped for column in stage.columns})
            raise PermanentError(
                f"{options.table} has none of the columns that the funnel {options.preset!r} looks at: "
                f"{', '.join(wanted)}. Name another table, or the column of the jokes with --text."
            )
        read = file.read(columns=sorted(set(columns.values()))).to_pylist()
    counts = funnel.run([{column: row[name] for column, name in columns.items()} for row in read])
    skipped = {stage.name: [column for column in stage.columns if column not in names] for stage in funnel.skipped}
    if options.json:
        print(json.dumps({"stages": dict(counts), "skipped": skipped}, ensure_ascii=False))
        return 0
    before = [number for _, number in counts[:1] + counts[:-1]]
    rows = [(name, number, last - number) for (name, number), last in zip(counts, before, strict=True)]
    print(*table(["stage", "jokes after it", "out"], rows), sep="\n")
    for name, missing in skipped.items():
        print(f"passed over: {name}, there is no column {', '.join(missing)}")
    return 0
