"""The steps of compare-jokes, as tasks: find both contestants, let them write, judge the pairs, report."""

from __future__ import annotations

import re
from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.chat import names as chat_names
from tasks.chat import split_model
from tasks.chat.protocol import Account
from tasks.chunks import file
from tasks.chunks.manifest import Chunk, Manifest
from tasks.engines.shared import Shared
from tasks.judging.collect import Tables
from tasks.judging.contestants import Contestant, Local, Remote, Sampling
from tasks.judging.plan import Comparison, Side
from tasks.judging.report import Report
from tasks.judging.write import LocalWriter, ServiceWriter, Writer
from tasks.models.device import Device
from tasks.options import LOCAL, REMOTE
from tasks.plan import check_restarts, patient, run_chunks, show_cost, shown, working_on
from tasks.services import Asking, chat_of, check_model, engine, journal, prices
from tasks.settings import Settings
from tasks.storage.errors import PermanentError
from tasks.storage.root import DataRoot
from tasks.storage.schemas import PAIRS, PAIRS_JUDGED, REQUESTS, WRITTEN
from tasks.storage.tables import read_group

_LATEST_CHAT = "latest-chat"  # the newest adapter that writes, as finetune-lora leaves it


@task(task_run_name="plan", **LOCAL)
def plan_comparison(
    dataset: str,
    split: str,
    models: tuple[str, str],
    judge: str,
    asked: dict[str, str],
    variety: str,
    sampling: tuple[float, int, int],
    device: Device,
    load_in_4bit: bool,
    chunk_size: int,
    restarts: int,
    mode: Asking,
    estimate: bool,
) -> Comparison:
    """Find both contestants and the judge, make requests of the split, and find or make both jobs of texts."""
    from tasks.judging.plan import plan_writing
    from tasks.judging.requests import find_split, read_requests
    from tasks.splits.build import check_version, find_version

    check_restarts(restarts)
    root, logger = DataRoot(Settings().data), get_run_logger()
    service = check_model(judge, mode, estimate=estimate)  # now, not when both have written and were paid
    version = find_version(root.datasets, dataset)
    certificate = check_version(version)
    source = find_split(version, certificate, split)
    requests = read_requests(Path(source.path), asked["column"], asked["prompt"])
    drawn = Sampling(*sampling)
    contestants = [_contestant(typed, device, load_in_4bit, root) for typed in models]
    for each in contestants:
        if isinstance(each.who, Remote):
            check_model(each.name, mode, estimate=estimate)
    sides = [plan_writing(each, requests, source, asked, drawn, root.jobs, chunk_size) for each in contestants]
    if sides[0].job.folder == sides[1].job.folder:
        raise PermanentError(
            f"{models[0]} and {models[1]} are the same model, so every pair is a tie. Name another one."
        )
    name = f"{certificate['dataset']}/{certificate['version']}"
    logger.info(
        "%s against %s: %d requests of %s, %s, %d rows left out.",
        *(side.contestant.name for side in sides),
        len(requests.requests),
        name,
        split,
        sum(requests.left_out.values()),
    )
    return Comparison(sides[0], sides[1], requests, name, split, judge, service, split_model(judge)[1], variety, drawn)


@task(task_run_name="estimate", **LOCAL)
def estimate_cost(comparison: Comparison, mode: Asking) -> str:
    """Say what it would cost, as a table artifact and in one sentence per service; nothing is asked."""
    from tasks.judging.cost import estimate_of, questions_of

    root = DataRoot(Settings().data)
    services = {chat: chat_of(chat) for chat in questions_of(comparison)}
    found = estimate_of(comparison, services, journal(root), prices(), mode == "batch")
    rows = [row for each in found for row in each.rows()]
    shown(create_table_artifact, key="estimate", table=rows, description="What compare-jokes would cost")
    told = " ".join(str(each) for each in found)
    get_run_logger().info("%s", told)
    return told


