r"""A stand-in for Google's ``translate_a/single`` and ``translate_a/t``: 127.0.0.1, tests and benches only.

Asked and answered::

    GET /translate_a/single?client=gtx&sl=en&tl=es&dt=t&q=A+dog+runs.%0AIt+is+wet.
    [[["Un perro corre.\n","A dog runs.\n",null,null,10],["Está mojado.","It is wet.",null,null,10]],
     null,"en",null,null,null,1,[]]

A segment's last number is 10 where the answer was recorded and 3 where it was made up. Every answer carries
the header ``x-recording: trasvase stand-in``. Besides: ``POST /__ctl?name=value`` (see ``Switches``),
``POST /__reset``, ``GET /__stats``, ``/__asked``, ``/__log``. Started by ``GoogleStandIn`` or by hand::

    python -m tests.standin.google --port 8090 --rows 1500 --set latency_ms=150 --set p429=0.02
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from orjson import dumps

from tests.standin.recorded import (
    OWN_PAIRS,
    REAL_ROWS,
    Recorded,
    Segment,
    load,
    turns_from_jsonl,
    turns_from_parquet,
)
from tests.standin.server import (
    HTML,
    PLAIN,
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
    read_fields,
    reply,
    run,
    set_switches,
)

SINGLE, MULTI = "/translate_a/single", "/translate_a/t"
SORRY = (
    '<!DOCTYPE html><html lang="en"><head><title>Sorry...</title></head><body><h1>We are sorry...</h1>'
    "<p>... but your computer or network may be sending automated queries.</p><!-- trasvase stand-in -->"
    '<form id="captcha-form" action="index" method="post"></form></body></html>'
)
KEEP_TEXTS = 20_000  # kept for tests; counting goes on beyond, by hash


@dataclass
class Switches(Settable):
    """What can be set. A fault ``p…`` is drawn per request from seed, text and the text's attempt number.

    Args:
        seed: Of all draws.
        latency_ms: Before every answer, refusals included.
        jitter_ms: Plus or minus, drawn like a fault.
        p429: 429 with plain text.
        p429_html: 429 with the "Sorry..." page.
        burst: A drawn 429 refuses this many requests, itself included.
        retry_after: The header's value on 429 and 503: seconds, a date, or empty for none.
        p503: 503 with HTML.
        p_html: 200 with the "Sorry..." page.
        html_bytes: That page is padded to this size.
        p_reset: TCP reset half-way through the answer.
        p_trunc: The answer is cut: by turns short of its Content-Length, or whole by its header and cut JSON.
        p_hang: No answer for 120 s, then a reset.
        p_echo: The source comes back as translation.
        p_merge: Two neighbouring segments come as one, without the line break between them in ``trans``.
        p_newline: A line break more or less in ``trans``.
        rps: Requests per second allowed; more get 429 with HTML. 0 allows all.
        rps_burst: What the bucket holds; 0 holds one second's worth.
        max_q: Characters taken; more get 400 (GET) or 413 (POST).
        max_url: Bytes of path and query taken; more get 414.
        block_clients: Values of ``client``, parted by commas, that get 429 with HTML.
        refuse: A request with this in its text gets 400, every time.
        garbage: A sentence with this in it is answered badly, every time.
        garbage_kind: ``empty``, ``echo`` or ``control`` (a control character inside).
    """

    seed: int = 0
    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    p429: float = 0.0
    p429_html: float = 0.0
    burst: int = 1
    retry_after: str = ""
    p503: float = 0.0
    p_html: float = 0.0
    html_bytes: int = 0
    p_reset: float = 0.0
    p_trunc: float = 0.0
    p_hang: float = 0.0
    p_echo: float = 0.0
    p_merge: float = 0.0
    p_newline: float = 0.0
    rps: float = 0.0
    rps_burst: float = 0.0
    max_q: int = 5_000
    max_url: int = 16_000
    block_clients: str = ""
    refuse: str = ""
    garbage: str = ""
    garbage_kind: str = "empty"

    def set(self, name: str, value: str) -> None:
        """Set one switch from text.

        Raises:
            ValueError: No such switch, or a value it cannot take.
        """
        if name == "garbage_kind" and value not in ("empty", "echo", "control"):
            raise ValueError(f"garbage_kind={value!r} is not empty, echo or control")
        super().set(name, value)


@dataclass
class Counts:
    """What happened since the last reset; a line is one of the text asked, blank ones left out.

    Args:
        requests: To Google's two endpoints.
        answered: With 200 and the whole JSON, spoilt or not.
        not_found: Requests to other paths.
        characters: Asked, and of these ``characters_answered``.
        segments: Sent, and of these ``misses`` made up because nothing was recorded.
        paid_again: Lines answered well although they had been answered well before.
        in_flight: Requests being answered now, and ``max_in_flight`` at once.
        gone: Clients that had closed the connection before the answer; it counts as paid.
        status: Answers by status; resets, hangs and short ones have none.
        faults: By name: those of ``Switches``, and rps, blocked, burst, bad_request.
        clients: ``requests`` and ``answered`` for each value of ``client``.
    """

    requests: int = 0
    answered: int = 0
    not_found: int = 0
    characters: int = 0
    characters_answered: int = 0
    segments: int = 0
    misses: int = 0
    paid_again: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    gone: int = 0
    status: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    clients: dict[str, Counter[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """One request, read."""

    wire: str
    method: str
    url_bytes: int
    fields: dict[str, list[str]]

    @property
    def texts(self) -> list[str]:
        return self.fields.get("q", [])

    def one(self, name: str, otherwise: str = "") -> str:
        """The first value of a field."""
        return self.fields.get(name, [otherwise])[0]


class StandIn(Server[Switches]):
    """Google's two endpoints."""

    def __init__(self, recorded: Recorded, switches: Switches, load_seconds: float = 0.0) -> None:
        self.recorded = recorded
        self.load_seconds = load_seconds
        super().__init__(switches)

    def reset(self) -> None:
        super().reset()
        self.counts = Counts()
        self.answered: dict[int, int] = {}  # hash of a line -> times answered well; 0 while only asked
        self.texts: dict[int, str] = {}
        self.refusing = 0

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path in (SINGLE, MULTI):
            await self.translate(scope, receive, send)
        elif path == "/":
            await reply(send, Reply(200, b"<!DOCTYPE html><title>trasvase stand-in</title>", HTML))
        else:
            self.counts.not_found += 1
            await reply(send, Reply(404, b"<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>", HTML))

    def stats(self) -> dict[str, Any]:
        return {
            **vars(self.counts),
            "distinct": len(self.answered),
            "pairs": len(self.recorded),
            "load_seconds": round(self.load_seconds, 3),
        }

    def asked(self) -> list[tuple[str, int]]:
        return [(text, self.answered[key]) for key, text in self.texts.items()]

    async def translate(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one of Google's two endpoints, with whatever fault is due."""
        counts, began = self.counts, time.monotonic()
        question = await read_question(scope, receive)
        client, chars = question.one("client"), sum(map(len, question.texts))
        per_client = counts.clients.setdefault(client, Counter())
        per_client["requests"] += 1
        counts.requests += 1
        counts.characters += chars
        counts.in_flight += 1
        counts.max_in_flight = max(counts.max_in_flight, counts.in_flight)
        try:
            keys = self.note(question.texts)
            chance: Chance = partial(drawn, salt=b"")
            answer = self.refuse(question, client, chars, began)
            if answer is None:
                chance = self.draw("\n".join(question.texts), self.switches.seed)
                answer = self.fault(chance)
            if self.switches.latency_ms:
                jitter = self.switches.jitter_ms and self.switches.jitter_ms * (2 * chance("jitter") - 1)
                await asyncio.sleep(max(self.switches.latency_ms + jitter, 0) / 1000)
                if counts is not self.counts:  # asked before a reset, so counted nowhere
                    await finish(scope, receive, send, self.page(503, ""))
                    return
            if answer is None or answer.ending in ("reset", "short", "cut"):
                answer = self.answer(question, keys, chance, answer)
            ended = answer.ending in ("whole", "cut")
            if answer.good:
                counts.answered += 1
                counts.characters_answered += chars
                per_client["answered"] += 1
            counts.status.update([str(answer.status)] if ended else [])
            counts.faults.update([answer.fault] if answer.fault else [])
            counts.gone += scope["standin.transport"].is_closing()
            self.log.append(
                {
                    "at": round(time.time(), 3),
                    "ms": round(1000 * (time.monotonic() - began), 2),
                    "wire": question.wire,
                    "method": question.method,
                    "client": client,
                    "lines": len(keys),
                    "chars": chars,
                    "status": answer.status if ended else None,
                    "fault": answer.fault,
                }
            )
            await finish(scope, receive, send, answer)
        finally:
            counts.in_flight -= 1

    def note(self, texts: Iterable[str]) -> list[int]:
        """Remember each line that was asked; a line is its hash."""
        keys = []
        for line in chain.from_iterable(text.split("\n") for text in texts):
            if line := line.strip():
                keys.append(key := hash(line))
                if key not in self.answered:
                    self.answered[key] = 0
                    if len(self.texts) < KEEP_TEXTS:
                        self.texts[key] = line
        return keys

    def refuse(self, question: Question, client: str, chars: int, now: float) -> Reply | None:
        """What is refused whatever the draw: too long, blocked, too fast, in a burst, never liked."""
        switches = self.switches
        if question.url_bytes > switches.max_url:
            return Reply(414, b"<title>Error 414 (Request-URI Too Large)!!1</title>", HTML, "max_url")
        if "q" not in question.fields or not question.one("tl"):
            return Reply(400, b"<title>Error 400 (Bad Request)!!1</title>", HTML, "bad_request")
        if chars > switches.max_q:
            status = 413 if question.method == "POST" else 400
            return Reply(status, b"<title>Error %d (Too Large)!!1</title>" % status, HTML, "max_q")
        if client in switches.block_clients.split(",") and client:
            return self.page(429, "blocked")
        if switches.rps:
            holds = switches.rps_burst or max(switches.rps, 1.0)
            if not self.bucket.take(switches.rps, holds, now):
                return self.page(429, "rps")
        if self.refusing:
            self.refusing -= 1
            return Reply(429, b"Too Many Requests", PLAIN, "burst", retry_after=switches.retry_after)
        if switches.refuse and any(switches.refuse in text for text in question.texts):
            return Reply(400, b"<title>Error 400 (Bad Request)!!1</title>", HTML, "refuse")
        return None

    def fault(self, chance: Chance) -> Reply | None:
        """The fault drawn for this attempt, if any; the first of those that hit."""
        switches = self.switches
        after = switches.retry_after
        if switches.p429 and chance("429") < switches.p429:
            self.refusing = max(switches.burst - 1, 0)
            return Reply(429, b"Too Many Requests", PLAIN, "429", retry_after=after)
        if switches.p429_html and chance("429_html") < switches.p429_html:
            self.refusing = max(switches.burst - 1, 0)
            return self.page(429, "429_html")
        if switches.p503 and chance("503") < switches.p503:
            return Reply(503, b"<title>Error 503 (Server Error)!!1</title>", HTML, "503", retry_after=after)
        if switches.p_html and chance("html") < switches.p_html:
            return self.page(200, "html")
        if switches.p_hang and chance("hang") < switches.p_hang:
            return Reply(0, b"", fault="hang", ending="hang")
        if switches.p_reset and chance("reset") < switches.p_reset:
            return Reply(200, b"", fault="reset", ending="reset")
        if switches.p_trunc and chance("trunc") < switches.p_trunc:
            return Reply(200, b"", fault="trunc", ending="short" if chance("how") < 0.5 else "cut")
        return None

    def page(self, status: int, fault: str) -> Reply:
        after = self.switches.retry_after if status != 200 else ""
        return Reply(status, SORRY.encode().ljust(self.switches.html_bytes), HTML, fault, retry_after=after)

    def answer(self, question: Question, keys: list[int], chance: Chance, broken: Reply | None) -> Reply:
        """Translate, spoil what is to be spoilt, and count what was answered well."""
        groups = [self.recorded.answer(text) for text in question.texts]
        misses = sum(not segment.known for group in groups for segment in group)
        bad: set[str] = set()
        if self.switches.garbage:
            groups = [[self.spoil_sentence(segment, bad) for segment in group] for group in groups]
        single = question.wire == "single"
        segments = groups[0] if single else list(map(joined, groups, question.texts))
        fault = self.spoil(segments, single, chance, bad)
        body = dumps(single_answer(question, segments) if single else multi_answer(question, segments))
        if broken is not None:
            return replace(broken, body=body[: len(body) // 2] if broken.ending == "cut" else body)
        self.counts.segments += sum(map(len, groups))
        self.counts.misses += misses
        if parts := {part.strip() for orig in bad for part in orig.split("\n")} - {""}:
            lines = [line for text in question.texts for line in text.split("\n")]
            spoilt = {hash(line.strip()) for line in lines if any(part in line for part in parts)}
            keys = [key for key in keys if key not in spoilt]
        for key in keys:
            times = self.answered.get(key, 0)
            self.counts.paid_again += times > 0
            self.answered[key] = times + 1
        return Reply(200, body, fault=fault, good=True)

    def spoil_sentence(self, segment: Segment, bad: set[str]) -> Segment:
        """Answer a sentence badly if it holds what ``garbage`` says."""
        trans, orig = segment.trans, segment.orig
        if self.switches.garbage not in orig:
            return segment
        bad.add(orig)
        self.counts.faults["garbage"] += 1
        worse = {"empty": orig[len(orig.rstrip()) :], "echo": orig, "control": f"{trans[:1]}\a{trans[1:]}"}
        return segment._replace(trans=worse[self.switches.garbage_kind])

    def spoil(self, segments: list[Segment], single: bool, chance: Chance, bad: set[str]) -> str:
        """Echo, merge, or move a line break; at most one of them, named in the return.

        Args:
            segments: Those of ``single``, or the whole answers of ``t``; changed in place.
            single: Which of the two.
            chance: This attempt's draws.
            bad: Takes the ``orig`` of what was spoilt.
        """
        switches, fault = self.switches, ""
        if switches.p_echo and chance("echo") < switches.p_echo:
            fault = "echo"
            bad.update(segment.orig for segment in segments)
            segments[:] = [segment._replace(trans=segment.orig) for segment in segments]
        elif switches.p_merge and len(segments) > 1 and chance("merge") < switches.p_merge:
            fault = "merge"
            places = [at for at, segment in enumerate(segments[:-1]) if segment.orig.endswith("\n")]
            places = places or list(range(len(segments) - 1))
            at = places[int(chance("where") * len(places))]
            one, two = segments[at : at + 2]
            orig = one.orig + ("" if single else "\n") + two.orig
            segments[at : at + 2] = [Segment(f"{one.trans.rstrip()} {two.trans}", orig, one.known)]
            bad.add(orig)
        elif switches.p_newline and segments and chance("newline") < switches.p_newline:
            fault = "newline"
            at = int(chance("where") * len(segments))
            trans = segments[at].trans
            half = max(trans.find(" ", len(trans) // 2), 0)
            lost = trans.endswith("\n") and chance("lose") < 0.5
            trans = trans.rstrip("\n") if lost else f"{trans[:half]}\n{trans[half:].lstrip(' ')}"
            segments[at] = segments[at]._replace(trans=trans)
            bad.add(segments[at].orig)
        return fault


def joined(group: list[Segment], text: str) -> Segment:
    """The segments of one ``q`` of ``translate_a/t`` as its one answer."""
    return Segment("".join(part.trans for part in group), text, all(part.known for part in group))


def single_answer(question: Question, segments: list[Segment]) -> Any:
    """``translate_a/single``: nested arrays, or objects with ``dj=1``."""
    wanted = question.fields.get("dt", [])
    shown = segments if "t" in wanted else []
    if question.one("dj") == "1":
        parts = [{"trans": trans, "orig": orig, "backend": 10 if ok else 3} for trans, orig, ok in shown]
        return {"sentences": parts, "src": "en", "confidence": 1, "spell": {}}
    rows: list[Any] = [[trans, orig, None, None, 10 if ok else 3] for trans, orig, ok in shown]
    if "rm" in wanted and rows:
        rows.append([None, None, None, "sôrs"])
    tail = [[["en"], None, [1], ["en"]]] if "ld" in wanted else []
    return [rows or None, None, "en", None, None, None, 1, [], *tail]


def multi_answer(question: Question, segments: list[Segment]) -> Any:
    """``translate_a/t``: one string per ``q``, with the language found where ``sl`` is not given."""
    if question.one("sl", "auto") == "auto":
        return [[segment.trans, "en"] for segment in segments]
    return [segment.trans for segment in segments]


async def read_question(scope: Scope, receive: Receive) -> Question:
    query = scope["query_string"]
    found = read_fields(query)
    if scope["method"] == "POST":
        found |= read_fields(await read_body(receive))
    wire = "single" if scope["path"] == SINGLE else "multi"
    return Question(wire, scope["method"], len(scope["raw_path"]) + 1 + len(query), found)


def main() -> None:
    """Load the pairs, print ``{"port": N}``, and answer until terminated."""
    parser = argparse.ArgumentParser(description="A stand-in for Google Translate on 127.0.0.1.")
    add_options(parser)
    add = parser.add_argument
    add("--pairs", type=Path, nargs="*", default=[OWN_PAIRS], help="JSONL with en and es")
    add("--parquet", type=Path, help=f"recorded rows; with --rows alone {REAL_ROWS}")
    add("--rows", type=int, default=0, help="rows of it to load; 0 with --parquet loads all")
    add("--spread", action="store_true", help="take them from all over the file, not from its start")
    add("--light", action="store_true", help="keep no pairs: everything is made up word by word")
    options = parser.parse_args()
    switches = Switches()
    set_switches(parser, switches, options.set)
    began = time.process_time()
    turns = [turns_from_jsonl(path) for path in options.pairs]
    if options.parquet or options.rows:
        turns.append(turns_from_parquet(options.parquet or REAL_ROWS, options.rows, options.spread))
    recorded = load(chain.from_iterable(turns), options.light)
    gc.collect()
    gc.freeze()
    run(StandIn(recorded, switches, time.process_time() - began), options.port, options.with_parent)


if __name__ == "__main__":
    main()
