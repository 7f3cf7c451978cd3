"""compare-jokes on a real server and worker: toy and recorded writers, scripted and recorded judges.

Retry, kill -9, batches: no question is asked twice.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tasks.chat.prices import read_prices
from tasks.chunks.manifest import Manifest, read_manifest
from tasks.judging.plan import JUDGE, WRITE
from tasks.storage.schemas import COMPARED, PAIRS_JUDGED, WRITTEN
from tasks.storage.tables import read_table
from tests.flows.local_prefect import LocalPrefect, until
from tests.standin import MistralBatchStandIn

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
DEPLOYMENT = "compare-jokes/vina"
RECORDED = {"model_a": "mistral:mistral-small-2603", "judge": "mistral:mistral-large-4"}


class Toys(NamedTuple):
    """The data root, and what every run asks for."""

    data: Path
    asked: dict[str, Any]


@pytest.fixture(scope="module")
def standin() -> Iterator[MistralBatchStandIn]:
    with MistralBatchStandIn(latency_ms=150) as standin:
        yield standin


@pytest.fixture(scope="module")
def local(
    tmp_path_factory: pytest.TempPathFactory, deployed: Path, standin: MistralBatchStandIn
) -> Iterator[LocalPrefect]:
    env = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    env |= {"TRASVASE_MISTRAL_URL": standin.url, "TRASVASE_MISTRAL_AT_ONCE": "2"}
    with LocalPrefect(tmp_path_factory.mktemp("compare"), deployed, TRASVASE_CHUNK_RETRIES="0", **env) as local:
        local.without_triggers()
        local.start_worker("gpu")
        yield local


@pytest.fixture(scope="module")
def toys(local: LocalPrefect, tmp_path_factory: pytest.TempPathFactory) -> Toys:
    import torch

    from tests.judging.toys import keywords, writer

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("toys")
    data = local.folder.parent
    keywords(data.parent, 20)
    models = {f"model_{side}": str(writer(folder / f"toy-{side}", seed)) for seed, side in enumerate("ab")}
    asked = {**models, "dataset": "jokes", "judge": "scripted:upper", "device": "cpu", "chunk_size": 5}
    return Toys(data, {**asked, "max_tokens": 120, "budget_usd": None})


def jobs(toys: Toys, kind: str) -> list[Manifest]:
    found = (read_manifest(folder) for folder in sorted((toys.data / "jobs").iterdir()))
    return [job for job in found if job is not None and job.kind == kind]


def calls(toys: Toys) -> int:
    """Questions that were ever asked of a service."""
    with closing(sqlite3.connect(toys.data / "journal" / "answers.sqlite")) as journal:
        (count,) = journal.execute("SELECT count(*) FROM calls").fetchone()
    return int(count)


def test_retry_writes_and_asks_only_what_is_missing(local: LocalPrefect, toys: Toys) -> None:
    run = local.run(DEPLOYMENT, **toys.asked, name="once")
    local.wait(run, "COMPLETED")
    (judging,), writing = jobs(toys, JUDGE), jobs(toys, WRITE)
    assert 2 == len(writing)
    found = read_table(toys.data / "tables" / "once.parquet", COMPARED).to_pylist()
    asked = sum(row["said_a_first"] is not None for row in found)
    assert (2 * asked, judging.rows) == (calls(toys), len(found))
    assert {"toy:toy-a"} == {row["written_by_a"] for row in found}
    assert {"compare-once", "compare-once-cost"} <= {each["key"] for each in local.post("/artifacts/filter", {})}

    whole = {name: (toys.data / "tables" / f"once{name}").read_bytes() for name in (".parquet", ".provenance.json")}
    obstacles = [(writing[0], WRITTEN), (judging, PAIRS_JUDGED)]
    for job, schema in obstacles:
        path = job.path(job.chunks()[1])
        path.unlink()
        path.mkdir()  # a chunk that cannot be put in place
        run = run if job is judging else local.run(DEPLOYMENT, **toys.asked, name="once")
        if job is judging:
            local.retry(run)
        assert "chunks failed: chunk-00001." in local.wait(run, "FAILED")["message"]
        path.rmdir()
        assert [1] == [chunk.number for chunk in job.pending(schema)]
    local.retry(run)
    local.wait(run, "COMPLETED")
    assert whole == {name: (toys.data / "tables" / f"once{name}").read_bytes() for name in whole}
    assert 2 * asked == calls(toys), "what was judged is in the journal"


def test_exchanged_contestants_cost_nothing_and_turn_the_report_round(local: LocalPrefect, toys: Toys) -> None:
    before = calls(toys)
    asked = {**toys.asked, "model_a": toys.asked["model_b"], "model_b": toys.asked["model_a"]}
    run = local.run(DEPLOYMENT, **asked, name="turned")
    local.wait(run, "COMPLETED")
    assert (before, 2) == (calls(toys), len(jobs(toys, WRITE)))
    there, back = (report(toys, name) for name in ("once", "turned"))
    turned = {"a": "b", "b": "a"}
    counts = there["comparison"]["counts"]
    assert {turned.get(name, name): count for name, count in counts.items()} == back["comparison"]["counts"]
    one, other = (each["comparison"]["win_rate"] for each in (there, back))
    assert pytest.approx(1 - one["share"]) == other["share"]
    assert ["script" in warning for warning in there["warnings"] if "judge is" in warning] == [True]
    assert sum("random weights" in warning for warning in there["warnings"]) == 2


def report(toys: Toys, name: str) -> dict[str, Any]:
    (folder,) = (toys.data / "reports").glob(f"{name}-*")
    read: dict[str, Any] = json.loads((folder / "report.json").read_bytes())
    return read


def test_a_run_that_was_killed_goes_on_where_it_was(
    local: LocalPrefect, toys: Toys, standin: MistralBatchStandIn
) -> None:
    asked = {**toys.asked, **RECORDED, "model_b": "scripted:quote", "chunk_size": 2, "name": "killed"}
    standin.reset()
    run = local.run(DEPLOYMENT, **asked)
    process = local.flow_process(run)
    local.wait_for_log(run, "pairs, each asked about in both orders")
    until(lambda: standin.stats()["distinct"] > 24)
    os.kill(process.pid, signal.SIGKILL)
    local.wait(run, "CRASHED")
    local.wait(local.restart_of(run), "COMPLETED")
    stats = standin.stats()
    assert (16 + 2 * 16, True) == (stats["distinct"], stats["paid_again"] <= 2)
    found = read_table(toys.data / "tables" / "killed.parquet", COMPARED).to_pylist()
    assert {"recorded-mistral-large-4"} == {row["judged_by"] for row in found}
    assert any("answers of a recording" in warning for warning in report(toys, "killed")["warnings"])


def test_in_batches_every_question_is_asked_once_at_half_the_price(
    local: LocalPrefect, toys: Toys, standin: MistralBatchStandIn
) -> None:
    standin.reset()
    asked = {**toys.asked, **RECORDED, "seed": 1, "mode": "batch", "name": "batched", "budget_usd": 5.0}
    run = local.run(DEPLOYMENT, **asked)
    local.wait(run, "COMPLETED")
    found = read_table(toys.data / "tables" / "batched.parquet", COMPARED).to_pylist()
    stats = standin.stats()
    asked_about = sum(row["said_a_first"] is not None for row in found)
    assert (2, 16 + 2 * asked_about, 0) == (stats["batches"], stats["lines"], stats["paid_again"])
    provenance = json.loads((toys.data / "tables" / "batched.provenance.json").read_bytes())
    writing = read_manifest(toys.data / "jobs" / provenance["jobs"]["a"]["job"])
    assert writing is not None
    written = [row for chunk in writing.chunks() for row in read_table(writing.path(chunk), WRITTEN).to_pylist()]
    price = read_prices().of("mistral-small-2603")
    online = [price.cost(row["prompt_tokens"], row["completion_tokens"]) for row in written]
    assert pytest.approx([usd / 2 for usd in online]) == [row["write_a_usd"] for row in found]

    run = local.run(DEPLOYMENT, **{**asked, "estimate": True, "seed": 2})
    told = local.wait(run, "COMPLETED")
    assert ("Estimated", 2) == (told["name"], standin.stats()["batches"])
    assert told["message"].startswith("48 calls")


def test_what_cannot_be_says_why(local: LocalPrefect, toys: Toys, standin: MistralBatchStandIn) -> None:
    for changed, message in (
        ({"model_b": toys.asked["model_a"]}, "are the same model, so every pair is a tie"),
        ({"judge": "toy"}, "'toy' is not a model. Write it as chat:model"),
        ({"judge": "mistral:judge-1"}, "No price for the model 'judge-1'"),
        ({"model_b": "mistral:writer-1"}, "No price for the model 'writer-1'"),
        ({**RECORDED, "judge": "scripted:upper", "mode": "batch", "seed": 3}, "The chat 'scripted' has no batches."),
    ):
        before = standin.stats()["batches"]
        run = local.run(DEPLOYMENT, **{**toys.asked, **changed})
        assert message in local.wait(run, "FAILED")["message"]
        assert before == standin.stats()["batches"]
