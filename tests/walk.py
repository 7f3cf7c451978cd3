"""The walk of flows/translate.py without Prefect, for tests that run it hundreds of times."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tasks.chunks.lock import only_run
from tasks.chunks.manifest import Chunk
from tasks.llava.chunk import write_chunk
from tasks.llava.collect import Tables, collect
from tasks.llava.corrections import best, memory_path
from tasks.llava.memory import keep_reviewed, reviewed_memory
from tasks.llava.plan import plan
from tasks.llava.report import write_report
from tasks.llava.translate import VERSION, from_table, translate_rows
from tasks.remote.journal import Journal
from tasks.storage.errors import TransientError
from tasks.storage.root import DataRoot
from tasks.storage.schemas import CONVERSATIONS, TRANSLATIONS
from tasks.storage.tables import read_group
from tasks.translators.packing import Asker
from tasks.translators.protocol import Translator


def walk(
    source: Path,
    data: Path,
    translators: Sequence[Translator],
    chunk_size: int = 500,
    threads: int = 4,
    retries: int = 0,
    corrections: bool = False,
) -> Tables:
    """Plan, chunks, collect and report; a chunk is tried again after an error that may pass."""
    root = DataRoot(data)
    journal = Journal(root.journal / "answers.sqlite")
    settled = best(memory_path(root.memory, "en", "es")).choices if corrections else {}
    texts = {text: choice.text for text, choice in settled.items()}
    version = keep_reviewed(texts, journal, "en", "es") if texts else None
    memories = [reviewed_memory(journal, version, "en", "es")] if version else []
    parameters = {
        "source_language": "en",
        "target": "es",
        "unit": "sentence",
        "memory": None,
        "corrections": version,
    }
    versions = {"code": VERSION, "translators": ", ".join(translator.name for translator in translators)}
    manifest = plan(source, root.jobs, chunk_size, parameters, versions)
    askers = [Asker(translator, journal, "en", "es") for translator in translators]

    def one(chunk: Chunk) -> None:
        rows = from_table(read_group(manifest.rows_path, CONVERSATIONS, chunk.number))
        for attempt in range(retries + 1):
            try:
                translated = translate_rows(rows, askers, job=manifest.job, languages=("en", "es"), memories=memories)
            except TransientError:
                if attempt == retries:
                    raise
            else:
                write_chunk(translated, manifest.path(chunk), manifest.job)
                return

    try:
        with only_run(manifest.folder):
            pending = manifest.pending(TRANSLATIONS)
            if threads == 1:
                for chunk in pending:
                    one(chunk)
            else:
                with ThreadPoolExecutor(threads) as pool:
                    list(pool.map(one, pending))
            tables = collect(manifest, root.tables, "llava-es")
            write_report(root.reports / "translate-llava-es", manifest, tables, journal.calls(manifest.job))
    finally:
        for asker in askers:
            asker.close()
        journal.close()
    return tables
