"""The steps of mine-jokes, as tasks: windows, extracting, jokes, refining, collect, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.chat import split_model
from tasks.chat.protocol import Account
from tasks.chunks.file import write_chunk
from tasks.chunks.manifest import Chunk, Manifest
from tasks.jokes.collect import Tables
from tasks.jokes.plan import account_of
from tasks.jokes.refine import Asked
from tasks.options import LOCAL, REMOTE
from tasks.plan import check_restarts, patient, show_cost, shown
from tasks.services import Asking, chat_of, check_model, engine_and_model, journal, prices
from tasks.settings import Settings
from tasks.storage.root import DataRoot
from tasks.storage.schemas import JOKES_EXTRACTED, JOKES_REFINED, WINDOW_JOKES, WINDOWS
from tasks.storage.tables import read_group

Preset = Literal["default", "predecessor"]
Step = Literal["levels", "keywords", "refinement", "rewrite"]
STEPS: tuple[Step, ...] = ("levels", "keywords", "refinement", "rewrite")

_NAMED = 5  # notes that a warning names


@task(task_run_name="plan", **LOCAL)
def plan_extracting(
    transcripts: Path,
    model: str,
    asked: Mapping[Step, str],
    language: str,
    max_chars: int,
    overlap_chars: int,
    chunk_size: int,
    restarts: int,
    mode: Asking,
    estimate: bool,
) -> Manifest:
    """Find or make the job of windows: every transcript read, merged, cut. What is wrong with a model is said here."""
    from tasks.jokes import plan, prompts
    from tasks.jokes.extract import VERSION

    check_restarts(restarts)
    for name in (model, *asked.values()):
        check_model(name, mode, estimate=estimate)
    parameters = {"model": model, "language": language, "max_chars": max_chars, "overlap_chars": overlap_chars}
    versions = {"code": VERSION, "prompt": prompts.EXTRACT, "chat": engine_and_model(model)[0].name}
    jobs = DataRoot(Settings().data).jobs
    manifest = plan.plan_extracting(transcripts, jobs, chunk_size, parameters, versions)
    logger, notes = get_run_logger(), plan.notes_of(manifest)
    logger.info("%s: %d windows, %d routines refused.", manifest.job, manifest.rows, manifest.rejected)
    if notes:
        logger.warning(
            "Transcripts were mended, with %d notes on it, such as %s", len(notes), "; ".join(notes[:_NAMED])
        )
    return manifest


@task(task_run_name="estimate", **LOCAL)
def estimate_cost(windows: Manifest, asked: Mapping[Step, str], variety: str, funnel: str, mode: Asking) -> str:
    """Say what the walk would cost; nothing is asked."""
    from tasks.chat.estimate import estimate
    from tasks.jokes.estimate import rates_of_windows, work_of_jokes, work_of_windows
    from tasks.jokes.funnel import PRESETS

    known, paid = prices(), journal(DataRoot(Settings().data))
    engine = Asked(*engine_and_model(windows.parameters["model"]))
    steps = {str(step): Asked(*engine_and_model(model)) for step, model in asked.items()}
    stages = PRESETS[funnel].of_steps(steps)
    work = work_of_windows(windows, engine, known, paid)
    work += work_of_jokes(windows, steps, variety, stages, known, paid)
    rates = rates_of_windows(windows, engine, paid)
    limits = chat_of(split_model(windows.parameters["model"])[0]).limits
    seconds_each = paid.seconds_each(engine.engine.name)
    told = estimate(work, known, rates, limits, seconds_each, batch=mode == "batch")
    get_run_logger().info("%s", told)
    shown(create_table_artifact, key="mine-estimate", table=told.rows(), description=str(told))
    return str(told)


def ask_in_batches(
    mode: Asking,
    manifest: Manifest,
    budget: float | None,
    chunks: Sequence[int] | None,
    windows: Manifest | None = None,
) -> None:
    """In batch mode every question of a job's missing chunks at once; the chunks then find the answers in the journal."""
    if mode == "batch":
        patient(ask_all)(manifest, budget, chunks, windows)


@task(task_run_name="batches of {manifest.kind}", **REMOTE)
def ask_all(manifest: Manifest, budget: float | None, chunks: Sequence[int] | None, windows: Manifest | None) -> None:
    """Submit batches, wait for them, collect them."""
    if windows is None:
        _extracted(manifest, manifest.pending(WINDOW_JOKES, chunks), account_of(manifest, manifest, budget), "batch")
    else:
        _refined(manifest, manifest.pending(JOKES_REFINED, chunks), account_of(manifest, windows, budget), "batch")


@task(task_run_name="windows {chunk.name}", **REMOTE)
def extract_chunk(chunk: Chunk, manifest: Manifest, budget: float | None) -> Path:
    """Ask for the jokes in the windows of one chunk and put its file in place."""
    from tasks.jokes.chunk import windows_that_failed

    again = windows_that_failed(manifest.aside(chunk))
    account = account_of(manifest, manifest, budget)
    rows = _extracted(manifest, [chunk], account, "online", again, manifest.forcing(chunk))
    return write_chunk(rows, chunk, manifest, WINDOW_JOKES)