def write(comparison: Comparison, budget: float | None, mode: Asking, force: bool, restarts: int) -> None:
    """Both contestants, one after the other: what is done is found, and one model at a time is in memory.

    Raises:
        ChunksFailed: Some chunks failed; says which, and what to press.
        BudgetReached: The next question could cost more than is left.
    """
    for side in comparison.sides:
        with working_on(side.job.folder, open_local):
            if isinstance(side.contestant.who, Local) and side.job.pending(WRITTEN):
                open_contestant(side, comparison.sampling)
            account = account_of(side.job, comparison, budget)
            if mode == "batch" and isinstance(side.contestant.who, Remote):
                patient(write_in_batches)(side, comparison.sampling, account)
            more = {"contestant": side.contestant, "sampling": comparison.sampling, "account": account}
            run_chunks(write_chunk, side.job, WRITTEN, None, force, restarts, **more)


@task(task_run_name="batches of {side.contestant.name}", **REMOTE)
def write_in_batches(side: Side, sampling: Sampling, account: Account) -> None:
    """Ask for every missing text of a service at once; the chunks then find them in the journal."""
    from tasks.judging import write as writing

    rows = [
        row
        for chunk in side.job.pending(WRITTEN)
        for row in read_group(side.job.rows_path, REQUESTS, chunk.number).to_pylist()
    ]
    who = side.contestant.who
    assert isinstance(who, Remote)
    asked = writing.questions([row["messages"] for row in rows], who.model, sampling)
    engine(who.chat, "batch").ask(asked, account=account)


@task(task_run_name="open {side.contestant.name}", **LOCAL)
def open_contestant(side: Side, sampling: Sampling) -> None:
    """Load a model: what is wrong with it is said before its first chunk."""
    _writer(side.contestant, sampling, None)


@task(task_run_name="{manifest.job} {chunk.name}", **REMOTE)
def write_chunk(chunk: Chunk, manifest: Manifest, contestant: Contestant, sampling: Sampling, account: Account) -> Path:
    """Let a contestant write about one chunk of requests and put its file in place."""
    from tasks.judging import write as writing

    rows = read_group(manifest.rows_path, REQUESTS, chunk.number).to_pylist()
    written = writing.write_rows(rows, _writer(contestant, sampling, account))
    return file.write_chunk(written, chunk, manifest, WRITTEN)


@task(task_run_name="plan judging", **LOCAL)
def plan_judging(comparison: Comparison, chunk_size: int) -> Manifest:
    """Find or make the job of the pairs."""
    from tasks.judging import plan

    manifest = plan.plan_judging(comparison, DataRoot(Settings().data).jobs, chunk_size)
    get_run_logger().info("%s: %d pairs, each asked about in both orders.", manifest.job, manifest.rows)
    return manifest


def judge_pairs(
    judging: Manifest, comparison: Comparison, budget: float | None, mode: Asking, force: bool, restarts: int
) -> None:
    """Every pair in both orders; what is done is found.

    Raises:
        ChunksFailed: Some chunks failed; says which, and what to press.
        BudgetReached: The next question could cost more than is left.
    """
    with working_on(judging.folder):
        account = account_of(judging, comparison, budget)
        if mode == "batch":
            patient(judge_in_batches)(judging, comparison.judge, account)
        more = {"judge": comparison.judge, "account": account}
        run_chunks(judge_chunk, judging, PAIRS_JUDGED, None, force, restarts, **more)


@task(task_run_name="batches of the judge", **REMOTE)
def judge_in_batches(judging: Manifest, judge: str, account: Account) -> None:
    """Ask about every pair that is not judged yet at once, both orders; the chunks then find the answers in the journal."""
    from tasks.judging import judge as asking

    rows = [
        row
        for chunk in judging.pending(PAIRS_JUDGED)
        for row in read_group(judging.rows_path, PAIRS, chunk.number).to_pylist()
    ]
    chat, model = split_model(judge)
    engine(chat, "batch").ask(asking.questions(rows, model, judging.parameters["variety"]), account=account)


@task(task_run_name="{manifest.job} {chunk.name}", **REMOTE)
def judge_chunk(chunk: Chunk, manifest: Manifest, judge: str, account: Account) -> Path:
    """Judge one chunk of pairs in both orders and put its file in place."""
    from tasks.judging import judge as judging

    rows = read_group(manifest.rows_path, PAIRS, chunk.number).to_pylist()
    (chat, model), variety = split_model(judge), manifest.parameters["variety"]
    judged = judging.judge_rows(rows, engine(chat), account, model=model, variety=variety)
    return file.write_chunk(judged, chunk, manifest, PAIRS_JUDGED)


