"""The walk of flows/jokes.py without Prefect, for tests that run it often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tasks.chat.protocol import Account, Engine
from tasks.chunks.file import write_chunk
from tasks.chunks.lock import only_run
from tasks.chunks.manifest import Chunk, Manifest
from tasks.jokes import prompts
from tasks.jokes.chunk import steps_that_failed, windows_that_failed
from tasks.jokes.collect import Tables, collect, collect_extracted
from tasks.jokes.extract import extract_windows
from tasks.jokes.funnel import PRESETS
from tasks.jokes.plan import account_of, plan_extracting, plan_refining
from tasks.jokes.refine import STEPS, Asked, refine_jokes
from tasks.jokes.report import write_report
from tasks.storage.root import DataRoot
from tasks.storage.schemas import JOKES_EXTRACTED, JOKES_REFINED, WINDOW_JOKES, WINDOWS
from tasks.storage.tables import read_group


class Walked(NamedTuple):
    """What a walk made."""

    windows: Manifest
    jokes: Manifest
    tables: Tables


def walk(
    source: Path,
    data: Path,
    engine: Engine,
    *,
    model: str = "m-1",
    steps: Sequence[str] = STEPS,
    chunk_size: int = 2,
    threads: int = 1,
    budget: float | None = None,
    sizes: tuple[int, int] = (12_000, 2_800),
    funnel: str = "default",
) -> Walked:
    """Do what is missing."""
    root = DataRoot(data)
    windows = planned(source, root, engine, model, chunk_size, sizes)
    with only_run(windows.folder):
        account = account_of(windows, windows, budget)
        _all(windows.pending(WINDOW_JOKES), lambda chunk: extract(windows, chunk, engine, account), threads)
        parameters = {"steps": dict.fromkeys(steps, model), "variety": "Chilean Spanish", "funnel": funnel}
        jokes = plan_refining(collect_extracted(windows), root.jobs, 3 * chunk_size, parameters, {"chat": engine.name})
        account = account_of(jokes, windows, budget)
        _all(jokes.pending(JOKES_REFINED), lambda chunk: refine(jokes, chunk, engine, account), threads)
        tables = collect(windows, jokes, root.tables, "jokes")
        write_report(root.reports / "mine-jokes", windows, jokes, tables)
    return Walked(windows, jokes, tables)


def planned(
    source: Path, root: DataRoot, engine: Engine, model: str, chunk_size: int, sizes: tuple[int, int]
) -> Manifest:
    """The job of windows."""
    parameters = {"model": model, "language": "es", "max_chars": sizes[0], "overlap_chars": sizes[1]}
    versions = {"prompt": prompts.EXTRACT, "chat": engine.name}
    return plan_extracting(source, root.jobs, chunk_size, parameters, versions)


def extract(manifest: Manifest, chunk: Chunk, engine: Engine, account: Account) -> Path:
    """One chunk of windows."""
    rows = read_group(manifest.rows_path, WINDOWS, chunk.number).to_pylist()
    asked: Mapping[str, Any] = manifest.parameters
    again = windows_that_failed(manifest.aside(chunk))
    more: Mapping[str, Any] = {"again": again, "forcing": manifest.forcing(chunk)}
    done = extract_windows(rows, engine, account, model=asked["model"], language=asked["language"], **more)
    return write_chunk(done, chunk, manifest, WINDOW_JOKES)


def refine(manifest: Manifest, chunk: Chunk, engine: Engine, account: Account) -> Path:
    """One chunk of jokes."""
    rows = read_group(manifest.rows_path, JOKES_EXTRACTED, chunk.number).to_pylist()
    asked: Mapping[str, Any] = manifest.parameters
    steps = {step: Asked(engine, model) for step, model in asked["steps"].items()}
    wanted = PRESETS[asked["funnel"]].of_steps(steps).wants
    again = steps_that_failed(manifest.aside(chunk))
    more: Mapping[str, Any] = {"again": again, "forcing": manifest.forcing(chunk)}
    done = refine_jokes(rows, steps, account, variety=asked["variety"], wanted=wanted, **more)
    return write_chunk(done, chunk, manifest, JOKES_REFINED)


def _all(chunks: Sequence[Chunk], do: Any, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(do, chunks))
