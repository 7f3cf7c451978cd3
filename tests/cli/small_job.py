"""A job of seven rows, made through the library: one row is no row, one is refused by the translator.

``python -m tests.cli.small_job FOLDER`` leaves it for a look by hand.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from tasks.chunks.manifest import Manifest
from tasks.llava.chunk import write_chunk
from tasks.llava.collect import Tables, collect
from tasks.llava.lexicon import Lexicon
from tasks.llava.memory import JournaledMemory, import_memory, keep_reviewed, reviewed_memory
from tasks.llava.plan import plan
from tasks.llava.report import Report, write_report
from tasks.llava.translate import VERSION, from_table, translate_rows
from tasks.remote.errors import TooLarge
from tasks.remote.journal import Journal
from tasks.storage.root import DataRoot
from tasks.storage.schemas import CONVERSATIONS, LLAVA, REVIEWED
from tasks.storage.tables import read_group, read_table, write_table
from tasks.translators.packing import Asker
from tasks.translators.shouting import ShoutingTranslator

DELIVERED = [0, 1, 4, 5, 6]
NO_ROW, REFUSED = 2, 3
EDITED = "El autobús es blanco y rojo. Son las 3."

ROWS = [
    (
        "000000033471",
        "human",
        "<image>\nWhat are the colors of the bus?",
        "The bus is white and red. It is 3 pm.",
    ),
    (
        "000000033471",
        "human",
        "Is it <b>fast</b>?\n<image>",
        "1. **Speed:** It is not.\n\n2. It stands still.",
    ),
    ("000000052846", "robot", "Who are you?", "The robot's role is unknown."),
    ("000000334872", "human", "What is forbidden?", "Nothing here."),
    ("000000319154", "human", "<image>", "A cat & a dog, “together”."),
    ("000000398214", "human", "How many?\n<image>", "42"),
    ("000000520873", "human", "Is this the end?", "This is the end."),
]


class Picky(ShoutingTranslator):
    """Shouts, but will not take a forbidden text, and drops the full stop of one."""

    async def translate(self, texts: Sequence[str]) -> list[str]:
        if any("forbidden" in text for text in texts):
            raise TooLarge("No.")
        return [text.removesuffix("end.").upper() for text in texts]


def make_job(
    root: DataRoot,
    chunks: Sequence[int] = (0, 1, 2, 3),
    remembered: Path | None = None,
    settled: Mapping[str, str] | None = None,
) -> Manifest:
    """Plan the job and do some of its chunks, two rows each."""
    source = root.path / "raw" / "rows.json"
    source.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "id": id_,
            "image": f"{id_}.jpg",
            "conversations": [{"from": role, "value": asked}, {"from": "gpt", "value": told}],
        }
        for id_, role, asked, told in ROWS
    ]
    source.write_text(json.dumps(rows), encoding="utf-8")
    journal = Journal(root.journal / "answers.sqlite")
    memories, version = [], None
    if settled:
        version = keep_reviewed(settled, journal, "en", "es")
        memories.append(reviewed_memory(journal, version, "en", "es"))
    if remembered:
        summary = import_memory(remembered, journal, root.journal, "en", "es")
        memories.append(JournaledMemory(journal, summary.digest, "en", "es", Lexicon.from_json(summary.lexicon)))
    parameters = {
        "source_language": "en",
        "target": "es",
        "translators": ["shouting"],
        "unit": "sentence",
        "memory": summary.digest if remembered else None,
        "corrections": version,
    }
    manifest = plan(source, root.jobs, 2, parameters, {"code": VERSION, "translators": Picky.name})
    asker = Asker(Picky(), journal, "en", "es")
    for chunk in manifest.chosen(chunks):
        translated = translate_rows(
            from_table(read_group(manifest.rows_path, CONVERSATIONS, chunk.number)),
            [asker],
            job=manifest.job,
            languages=("en", "es"),
            memories=memories,
        )
        write_chunk(translated, manifest.path(chunk), manifest.job)
    asker.close()
    journal.close()
    return manifest


def make_tables(root: DataRoot) -> tuple[Manifest, Tables, Report]:
    """The whole job with its tables and its report."""
    manifest = make_job(root)
    tables = collect(manifest, root.tables, "llava-es")
    journal = Journal(root.journal / "answers.sqlite")
    report = write_report(root.reports / "translate-llava-es", manifest, tables, journal.calls(manifest.job))
    journal.close()
    return manifest, tables, report


def reviewed_table(root: DataRoot, job: str) -> Path:
    """The tables' delivered rows with one turn accepted and one edited, both in row 0."""
    rows = read_table(root.tables / "llava-es.parquet", LLAVA).to_pylist()
    at = datetime(2026, 11, 20, 10, 15, tzinfo=UTC)
    for row in rows:
        turns = len(row["translated"])
        row |= {"text_from": ["machine"] * turns, "reviewed_by": [[]] * turns, "reviewed_at": [None] * turns}
    rows[0]["translated"][1]["value"] = EDITED
    rows[0] |= {
        "text_from": ["accepted", "edited"],
        "reviewed_by": [["reviewer-3f2a9c01"], ["reviewer-3f2a9c01", "reviewer-77d01b2e"]],
        "reviewed_at": [at, at],
    }
    table = pa.Table.from_pylist(rows, schema=REVIEWED.columns)
    return write_table(table, root.tables / "llava-es-reviewed.parquet", REVIEWED, {"job": job})


if __name__ == "__main__":
    print(make_tables(DataRoot(Path(sys.argv[1])))[2].html)
