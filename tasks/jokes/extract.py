"""Ask for the jokes of each window.

::

    {"row": 3, "routine": "100", "window": 3, "text": "[05:01] llega un tipo al médico …"}
      ->  {…, "jokes": [{"quote": "llega un tipo …", …}], "questions": 1, "extracted_by": "mistral-large-2512", …}

An answer that does not fit into one reply is asked for again by halves of the window, down to ``FLOOR_CHARS``. What a model
refuses is told with its reason and costs nobody else anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.chat.fence import recites
from tasks.chat.protocol import CUT, REFUSED, UNANSWERED, UNREADABLE, Account, Engine, Question, Reply
from tasks.jokes import prompts

VERSION = "1"
FLOOR_CHARS = 600  # no half is shorter: 19 of 20 jokes have fewer characters
OVERLAP = 0.15  # of a half, which the next one begins with
LEAKED = "leaked"

# Why there is no answer, for every code that a table may hold.
REASONS = {
    REFUSED: "the service will not take this question",
    CUT: "the answer does not fit, however short the question",
    UNREADABLE: "the answer is not the JSON that was asked for",
    UNANSWERED: "the service fails on this question while it answers others",
    LEAKED: "the answer recites the instructions: the text may hold instructions of its own",
}


@dataclass(frozen=True, slots=True)
class _Part:
    """A window, or a half of one, or a half of that: ``place`` puts the parts of a window in order."""

    row: int
    place: tuple[int, ...]
    text: str


def extract_windows(
    rows: Sequence[Mapping[str, Any]],
    engine: Engine,
    account: Account,
    *,
    model: str,
    language: str,
    again: Collection[int] = (),
    forcing: str = "",
) -> list[dict[str, Any]]:
    """The finished rows of a chunk.

    Args:
        rows: Rows of ``WINDOWS``.
        engine: Who is asked.
        account: Who pays.
        model: As the service names it.
        language: Of the transcripts.
        again: Windows, by ``row``, that are asked once more where the journal's answer is none.
        forcing: Name of the occasion for that; see ``Engine.ask``.

    Returns:
        Rows of ``WINDOW_JOKES``, as many and in the same order.

    Raises:
        TransientError: The service does not answer.
        PermanentError: It refuses whatever it is asked.
        BudgetReached: The next question could cost more than is left.
    """
    answered: dict[int, list[tuple[_Part, Reply, Question]]] = defaultdict(list)
    parts = [_Part(number, (), row["text"]) for number, row in enumerate(rows)]
    while parts:
        questions = [prompts.extract(model, part.text, language) for part in parts]
        failed = [rows[part.row]["row"] in again for part in parts]
        halves: list[_Part] = []
        for part, question, reply in zip(
            parts, questions, ask(engine, questions, account, failed, forcing), strict=True
        ):
            answered[part.row].append((part, reply, question))
            if reply.refusal == CUT:
                texts = halve(part.text)
                halves += [_Part(part.row, (*part.place, n), text) for n, text in enumerate(texts)]
        parts = halves
    return [_finished(row, answered[number]) for number, row in enumerate(rows)]


def ask(
    engine: Engine, questions: Sequence[Question], account: Account, failed: Sequence[bool], forcing: str
) -> list[Reply]:
    """Replies in order; a question that failed before is asked once more.

    Not if its answer is good by now: then a forced run was cut off after it had paid for it; nor if it was asked on this
    very occasion, whatever came. Nor if it is ``UNANSWERED``: the journal keeps no such answer, so it was asked just now.
    """
    replies = engine.ask(questions, account=account)
    again = [
        place
        for place, (question, reply) in enumerate(zip(questions, replies, strict=True))
        if failed[place] and reply.refusal != UNANSWERED and failure(question, reply)
    ]
    if again:
        fresh = engine.ask([questions[place] for place in again], account=account, fresh=forcing)
        for place, reply in zip(again, fresh, strict=True):
            replies[place] = reply
    return replies


def halve(text: str) -> list[str]:
    """A window's lines in two halves, the second of which begins a little before the first one's end.

    Returns:
        Two texts that begin and end with a line; none where a half would fall below ``FLOOR_CHARS``.
    """
    lines = text.splitlines()
    middle, at, left = len(text) / 2, 0, 0
    while at < len(lines) - 1 and left + len(lines[at]) / 2 < middle:
        left += len(lines[at]) + 1
        at += 1
    back, overlap = at, 0
    while back > 1 and overlap + len(lines[back - 1]) <= OVERLAP * middle:
        back -= 1
        overlap += len(lines[back]) + 1
    halves = ["\n".join(lines[:at]), "\n".join(lines[back:])]
    return halves if min(map(len, halves)) >= FLOOR_CHARS else []


def failure(question: Question, reply: Reply) -> tuple[str, str] | None:
    """Why a reply is none, as code and message; None for one that is."""
    if reply.refusal is not None:
        return reply.refusal, reply.message or REASONS[reply.refusal]
    if recites(question, reply.text or ""):
        return LEAKED, REASONS[LEAKED]
    return None


def _finished(row: Mapping[str, Any], answered: Sequence[tuple[_Part, Reply, Question]]) -> dict[str, Any]:
    jokes: list[dict[str, Any]] = []
    failed: list[tuple[str, str]] = []
    good = 0
    parts = sorted(answered, key=lambda each: each[0].place)
    places = [part.place for part, _, _ in parts]
    for part, reply, question in parts:
        if (*part.place, 0) in places:
            continue  # its halves answer for it
        if why := failure(question, reply):
            failed.append(why)
        else:
            good += 1
            jokes += [joke.model_dump() for joke in prompts.Repertoire.model_validate_json(reply.text or "").jokes]
    done: dict[str, Any] = {
        **row,
        "jokes": jokes,
        "questions": len(parts),
        "extracted_by": ", ".join(sorted({reply.model for _, reply, _ in parts if reply.model})),
        "cost_usd": sum(reply.cost_usd for _, reply, _ in parts),
        "error": None,
        "message": None,
    }
    if failed:
        code, message = failed[0]
        lost = f"{len(failed)} of {good + len(failed)} parts" if good else "all of it"
        where = f"routine {row['routine']}, window {row['window']}"
        done |= {"error": code, "message": f"Row {row['row']}, {where}, {lost}: {message}"}
    return done
