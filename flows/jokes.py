"""Jokes: from transcripts of stand-up routines to a table that a model can be taught with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.mine import (
    STEPS,
    Preset,
    Step,
    ask_in_batches,
    collect_extracted,
    collect_jokes,
    estimate_cost,
    extract_chunk,
    plan_extracting,
    plan_refining,
    refine_chunk,
    report_jokes,
)
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
from tasks.services import Asking, asking
from tasks.storage.schemas import JOKES_REFINED, WINDOW_JOKES


@flow(name="mine-jokes", task_runner=chunk_runner())
def mine_jokes(
    transcripts: Path,
    model: str = "mistral:mistral-small-2603",
    language: str = "es",
    variety: str = "Chilean Spanish",
    steps: list[Step] | None = None,
    models: dict[Step, str] | None = None,
    funnel: Preset = "default",
    mode: Asking = "online",
    budget_usd: Dollars | None = None,
    estimate: bool = False,
    max_chars: int = 12_000,
    overlap_chars: int = 2_800,
    chunk_size: int = 20,
    chunks: list[int] | None = None,
    force: bool = False,
    name: str = "jokes",
    restarts: int = 0,
) -> Path | State[Any]:
    """Find the jokes in transcripts and refine them. Press Retry on a failed run to do only what is missing.

    Args:
        transcripts: A file or a folder: JSON Lines per routine, WebVTT, SRT, or Parquet.
        model: Who is asked, as chat:model, such as mistral:mistral-small-2603; scripted:upper tries the walk for nothing.
        language: Code of the transcripts' language, such as "es".
        variety: The language as it is spoken there, in English: what corrected and rewritten jokes are to be in.
        steps: What is asked about each joke: levels, keywords, refinement, rewrite; all of them when empty.
        models: Another model for a step, such as {"rewrite": "mistral:mistral-large-4"}.
        funnel: Which jokes are kept; one that is out by then is asked nothing more. No joke is dropped from the table.
        mode: batch sends each step's questions through the batch API, at half the price and in hours instead of minutes.
        budget_usd: What this walk may cost in all, over all its runs; at it the run pauses and asks for more.
        estimate: Only say what it would cost: calls, tokens, dollars, time. Nothing is asked.
        max_chars: Characters of a window, which is one question.
        overlap_chars: Characters that each window shares with the next: jokes up to this length are whole in one.
        chunk_size: Windows per chunk; three times as many jokes. Another size is another job, with the answers of this one.
        chunks: Numbers of the chunks of windows to do; all that are missing when empty.
        force: Do these chunks again although they are done, and ask again what was not answered.
        name: The table's name, such as "jokes" in tables/jokes.parquet.
        restarts: Counted by the automation that starts a crashed run again; leave it 0.

    Returns:
        The table of jokes; the job's folder while chunks are missing because only some were asked for.
    """
    check_name(name)
    asked = {step: (models or {}).get(step, model) for step in steps or STEPS}
    windows = plan_extracting(
        transcripts, model, asked, language, max_chars, overlap_chars, chunk_size, restarts, mode, estimate
    )
    if estimate:
        return estimated(estimate_cost(windows, asked, variety, funnel, mode))
    budget = budget_now(budget_usd)
    with pausing_at_the_budget(), asking(), working_on(windows.folder):
        ask_in_batches(mode, windows, budget, chunks)
        missing = run_chunks(extract_chunk, windows, WINDOW_JOKES, chunks, force, restarts, budget=budget)
        if missing:
            return windows.folder
        jokes = plan_refining(windows, collect_extracted(windows), asked, variety, funnel, 3 * chunk_size)
        with working_on(jokes.folder):
            ask_in_batches(mode, jokes, budget, None, windows)
            again = force and not chunks
            run_chunks(refine_chunk, jokes, JOKES_REFINED, None, again, restarts, budget=budget, windows=windows)
            tables = collect_jokes(windows, jokes, name)
            report_jokes(windows, jokes, tables)
    return tables.table
