"""LLaVA-Instruct into another language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.llava.segments import Unit
from tasks.plan import (
    Dollars,
    budget_now,
    check_name,
    chunk_runner,
    estimated,
    pausing_at_the_budget,
    run_chunks,
    working_on,
)
from tasks.storage.schemas import TRANSLATIONS
from tasks.translate import (
    asker,
    collect_translation,
    estimate_cost,
    plan_translation,
    report_translation,
    translate_chunk,
)


@flow(name="translate-llava", task_runner=chunk_runner())
def translate_llava(
    source: Path,
    target: str = "es",
    translator: str | list[str] = "google",
    chunk_size: int = 500,
    memory: Path | None = None,
    corrections: bool = True,
    chunks: list[int] | None = None,
    force: bool = False,
    source_language: str = "en",
    unit: Unit = "sentence",
    name: str = "llava",
    budget_usd: Dollars | None = None,
    estimate: bool = False,
    restarts: int = 0,
) -> Path | State[Any]:
    """Translate LLaVA-Instruct. Press Retry on a failed run to do only what is missing.

    Args:
        source: The file as downloaded (JSON array, JSON Lines or Parquet), as the worker sees it.
        target: Language to translate into, such as "es".
        translator: google, apertium, neural, shouting or a model of Mistral's such as mistral:mistral-small-2603; or a
            list, tried in order for rows that fail.
        chunk_size: Rows per chunk; another size is another job.
        memory: Parquet or TMX with an existing translation whose good turns are taken over.
        corrections: Use what reviewers settled before any machine's answer.
        chunks: Numbers of the chunks to do; all that are missing when empty.
        force: Do these chunks again although they are done, and ask rejected rows again.
        source_language: Language of the source.
        unit: What travels on a line of its own: a sentence, or a whole line.
        name: First part of the tables' names, such as "llava" in tables/llava-es.parquet.
        budget_usd: What the job may cost in all, over all its runs; the run pauses there. Only Mistral costs anything.
        estimate: Only say what it would cost: calls, tokens, dollars, time. Nothing is asked.
        restarts: Counted by the automation that starts a crashed run again; leave it 0.

    Returns:
        The table of delivered rows; the job's folder while chunks are missing because only some were asked for.
    """
    check_name(name)
    translators = [translator] if isinstance(translator, str) else translator
    manifest = plan_translation(
        source, target, translators, chunk_size, memory, corrections, source_language, unit, restarts, estimate
    )
    if estimate:
        return estimated(estimate_cost(manifest))
    budget = budget_now(budget_usd)
    with pausing_at_the_budget(), working_on(manifest.folder, asker):
        missing = run_chunks(translate_chunk, manifest, TRANSLATIONS, chunks, force, restarts, budget_usd=budget)
        if missing:
            return manifest.folder
        tables = collect_translation(manifest, name)
        report_translation(manifest, tables)
    return tables.table
