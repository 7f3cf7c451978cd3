"""Bulk chat calls, measured: what 2,000 prompts cost here, and what a kill, an edit, faults and a rate limit cost.

    python -m bench.chat                          prompts invented here
    python -m bench.chat --parquet PATH           texts of a column of 60 to 600 characters, such as recorded jokes
    python -m bench.chat --only base changes      some of the parts

Parts: ``base`` (150 ms a call, 16 at once; beside it a bare HTTP client and the SDK, which keep nothing), ``changes``
(rerun, one edit, 100 added, kill -9 at 40 %), ``faults`` (5 % 429 with Retry-After 1, 2 % 503, 1 % cut off, 1 % HTML with
200), ``rate`` (20 calls/s allowed and nobody told).

The stand-in answers in its own process; its answers are JSON of a schema, which are validated. Each run is a new Python
process from its start to its end; CPU is user + system of that process, all in. Every call is held against a cap and
written down. Figures are single runs: compare ratios within a run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bench.tables import table  # and not what other benches need: it would count as ours
from tasks.chat.protocol import Question
from tests.standin import MistralStandIn

NUMBER = 2_000
AT_ONCE = 16
LATENCY_MS = 150
MODEL = "mistral-small-2603"
CAP_USD = 100.0
FAULTS: dict[str, Any] = {"p429": 0.05, "retry_after": "1", "p503": 0.02, "p_cut": 0.01, "p_html": 0.01}
RATE = 20.0


class Repeated(BaseModel):
    """What the stand-in answers: the prompt's own text."""

    texto: str


@dataclass(frozen=True)
class Measured:
    """One run: seconds, CPU seconds and peak memory (MB) of its process, and what the stand-in counted."""

    wall: float
    cpu: float
    memory: float
    rows: int
    wrong: int
    stats: dict[str, Any]

    @property
    def refused(self) -> int:
        """Answers with 429."""
        found: int = self.stats["status"].get("429", 0)
        return found


class Bench:
    """One stand-in and one folder of prompts, journals and results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.standin = MistralStandIn()

    def __enter__(self) -> Bench:
        self.standin.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.standin.stop()

    def run(
        self, prompts: list[str], journal: str, kill_at: float | None = None, way: str = "ours", **switches: Any
    ) -> Measured:
        """Ask all prompts in a new process.

        Args:
            prompts: Distinct texts.
            journal: Name of the journal; the same one resumes.
            kill_at: Kill -9 it when so many prompts have been answered.
            way: See ``WAYS``.
            switches: Of the stand-in.
        """
        self.standin.reset()
        self.standin.switch(**{"latency_ms": LATENCY_MS, **switches})
        given, result = self.folder / "prompts.json", self.folder / "result.json"
        given.write_text(json.dumps(prompts))
        result.unlink(missing_ok=True)
        env = {
            **os.environ,
            "TRASVASE_MISTRAL_URL": self.standin.url,
            "TRASVASE_MISTRAL_AT_ONCE": str(AT_ONCE),
            "TRASVASE_MISTRAL_TIMEOUT_SECONDS": "20",
        }
        command = [sys.executable, "-m", "bench.chat", "--ask", way, given, self.folder / f"{journal}.sqlite", result]
        started = time.perf_counter()
        with subprocess.Popen([str(part) for part in command], env=env) as process:
            ended = 0
            while not ended:
                ended, status, usage = os.wait4(process.pid, os.WNOHANG if kill_at is not None else 0)
                if not ended and kill_at is not None:
                    if self.standin.stats()["distinct"] >= kill_at:
                        process.send_signal(signal.SIGKILL)
                        kill_at = None
                    time.sleep(0.01)
            process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - started
        if process.returncode not in (0, -signal.SIGKILL):
            raise RuntimeError(f"the run ended with {process.returncode}")
        told: dict[str, Any] = json.loads(result.read_text()) if result.exists() else {"texts": [], "memory": 0.0}
        answers = told["texts"]
        wrong = sum(answer != prompt for prompt, answer in zip(prompts, answers, strict=False))
        cpu = usage.ru_utime + usage.ru_stime
        return Measured(wall, cpu, told["memory"], len(answers), wrong, self.standin.stats())


def questions_of(texts: list[str]) -> list[Question]:
    """The prompts as questions."""
    from bench.chat import Repeated as Answer  # as the module is imported, so that the class has one name

    return [Question(MODEL, (("user", text),), "bench/1", Answer) for text in texts]


def ours(texts: list[str], journal: Path) -> list[str]:
    """Through the journal, held against a cap."""
    from tasks.chat import open_chat
    from tasks.chat.asker import Asker
    from tasks.chat.prices import read_prices
    from tasks.chat.protocol import Account
    from tasks.remote.journal import Journal
    from tasks.settings import read_options

    asker = Asker(open_chat("mistral", read_options), Journal(journal), read_prices())
    replies = asker.ask(questions_of(texts), account=Account("bench", ("bench",), CAP_USD))
    asker.close()
    return [reply.text or "" for reply in replies]


def bare(texts: list[str], journal: Path) -> list[str]:
    """A gather over one HTTP client, and no more: nothing is kept, nothing tried again."""
    import httpx2

    from tasks.chat.mistral import body_of

    async def all_of_them() -> list[str]:
        slots = asyncio.Semaphore(AT_ONCE)
        url = os.environ["TRASVASE_MISTRAL_URL"] + "/v1/chat/completions"
        async with httpx2.AsyncClient(headers={"content-type": "application/json"}) as client:

            async def one(question: Question) -> str:
                async with slots:
                    response = await client.post(url, content=body_of(question))
                return str(response.json()["choices"][0]["message"]["content"])

            return await asyncio.gather(*map(one, questions_of(texts)))

    return asyncio.run(all_of_them())


def sdk(texts: list[str], journal: Path) -> list[str]:
    """A gather over the SDK's own call, and no more."""
    from mistralai.client import Mistral
    from mistralai.extra import response_format_from_pydantic_model

    async def all_of_them() -> list[str]:
        slots = asyncio.Semaphore(AT_ONCE)
        wanted = response_format_from_pydantic_model(Repeated)
        async with Mistral(api_key="none", server_url=os.environ["TRASVASE_MISTRAL_URL"]) as client:

            async def one(text: str) -> str:
                async with slots:
                    answer = await client.chat.complete_async(
                        model=MODEL, messages=[{"role": "user", "content": text}], response_format=wanted
                    )
                return str(answer.choices[0].message.content)

            return await asyncio.gather(*map(one, texts))

    return asyncio.run(all_of_them())


