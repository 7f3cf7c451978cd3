"""The review loop on a real Prefect server and the real Argilla: no answer is lost, none is overwritten."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks.storage.schemas import LLAVA, RESPONSES, REVIEWED
from tasks.storage.tables import read_table
from tests.flows.local_prefect import LocalPrefect
from tests.reviews.local_argilla import LocalArgilla

SAMPLE = Path(__file__).parents[2] / "data" / "samples" / "llava_sample.json"
ROWS, WORST, AUDITED = 330, 230, 30  # rows of the table, shown as worst, drawn at random: some 1,000 turns


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, argilla: LocalArgilla) -> Iterator[LocalPrefect]:
    settings = {
        "ARGILLA_API_URL": argilla.url,
        "ARGILLA_API_KEY": argilla.owner.key,
        "TRASVASE_CHUNK_RETRIES": "3",
        "TRASVASE_CHUNK_RETRY_SECONDS": "0.2",
    }
    with LocalPrefect(tmp_path_factory.mktemp("review"), **settings) as local:
        local.deploy()
        local.start_worker()
        yield local


@pytest.fixture(scope="module")
def table(local: LocalPrefect, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("raw") / "rows.json"
    source.write_text(json.dumps(json.loads(SAMPLE.read_text())[:ROWS]))
    run = local.run("translate-llava/spanish", source=str(source), translator="shouting", chunk_size=100)
    local.wait(run, "COMPLETED")
    return local.folder.parent / "tables" / "llava-es.parquet"


def _runs(local: LocalPrefect, flow: str) -> list[dict[str, Any]]:
    wanted = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_ASC"}
    runs: list[dict[str, Any]] = local.post("/flow_runs/filter", wanted)
    return runs


def test_a_push_follows_a_translation_by_itself(local: LocalPrefect, argilla: LocalArgilla, table: Path) -> None:
    end = time.monotonic() + 120
    while not (runs := _runs(local, "push-translations")):
        assert time.monotonic() < end, "no push was triggered"
        time.sleep(0.2)
    local.wait(runs[0]["id"], "COMPLETED")
    assert {"llava-es", "llava-es-audit"} == set(Site(argilla, "llava-es").datasets())


def test_a_pull_before_any_answer_is_skipped(local: LocalPrefect, table: Path) -> None:
    state = local.wait(local.run("pull-reviews/spanish"), "COMPLETED")
    assert ("Skipped", "Nobody has answered yet.") == (state["name"], state["message"])
    state = local.wait(local.run("pull-reviews/spanish", table="nothing-es"), "COMPLETED")
    assert "There is no table nothing-es yet. Run translate-llava, or correct `table`." == state["message"]


class Site:
    """What a test does in Argilla: looks as the owner, answers as a reviewer."""

    def __init__(self, argilla: LocalArgilla, dataset: str) -> None:
        self.argilla = argilla
        self.names = (dataset, f"{dataset}-audit")

    def _ask(self, key: str, method: str, path: str, **how: Any) -> Any:
        for _ in range(100):  # the server may be on its way up again
            try:
                answer = httpx.request(
                    method,
                    f"{self.argilla.url}/api/v1{path}",
                    headers={"X-Argilla-Api-Key": key},
                    timeout=60,
                    trust_env=False,
                    **how,
                )
            except httpx.TransportError:
                time.sleep(0.2)
                continue
            assert answer.is_success, answer.text
            return answer.json()
        raise AssertionError("Argilla does not come back")

    def datasets(self) -> dict[str, str]:
        found = self._ask(self.argilla.owner.key, "GET", "/me/datasets")["items"]
        return {item["name"]: item["id"] for item in found if item["name"] in self.names}

    def records(self) -> list[dict[str, Any]]:
        """All records of both datasets with all their answers."""
        found: dict[str, dict[str, Any]] = {}
        for dataset in self.datasets().values():
            offset = 0
            while True:
                page = self._ask(
                    self.argilla.owner.key,
                    "GET",
                    f"/datasets/{dataset}/records",
                    params={"include": ["responses", "suggestions"], "limit": 500, "offset": offset},
                )["items"]
                found |= {item["id"]: item for item in page}
                offset += len(page)
                if not page:
                    break
        return list(found.values())

    def answer(self, key: str, record: str, status: str = "submitted", **values: Any) -> dict[str, Any]:
        body = {"status": status, "values": {name: {"value": value} for name, value in values.items()}}
        answer: dict[str, Any] = self._ask(key, "POST", f"/records/{record}/responses", json=body)
        return answer

    def edit(self, key: str, response: str, status: str = "submitted", **values: Any) -> dict[str, Any]:
        body = {"status": status, "values": {name: {"value": value} for name, value in values.items()}}
        answer: dict[str, Any] = self._ask(key, "PUT", f"/responses/{response}", json=body)
        return answer


def _suggested(record: dict[str, Any]) -> str:
    return next(str(item["value"]) for item in record["suggestions"] if isinstance(item["value"], str))


def _flow(local: LocalPrefect, call: str, kill_when: Any = None) -> int:
    """Run a flow in a process of its own; kill -9 it when told to."""
    script = f"from pathlib import Path\nfrom flows.review import *\n{call}"
    env = {**os.environ, **local.env, "TRASVASE_DATA": str(local.folder.parent)}
    with subprocess.Popen([sys.executable, "-c", script], env=env) as process:
        while process.poll() is None:
            if kill_when is not None and kill_when():
                process.kill()
                break
            time.sleep(0.01)
        process.wait()
    return process.returncode


def test_the_loop_loses_no_answer(local: LocalPrefect, argilla: LocalArgilla, table: Path) -> None:
    site = Site(argilla, "loop")
    push = f"push_translations(Path({str(table)!r}), 'loop', sample={WORST}, audit={AUDITED})"
    pull = f"pull_reviews(Path({str(table)!r}), 'loop')"
    tables = table.parent

    # Killed in the middle of the push, the server restarted, then pushed to the end.
    assert _flow(local, push, kill_when=lambda: len(site.records()) >= 200) == -9
    some = len(site.records())
    argilla.restart()
    assert _flow(local, push) == 0
    records = site.records()
    assert 200 <= some < len(records)
    assert len(records) == len({item["external_id"] for item in records}) >= 1_000
    first = {item["external_id"]: item["updated_at"] for item in records}

    # Three people answer while it is pushed again.
    given: dict[str, dict[str, Any]] = {}

    def review(number: int) -> None:
        key = argilla.reviewers[number].key
        for at, record in enumerate(records[number::3][:60]):
            machine = _suggested(record)
            if at % 6 == 0:
                answer = site.answer(key, record["id"], "draft", text=f"{machine} borrador")
            elif at % 6 == 1:
                answer = site.answer(key, record["id"], "discarded")
            elif at % 6 == 2:
                answer = site.answer(key, record["id"], text=machine, verdict="good")
            else:
                answer = site.answer(
                    key, record["id"], text=machine.replace("?", " de verdad?"), verdict="minor", kinds=["style"]
                )
            if at % 6 == 5:
                answer = site.edit(
                    key, answer["id"], text=machine.replace("?", " de veras?"), verdict="major", kinds=["grammar"]
                )
            given[answer["id"]] = answer

    people = [threading.Thread(target=review, args=(number,)) for number in range(3)]
    for person in people:
        person.start()
    assert _flow(local, push) == 0
    for person in people:
        person.join()
    assert 180 == len(given)
    there = {answer["id"]: answer for record in site.records() for answer in record["responses"]}
    assert {id_: (a["values"], a["status"]) for id_, a in given.items()} == {
        id_: (a["values"], a["status"]) for id_, a in there.items()
    }
    assert set(first) == {item["external_id"] for item in site.records()}

    # Killed in the middle of the pull, then pulled through the deployment, twice.
    responses = tables / "loop-responses.parquet"
    _flow(local, pull, kill_when=lambda: responses.exists() or list(tables.glob(".loop-responses*")))
    run = local.run("pull-reviews/spanish", table=str(table), dataset="loop")
    local.wait(run, "COMPLETED")
    rows = read_table(responses, RESPONSES).to_pylist()
    assert set(given) == {row["id"] for row in rows}
    assert {"submitted": 120, "draft": 30, "discarded": 30} == Counter(row["status"] for row in rows)
    stored = {row["id"]: row["text"] for row in rows if row["status"] == "submitted"}
    typed = {id_: a["values"]["text"]["value"] for id_, a in given.items() if a["status"] == "submitted"}
    assert typed == stored

    reviewed = read_table(tables / "loop-reviewed.parquet", REVIEWED)
    assert read_table(table, LLAVA)["row"].equals(reviewed["row"])
    assert typed_texts(rows, "?") <= {turn["value"] for row in reviewed["translated"].to_pylist() for turn in row}
    before = {path: path.read_bytes() for path in tables.glob("loop-re*.parquet")}
    local.wait(local.run("pull-reviews/spanish", table=str(table), dataset="loop"), "COMPLETED")
    assert before == {path: path.read_bytes() for path in tables.glob("loop-re*.parquet")}


def typed_texts(rows: list[dict[str, Any]], mark: str) -> set[str]:
    return {row["text"] for row in rows if row["status"] == "submitted" and mark in (row["text"] or "")}
