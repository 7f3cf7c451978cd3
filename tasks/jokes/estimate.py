"""What a walk would cost, before anything is asked.

Windows are known: their questions are counted one by one, without those that the journal knows. Jokes are known when the
windows were extracted before; else as many are expected as a model once found in 111 routines. Every joke that is in
before a step counts as asked, whatever the funnel may put out by its answers: it is the upper end.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.chat.estimate import Rates, Work, billed_rates, unasked, work_of
from tasks.chat.prices import Prices
from tasks.chat.protocol import Question
from tasks.chunks.manifest import Manifest
from tasks.jokes import prompts
from tasks.jokes.funnel import Funnel
from tasks.jokes.refine import PROMPTS, STEPS, Asked, question
from tasks.remote.journal import Journal
from tasks.storage.schemas import JOKES_EXTRACTED, WINDOWS
from tasks.storage.tables import read_table

# Counted in 9,343 jokes that mistral-large found in 111 routines, put into 318 windows (docs/decisions.md, "Windows").
JOKES_PER_CHAR = 2.9e-3  # of a window
REPLY_PER_CHAR = 1.51  # characters of JSON, of a window: each joke comes back as quote and corrected
JOKE_CHARS = 205
GRAPH_CHARS = 600  # of a graph of four minds; nothing was recorded
REPLY_CHARS = {  # of 2,881 recorded ones, with the JSON around them
    prompts.KEYWORDS: 82.0,
    prompts.REFINEMENT: 402.0,
    prompts.REWRITE: 303.0,
    prompts.LEVELS: float(GRAPH_CHARS),
}


def work_of_windows(manifest: Manifest, asked: Asked, prices: Prices, journal: Journal) -> list[Work]:
    """The questions that extracting would ask.

    Args:
        manifest: A job of ``extract-jokes``.
        asked: Who is asked.
        prices: What models cost.
        journal: Knows what is paid already.
    """
    texts, questions = _texts(manifest), _of_windows(manifest, asked)
    chars = sum(map(len, texts)) / max(len(texts), 1)
    return work_of(unasked(questions, asked.engine.name, journal), prices, {prompts.EXTRACT: REPLY_PER_CHAR * chars})


def rates_of_windows(manifest: Manifest, asked: Asked, journal: Journal) -> Rates:
    """Tokens of a character, as they were billed for windows that were asked about before."""
    return billed_rates(_of_windows(manifest, asked), asked.engine.name, journal)


def work_of_jokes(
    manifest: Manifest, steps: Mapping[str, Asked], variety: str, funnel: Funnel, prices: Prices, journal: Journal
) -> list[Work]:
    """The questions that refining would ask at most.

    Args:
        manifest: The job of ``extract-jokes`` whose jokes are refined.
        steps: Who does each step.
        variety: The language as it is spoken where the jokes come from.
        funnel: Which jokes are in before the first step.
        prices: What models cost.
        journal: Knows what is paid already.
    """
    jokes = _jokes(manifest.folder / "jokes.parquet", funnel)
    if jokes is None:
        return _expected(manifest, steps, variety, prices)
    work: list[Work] = []
    for step in STEPS:
        if step in steps:
            questions = [question(step, joke, steps[step].model, variety) for joke in jokes]
            work += work_of(unasked(questions, steps[step].engine.name, journal), prices, REPLY_CHARS)
    return work


def _texts(manifest: Manifest) -> list[str]:
    texts: list[str] = read_table(manifest.rows_path, WINDOWS, ["text"])["text"].to_pylist()
    return texts


def _of_windows(manifest: Manifest, asked: Asked) -> list[Question]:
    return [prompts.extract(asked.model, text, manifest.parameters["language"]) for text in _texts(manifest)]


def _jokes(path: Path, funnel: Funnel) -> list[dict[str, Any]] | None:
    if not path.exists():
        return None
    rows: list[dict[str, Any]] = read_table(path, JOKES_EXTRACTED).to_pylist()
    unknown = {"keywords": None, "corrected_text": None}
    return [{**row, **unknown} for row in rows if funnel.wants(row, STEPS[0])]


def _expected(manifest: Manifest, steps: Mapping[str, Asked], variety: str, prices: Prices) -> list[Work]:
    """As many jokes of an average length as such windows held."""
    number = round(JOKES_PER_CHAR * sum(map(len, _texts(manifest))))
    joke = {"text": "j" * JOKE_CHARS, "keywords": None, "corrected_text": None}
    work = []
    for step in STEPS:
        if step not in steps:
            continue
        one: Question = question(step, joke, steps[step].model, variety)
        highest = prices.of(one.model).highest(one)
        reply = REPLY_CHARS[PROMPTS[step]]
        work.append(Work(one.model, one.prompt, number, number * one.chars, number * reply, number * highest))
    return work