WAYS: dict[str, Callable[[list[str], Path], list[str]]] = {"ours": ours, "bare": bare, "sdk": sdk}


def ask(way: str, prompts: Path, journal: Path, result: Path) -> None:
    """The process that is measured: ask all prompts, write the answers."""
    answers = WAYS[way](json.loads(prompts.read_text()), journal)
    texts = [Repeated.model_validate_json(answer).texto for answer in answers]
    # The peak that wait4 tells may be the parent's, from before exec.
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    result.write_text(json.dumps({"texts": texts, "memory": int(peak) / 1024}))


def invented(number: int) -> list[str]:
    """Distinct texts of one line, 60 to 600 characters long, as long as recorded jokes are."""
    who = ["mi suegra", "el alcalde", "un perro", "la vecina", "mi primo", "el cartero", "una monja", "el árbitro"]
    does = ["sube al micro", "pide un café", "compra un paraguas", "canta en la ducha", "pierde las llaves"]
    ends = ["y el chofer aplaude.", "pero no paga.", "y era miércoles.", "y nadie dijo nada.", "y le gustó."]
    texts = []
    for n in range(number):
        parts = [f"{who[(n + k) % 8]} {does[(n // 8 + k) % 5]} {ends[(n // 40 + k) % 5]}" for k in range(1 + n % 9)]
        texts.append(f"Chiste {n}: resulta que una noche de invierno {' Y entonces '.join(parts)}")
    return texts


def base(bench: Bench, prompts: list[str]) -> None:
    """Speed and CPU, and an unchanged rerun."""
    lines = []
    for what, way in (
        ("undisturbed", "ours"),
        ("rerun unchanged", "ours"),
        ("a bare httpx2 client, nothing kept", "bare"),
        ("the SDK's complete_async, nothing kept", "sdk"),
    ):
        run = bench.run(prompts, "base", way=way)
        calls = run.stats["requests"]
        each = 1000 * run.cpu / len(prompts)
        most = run.stats["max_in_flight"]
        lines.append([what, calls, run.rows, run.wrong, run.wall, run.cpu, each, most, run.memory])
    table(
        f"{len(prompts):,} prompts, {LATENCY_MS} ms, {AT_ONCE} at once",
        ["run", "calls", "rows", "wrong", "wall s", "CPU s", "CPU ms per prompt, all in", "most in flight", "peak MB"],
        lines,
    )


