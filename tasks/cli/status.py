"""`trasvase status`: what the jobs under the data root have come to.

Only footers, file times and the journal's list of requests are read: a job of 316 chunks answers in a second,
and a run that is under way is not disturbed.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tasks.chunks.file import refused
from tasks.chunks.manifest import Chunk, Manifest, read_manifest
from tasks.cli.terminal import table, utc
from tasks.evaluation import plan as evaluating
from tasks.jokes import plan as mining
from tasks.judging import plan as comparing
from tasks.llava.chunk import read_counts
from tasks.pages.words import dollars
from tasks.remote.journal import Call, Journal
from tasks.settings import Settings
from tasks.storage.errors import PermanentError, TornFile
from tasks.storage.root import DataRoot
from tasks.storage.schemas import (
    CLIP_ANSWERS,
    JOKES_REFINED,
    MEME_READINGS,
    PAIRS_JUDGED,
    PREDICTIONS,
    TRANSLATIONS,
    VLM_ANSWERS,
    WINDOW_JOKES,
    WRITTEN,
    TableSchema,
)
from tasks.training.checkpoints import is_done
from tasks.training.plan import read_plan
from tasks.zeroshot import plan as classifying

# By kind of job: the shape of a chunk.
CHUNKS: dict[str, TableSchema] = {
    "translate-llava": TRANSLATIONS,
    "read-memes": MEME_READINGS,
    classifying.VLM: VLM_ANSWERS,
    classifying.CLIP: CLIP_ANSWERS,
    evaluating.KIND: PREDICTIONS,
    evaluating.TEXT_KIND: PREDICTIONS,
    mining.EXTRACT: WINDOW_JOKES,
    mining.REFINE: JOKES_REFINED,
    comparing.WRITE: WRITTEN,
    comparing.JUDGE: PAIRS_JUDGED,
}
_NAMED = 20  # chunks named in one line

_EPILOG = """\
examples:
  trasvase status                               all jobs, the latest last
  trasvase status translate-llava-3f2a9c01d2e4  one job, its missing chunks by name
  trasvase status 3f2a                          the same, by the beginning of its digest
  trasvase status --json | jq '.[].missing'

exit codes: 0 nothing is damaged (chunks may be missing); 1 a chunk or a manifest is damaged; 2 no such job
"""


@dataclass(slots=True)
class JobStatus:
    """What a job has come to.

    Args:
        job: Its name.
        folder: Where it lies.
        state: ``done``, ``running``, ``unfinished``, ``not planned`` (killed before) or ``damaged``.
        source: The file that is worked on.
        rows: Rows in the source.
        rejected: Rows rejected so far: at the plan, and in the chunks that are done.
        chunks: How many there should be.
        done: How many there are.
        missing: Names of the others.
        damaged: Names of those whose file is torn or belongs to something else; they are made again.
        aside: Names of those that `force` set aside and that are not made again yet.
        holder: Who holds the job's lock; None where nobody does.
        requests: Requests sent, over all runs.
        texts: Texts in them.
        chars: Characters in them.
        failed_requests: How many of them brought no answer.
        cost_usd: What they cost, in US dollars.
        last_activity: The latest of its files and requests, seconds since 1970.
    """

    job: str
    folder: Path
    state: str
    source: str = ""
    rows: int = 0
    rejected: int = 0
    chunks: int = 0
    done: int = 0
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    holder: str | None = None
    requests: int = 0
    texts: int = 0
    chars: int = 0
    failed_requests: int = 0
    cost_usd: float = 0.0
    last_activity: float = 0.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `trasvase status`."""
    parser.description = "The jobs under the data root: chunks done and missing, rejected rows, requests, money."
    parser.epilog = _EPILOG
    parser.add_argument(
        "job", nargs="?", metavar="JOB", help="a job's name, its folder, or the beginning of its digest"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run_command=run)


def run(options: argparse.Namespace) -> int:
    """Print the status; the exit code."""
    root = DataRoot(Settings().data)
    folders = sorted(root.jobs.iterdir()) if root.jobs.is_dir() else []
    folders = [folder for folder in folders if folder.is_dir()]
    if options.job is not None:
        folders = [_chosen(options.job, folders, root)]
    jobs = sorted(statuses(folders, root), key=lambda job: job.last_activity)
    if options.json:
        plain = [{**asdict(job), "last_activity": utc(job.last_activity)} for job in jobs]
        print(json.dumps(plain, indent=2, ensure_ascii=False, default=str))
    elif options.job is not None:
        print("\n".join(_one(jobs[0])))
    elif jobs:
        print("\n".join(_all(jobs)))
    else:
        print(f"No jobs under {root.jobs} yet. `make run` makes one; TRASVASE_DATA names another root.")
    return 1 if any(job.state == "damaged" or job.damaged for job in jobs) else 0


def statuses(folders: Iterable[Path], root: DataRoot) -> Iterator[JobStatus]:
    """The status of each job."""
    path = root.journal / "answers.sqlite"
    calls: dict[str, list[Call]] = {}
    if path.exists():
        journal = Journal(path)
        for call in journal.calls():
            calls.setdefault(call.job.partition("/")[0], []).append(call)
        journal.close()
    for folder in folders:
        yield _status(folder, calls.get(folder.name, []))


