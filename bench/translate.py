"""Translating, measured: the predecessor's way, one string per request, and ours, in one run on one stand-in.

    python -m bench.translate                          our own sample
    python -m bench.translate --parquet PATH           real rows, such as the published translation
    python -m bench.translate --only speed changes     some of the parts

Parts: ``speed`` (150 ms a request), ``cpu`` (no latency, whole flow), ``changes`` (kill, rerun, edits, a row that always
fails), ``full`` (157,712 rows: memory, and a resume of 315 of 316 chunks).

The stand-in answers from recordings, in its own process. Whole flow means: Prefect's server in its own process, the flow
in a new Python process, from its start to its end. CPU is user + system of the flow's process alone; the server's and the
stand-in's are named apart. Figures are single runs: compare ratios within a run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.tables import table
from tests.flows.local_prefect import LocalPrefect
from tests.standin import GoogleStandIn

SAMPLE = Path(__file__).parents[1] / "data" / "samples" / "llava_sample.json"
REAL_ROWS = 157_712  # LLaVA-Instruct-150K
AT_ONCE = 8
LATENCY_MS = 150


@dataclass(frozen=True)
class Measured:
    """One run: seconds, CPU seconds and peak memory (MB) of the flow's process, and what the stand-in counted."""

    wall: float
    cpu: float
    memory: float
    server_cpu: float
    requests: int
    texts: int
    paid_again: int
    status: int


class Bench:
    """One stand-in, one Prefect server, one folder."""

    def __init__(self, folder: Path, parquet: Path | None, rows: int, light: bool = False) -> None:
        self.folder = folder
        self._parquet = parquet
        self.standin = GoogleStandIn(parquet=parquet, rows=0 if light else rows, spread=True, light=light)
        self.local = LocalPrefect(folder / "server")

    def __enter__(self) -> Bench:
        self.standin.__enter__()
        self.local.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.local.__exit__()
        self.standin.__exit__(None, None, None)

    def flow(self, source: Path, data: str, kill_at: float | None = None, **switches: Any) -> Measured:
        """Run the whole flow in a new process.

        Args:
            source: The rows.
            data: Name of the data root; the same one resumes.
            kill_at: Kill -9 it when the stand-in has answered so many texts.
            switches: Of the stand-in, such as ``latency_ms``.
        """
        self.standin.reset()
        self.standin.switch(**switches)
        env = {
            **os.environ,
            **self.local.env,
            "TRASVASE_DATA": str(self.folder / data),
            "TRASVASE_GOOGLE_URL": self.standin.url,
            "TRASVASE_GOOGLE_RATE": "5000",
            "TRASVASE_GOOGLE_MAX_RATE": "5000",
            "TRASVASE_GOOGLE_AT_ONCE": str(AT_ONCE),
            "TRASVASE_GOOGLE_CLIENT": "at",
        }
        call = f"translate_llava(Path({str(source)!r}), name='bench')"
        script = f"from pathlib import Path\nfrom flows.translate import translate_llava\n{call}"
        server = self.local.server.process()
        before = _cpu(server)
        started = time.perf_counter()
        log = self.folder / "flow.log"
        with (
            log.open("w") as output,
            subprocess.Popen([sys.executable, "-c", script], env=env, stdout=output, stderr=output) as process,
        ):
            ended = 0
            while not ended:
                ended, status, usage = os.wait4(process.pid, os.WNOHANG if kill_at is not None else 0)
                if not ended and kill_at is not None and self.standin.stats()["distinct"] >= kill_at:
                    process.send_signal(signal.SIGKILL)
                    kill_at = None
                time.sleep(0.02)
            process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - started
        if process.returncode not in (0, -signal.SIGKILL):
            raise RuntimeError(f"the flow ended with {process.returncode}:\n{log.read_text()[-3000:]}")
        stats = self.standin.stats()
        return Measured(
            wall,
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss / 1024,
            _cpu(server) - before,
            stats["requests"],
            stats["distinct"] + stats["paid_again"],
            stats["paid_again"],
            process.returncode,
        )


def _cpu(process: psutil.Process | None) -> float:
    times = process.cpu_times() if process else None
    return times.user + times.system if times else 0.0


def rows_of(parquet: Path | None, number: int) -> Iterator[dict[str, Any]]:
    """Rows in LLaVA's format: real ones or our sample's; where there are too few, again with a number in each turn."""
    for copy in count():
        for row in _rows_once(parquet, number):
            yield {**row, "conversations": [_numbered(turn, copy) for turn in row["conversations"]]}
            number -= 1
            if not number:
                return