def changes(bench: Bench, prompts: list[str]) -> None:
    """What an edit, more prompts and a kill cost."""
    lines = []

    def add(what: str, run: Measured, again: int) -> None:
        lines.append([what, run.stats["requests"], again, f"{run.rows} rows, {run.wrong} wrong", run.wall])

    some = prompts[:-100]
    bench.run(some, "changes", latency_ms=10)
    add("rerun unchanged", bench.run(some, "changes"), 0)
    edited = [*some[:-1], some[-1] + " Fin."]
    add("one prompt edited", bench.run(edited, "changes"), 0)
    add("100 prompts added", bench.run([*edited, *prompts[-100:]], "changes"), 0)
    killed = bench.run(prompts, "killed", kill_at=0.4 * len(prompts))
    time.sleep(1)  # what was in flight is answered, and paid
    paid = bench.standin.stats()["answered"]
    resumed = bench.run(prompts, "killed")
    again = paid + resumed.stats["answered"] - len(prompts)
    add(f"killed -9 when {killed.stats['distinct']} were answered ({paid} paid), then run again", resumed, again)
    table(
        f"Changes, {len(prompts):,} prompts, {LATENCY_MS} ms, {AT_ONCE} at once",
        ["run", "calls", "paid twice", "result", "wall s"],
        lines,
    )


def faults(bench: Bench, prompts: list[str]) -> None:
    """What faults cost beside an undisturbed run."""
    calm = bench.run(prompts, "calm")
    rough = bench.run(prompts, "rough", **FAULTS)
    again = bench.run(prompts, "rough")
    lines = [
        [
            what,
            run.stats["requests"],
            len(prompts) - run.rows,
            run.wrong,
            run.stats["paid_again"],
            run.wall,
            run.wall / calm.wall,
        ]
        for what, run in (("undisturbed", calm), ("with faults", rough), ("rerun in fair weather", again))
    ]
    print(f"\nFaults drawn: {rough.stats['faults']}")
    table(
        "5 % 429 (Retry-After 1), 2 % 503, 1 % cut off, 1 % HTML with 200",
        ["run", "calls", "lost", "wrong", "paid twice", "wall s", "wall against undisturbed"],
        lines,
    )


def rate(bench: Bench, prompts: list[str]) -> None:
    """What share of an allowed rate is used without being told of it."""
    run = bench.run(prompts, "rate", rps=RATE, rps_burst=RATE)
    log = bench.standin.log()
    asking = log[-1]["at"] - log[0]["at"] + log[0]["ms"] / 1000
    share = 100 * len(prompts) / asking / RATE
    table(
        f"{RATE:g} calls/s allowed (bucket of {RATE:g}), not told",
        ["calls", "429", "lost", "asking s", "calls/s", "% of the rate"],
        [[run.stats["requests"], run.refused, len(prompts) - run.rows, asking, len(prompts) / asking, share]],
    )


PARTS: dict[str, Callable[[Bench, list[str]], None]] = {
    "base": base,
    "changes": changes,
    "faults": faults,
    "rate": rate,
}


def read_prompts(parquet: Path | None, column: str, number: int) -> list[str]:
    """The first distinct texts of one line and 60 to 600 characters; invented ones without a table."""
    if parquet is None:
        return invented(number)
    import pyarrow.parquet as pq

    texts = pq.read_table(parquet, columns=[column])[column].to_pylist()
    fitting = (" ".join(text.split()) for text in texts if text and 60 <= len(text) <= 600)
    return list(dict.fromkeys(fitting))[:number]


def main() -> None:
    """Run the parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parquet", type=Path, help="a table of texts, instead of invented ones")
    parser.add_argument("--column", default="corrected_transcript", help="its column")
    parser.add_argument("--number", type=int, default=NUMBER, help="prompts")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run")
    parser.add_argument("--ask", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.ask:
        way, *paths = chosen.ask
        ask(way, *map(Path, paths))
        return
    prompts = read_prompts(chosen.parquet, chosen.column, chosen.number)
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    python, source = sys.version.split()[0], chosen.parquet or "here"
    print(f"{os.cpu_count()} cores (load {load} at the start), Python {python}, prompts from {source}")
    for part in chosen.only:
        with tempfile.TemporaryDirectory(prefix="trasvase-bench-") as folder, Bench(Path(folder)) as bench:
            PARTS[part](bench, prompts)


if __name__ == "__main__":
    main()
