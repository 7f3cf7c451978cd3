"""mine-jokes on a real server and worker, against a stand-in for Mistral: killed, retried, paused at its budget."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tasks.chunks.manifest import read_manifest
from tasks.remote.journal import Journal
from tasks.settings import CHECKOUT
from tasks.storage.schemas import JOKES
from tasks.storage.tables import read_table
from tests.flows.local_prefect import LocalPrefect, until
from tests.standin import MistralBatchStandIn

DEPLOYMENT = "mine-jokes/vina"
TRANSCRIPTS = str(CHECKOUT / "data" / "samples" / "transcripts")
ASKED: dict[str, Any] = {
    "transcripts": TRANSCRIPTS,
    "model": "mistral:mistral-small-2603",
    "max_chars": 900,
    "overlap_chars": 200,
    "chunk_size": 1,
    "budget_usd": 5.0,
}
TABLES = ("jokes.parquet", "jokes.rejected.parquet")


def _tables(data: Path) -> dict[str, bytes]:
    return {name: (data / "tables" / name).read_bytes() for name in TABLES}


def _clear(data: Path) -> None:
    for folder in ("jobs", "tables", "reports", "journal"):
        shutil.rmtree(data / folder, ignore_errors=True)


def test_killed_retried_paused_and_resumed_nothing_is_asked_twice(tmp_path: Path, deployed: Path) -> None:
    data = tmp_path / "data"
    with MistralBatchStandIn(latency_ms=150) as standin:
        env = {"TRASVASE_MISTRAL_URL": standin.url, "TRASVASE_CHUNK_RETRIES": "0", "TRASVASE_MISTRAL_AT_ONCE": "2"}
        with LocalPrefect(tmp_path, deployed, **env) as local:
            local.without("trasvase: restart")  # a crashed run waits for somebody to press Retry
            local.start_worker()

            # What it would cost, without asking.
            state = local.wait(local.run(DEPLOYMENT, **ASKED, estimate=True), "COMPLETED")
            assert "Estimated" == state["name"]
            assert "USD" in state["message"]
            assert 0 == standin.stats()["requests"]

            # As if nothing had happened.
            local.wait(local.run(DEPLOYMENT, **ASKED), "COMPLETED")
            whole, stats = _tables(data), standin.stats()
            assert 0 == stats["paid_again"]
            spent = _spent(data)
            rows = read_table(data / "tables" / "jokes.parquet", JOKES).to_pylist()
            assert {"recorded-mistral-small-2603"} == {row["extracted_by"] for row in rows}
            assert (data / "reports" / "mine-jokes" / "report.html").is_file()

            # Kill -9 in mid run, then Retry.
            _clear(data)
            standin.reset()
            run = local.run(DEPLOYMENT, **ASKED)
            process = local.flow_process(run)
            until(lambda: len(list(data.glob("jobs/extract-*/chunks/*.parquet"))) >= 2)
            process.kill()
            local.wait(run, "CRASHED")
            # The worker reports a crash twice; the second report would end a retry that came before it.
            local.wait_for_log(run, "Check whether the flow run exceeded its memory allocation")
            local.retry(run)
            local.wait(run, "COMPLETED")
            assert whole == _tables(data)
            killed = standin.stats()
            assert killed["distinct"] == stats["distinct"]
            assert killed["paid_again"] <= 2, "just those that were under way"

            # A budget that ends in mid run: paused, refused without a number, resumed with a higher one.
            _clear(data)
            standin.reset()
            run = local.run(DEPLOYMENT, **{**ASKED, "budget_usd": spent / 2 + 0.003})
            local.wait(run, "PAUSED")
            local.wait_for_its_process(run)
            assert "The budget is reached" in local.wait_for_log(run, "Resume on this flow run")
            some = standin.stats()["distinct"]
            assert 0 < some < stats["distinct"]
            assert not local.resume(run), "the form has to be filled in"
            assert "PAUSED" == local.state(run)["type"]
            assert local.resume(run, budget_usd=5.0)
            local.wait(run, "COMPLETED", "CRASHED", "FAILED")
            assert "COMPLETED" == local.state(run)["type"]
            assert whole == _tables(data)
            assert 0 == standin.stats()["paid_again"]
            assert standin.stats()["distinct"] == stats["distinct"]


def _spent(data: Path) -> float:
    """What all jobs have cost."""
    journal = Journal(data / "journal" / "answers.sqlite")
    jobs = [folder.name for folder in (data / "jobs").iterdir() if read_manifest(folder)]
    paid = journal.spent(jobs)
    journal.close()
    assert 0.0 == paid.held_usd
    return paid.usd
