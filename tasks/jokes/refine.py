"""Ask about each joke: levels of intentionality, keywords, refinement, rewrite.

::

    {"row": 7, "text": "Llega un tipo al médico …"}
      ->  {…, "nodes": [{"id": 1, "label": "comedian"}, …], "levels": 4, "levels_by": "mistral-large-2512",
           "levels_usd": 0.001, "keywords": ["médico"], …, "corrected_text": "…", "quality": "funny", …}

Each step is one question for each joke that the funnel has not put out by then, and leaves columns of its own: the
answer, who gave it to which prompt, what it cost, and why there is none. A step that fails on a joke costs no other joke
anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from tasks.chat.protocol import Account, Engine, Question, Reply
from tasks.jokes import prompts
from tasks.jokes.extract import ask, failure
from tasks.storage.schemas import JOKES_EXTRACTED, JOKES_REFINED

VERSION = "1"
STEPS = ("levels", "keywords", "refinement", "rewrite")
PROMPTS = dict(zip(STEPS, (prompts.LEVELS, prompts.KEYWORDS, prompts.REFINEMENT, prompts.REWRITE), strict=True))

Row = Mapping[str, Any]
_NOTHING = dict.fromkeys(name for name in JOKES_REFINED.columns.names if name not in JOKES_EXTRACTED.columns.names)


class Asked(NamedTuple):
    """Who does a step."""

    engine: Engine
    model: str


def refine_jokes(
    rows: Sequence[Row],
    steps: Mapping[str, Asked],
    account: Account,
    *,
    variety: str,
    wanted: Callable[[Row, str], bool],
    again: Collection[tuple[int, str]] = (),
    forcing: str = "",
) -> list[dict[str, Any]]:
    """The finished rows of a chunk.

    Args:
        rows: Rows of ``JOKES_EXTRACTED``.
        steps: Who does each of ``STEPS``; one that is not there is switched off.
        account: Who pays.
        variety: The language as it is spoken where the jokes come from, such as ``Chilean Spanish``.
        wanted: Whether a joke, with what is known of it by then, is worth a step.
        again: Joke, by ``row``, and step: asked once more where the journal's answer is none.
        forcing: Name of the occasion for that; see ``Engine.ask``.

    Returns:
        Rows of ``JOKES_REFINED``, as many and in the same order.

    Raises:
        TransientError: The service does not answer.
        PermanentError: It refuses whatever it is asked.
        BudgetReached: The next question could cost more than is left.
    """
    finished: list[dict[str, Any]] = [{**row, **_NOTHING} for row in rows]
    for step in STEPS:
        if step not in steps:
            continue
        engine, model = steps[step]
        some = [row for row in finished if wanted(row, step)]
        questions = [question(step, row, model, variety) for row in some]
        replies = ask(engine, questions, account, [(row["row"], step) in again for row in some], forcing)
        for row, asked, reply in zip(some, questions, replies, strict=True):
            row.update(_columns(step, asked, reply))
    return finished


def question(step: str, row: Row, model: str, variety: str) -> Question:
    """What a step asks about a joke, with what is known of it by then."""
    if step == "levels":
        return prompts.levels(model, row["text"])
    if step == "keywords":
        return prompts.keywords(model, row["text"])
    if step == "refinement":
        return prompts.refinement(model, row["text"], row["keywords"] or [], variety)
    return prompts.rewrite(model, row["corrected_text"] or row["text"], variety)


def _columns(step: str, asked: Question, reply: Reply) -> dict[str, Any]:
    why = failure(asked, reply)
    made = {
        f"{step}_by": reply.model or None,
        f"{step}_prompt": asked.prompt,
        f"{step}_usd": reply.cost_usd,
        f"{step}_error": f"{why[0]}: {why[1]}" if why else None,
    }
    return made if why else {**made, **_answer(step, reply.text or "")}


def _answer(step: str, text: str) -> dict[str, Any]:
    if step == "levels":
        graph = prompts.Mindstates.model_validate_json(text)
        return {**graph.model_dump(), "levels": len({node.id for node in graph.nodes})}
    if step == "keywords":
        return prompts.Keywords.model_validate_json(text).model_dump()
    if step == "refinement":
        refined = prompts.Refinement.model_validate_json(text)
        return {
            "corrected_text": refined.text,
            "corrected_keywords": refined.keywords,
            "quality": refined.quality,
        }
    return {"rewritten_text": prompts.Rewrite.model_validate_json(text).rewritten_text}