def _numbered(turn: dict[str, str], copy: int) -> dict[str, str]:
    return {**turn, "value": f"{turn['value']} Copy {copy}."} if copy else turn


def _rows_once(parquet: Path | None, number: int) -> Iterator[dict[str, Any]]:
    if parquet is None:
        yield from json.loads(SAMPLE.read_text())
        return
    from tests.standin.recorded import rows_from_parquet

    for row in rows_from_parquet(parquet, number, spread=True):
        yield {key: row[key] for key in ("id", "image", "conversations")}


def write_rows(path: Path, rows: Iterator[dict[str, Any]]) -> Path:
    """Write a JSON array as LLaVA-Instruct-150K comes, a row at a time."""
    with path.open("w", encoding="utf-8") as file:
        separator = "["
        for row in rows:
            file.write(separator + json.dumps(row, ensure_ascii=False))
            separator = ",\n"
        file.write("]")
    return path


async def one_by_one(standin: GoogleStandIn, rows: Sequence[dict[str, Any]], at_once: int) -> None:
    """One googletrans request per turn, with so many under way: 1 is the predecessor's way."""
    from googletrans import Translator

    from tests.standin.fixture import ToStandIn

    library = Translator(raise_exception=True)
    library.client = httpx.AsyncClient(
        transport=ToStandIn(standin), headers=library.client.headers, timeout=httpx.Timeout(20)
    )
    slots = asyncio.Semaphore(at_once)

    async def one(turn: dict[str, str]) -> None:
        async with slots:
            await library.translate(str(turn) if at_once == 1 else turn["value"], src="en", dest="es", dt="t")

    turns = [turn for row in rows for turn in row["conversations"]]
    if at_once == 1:
        for turn in turns:
            await one(turn)
    else:
        await asyncio.gather(*(one(turn) for turn in turns))
    await library.client.aclose()


