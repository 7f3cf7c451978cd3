"""The steps of translate-llava, as tasks: read, call the library, write."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.chat.asker import Asker as ChatAsker
from tasks.chunks.manifest import Chunk, Manifest
from tasks.engines.shared import Shared
from tasks.llava.collect import Tables
from tasks.llava.segments import Unit
from tasks.options import LOCAL, REMOTE
from tasks.plan import check_restarts, show_cost, shown
from tasks.services import check_chat, journal, prices
from tasks.settings import Settings, read_options
from tasks.storage.errors import PermanentError
from tasks.storage.root import DataRoot
from tasks.storage.schemas import CONVERSATIONS, TRANSLATIONS
from tasks.storage.tables import read_group
from tasks.translators import module_of
from tasks.translators.packing import Asker
from tasks.translators.prompted import RATES, CountingAsker, PromptedAsker
from tasks.translators.protocol import Prompted, Translator

if TYPE_CHECKING:
    from tasks.llava.memory import JournaledMemory

_NAMED = 5  # entries that a warning names


@task(task_run_name="plan", **LOCAL)
def plan_translation(
    source: Path,
    target: str,
    translators: Sequence[str],
    chunk_size: int,
    memory: Path | None,
    corrections: bool,
    source_language: str,
    unit: Unit,
    restarts: int,
    estimate: bool,
) -> Manifest:
    """Find or make the job: the source read and checked, the memory imported, what reviewers settled taken in."""
    from tasks.llava.corrections import best, memory_path
    from tasks.llava.memory import import_memory, keep_reviewed
    from tasks.llava.plan import plan
    from tasks.llava.translate import VERSION

    check_restarts(restarts)
    root = DataRoot(Settings().data)
    reviewed = memory_path(root.memory, source_language, target)  # looks at the two codes
    if source_language == target:
        raise PermanentError(f"`source_language` and `target` are both {target!r}: there is nothing to translate.")
    engines = [open_translator(name, source_language, target) for name in translators]
    if not engines:
        raise PermanentError("`translator` is empty. Name at least one.")
    for engine in engines:
        if isinstance(engine, Prompted):
            check_chat(engine.chat, engine.model, estimate=estimate)
    parameters: dict[str, Any] = {
        "source_language": source_language,
        "target": target,
        "translators": list(translators),
        "unit": unit,
        "memory": None,
        "corrections": None,
    }
    if memory is not None:
        summary = import_memory(memory, journal(root), root.journal, source_language, target)
        parameters["memory"] = summary.digest
        get_run_logger().info(
            "Memory %s: %d turns, %d taken over, %d flagged and asked again, %d refused.",
            memory,
            summary.turns,
            summary.taken,
            summary.turns - summary.taken - summary.refused.total(),
            summary.refused.total(),
        )
    settled = best(reviewed) if corrections else None
    if settled and settled.choices:
        texts = {text: choice.text for text, choice in settled.choices.items()}
        parameters["corrections"] = keep_reviewed(texts, journal(root), source_language, target)
        get_run_logger().info(
            "Corrections: the texts that people settled for %d turns are used; on %d of them people differ.",
            len(texts),
            settled.conflicts,
        )
    if settled and settled.unusable:
        get_run_logger().warning(
            "Corrections: %d entries are not used because they break what must hold, such as %s",
            len(settled.unusable),
            "; ".join(settled.unusable[:_NAMED]),
        )
    versions = {"code": VERSION, "translators": ", ".join(engine.name for engine in engines)}
    manifest = plan(source, root.jobs, chunk_size, parameters, versions)
    get_run_logger().info("%s: %d rows, %d of them refused.", manifest.job, manifest.rows, manifest.rejected)
    return manifest


@task(task_run_name="estimate", **LOCAL)
def estimate_cost(manifest: Manifest) -> str:
    """Say what the first translator would cost for the chunks that are missing; nothing is asked."""
    from tasks.chat.estimate import estimate
    from tasks.llava.translate import from_table, translate_rows

    root, asked = DataRoot(Settings().data), manifest.parameters
    source, target = asked["source_language"], asked["target"]
    first = open_translator(asked["translators"][0], source, target)
    if not isinstance(first, Prompted):
        return f"{first.name} costs nothing; what comes after it is asked for rows that it fails on alone."
    answers, known = journal(root), prices()
    counting = CountingAsker(first, answers, known, source, target)
    for chunk in manifest.pending(TRANSLATIONS):
        translate_rows(
            from_table(read_group(manifest.rows_path, CONVERSATIONS, chunk.number)),
            [counting],
            job=manifest.job,
            languages=(source, target),
            unit=asked["unit"],
            memories=_memories(asked["corrections"], asked["memory"], source, target, root),
        )
    work = [counting.work] if counting.work else []
    found = estimate(work, known, RATES, first.chat.limits, answers.seconds_each(first.chat.name))
    told = f"{found} Lines that have to be asked again are not in it."
    get_run_logger().info("%s", told)
    shown(create_table_artifact, key="translate-estimate", table=found.rows(), description=told)
    return told


@task(task_run_name="{chunk.name}", **REMOTE)
def translate_chunk(chunk: Chunk, manifest: Manifest, budget_usd: float | None = None) -> Path:
    """Translate one chunk and put its file in place."""
    from tasks.llava.chunk import write_chunk
    from tasks.llava.translate import from_table, translate_rows

    root, asked = DataRoot(Settings().data), manifest.parameters
    source, target = asked["source_language"], asked["target"]
    name = f"{manifest.job}/{chunk.name}"  # of its requests in the journal, also those of runs that were cut off
    askers = [asker(each, source, target, root, budget_usd) for each in asked["translators"]]
    translated = translate_rows(
        from_table(read_group(manifest.rows_path, CONVERSATIONS, chunk.number)),
        askers,
        job=name,
        languages=(source, target),
        unit=asked["unit"],
        memories=_memories(asked["corrections"], asked["memory"], source, target, root),
        again=_refused_before(manifest.aside(chunk)),
        forcing=manifest.forcing(chunk),
    )
    is_paid = any(each.paid for each in askers)  # the journal may hold 40,000 requests, and each chunk would read them
    cost_usd = sum(call.cost_usd for call in journal(root).calls(name)) if is_paid else 0.0
    return write_chunk(translated, manifest.path(chunk), manifest.job, cost_usd)


@task(task_run_name="collect", **LOCAL)
def collect_translation(manifest: Manifest, name: str) -> Tables:
    """Join the chunks into the tables that a user gets."""
    from tasks.llava.collect import collect

    root = DataRoot(Settings().data)
    cost = journal(root).spent([manifest.job]).calls_usd
    tables = collect(manifest, root.tables, f"{name}-{manifest.parameters['target']}", cost)
    counts = tables.counts
    get_run_logger().info(
        "%s rows in, %s delivered, %s rejected: %s",
        f"{counts.rows:,}",
        f"{counts.delivered:,}",
        f"{counts.rejected.total():,}",
        tables.table,
    )
    return tables


@task(task_run_name="report", **LOCAL)
def report_translation(manifest: Manifest, tables: Tables) -> Path:
    """Say what was made, as HTML with plots and as a Markdown artifact."""
    from tasks.llava.memory import read_summary, summary_path
    from tasks.llava.report import write_report

    root, asked = DataRoot(Settings().data), manifest.parameters
    memory = (
        read_summary(summary_path(root.journal, asked["memory"], asked["source_language"], asked["target"]))
        if asked["memory"]
        else None
    )
    folder = root.reports / f"translate-{tables.table.stem}"
    report = write_report(folder, manifest, tables, journal(root).calls(manifest.job), memory)
    shown(create_markdown_artifact, key=f"translate-{tables.table.stem}", markdown=report.markdown)
    show_cost(f"translate-{tables.table.stem}", report.cost)
    get_run_logger().info("Report: %s", report.html)
    return report.html


def open_translator(name: str, source: str, target: str) -> Translator | Prompted:
    """Make a translator with its settings from the environment.

    Args:
        name: Such as ``google``; one that asks a chat takes the model after a colon, as ``mistral:mistral-small-2603``.
        source: Language of the texts.
        target: Language to translate into.

    Raises:
        PermanentError: There is none of this name, or it cannot be used as it is.
    """
    engine, _, model = name.partition(":")
    module = module_of(engine)
    if model and not hasattr(module, "DEFAULT_MODEL"):
        raise PermanentError(f"The translator {engine!r} has no models to choose from: write {engine!r} alone.")
    chosen = {"model": model} if model else {}
    translator: Translator | Prompted = module.open_translator(
        read_options(engine, module.Options), source, target, **chosen
    )
    return translator


def _open_asker(name: str, source: str, target: str, root: DataRoot, budget_usd: float | None) -> Asker | PromptedAsker:
    translator, answers = open_translator(name, source, target), journal(root)
    if not isinstance(translator, Prompted):
        return Asker(translator, answers, source, target)
    engine = ChatAsker(translator.chat, answers, prices())
    return PromptedAsker(translator, engine, answers, source, target, budget_usd)


# A translator's client, gate and answers under way serve all chunks in flight.
asker = Shared(_open_asker, close=lambda opened: opened.close())


@lru_cache(maxsize=2)
def _memories(
    corrections: str | None, memory: str | None, source: str, target: str, root: DataRoot
) -> list[JournaledMemory]:
    """What reviewers settled, then the imported memory of a job with the lexicon learnt from it."""
    from tasks.llava.lexicon import Lexicon
    from tasks.llava.memory import JournaledMemory, read_summary, reviewed_memory, summary_path

    answers, memories = journal(root), []
    if corrections:
        memories.append(reviewed_memory(answers, corrections, source, target))
    if memory:
        lexicon = Lexicon.from_json(read_summary(summary_path(root.journal, memory, source, target)).lexicon)
        memories.append(JournaledMemory(answers, memory, source, target, lexicon))
    return memories


def _refused_before(aside: Path) -> frozenset[int]:
    """Rows that the chunk's old file refused: `force` asks them again."""
    from tasks.llava.chunk import read_chunk

    if not aside.exists():
        return frozenset()
    old = read_chunk(aside, ["row", "error"]).to_pylist()
    return frozenset(item["row"] for item in old if item["error"])
