"""One chunk of pairs, judged in both orders.

::

    {"row": 17, "request": "… suegra …", "text_a": "Mi suegra …", "text_b": "Un suegro …", …}
      ->  {…, "verdict": "a", "said_a_first": "A", "said_b_first": "B", "reason_a_first": "…", "judged_by": "…", …}

Texts that are equal or empty are settled without asking. An answer that is none (refused, unreadable, reciting its
instructions) leaves the pair unjudged: it is nobody's loss.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tasks.chat.fence import recites
from tasks.chat.protocol import CUT, REFUSED, UNANSWERED, UNREADABLE, Account, Engine, Question, Reply
from tasks.judging import prompts
from tasks.judging.statistics import Said, Verdict, verdict_of

LEAKED, NO_TEXT = "leaked", "no-text"
EQUAL, EMPTY = "equal", "empty"

# Why a pair is not judged, for every code that a table may hold.
REASONS = {
    NO_TEXT: "a contestant gave no text",
    REFUSED: "the judge's service will not take the question",
    CUT: "the judge's answer does not fit",
    UNREADABLE: "the judge's answer is not the JSON that was asked for",
    UNANSWERED: "the judge's service fails on this question while it answers others",
    LEAKED: "the judge recites its instructions: a text may hold instructions of its own",
}


class _Answer(NamedTuple):
    """What the judge said in one order: who wins and why, or the code and message of why it said nothing."""

    said: Said | None
    reason: str | None
    error: str | None = None
    message: str = ""


def judge_rows(
    rows: Sequence[Mapping[str, Any]], engine: Engine, account: Account, *, model: str, variety: str
) -> list[dict[str, Any]]:
    """The finished rows of a chunk.

    Args:
        rows: Rows of ``PAIRS``.
        engine: Who is asked.
        account: Who pays.
        model: The judge, as its service names it.
        variety: The language as it is spoken where the jokes are for.

    Returns:
        Rows of ``PAIRS_JUDGED``, as many and in the same order.

    Raises:
        TransientError: The service does not answer.
        PermanentError: It refuses whatever it is asked.
        BudgetReached: The next question could cost more than is left.
    """
    open_pairs = [row for row in rows if settle(row) is None]
    asked = questions(open_pairs, model, variety)
    replies = engine.ask(asked, account=account) if asked else []
    answered = iter(zip(asked, replies, strict=True))
    return [
        _settled(row, settled) if (settled := settle(row)) else _judged(row, next(answered), next(answered))
        for row in rows
    ]


def questions(rows: Sequence[Mapping[str, Any]], model: str, variety: str) -> list[Question]:
    """Both orders of every pair that has to be asked about: A's text first, then B's text first."""
    return [
        prompts.ask(model, row["request"], first, second, variety)
        for row in rows
        if settle(row) is None
        for first, second in ((row["text_a"], row["text_b"]), (row["text_b"], row["text_a"]))
    ]


def settle(row: Mapping[str, Any]) -> tuple[Verdict, str] | None:
    """Verdict and reason of a pair that need no judge; None where it does."""
    if row["text_a"] is None or row["text_b"] is None:
        return "unjudged", NO_TEXT
    a, b = (_plain(row[name]) for name in ("text_a", "text_b"))
    if not a or not b:
        return ("a" if a else "b" if b else "neither"), EMPTY
    return ("tie", EQUAL) if a == b else None


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _settled(row: Mapping[str, Any], settled: tuple[Verdict, str]) -> dict[str, Any]:
    verdict, why = settled
    unjudged = verdict == "unjudged"
    without = [f"{side.upper()} ({row[f'error_{side}']})" for side in "ab" if row[f"text_{side}"] is None]
    return {
        **row,
        "verdict": verdict,
        "settled": None if unjudged else why,
        "said_a_first": None,
        "said_b_first": None,
        "reason_a_first": None,
        "reason_b_first": None,
        "judged_by": "",
        "judge_usd": 0.0,
        "error": why if unjudged else None,
        "message": f"Row {row['row']}: no text of {' and '.join(without)}." if unjudged else None,
    }


def _judged(row: Mapping[str, Any], forth: tuple[Question, Reply], back: tuple[Question, Reply]) -> dict[str, Any]:
    replies = (forth[1], back[1])
    answers = [_read(*each) for each in (forth, back)]
    failed = next((each for each in answers if each.error), None)
    return {
        **row,
        "verdict": verdict_of((answers[0].said, answers[1].said)),
        "settled": None,
        "said_a_first": answers[0].said,
        "said_b_first": answers[1].said,
        "reason_a_first": answers[0].reason,
        "reason_b_first": answers[1].reason,
        "judged_by": ", ".join(sorted({reply.model for reply in replies if reply.model})),
        "judge_usd": sum(reply.cost_usd for reply in replies),
        "error": failed.error if failed else None,
        "message": f"Row {row['row']}: {failed.message}" if failed else None,
    }


def _read(question: Question, reply: Reply) -> _Answer:
    if reply.refusal is not None or reply.text is None:
        code = reply.refusal or UNREADABLE
        return _Answer(None, None, code, reply.message or REASONS[code])
    if recites(question, reply.text):
        return _Answer(None, None, LEAKED, REASONS[LEAKED])
    read = prompts.Judgement.model_validate_json(reply.text)  # held against its schema before it came here
    return _Answer(read.winner, read.reason)