def speed(folder: Path, parquet: Path | None) -> None:
    """The three ways at 150 ms a request."""
    rows = list(rows_of(parquet, 6_000))
    lines: list[list[object]] = []
    with _bench(folder, parquet, 6_000) as bench:
        for name, number, at_once in (
            ("one turn after the other (predecessor)", 60, 1),
            ("one string, 16 at once", 600, 16),
        ):
            some = rows[:: len(rows) // number][:number]
            bench.standin.reset()
            bench.standin.switch(latency_ms=LATENCY_MS)
            cpu, started = time.process_time(), time.perf_counter()
            asyncio.run(one_by_one(bench.standin, some, at_once))
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
            requests = bench.standin.stats()["requests"]
            lines.append([name, len(some), len(some) / seconds, 1000 * requests / len(some), 1000 * cpu / len(some)])
        source = write_rows(bench.folder / "speed.json", iter(rows))
        ours = bench.flow(source, "speed", latency_ms=LATENCY_MS)
        lines.append(
            [f"ours, whole flow, {AT_ONCE} at once", len(rows), len(rows) / ours.wall, 1000 * ours.requests / len(rows),
             1000 * ours.cpu / len(rows)]
        )  # fmt: skip
    first = lines[0][2]
    for line in lines:
        line.append(f"{float(str(line[2])) / float(str(first)):,.0f}x")
    table(
        f"Speed, {LATENCY_MS} ms a request",
        ["way", "rows", "rows/s", "requests per 1,000 rows", "CPU ms per row", "rows/s against the first"],
        lines,
    )


def cpu(folder: Path, parquet: Path | None) -> None:
    """CPU of the whole flow without latency, and Prefect's share of it."""
    lines: list[list[object]] = []
    with _bench(folder, parquet, 10_000) as bench:
        for number in (500, 10_000):
            source = write_rows(bench.folder / f"cpu-{number}.json", rows_of(parquet, number))
            run = bench.flow(source, f"cpu-{number}")
            again = bench.flow(source, f"cpu-{number}")
            lines.append(
                [
                    number,
                    1000 * run.cpu / number,
                    run.cpu,
                    again.cpu,
                    again.wall,
                    run.server_cpu,
                    number / run.wall,
                ]
            )
    table(
        "CPU, no latency, whole flow",
        ["rows", "CPU ms per row", "CPU s", "CPU s of a rerun (start-up, plan, Prefect)", "its seconds",
         "CPU s of the Prefect server", "rows/s"],
        lines,
    )  # fmt: skip
    few, many = lines
    marginal = 1000 * (float(str(many[2])) - float(str(few[2]))) / (10_000 - 500)
    print(f"\nEach further row: {marginal:.2f} ms.")


def full(folder: Path, parquet: Path | None) -> None:
    """All rows: peak memory against 10,000 rows, and what a resume of all chunks but one costs."""
    sizes: list[list[object]] = []
    with _bench(folder, parquet, 0, light=True) as bench:
        for number in (10_000, REAL_ROWS):
            source = write_rows(bench.folder / f"full-{number}.json", rows_of(parquet, number))
            run = bench.flow(source, f"full-{number}")
            megabytes = source.stat().st_size / 1e6
            sizes.append([number, megabytes, run.memory, 1000 * run.cpu / number, run.server_cpu, number / run.wall])
        (chunk,) = (bench.folder / f"full-{REAL_ROWS}" / "jobs").glob("*/chunks/chunk-00100.parquet")
        chunk.unlink()
        runs = {what: bench.flow(source, f"full-{REAL_ROWS}") for what in ("one chunk missing", "nothing missing")}
    head = ["rows", "source MB", "peak MB", "CPU ms per row", "CPU s of the Prefect server", "rows/s"]
    table("All rows, no latency, whole flow", head, sizes)
    lines = [[what, run.wall, run.cpu, run.requests] for what, run in runs.items()]
    table("Resume, 315 of 316 chunks done", ["run", "seconds", "CPU s", "requests"], lines)


def changes(folder: Path, parquet: Path | None) -> None:
    """What a kill, a rerun, an edit, more rows and a row that always fails cost."""
    number = 1_500
    rows = list(rows_of(parquet, number + 100))
    lines: list[list[object]] = []

    def add(what: str, run: Measured, data: str, rows_in: int) -> None:
        counts = json.loads((folder / "bench" / data / "tables" / "bench-es.provenance.json").read_text())["counts"]
        delivered = f"{counts['delivered']} + {sum(counts['rejected'].values())} of {rows_in}"
        lines.append([what, run.requests, run.texts, run.paid_again, delivered, run.wall])

    with _bench(folder, parquet, number + 100) as bench:
        source = write_rows(bench.folder / "base.json", iter(rows[:number]))
        clean = bench.flow(source, "clean")
        add("undisturbed", clean, "clean", number)
        add("rerun unchanged", bench.flow(source, "clean"), "clean", number)
        edited = json.loads(json.dumps(rows[:number]))
        edited[number // 2]["conversations"][-1]["value"] += " This sentence was added just now."
        changed = write_rows(bench.folder / "edited.json", iter(edited))
        add("one turn edited", bench.flow(changed, "clean"), "clean", number)
        added = write_rows(bench.folder / "added.json", iter(rows))
        add("100 rows added", bench.flow(added, "clean"), "clean", number + 100)
        edited[number // 2]["conversations"][-1]["value"] = "Zyzzyva poison. " + "A very long tale. " * 400
        poisoned = write_rows(bench.folder / "poisoned.json", iter(edited))
        for what in ("one row that is always refused", "the same again"):
            add(what, bench.flow(poisoned, "clean", refuse="Zyzzyva"), "clean", number)
        killed = bench.flow(source, "killed", kill_at=0.5 * clean.texts, latency_ms=20)
        run = bench.flow(source, "killed")
        add(f"killed at half ({killed.texts} texts), then run again", run, "killed", number)
        lines[-1][3] = f"{killed.texts + run.texts - clean.texts} (both runs)"
    table(
        "Changes, 1,500 rows",
        ["run", "requests", "texts asked", "of them asked before", "rows delivered + rejected", "seconds"],
        lines,
    )


@contextmanager
def _bench(folder: Path, parquet: Path | None, rows: int, light: bool = False) -> Iterator[Bench]:
    (folder / "bench").mkdir(exist_ok=True)
    with Bench(folder / "bench", parquet, rows, light) as bench:
        yield bench


PARTS: dict[str, Callable[[Path, Path | None], None]] = {
    "speed": speed,
    "cpu": cpu,
    "changes": changes,
    "full": full,
}


def main() -> None:
    """Run the parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parquet", type=Path, help="real rows with their translation, instead of our sample")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run")
    chosen = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, rows from {chosen.parquet or SAMPLE}")
    for part in chosen.only:
        with tempfile.TemporaryDirectory(prefix="trasvase-bench-") as folder:
            PARTS[part](Path(folder), chosen.parquet)
    print(f"\nThe bench itself took {resource.getrusage(resource.RUSAGE_SELF).ru_utime:.0f} s of CPU.")


if __name__ == "__main__":
    main()
