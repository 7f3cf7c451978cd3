r"""A stand-in for Mistral's ``/v1/files`` and ``/v1/batch/jobs``, beside its chat: 127.0.0.1, tests and benches only.

Uploaded, submitted, looked at, downloaded::

    POST /v1/files           a file of lines {"custom_id": "9f2c…", "body": {"model": …, "messages": […]}}
    POST /v1/batch/jobs      {"input_files": ["file-1"], "endpoint": "/v1/chat/completions", "model": …, "metadata": {…}}
    GET  /v1/batch/jobs/job-1        {"id": "job-1", "status": "SUCCESS", "output_file": "file-2", "error_file": null, …}
    GET  /v1/files/file-2/content    {"id": "job-1-0", "custom_id": "9f2c…", "response": {"status_code": 200, "body": …}, …}

Each line is answered by the stand-in for the chat (``mistral.py``) under its switches ``refuse``, ``fail``, ``garbage``,
``long``, and labelled like its answers. Started by ``MistralBatchStandIn`` or by hand::

    python -m tests.standin.mistral_batch --port 8092 --set looks=3 --set shuffle=1
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from orjson import dumps, loads

from tests.standin.jokes import Jokes, read_jokes
from tests.standin.mistral import Mistral, Switches, problem
from tests.standin.server import (
    HTML,
    JSON,
    Chance,
    Receive,
    Reply,
    Scope,
    Send,
    add_options,
    finish,
    read_body,
    read_fields,
    run,
    set_switches,
)

FILES, JOBS = "/v1/files", "/v1/batch/jobs"
_ENDS = ("SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED")
_CONTENT = re.compile(
    rb'Content-Disposition: form-data; name="(\w+)"(?:; filename="([^"]*)")?[^\r]*\r\n(?:[^\r]+\r\n)*\r\n'
)


@dataclass
class BatchSwitches(Switches):
    """What can be set besides the chat's switches.

    Args:
        looks: How often a batch is looked at before it is done.
        shuffle: 1 answers the lines in another order.
        drop: A line with this in its messages stands in no file.
        p_line: Share of lines that fail with 500, drawn like a fault of the chat.
        end: How the next ``ends`` batches end: FAILED (no line answered), TIMEOUT_EXCEEDED or CANCELLED (half of them).
        ends: How many.
        lose: The answers to so many requests that create a batch are lost, after it was created.
        deaf: So many requests that create a batch get 503, and none is created.
        late: A new batch is listed only from this listing of batches on.
        blind: So many looks at a batch get 503.
        slow_files: So many looks at a batch that has ended with an answer show no files.
        damaged: So many downloads are damaged: by turns cut in the middle of a line, or a page of HTML in its place.
        short: So many downloads lack their last line.
        state: The word for a batch that is being answered.
    """

    looks: int = 0
    shuffle: int = 0
    drop: str = ""
    p_line: float = 0.0
    end: str = "SUCCESS"
    ends: int = 0
    lose: int = 0
    deaf: int = 0
    late: int = 0
    blind: int = 0
    slow_files: int = 0
    damaged: int = 0
    short: int = 0
    state: str = "RUNNING"


@dataclass
class BatchCounts:
    """What happened to files and batches since the last reset.

    Args:
        uploads: Files uploaded.
        creates: Requests that create a batch, lost and refused ones among them.
        batches: Batches created.
        looks: Times that a batch was looked at.
        listings: Times that the batches were listed.
        downloads: Files downloaded.
        deletes: Files deleted.
        lines: In all batches that were created.
        failed_lines: Of these, without an answer.
    """

    uploads: int = 0
    creates: int = 0
    batches: int = 0
    looks: int = 0
    listings: int = 0
    downloads: int = 0
    deletes: int = 0
    lines: int = 0
    failed_lines: int = 0
    ended: Counter[str] = field(default_factory=Counter)


class MistralWithBatches(Mistral):
    """Chat, models, files and batches."""

    switches: BatchSwitches

    def reset(self) -> None:
        super().reset()
        self.batch_counts = BatchCounts()
        self.files: dict[str, bytes] = {}
        self.jobs: dict[str, dict[str, Any]] = {}  # as the service shows them
        self.looks: Counter[str] = Counter()

    def stats(self) -> dict[str, Any]:
        return {**super().stats(), **vars(self.batch_counts)}

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if not path.startswith((FILES, JOBS)):
            await super().serve(scope, receive, send)
            return
        body = await read_body(receive)
        answer = self.let_in(scope)
        if answer is None and self.switches.down:
            answer = Reply(503, b"<!DOCTYPE html><title>trasvase stand-in</title>", HTML, "down")
        if answer is None:
            place = path.removeprefix(FILES if path.startswith(FILES) else JOBS).strip("/").split("/")
            answer = (
                self.file(method, place, body)
                if path.startswith(FILES)
                else self.job(method, place[0], body, scope["query_string"])
            )
        await finish(scope, receive, send, answer)

    def file(self, method: str, place: list[str], body: bytes) -> Reply:
        """Upload, download or delete a file."""
        counts = self.batch_counts
        if method == "POST":
            counts.uploads += 1
            name, content = _uploaded(body)
            return Reply(200, dumps(self.stored(name, content)))
        if place[0] not in self.files:
            return problem(404, f"No file {place[0]}", "not_found", "not_found")
        if method == "DELETE":
            counts.deletes += 1
            del self.files[place[0]]
            return Reply(200, dumps({"id": place[0], "object": "file", "deleted": True}))
        if len(place) == 1:
            return Reply(200, dumps({**self.told(place[0], f"{place[0]}.jsonl"), "deleted": False}))
        counts.downloads += 1
        if self.switches.damaged:
            self.switches.damaged -= 1
            if counts.downloads % 2 == 0:
                return Reply(200, b"<!DOCTYPE html><title>trasvase stand-in</title>", HTML, "damaged")
            content = self.files[place[0]]
            return Reply(200, content[: len(content) * 3 // 5], b"application/octet-stream", "damaged")
        if self.switches.short:
            self.switches.short -= 1
            content = b"".join(self.files[place[0]].splitlines(keepends=True)[:-1])
            return Reply(200, content, b"application/octet-stream", "short")
        return Reply(200, self.files[place[0]], b"application/octet-stream")

    def stored(self, name: str, content: bytes) -> dict[str, Any]:
        """Keep a file; what the service says of it."""
        number = f"file-{self.batch_counts.uploads}-{len(self.files)}-{len(self.jobs)}"
        self.files[number] = content
        return self.told(number, name)

    def told(self, number: str, name: str) -> dict[str, Any]:
        """What the service says of a file."""
        return {
            "id": number,
            "object": "file",
            "bytes": len(self.files[number]),
            "created_at": int(self.began),
            "filename": name,
            "purpose": "batch",
            "sample_type": "batch_request",
            "source": "upload",
        }

    def job(self, method: str, name: str, body: bytes, query: bytes) -> Reply:
        """Create, show or list batches."""
        counts, switches = self.batch_counts, self.switches
        if method == "POST":
            counts.creates += 1
            if switches.deaf:
                switches.deaf -= 1
                return Reply(503, b"<!DOCTYPE html><title>trasvase stand-in</title>", HTML, "deaf")
            asked = loads(body)
            if asked["model"] in switches.unlisted.split(",") or asked["model"] not in switches.models.split(","):
                return problem(400, f"Invalid model: {asked['model']}", "invalid_model", "model", "1500")
            created = self.created(asked)
            if switches.lose:
                switches.lose -= 1
                return Reply(200, dumps(created), JSON, "lose", "reset")
            return Reply(200, dumps(created))
        if not name:
            counts.listings += 1
            fields = read_fields(query)
            page, size = (int(fields[key][0]) for key in ("page", "page_size"))
            jobs = list(self.jobs.values())[::-1] if counts.listings >= switches.late else []
            some = jobs[page * size : (page + 1) * size]
            return Reply(200, dumps({"object": "list", "total": len(jobs), "data": some}))
        if name not in self.jobs:
            return problem(404, f"No batch {name}", "not_found", "not_found")
        counts.looks += 1
        self.looks[name] += 1
        if switches.blind:
            switches.blind -= 1
            return Reply(503, b"<!DOCTYPE html><title>trasvase stand-in</title>", HTML, "blind")
        job = self.jobs[name]
        if job["status"] not in _ENDS:
            job["status"] = switches.state
            if self.looks[name] > switches.looks:
                self.finish_job(job)
        if job["succeeded_requests"] and switches.slow_files:
            switches.slow_files -= 1
            return Reply(200, dumps(job | {"output_file": None, "error_file": None}))
        return Reply(200, dumps(job))

    def created(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A new batch, not begun yet."""
        counts = self.batch_counts
        counts.batches += 1
        lines = self.files[asked["input_files"][0]].splitlines()
        counts.lines += len(lines)
        name = f"job-{counts.batches}"
        self.jobs[name] = {
            "id": name,
            "object": "batch",
            "input_files": asked["input_files"],
            "metadata": asked.get("metadata"),
            "endpoint": asked["endpoint"],
            "model": asked["model"],
            "output_file": None,
            "error_file": None,
            "errors": [],
            "status": "QUEUED",
            "created_at": int(self.began),
            "total_requests": len(lines),
            "completed_requests": 0,
            "succeeded_requests": 0,
            "failed_requests": 0,
        }
        return self.jobs[name]

    def finish_job(self, job: dict[str, Any]) -> None:
        """Answer a batch's lines, as many as it is to get to."""
        switches, counts = self.switches, self.batch_counts
        end = "SUCCESS"
        if switches.ends and switches.end in _ENDS:
            switches.ends -= 1
            end = switches.end
        lines = [loads(line) for line in self.files[job["input_files"][0]].splitlines()]
        total = len(lines)
        lines = {"SUCCESS": lines, "FAILED": []}.get(end, lines[: total // 2])
        if switches.shuffle:
            Random(total).shuffle(lines)
        good: list[bytes] = []
        bad: list[bytes] = []
        for number, line in enumerate(lines):
            messages = dumps(line["body"]["messages"]).decode()
            if switches.drop and switches.drop in messages:
                continue
            answer = self.answered_line(line["body"], messages, job["model"])
            response = {"status_code": answer.status, "body": loads(answer.body) if answer.kind == JSON else "error"}
            said = {"id": f"{job['id']}-{number}", "custom_id": line["custom_id"], "response": response, "error": None}
            (good if answer.status == 200 else bad).append(dumps(said) + b"\n")
        for key, some in (("output_file", good), ("error_file", bad)):
            if some:
                job[key] = self.stored(f"{job['id']}-{key}.jsonl", b"".join(some))["id"]
        counts.failed_lines += total - len(good)
        counts.ended.update([end])
        job["errors"] = [] if end == "SUCCESS" else [{"message": f"ended by the switch {end}", "count": 1}]
        job["status"] = end
        job["succeeded_requests"], job["failed_requests"] = len(good), total - len(good)
        job["completed_requests"] = len(good) + len(bad)

    def answered_line(self, body: dict[str, Any], messages: str, model: str) -> Reply:
        """What the chat answers to one line."""
        body = {"model": model, **body}
        refusal, body = self.read(dumps(body))
        if refusal is None:
            refusal = self.refuse(messages, model, 0.0)
        if refusal is not None:
            return refusal
        chance: Chance = self.draw(messages, self.switches.seed)
        if self.switches.p_line and chance("line") < self.switches.p_line:
            return problem(500, "Internal server error", "internal", "line")
        return self.answer(body, messages, chance, None)


def _uploaded(body: bytes) -> tuple[str, bytes]:
    """Name and content of the file in a multipart body."""
    boundary = body[: body.index(b"\r\n")]
    for part in body.split(boundary):
        found = _CONTENT.match(part.removeprefix(b"\r\n"))
        if found and found[1] == b"file":
            return (found[2] or b"").decode(), part.removeprefix(b"\r\n")[found.end() :].removesuffix(b"\r\n")
    raise ValueError("no file in the upload")


def main() -> None:
    """Load the recordings, print ``{"port": N}``, and answer until terminated."""
    parser = argparse.ArgumentParser(description="A stand-in for Mistral's API, with batches, on 127.0.0.1.")
    add_options(parser)
    parser.add_argument("--jokes", type=Path, help="recorded jokes, Parquet or JSONL, to answer with")
    options = parser.parse_args()
    switches = BatchSwitches()
    set_switches(parser, switches, options.set)
    jokes = Jokes(read_jokes(options.jokes) if options.jokes else ())
    run(MistralWithBatches(jokes, switches), options.port, options.with_parent)


if __name__ == "__main__":
    main()