def lock_holder(folder: Path) -> str | None:
    """Who works on a job. Its lock is not touched: taken to look, it would turn away a run that starts.

    Returns:
        The process as the lock names it; None where nobody holds it, or where that cannot be seen: the system
        shows the locks of this machine only, in ``/proc/locks``.
    """
    lock, locks = folder / "lock", Path("/proc/locks")
    if not lock.exists() or not locks.exists():
        return None
    pattern = re.compile(rf"FLOCK\s+ADVISORY\s+WRITE\s+-?\d+\s+\S+:{lock.stat().st_ino}\s")
    held = any(pattern.search(entry) and "->" not in entry for entry in locks.read_text().splitlines())
    written = lock.read_text(errors="replace")
    return (written or "an unknown process") if held and written.endswith(socket.gethostname()) else None


def _status(folder: Path, calls: Sequence[Call]) -> JobStatus:
    status = JobStatus(folder.name, folder, "damaged", holder=lock_holder(folder))
    status.requests = len(calls)
    status.texts = sum(call.texts for call in calls)
    status.chars = sum(call.chars for call in calls)
    status.failed_requests = sum(call.outcome != "answered" for call in calls)
    status.cost_usd = sum(call.cost_usd for call in calls)
    files = [folder, *folder.iterdir(), *folder.glob("chunks/*")]
    status.last_activity = max([path.stat().st_mtime for path in files] + [call.at for call in calls[-1:]])
    try:
        manifest = read_manifest(folder)
    except TornFile as error:
        status.damaged.append(str(error))
        return status
    if manifest is None:
        _add_training(status)
        return status
    status.source, status.rows, status.rejected = manifest.source.path, manifest.rows, manifest.rejected
    chunks = manifest.chunks()
    status.chunks = len(chunks)
    if manifest.kind not in CHUNKS:
        status.damaged.append(f"its kind {manifest.kind!r} is not known here: another version may have made it")
        return status
    for chunk in chunks:
        _add(status, chunk, manifest)
    unfinished = "unfinished" if status.missing else "done"
    status.state = "running" if status.holder else unfinished
    return status


def _add_training(status: JobStatus) -> None:
    """A job without chunks trains, or it was killed before its plan was written."""
    try:
        planned = read_plan(status.folder)
    except TornFile as error:
        status.damaged.append(str(error))
        return
    state = "not planned"
    if planned:
        status.source = str(planned.source.folder)
        refused = [count for reasons in planned.rejected.values() for count in reasons.values()]
        status.rows, status.rejected = sum(planned.rows.values()) + sum(refused), sum(refused)
        state = "done" if is_done(planned.checkpoints) else "unfinished"
    status.state = "running" if status.holder else state


def _add(status: JobStatus, chunk: Chunk, manifest: Manifest) -> None:
    schema, path = CHUNKS[manifest.kind], manifest.path(chunk)
    if manifest.done(chunk, schema):
        status.done += 1
        status.rejected += read_counts(path).rejected.total() if schema is TRANSLATIONS else refused(path)
        return
    status.missing.append(chunk.name)
    if path.exists():
        status.damaged.append(chunk.name)
    elif manifest.aside(chunk).exists():
        status.aside.append(chunk.name)


def _chosen(name: str, folders: Sequence[Path], root: DataRoot) -> Path:
    """The one job that is meant.

    Raises:
        PermanentError: None is, or several are.
    """
    wanted = Path(name).name
    found = [folder for folder in folders if folder.name == wanted]
    found = found or [
        folder
        for folder in folders
        if folder.name.startswith(wanted) or folder.name.rpartition("-")[2].startswith(wanted)
    ]
    if len(found) == 1:
        return found[0]
    known = ", ".join(folder.name for folder in found or folders) or "none yet"
    what = f"{len(found)} jobs begin with" if found else "There is no job"
    raise PermanentError(f"{what} {name!r} under {root.jobs}. Jobs: {known}.")


def _all(jobs: Sequence[JobStatus]) -> Iterator[str]:
    columns = (
        "job",
        "state",
        "source",
        "rows",
        "chunks",
        "rejected",
        "requests",
        "characters",
        "cost",
        "last activity",
    )
    rows = [
        [
            job.job,
            job.state,
            Path(job.source).name,
            job.rows,
            f"{job.done:,} of {job.chunks:,}",
            job.rejected,
            job.requests,
            job.chars,
            dollars(job.cost_usd),
            utc(job.last_activity),
        ]
        for job in jobs
    ]
    yield from table(columns, rows)
    requests, cost = sum(job.requests for job in jobs), sum(job.cost_usd for job in jobs)
    number = "1 job" if len(jobs) == 1 else f"{len(jobs)} jobs"
    yield f"\n{number}, {requests:,} requests, ${cost:,.2f}. One of them: trasvase status JOB"


def _one(job: JobStatus) -> Iterator[str]:
    yield f"{job.job}: {job.state}" + (f" by {job.holder}" if job.holder else "")
    yield f"  folder         {job.folder}"
    yield f"  source         {job.source or 'unknown until the plan is done'}"
    yield f"  rows           {job.rows:,}, {job.rejected:,} of them rejected so far"
    yield f"  chunks         {job.done:,} of {job.chunks:,} done"
    for what, names in (("missing", job.missing), ("damaged", job.damaged), ("set aside", job.aside)):
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            yield f"  {what:14} {', '.join(names[:_NAMED])}{more}"
    yield f"  requests       {job.requests:,}, {job.failed_requests:,} of them without an answer"
    yield f"  texts          {job.texts:,}, {job.chars:,} characters"
    yield f"  cost           {dollars(job.cost_usd)}"
    yield f"  last activity  {utc(job.last_activity)}"
    if job.state in ("unfinished", "not planned"):
        yield "  next           press Retry on its flow run, or start it again with the same parameters"
