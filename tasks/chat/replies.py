"""A reply as the journal keeps it, and what a completion is worth.

::

    key     blake2b("mistral", Question.identity)
    answer  {"text": "{\"jokes\": []}", "message": "", "model": "mistral-small-2603", "prompt_tokens": 412,
             "completion_tokens": 9, "cost_usd": 6.72e-05}
    refusal null, or "refused", "length", "unreadable"
"""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace

from pydantic import BaseModel, ValidationError

from tasks.chat.protocol import CUT, UNREADABLE, Completion, Question, Reply
from tasks.remote.journal import Answer, key_of

# Some servers wrap JSON in a Markdown fence though a schema was asked for. That answer is paid and whole.
_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL)

_KEPT = [field.name for field in fields(Reply) if field.name != "refusal"]


def key_of_question(chat: str, question: Question) -> bytes:
    """The journal's key of a question to one chat, whoever asks it: online and in batches alike."""
    return key_of(chat, question.identity)


def to_answer(reply: Reply) -> Answer:
    """A reply as the journal keeps it."""
    envelope = {name: getattr(reply, name) for name in _KEPT}
    return Answer(json.dumps(envelope, ensure_ascii=False), reply.refusal)


def to_reply(answer: Answer) -> Reply:
    """The reply that the journal kept."""
    assert answer.text is not None, "written by to_answer"
    return Reply(**json.loads(answer.text), refusal=answer.refusal)


def judge(question: Question, completion: Completion, before: Reply, cost_usd: float) -> Reply:
    """What a completion is worth: the reply, or the code of why it is none.

    Args:
        question: What was asked.
        completion: What came.
        before: What earlier attempts at this question were paid.
        cost_usd: What this one was.
    """
    paid = replace(
        before,
        model=completion.model,
        prompt_tokens=before.prompt_tokens + completion.prompt_tokens,
        completion_tokens=before.completion_tokens + completion.completion_tokens,
        cost_usd=before.cost_usd + cost_usd,
    )
    if completion.finish in ("length", "model_length"):
        return replace(
            paid,
            refusal=CUT,
            message=f"The answer did not fit into {question.max_tokens:,} tokens (finish_reason {completion.finish}).",
        )
    if question.answer is None:
        return replace(paid, text=completion.text)
    fenced = _FENCED.fullmatch(completion.text)
    text = fenced[1] if fenced else completion.text
    if wrong := _wrong(text, question.answer):
        return replace(
            paid, refusal=UNREADABLE, message=f"Not the JSON of {question.answer.__name__} that was asked for: {wrong}"
        )
    return replace(paid, text=text)


def _wrong(text: str, answer: type[BaseModel]) -> str:
    """What is wrong with an answer, for people; empty if nothing is."""
    try:
        answer.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        return f"{where + ': ' if where else ''}{first['msg']}; it begins {text[:80]!r}."
    return ""