@task(task_run_name="collect windows", **LOCAL)
def collect_extracted(manifest: Manifest) -> Path:
    """Locate every joke that was found, and join them into the table that refining works on."""
    from tasks.jokes.collect import collect_extracted as collect

    return collect(manifest)


@task(task_run_name="plan refining", **LOCAL)
def plan_refining(
    windows: Manifest, jokes: Path, asked: Mapping[Step, str], variety: str, funnel: str, chunk_size: int
) -> Manifest:
    """Find or make the job of jokes."""
    from tasks.jokes import plan
    from tasks.jokes.refine import PROMPTS, VERSION

    steps = {str(step): asked[step] for step in STEPS if step in asked}
    parameters = {"steps": steps, "variety": variety, "funnel": funnel}
    prompts = {step: PROMPTS[step] for step in steps}
    chats = {f"{step} chat": engine_and_model(model)[0].name for step, model in steps.items()}
    versions = {"code": VERSION, **prompts, **chats}
    manifest = plan.plan_refining(jokes, windows.folder.parent, chunk_size, parameters, versions)
    get_run_logger().info("%s: %d jokes, steps %s.", manifest.job, manifest.rows, ", ".join(prompts) or "none")
    return manifest


@task(task_run_name="jokes {chunk.name}", **REMOTE)
def refine_chunk(chunk: Chunk, manifest: Manifest, budget: float | None, windows: Manifest) -> Path:
    """Ask each step about the jokes of one chunk and put its file in place."""
    from tasks.jokes.chunk import steps_that_failed

    again = steps_that_failed(manifest.aside(chunk))
    account = account_of(manifest, windows, budget)
    rows = _refined(manifest, [chunk], account, "online", again, manifest.forcing(chunk))
    return write_chunk(rows, chunk, manifest, JOKES_REFINED)


@task(task_run_name="collect", **LOCAL)
def collect_jokes(windows: Manifest, jokes: Manifest, name: str) -> Tables:
    """Join both jobs into the tables that a user gets."""
    from tasks.jokes.collect import collect

    tables = collect(windows, jokes, DataRoot(Settings().data).tables, name)
    get_run_logger().info(
        "%s windows in, %s jokes found, %s kept, %s windows and routines rejected: %s",
        f"{tables.windows:,}",
        f"{tables.jokes:,}",
        f"{tables.kept:,}",
        f"{tables.reasons.total():,}",
        tables.table,
    )
    return tables


@task(task_run_name="report", **LOCAL)
def report_jokes(windows: Manifest, jokes: Manifest, tables: Tables) -> Path:
    """Say what was found, kept and paid: HTML with plots, a Markdown artifact, funnel and cost as tables."""
    from tasks.jokes.report import write_report

    name = f"mine-{tables.table.stem}"
    report = write_report(DataRoot(Settings().data).reports / name, windows, jokes, tables)
    shown(create_markdown_artifact, key=name, markdown=report.markdown)
    shown(create_table_artifact, key=f"{name}-funnel", table=report.funnel, description="Jokes after each stage")
    show_cost(name, report.cost)
    get_run_logger().info("Report: %s", report.html)
    return report.html


def _extracted(
    manifest: Manifest,
    chunks: Sequence[Chunk],
    account: Account,
    mode: Asking,
    again: frozenset[int] = frozenset(),
    forcing: str = "",
) -> list[dict[str, Any]]:
    from tasks.jokes.extract import extract_windows

    rows = [row for chunk in chunks for row in read_group(manifest.rows_path, WINDOWS, chunk.number).to_pylist()]
    engine, model = engine_and_model(manifest.parameters["model"], mode)
    language = manifest.parameters["language"]
    return extract_windows(rows, engine, account, model=model, language=language, again=again, forcing=forcing)


def _refined(
    manifest: Manifest,
    chunks: Sequence[Chunk],
    account: Account,
    mode: Asking,
    again: frozenset[tuple[int, str]] = frozenset(),
    forcing: str = "",
) -> list[dict[str, Any]]:
    from tasks.jokes.funnel import PRESETS
    from tasks.jokes.refine import refine_jokes

    rows = [
        row for chunk in chunks for row in read_group(manifest.rows_path, JOKES_EXTRACTED, chunk.number).to_pylist()
    ]
    steps = {step: Asked(*engine_and_model(model, mode)) for step, model in manifest.parameters["steps"].items()}
    wanted = PRESETS[manifest.parameters["funnel"]].of_steps(steps).wants
    variety = manifest.parameters["variety"]
    return refine_jokes(rows, steps, account, variety=variety, wanted=wanted, again=again, forcing=forcing)