@task(task_run_name="collect", **LOCAL)
def collect_comparison(comparison: Comparison, judging: Manifest, name: str) -> Tables:
    """Join the chunks into the table of pairs that a user gets."""
    from tasks.judging.collect import collect

    stem = name or "-against-".join(_plain(side.contestant.name) for side in comparison.sides)
    tables = collect(comparison, judging, DataRoot(Settings().data).tables, stem)
    told = ", ".join(f"{count:,} {verdict}" for verdict, count in sorted(tables.verdicts.items()))
    get_run_logger().info("%s pairs: %s: %s", f"{judging.rows:,}", told, tables.table)
    return tables


@task(task_run_name="report", **LOCAL)
def report_comparison(judging: Manifest, tables: Tables, human: Path | None) -> Report:
    """Say who wins how often and how sure that is, as HTML with plots and as a Markdown artifact."""
    from tasks.judging.people import read_choices
    from tasks.judging.report import write_report
    from tasks.storage.schemas import COMPARED
    from tasks.storage.tables import read_table

    choices, logger = None, get_run_logger()
    if human is not None:
        ids = frozenset(read_table(tables.table, COMPARED, ["id"]).column("id").to_pylist())
        choices, others = read_choices(human, ids)
        if others:
            logger.warning("%d choices in %s are of other pairs and do not count.", others, human)
    digest = judging.job.rpartition("-")[2]
    report = write_report(DataRoot(Settings().data).reports / f"{tables.table.stem}-{digest[:8]}", tables, choices)
    shown(create_markdown_artifact, key=f"compare-{tables.table.stem}", markdown=report.markdown)
    show_cost(f"compare-{tables.table.stem}", report.cost)
    logger.info("%s", report.sentence)
    logger.info("Report: %s", report.html)
    return report


def account_of(job: Manifest, comparison: Comparison, budget: float | None) -> Account:
    """Who pays for a job: the budget is for both contestants and the judge together."""
    jobs = {side.job.job for side in comparison.sides} | {job.job}
    return Account(job.job, tuple(sorted(jobs)), budget)


def _contestant(typed: str, device: Device, load_in_4bit: bool, root: DataRoot) -> Contestant:
    """What a user has named: a model of a service, an adapter, or a model on this machine or on the hub."""
    from tasks.evaluation.promote import CURRENT, LATEST, find_adapter
    from tasks.judging import contestants
    from tasks.models.adapter import RECORD, read_adapter

    if not typed:
        raise PermanentError("A model has no name. Give an adapter, a model on the hub or a folder, or chat:model.")
    if typed.partition(":")[0] in chat_names() and ":" in typed:
        chat, model = split_model(typed)
        return contestants.remote(typed, chat, model, engine(chat).name)
    is_adapter = any((at / RECORD).is_file() for at in (root.adapters / typed, Path(typed)))
    if is_adapter or typed in (CURRENT, LATEST, _LATEST_CHAT):
        folder = find_adapter(root.adapters, typed)
        return contestants.of_adapter(folder, read_adapter(folder), device)
    from tasks.models.load import check_device, find

    check_device(device)
    found = find(typed)
    if found.sees:
        raise PermanentError(f"{typed} takes images, and requests here are text alone. Name a chat model.")
    return contestants.of_base(typed, found.digest, found.setup, found.toy, load_in_4bit, device)


def _writer(contestant: Contestant, sampling: Sampling, account: Account | None) -> Writer:
    who = contestant.who
    if isinstance(who, Local):
        return open_local(who, sampling)
    assert isinstance(who, Remote)
    assert account is not None
    return ServiceWriter(engine(who.chat), who.model, sampling, account)


def _open_local(who: Local, sampling: Sampling) -> LocalWriter:
    return LocalWriter(who, sampling)


open_local = Shared(_open_local)


def _plain(name: str) -> str:
    """A name that a file may have."""
    return re.sub(r"[^\w.-]+", "-", name.rpartition("/")[2]).strip("-.")
