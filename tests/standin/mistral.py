r"""A stand-in for Mistral's ``/v1/models`` and ``/v1/chat/completions``: 127.0.0.1, tests and benches only.

Asked and answered::

    POST /v1/chat/completions {"model": "mistral-small-2603", "messages": [{"content": "hola", "role": "user"}], …}
    {"id": "…", "object": "chat.completion", "created": 0, "model": "recorded-mistral-small-2603", "choices": [{"index": 0,
     "message": {"role": "assistant", "content": "HOLA"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, …}}

It is a recording and no model: free text is the last user message in capitals; keyed lines come back in capitals
(``tasks/translators/mistral.py``); other JSON is filled from the schema with lines of the document in the prompt; jokes
are those that a model once found in it (``--jokes``). The answering model's name begins with ``recorded-``, and every
answer carries the header ``x-recording``. Started by ``MistralStandIn`` or by
hand::

    python -m tests.standin.mistral --port 8091 --set latency_ms=150 --set p429=0.05 --set retry_after=1
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from orjson import JSONDecodeError, dumps, loads

from tasks.chat.scripted import fill
from tests.standin.jokes import Found, Jokes, read_jokes
from tests.standin.server import (
    HTML,
    Chance,
    Receive,
    Reply,
    Scope,
    Send,
    Server,
    Settable,
    add_options,
    drawn,
    finish,
    read_body,
    reply,
    run,
    set_switches,
)

CHAT, MODELS = "/v1/chat/completions", "/v1/models"
PAGE = b'<!DOCTYPE html><html lang="en"><head><title>Bad gateway</title></head><body>trasvase stand-in</body></html>'
CHARS_PER_TOKEN = 4
KEEP_ASKED = 20_000  # prompts kept for tests; counting goes on beyond, by hash
# What the SDK 3.7 may send; more is refused, as the service does.
_FIELDS = frozenset(
    "model messages temperature top_p max_tokens stream random_seed response_format stop n safe_prompt".split()
)
_TAGGED = re.compile(r"<([\w-]+)[^<>]*>(.*?)</\1>", re.DOTALL)
_MARKED = re.compile(r"\s*\[([\d:.]+)\]")


@dataclass
class Switches(Settable):
    """What can be set. A fault ``p…`` is drawn per request from seed, messages and their attempt number.

    Args:
        seed: Of all draws.
        latency_ms: Before every answer, refusals included.
        jitter_ms: Plus or minus, drawn like a fault.
        key: The only API key that is let in; empty lets in any, and none.
        models: Names that are known, parted by commas.
        retired: Names of them that get 400 ``invalid_model``, though still on the list.
        unlisted: Names of them that get a plain 400 and are not on the list.
        credit: 0 answers 402.
        month_left: Of ``x-ratelimit-remaining-tokens-month``; 0 answers 429 with it.
        rps: Requests per second allowed; more get 429. 0 allows all.
        rps_burst: What the bucket holds; 0 holds one second's worth.
        limit_minute: Of the header ``x-ratelimit-limit-req-minute`` where ``rps`` is 0; 0 refuses everything with it.
        tokens_minute: Of the header ``x-ratelimit-limit-tokens-minute``.
        headers: 0 sends no rate headers, as other servers do.
        p429: 429, with room in its headers.
        retry_after: The header's value on a drawn 429 and on 503: seconds, a date, or empty for none.
        p503: 503 with HTML.
        p_html: 200 with HTML.
        p_cut: The answer breaks off: by turns short of its Content-Length, or whole by its header and cut JSON.
        p_reset: TCP reset half-way through the answer.
        p_hang: No answer for 120 s, then a reset.
        p_usage: Without ``usage``.
        p_wrong: JSON of another schema.
        p_length: Half the text, ``finish_reason`` length.
        down: 1 answers 503 to everything.
        refuse: A request with this in its messages gets 400, every time.
        fail: A request with this in its messages gets 503, every time.
        garbage: A request with this in its messages gets text that is no JSON, every time.
        long: A request with this in its messages gets half an answer, ``finish_reason`` length, every time.
        fenced: 1 wraps JSON in a Markdown fence.
    """

    seed: int = 0
    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    key: str = ""
    models: str = "mistral-small-2603,mistral-medium-3.5,mistral-large-4"
    retired: str = ""
    unlisted: str = ""
    credit: int = 1
    month_left: int = 1_000_000_000
    rps: float = 0.0
    rps_burst: float = 0.0
    limit_minute: int = 60_000
    tokens_minute: int = 1_000_000_000
    headers: int = 1
    p429: float = 0.0
    retry_after: str = ""
    p503: float = 0.0
    p_html: float = 0.0
    p_cut: float = 0.0
    p_reset: float = 0.0
    p_hang: float = 0.0
    p_usage: float = 0.0
    p_wrong: float = 0.0
    p_length: float = 0.0
    down: int = 0
    refuse: str = ""
    fail: str = ""
    garbage: str = ""
    long: str = ""
    fenced: int = 0


@dataclass
class Counts:
    """What happened since the last reset.

    Args:
        requests: To the chat endpoint.
        answered: With 200 and a whole answer, of whatever content.
        pings: Of these, whose only message is ``ping``; they count nowhere below.
        paid_again: Prompts answered although they had been answered before.
        lists: Times the models were listed.
        not_found: Requests to other paths.
        in_flight: Chats being answered now, and ``max_in_flight`` at once.
        prompt_tokens: Of what was answered.
        completion_tokens: Of what was answered.
        recorded: Jokes given from recordings.
        status: Answers by status; resets, hangs and short ones have none.
        faults: By name: those of ``Switches``.
    """

    requests: int = 0
    answered: int = 0
    pings: int = 0
    paid_again: int = 0
    lists: int = 0
    not_found: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    recorded: int = 0
    status: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)


def problem(status: int, message: str, kind: str, fault: str, code: str = "", retry_after: str = "") -> Reply:
    """An error as the service words it."""
    body = {"object": "error", "message": message, "type": kind, "param": None, "code": code, "raw_status_code": status}
    return Reply(status, dumps(body), fault=fault, retry_after=retry_after)


class Mistral(Server[Switches]):
    """Chat and models."""

    def __init__(self, jokes: Jokes, switches: Switches) -> None:
        self.jokes = jokes
        super().__init__(switches)

    def reset(self) -> None:
        super().reset()
        self.counts = Counts()
        self.answered: dict[str, int] = {}  # model and messages as JSON, or their hash -> times answered well
        self.began = time.time()

    def stats(self) -> dict[str, Any]:
        return {**vars(self.counts), "distinct": len(self.answered), "jokes": len(self.jokes)}

    def asked(self) -> list[tuple[str, int]]:
        return list(self.answered.items())

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == CHAT and scope["method"] == "POST":
            await self.chat(scope, receive, send)
        elif scope["path"] == MODELS:
            self.counts.lists += 1
            answer = self.let_in(scope) or Reply(200, dumps({"object": "list", "data": self.cards()}))
            await reply(send, answer)
        else:
            self.counts.not_found += 1
            await reply(send, Reply(404, PAGE, HTML))

    def let_in(self, scope: Scope) -> Reply | None:
        """The refusal of a wrong key, or None."""
        given = dict(scope["headers"]).get(b"authorization", b"").decode()
        if self.switches.key and given != f"Bearer {self.switches.key}":
            return Reply(401, dumps({"message": "Unauthorized", "request_id": "stand-in"}), fault="key")
        return None

    def cards(self) -> list[dict[str, Any]]:
        """The models as the service lists them."""
        hidden = self.switches.unlisted.split(",")
        retired = self.switches.retired.split(",")
        return [
            {
                "id": name,
                "object": "model",
                "type": "base",
                "created": 0,
                "owned_by": "trasvase stand-in",
                "capabilities": {"completion_chat": True},
                "aliases": [],
                "deprecation": "2026-05-31T12:00:00Z" if name in retired else None,
            }
            for name in self.switches.models.split(",")
            if name not in hidden
        ]

    async def chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a chat, with whatever fault is due."""
        counts, began = self.counts, time.monotonic()
        raw = await read_body(receive)
        counts.requests += 1
        counts.in_flight += 1
        counts.max_in_flight = max(counts.max_in_flight, counts.in_flight)
        try:
            body: dict[str, Any] = {}
            answer = self.let_in(scope)
            if answer is None:
                answer, body = self.read(raw)
            messages = dumps(body.get("messages", [])).decode()
            chance: Chance = partial(drawn, salt=b"")
            if answer is None:
                answer = self.refuse(messages, body["model"], began)
            if answer is None:
                chance = self.draw(messages, self.switches.seed)
                answer = self.fault(chance)
            if self.switches.latency_ms:
                jitter = self.switches.jitter_ms and self.switches.jitter_ms * (2 * chance("jitter") - 1)
                await asyncio.sleep(max(self.switches.latency_ms + jitter, 0) / 1000)
                if counts is not self.counts:  # asked before a reset, so counted nowhere
                    await finish(scope, receive, send, Reply(503, PAGE, HTML))
                    return
            if answer is None or answer.ending in ("reset", "short", "cut"):
                answer = self.answer(body, messages, chance, answer)
            answer.headers = self.allowance(answer)
            ended = answer.ending in ("whole", "cut")
            counts.status.update([str(answer.status)] if ended else [])
            counts.faults.update([answer.fault] if answer.fault else [])
            self.log.append(
                {
                    "at": round(time.time(), 3),
                    "ms": round(1000 * (time.monotonic() - began), 2),
                    "status": answer.status if ended else None,
                    "fault": answer.fault,
                    "authorization": dict(scope["headers"]).get(b"authorization", b"").decode(),
                    "body": raw.decode() if len(raw) < 20_000 else "",
                }
            )
        finally:
            counts.in_flight -= 1
        await finish(scope, receive, send, answer)

    def read(self, raw: bytes) -> tuple[Reply | None, dict[str, Any]]:
        """The body of a chat, or its refusal."""
        try:
            body: dict[str, Any] = loads(raw)
            wrong = sorted(body.keys() - _FIELDS) or [name for name in ("model", "messages") if not body.get(name)]
        except (JSONDecodeError, AttributeError):
            return problem(400, "The body is not JSON.", "invalid_request_error", "bad_request"), {}
        if wrong:
            detail = [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Wrong field"} for name in wrong]
            return Reply(422, dumps({"detail": detail}), fault="bad_request"), {}
        return None, body

    def refuse(self, messages: str, model: str, now: float) -> Reply | None:
        """What is refused whatever the draw."""
        switches = self.switches
        if model not in switches.models.split(",") or model in switches.retired.split(","):
            return problem(400, f"Invalid model: {model}", "invalid_model", "model", "1500")
        if model in switches.unlisted.split(","):
            return problem(400, "Bad request", "invalid_request_error", "unlisted")
        if switches.down:
            return Reply(503, PAGE, HTML, "down")
        if not switches.credit:
            return problem(402, "Payment required", "payment_required", "credit")
        slow = partial(problem, 429, "Rate limit exceeded", "rate_limited", code="1300")
        if not switches.month_left or (not switches.limit_minute and not switches.rps):
            return slow("limit")
        if switches.rps and not self.bucket.take(switches.rps, switches.rps_burst or max(switches.rps, 1.0), now):
            return slow("rps")
        if switches.refuse and switches.refuse in messages:
            return problem(400, "The prompt is not taken.", "invalid_request_error", "refuse")
        if switches.fail and switches.fail in messages:
            return Reply(503, PAGE, HTML, "fail")
        return None

    def fault(self, chance: Chance) -> Reply | None:
        """The fault drawn for this attempt, if any; the first of those that hit."""
        switches = self.switches
        if switches.p429 and chance("429") < switches.p429:
            return problem(429, "Rate limit exceeded", "rate_limited", "429", "1300", switches.retry_after)
        if switches.p503 and chance("503") < switches.p503:
            return Reply(503, PAGE, HTML, "503", retry_after=switches.retry_after if not switches.p429 else "")
        if switches.p_html and chance("html") < switches.p_html:
            return Reply(200, PAGE, HTML, "html")
        if switches.p_hang and chance("hang") < switches.p_hang:
            return Reply(0, b"", fault="hang", ending="hang")
        if switches.p_reset and chance("reset") < switches.p_reset:
            return Reply(200, b"", fault="reset", ending="reset")
        if switches.p_cut and chance("cut") < switches.p_cut:
            return Reply(200, b"", fault="cut", ending="short" if chance("how") < 0.5 else "cut")
        return None

    def allowance(self, answer: Reply) -> tuple[tuple[bytes, bytes], ...]:
        """Rate headers."""
        switches = self.switches
        if not switches.headers:
            return ()
        limit = round(60 * switches.rps) if switches.rps else switches.limit_minute
        left = self.bucket.left if switches.rps else limit - 1
        named = {
            "x-ratelimit-limit-req-minute": limit,
            "x-ratelimit-remaining-req-minute": max(int(left), 0) if limit else 0,
            "x-ratelimit-limit-tokens-minute": switches.tokens_minute,
            "x-ratelimit-remaining-tokens-minute": switches.tokens_minute,
            "x-ratelimit-remaining-tokens-month": switches.month_left,
        }
        return tuple((name.encode(), b"%d" % number) for name, number in named.items())

    def answer(self, body: dict[str, Any], messages: str, chance: Chance, broken: Reply | None) -> Reply:
        """Make the answer, spoil what is to be spoilt, and count what was answered well."""
        completion, fault = self.complete(body, messages, chance)
        whole = dumps(completion)
        if broken is not None:
            broken.body = whole[: len(whole) // 2] if broken.ending == "cut" else whole
            return broken
        counts, usage = self.counts, completion.get("usage", {})
        counts.answered += 1
        counts.prompt_tokens += usage.get("prompt_tokens", 0)
        counts.completion_tokens += usage.get("completion_tokens", 0)
        if body["messages"] == [{"content": "ping", "role": "user"}]:
            counts.pings += 1
        elif not fault:
            key = f"{body['model']} {messages}"
            key = key if len(self.answered) < KEEP_ASKED else str(hash(key))
            times = self.answered.get(key, 0)
            counts.paid_again += times > 0
            self.answered[key] = times + 1
        return Reply(200, whole, fault=fault, good=True)

    def complete(self, body: dict[str, Any], messages: str, chance: Chance) -> tuple[dict[str, Any], str]:
        """A completion as the service words it, and the name of what is wrong with it."""
        switches, fault = self.switches, ""
        text = self.text(body)
        finish_reason = "stop"
        if switches.garbage and switches.garbage in messages:
            text, fault = "Claro, aquí tienes los chistes que encontré:", "garbage"
        elif switches.p_wrong and chance("wrong") < switches.p_wrong:
            text, fault = '{"recorded": "another shape"}', "wrong"
        if (switches.long and switches.long in messages) or (
            switches.p_length and chance("length") < switches.p_length
        ):
            text, finish_reason, fault = text[: len(text) // 2], "length", "length"
        if len(text) > body.get("max_tokens", 10**9) * CHARS_PER_TOKEN:
            text, finish_reason = text[: body["max_tokens"] * CHARS_PER_TOKEN], "length"
        prompt = sum(len(message["content"]) for message in body["messages"])
        prompt_tokens, completion_tokens = -(-prompt // CHARS_PER_TOKEN), -(-len(text) // CHARS_PER_TOKEN)
        completion = {
            "id": "recorded",
            "object": "chat.completion",
            "created": int(self.began),
            "model": f"recorded-{body['model']}",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text, "tool_calls": None, "prefix": False},
                    "finish_reason": finish_reason,
                }
            ],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
        }
        if switches.p_usage and chance("usage") < switches.p_usage:
            del completion["usage"]
            fault = "usage"
        return completion, fault

    def text(self, body: dict[str, Any]) -> str:
        """The assistant's turn: from recordings, else by the rule of the scripted chat."""
        message = next((turn["content"] for turn in reversed(body["messages"]) if turn["role"] == "user"), "")
        if body.get("response_format", {}).get("type") != "json_schema":
            return str(message.upper())
        schema = body["response_format"]["json_schema"]["schema"]
        made: dict[str, Any] = _lines(message, schema) or fill(schema, message, message)
        for name, one in schema.get("properties", {}).items():
            item = one.get("items", {})
            item = schema.get("$defs", {}).get(item["$ref"].rsplit("/", 1)[1], item) if "$ref" in item else item
            if len(self.jokes) and "quote" in item.get("properties", {}):
                lines = _document(message)
                found = self.jokes.among([_MARKED.sub("", line) for line in lines])
                self.counts.recorded += len(found)
                made[name] = [_joke(item, one, lines) for one in found]
        text = json.dumps(made, ensure_ascii=False)
        return f"```json\n{text}\n```" if self.switches.fenced else text


def _lines(message: str, schema: dict[str, Any]) -> dict[str, str] | None:
    """Keyed lines in capitals, where the message is such lines and the schema asks for their very keys."""
    try:
        lines = {key: str(line).upper() for group in loads(message) for key, line in group.items()}
    except (JSONDecodeError, AttributeError, TypeError):
        return None
    return lines if lines.keys() == schema.get("properties", {}).keys() else None


def _document(message: str) -> list[str]:
    document = max((found[2] for found in _TAGGED.finditer(message)), key=len, default=message)
    return [line for line in document.splitlines() if line.strip()]


def _joke(schema: dict[str, Any], found: Found, lines: list[str]) -> dict[str, Any]:
    """A recorded joke in the shape that was asked for."""
    marks = [mark[1] if (mark := _MARKED.match(lines[at])) else "" for at in (found.first, found.last)]
    known = {
        "quote": found.joke.transcript,
        "text": found.joke.corrected_transcript,
        "start_mark": marks[0],
        "end_mark": marks[1],
    }
    made = fill(schema, found.joke.corrected_transcript, found.joke.transcript)
    return {name: known.get(name, value) for name, value in made.items()}


def main() -> None:
    """Load the recordings, print ``{"port": N}``, and answer until terminated."""
    parser = argparse.ArgumentParser(description="A stand-in for Mistral's API on 127.0.0.1.")
    add_options(parser)
    parser.add_argument("--jokes", type=Path, help="recorded jokes, Parquet or JSONL, to answer with")
    options = parser.parse_args()
    switches = Switches()
    set_switches(parser, switches, options.set)
    jokes = Jokes(read_jokes(options.jokes) if options.jokes else ())
    gc.collect()
    gc.freeze()
    run(Mistral(jokes, switches), options.port, options.with_parent)


if __name__ == "__main__":
    main()
