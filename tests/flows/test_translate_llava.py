"""The walk on a real server and a real process worker, through every door of docs/recovery.md.

Google is a stand-in on loopback; its answers are recordings.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.chat.prices import read_prices
from tasks.chunks.manifest import Manifest, read_manifest
from tasks.storage.schemas import LLAVA, LLAVA_REJECTED, TRANSLATIONS
from tasks.storage.tables import read_table
from tests.flows.local_prefect import LocalPrefect, until
from tests.standin import GoogleStandIn, MistralStandIn

DEPLOYMENT = "translate-llava/spanish"
SAMPLE = Path(__file__).parents[2] / "data" / "samples" / "llava_sample.json"


@pytest.fixture(scope="module")
def standin() -> Iterator[GoogleStandIn]:
    with GoogleStandIn() as standin:
        yield standin


@pytest.fixture(scope="module")
def mistral() -> Iterator[MistralStandIn]:
    with MistralStandIn() as standin:
        yield standin


@pytest.fixture(scope="module")
def local(
    tmp_path_factory: pytest.TempPathFactory, deployed: Path, standin: GoogleStandIn, mistral: MistralStandIn
) -> Iterator[LocalPrefect]:
    settings = {
        "TRASVASE_MISTRAL_URL": mistral.url,
        "TRASVASE_GOOGLE_URL": standin.url,
        "TRASVASE_GOOGLE_RATE": "500",
        "TRASVASE_GOOGLE_MAX_RATE": "500",
        "TRASVASE_CHUNK_RETRIES": "0",
        "TRASVASE_CHUNK_THREADS": "2",
    }
    with LocalPrefect(tmp_path_factory.mktemp("walk"), deployed, **settings) as local:
        local.without_triggers()
        local.start_worker()
        yield local


@pytest.fixture(autouse=True)
def _as_new(standin: GoogleStandIn) -> None:
    standin.reset()


def _source(folder: Path, name: str, rows: int, skip: int = 0) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(json.loads(SAMPLE.read_text())[skip : skip + rows]))
    return path


def _job(local: LocalPrefect, source: Path) -> Manifest:
    for folder in (local.folder.parent / "jobs").iterdir():
        manifest = read_manifest(folder)
        if manifest and manifest.source.path == str(source):
            return manifest
    raise AssertionError(f"no job for {source}")


def _files(manifest: Manifest) -> dict[str, int]:
    # A kill in the middle of a write leaves a .part, which goes with the next one.
    return {path.name: path.stat().st_mtime_ns for path in (manifest.folder / "chunks").glob("*.parquet")}


def _check_table(local: LocalPrefect, name: str, rows: int) -> None:
    tables = local.folder.parent / "tables"
    assert list(range(rows)) == read_table(tables / f"{name}-es.parquet", LLAVA)["row"].to_pylist()
    assert 0 == read_table(tables / f"{name}-es.rejected.parquet", LLAVA_REJECTED).num_rows
    assert rows == len(json.loads((tables / f"{name}-es.json").read_text()))


def test_retry_as_in_the_ui_does_only_what_is_missing(
    local: LocalPrefect, standin: GoogleStandIn, tmp_path: Path
) -> None:
    source = _source(tmp_path, "retry", 13)
    standin.switch(p503=1)
    run = local.run(DEPLOYMENT, source=str(source), chunk_size=3, name="retry")
    message = local.wait(run, "FAILED")["message"]
    assert "5 of 5 chunks failed: chunk-00000, chunk-00001, chunk-00002, chunk-00003, chunk-00004." in message
    assert "Press Retry on this flow run to do only what is missing." in message

    standin.switch(p503=0)
    manifest = _job(local, source)
    obstacle = manifest.path(manifest.chunks()[2])
    obstacle.mkdir(parents=True)  # a chunk that cannot be put in place
    local.retry(run)
    assert "1 of 5 chunks failed: chunk-00002." in local.wait(run, "FAILED")["message"]
    assert [2] == [chunk.number for chunk in manifest.pending(TRANSLATIONS)]
    before, asked = _files(manifest), standin.stats()["requests"]

    obstacle.rmdir()
    local.retry(run)
    local.wait(run, "COMPLETED")

    after = _files(manifest)
    assert {name: before[name] for name in before if "00002" not in name} == {
        name: after[name] for name in after if "00002" not in name
    }
    assert asked == standin.stats()["requests"], "the answers of the failed chunk were in the journal"
    assert 0 == standin.stats()["paid_again"]
    _check_table(local, "retry", 13)

    again = local.run(DEPLOYMENT, source=str(source), chunk_size=3, name="retry")
    local.wait(again, "COMPLETED")
    assert after == _files(manifest)
    assert asked == standin.stats()["requests"]


def test_a_killed_flow_process_is_started_again_by_itself(
    local: LocalPrefect, standin: GoogleStandIn, tmp_path: Path
) -> None:
    source = _source(tmp_path, "killed", 40, skip=20)
    standin.switch(latency_ms=300)
    run = local.run(DEPLOYMENT, source=str(source), chunk_size=4, name="killed")
    process = local.flow_process(run)
    until(lambda: (local.folder.parent / "jobs").exists() and _done(local, source) >= 2)
    os.kill(process.pid, signal.SIGKILL)
    local.wait(run, "CRASHED")
    manifest = _job(local, source)
    before = _files(manifest)

    local.wait(local.restart_of(run), "COMPLETED")

    after = _files(manifest)
    assert before == {name: after[name] for name in before}
    assert standin.stats()["paid_again"] <= 8 * 128, "only what was under way may be asked again"
    _check_table(local, "killed", 40)


def _done(local: LocalPrefect, source: Path) -> int:
    try:
        manifest = _job(local, source)
    except AssertionError:
        return 0
    return len(manifest.chunks()) - len(manifest.pending(TRANSLATIONS))


def test_a_killed_server_costs_nothing(local: LocalPrefect, standin: GoogleStandIn, tmp_path: Path) -> None:
    source = _source(tmp_path, "server", 40, skip=70)
    standin.switch(latency_ms=300)
    run = local.run(DEPLOYMENT, source=str(source), chunk_size=4, name="server")
    until(lambda: _done(local, source) >= 2)
    local.kill_server()
    until(lambda: _done(local, source) >= 5)
    local.start_server()

    local.wait(run, "COMPLETED")

    assert 0 == standin.stats()["paid_again"]
    _check_table(local, "server", 40)


def test_a_run_on_another_worker_goes_on_where_the_first_was_killed(
    local: LocalPrefect, standin: GoogleStandIn, tmp_path: Path
) -> None:
    source = _source(tmp_path, "worker", 24, skip=120)
    standin.switch(latency_ms=300)
    run = local.run(DEPLOYMENT, source=str(source), chunk_size=4, name="worker")
    until(lambda: _done(local, source) >= 1)
    local.kill_worker()
    local.start_worker()

    local.wait(run, "COMPLETED")  # it outlives its worker

    assert 0 == standin.stats()["paid_again"]
    _check_table(local, "worker", 24)


def test_named_chunks_and_force(local: LocalPrefect, standin: GoogleStandIn, tmp_path: Path) -> None:
    source = _source(tmp_path, "named", 12, skip=150)
    parameters: dict[str, Any] = {"source": str(source), "chunk_size": 4, "name": "named"}
    standin.switch(garbage="the", garbage_kind="empty")  # rows with it are refused
    local.wait(local.run(DEPLOYMENT, **parameters, chunks=[1]), "COMPLETED")
    manifest = _job(local, source)
    assert ["chunk-00001.parquet"] == list(_files(manifest))
    local.wait(local.run(DEPLOYMENT, **parameters), "COMPLETED")
    errors = read_table(manifest.path(manifest.chunks()[1]), TRANSLATIONS)["error"].to_pylist()
    assert "empty" in errors
    standin.switch(garbage=None)
    before, asked = _files(manifest), standin.stats()["requests"]

    local.wait(local.run(DEPLOYMENT, **parameters), "COMPLETED")
    assert (before, asked) == (_files(manifest), standin.stats()["requests"]), "rejected rows wait to be told"

    local.wait(local.run(DEPLOYMENT, **parameters, chunks=[1], force=True), "COMPLETED")

    after = _files(manifest)
    assert ["chunk-00001.parquet"] == [name for name in after if after[name] != before[name]]
    assert [None] * 4 == read_table(manifest.path(manifest.chunks()[1]), TRANSLATIONS)["error"].to_pylist()
    assert not manifest.aside(manifest.chunks()[1]).exists()
    shutil.rmtree(manifest.folder)


def test_a_run_with_mistral_pauses_at_its_budget_and_goes_on_when_it_is_resumed_with_more(
    local: LocalPrefect, mistral: MistralStandIn, tmp_path: Path
) -> None:
    source, asked = _source(tmp_path, "paid", 30), {"chunk_size": 3, "translator": "mistral:mistral-small-2603"}
    told = local.wait(local.run(DEPLOYMENT, source=str(source), name="paid", estimate=True, **asked), "COMPLETED")
    assert ("Estimated", 0) == (told["name"], mistral.stats()["requests"])
    assert re.match(r"\d+ calls, .* USD with the longest replies", told["message"])

    run = local.run(DEPLOYMENT, source=str(source), name="paid", budget_usd=0.003, **asked)
    local.wait(run, "PAUSED")
    local.wait_for_log(run, "The budget is reached")  # the last lines come late
    some = mistral.stats()["distinct"]
    local.wait_for_its_process(run)

    assert local.resume(run, budget_usd=1.0)
    local.wait(run, "COMPLETED")

    _check_table(local, "paid", 30)
    stats = mistral.stats()
    assert 0 < some < stats["distinct"]
    assert 0 == stats["paid_again"]
    tables = local.folder.parent / "tables"
    made = json.loads((tables / "paid-es.provenance.json").read_text())
    price = read_prices().of("mistral-small-2603")
    assert pytest.approx(price.cost(stats["prompt_tokens"], stats["completion_tokens"])) == made["cost_usd"]
    rows = read_table(tables / "paid-es.parquet", LLAVA)["cost_usd"].to_pylist()
    assert (30, pytest.approx(made["cost_usd"])) == (len(rows), sum(rows))
    assert "budget_usd" not in made["parameters"], "a higher one is the same job"
    assert {"translate-paid-es", "translate-paid-es-cost"} <= {
        each["key"] for each in local.post("/artifacts/filter", {})
    }
