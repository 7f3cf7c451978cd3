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
from playwright.sync_api import expect

from tasks.cli.local_argilla import LogIn
from tasks.remote.journal import Journal
from tasks.storage.schemas import LLAVA, RESPONSES, REVIEWED
from tasks.storage.tables import read_table
from tests.flows.local_prefect import LocalPrefect, until
from tests.reviews.local_argilla import LocalArgilla, sign_in

SAMPLE = Path(__file__).parents[2] / "data" / "samples" / "llava_sample.json"
ROWS, WORST, AUDITED = 330, 230, 30  # rows of the table, shown as worst, drawn at random: some 1,000 turns

TYPED = "<image>\n¿Por qué crees que los panes —también el del «ñandú»— llevan cortes por encima?"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, deployed: Path, argilla: LocalArgilla) -> Iterator[LocalPrefect]:
    settings = {
        "ARGILLA_API_URL": argilla.url,
        "ARGILLA_API_KEY": argilla.owner.key,
        "TRASVASE_CHUNK_RETRIES": "3",
        "TRASVASE_CHUNK_RETRY_SECONDS": "0.2",
    }
    with LocalPrefect(tmp_path_factory.mktemp("review"), deployed, **settings) as local:
        local.start_worker()
        yield local


@pytest.fixture(scope="module")
def table(local: LocalPrefect, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("raw") / "rows.json"
    source.write_text(json.dumps(json.loads(SAMPLE.read_text())[:ROWS]))
    run = local.run("translate-llava/spanish", source=str(source), translator="apertium", chunk_size=100)
    local.wait(run, "COMPLETED")
    return local.folder.parent / "tables" / "llava-es.parquet"


def _runs(local: LocalPrefect, flow: str) -> list[dict[str, Any]]:
    wanted = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_ASC"}
    runs: list[dict[str, Any]] = local.post("/flow_runs/filter", wanted)
    return runs


def test_a_push_follows_a_translation_by_itself(local: LocalPrefect, argilla: LocalArgilla, table: Path) -> None:
    runs = until(lambda: _runs(local, "push-translations"), lambda: "no push was triggered")
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

    def _ask(self, user: LogIn, method: str, path: str, **how: Any) -> Any:
        for _ in range(100):  # the server may be on its way up again
            try:
                answer = self.argilla.call(method, path, user, **how)
            except httpx.TransportError:
                time.sleep(0.2)
                continue
            assert answer.is_success, answer.text
            return answer.json()
        raise AssertionError("Argilla does not come back")

    def datasets(self) -> dict[str, str]:
        found = self._ask(self.argilla.owner, "GET", "/me/datasets")["items"]
        return {item["name"]: item["id"] for item in found if item["name"] in self.names}

    def records(self) -> list[dict[str, Any]]:
        """All records of both datasets with all their answers."""
        found: dict[str, dict[str, Any]] = {}
        for dataset in self.datasets().values():
            offset = 0
            while True:
                page = self._ask(
                    self.argilla.owner,
                    "GET",
                    f"/datasets/{dataset}/records",
                    params={"include": ["responses", "suggestions"], "limit": 500, "offset": offset},
                )["items"]
                found |= {item["id"]: item for item in page}
                offset += len(page)
                if not page:
                    break
        return list(found.values())

    def answer(self, user: LogIn, record: str, status: str = "submitted", **values: Any) -> dict[str, Any]:
        body = {"status": status, "values": {name: {"value": value} for name, value in values.items()}}
        answer: dict[str, Any] = self._ask(user, "POST", f"/records/{record}/responses", json=body)
        return answer

    def edit(self, user: LogIn, response: str, status: str = "submitted", **values: Any) -> dict[str, Any]:
        body = {"status": status, "values": {name: {"value": value} for name, value in values.items()}}
        answer: dict[str, Any] = self._ask(user, "PUT", f"/responses/{response}", json=body)
        return answer


def _suggested(record: dict[str, Any]) -> str:
    return next(str(item["value"]) for item in record["suggestions"] if isinstance(item["value"], str))


# Kill -9 when Argilla has taken five batches of fifty records, and when the first table of a pull is there.
DIES_IN_THE_PUSH = """
import os
from tasks.reviews.argilla_desk import _Server
call, batches = _Server.call, []
def dying(self, method, path, *body, **query):
    answer = call(self, method, path, *body, **query)
    batches.extend([path] * path.endswith("/bulk"))
    if len(batches) == 5:
        os.kill(os.getpid(), 9)
    return answer
_Server.call = dying
"""
DIES_IN_THE_PULL = """
import os
replace = os.replace
def dying(old, new):
    replace(old, new)
    if os.path.basename(new) == "loop-responses.parquet":
        os.kill(os.getpid(), 9)
os.replace = dying
"""


def _flow(local: LocalPrefect, call: str, before: str = "") -> int:
    """Run a flow in a process of its own; how it ended."""
    script = f"{before}\nfrom pathlib import Path\nfrom flows.review import *\n{call}"
    env = {**os.environ, **local.env, "TRASVASE_DATA": str(local.folder.parent)}
    return subprocess.run([sys.executable, "-c", script], env=env, check=False).returncode


def test_the_loop_loses_no_answer(local: LocalPrefect, argilla: LocalArgilla, table: Path) -> None:
    site = Site(argilla, "loop")
    push = f"push_translations(Path({str(table)!r}), 'loop', sample={WORST}, audit={AUDITED})"
    pull = f"pull_reviews(Path({str(table)!r}), 'loop')"
    tables = table.parent

    # Killed in the middle of the push, the server restarted, then pushed to the end.
    assert _flow(local, push, DIES_IN_THE_PUSH) == -9
    some = len(site.records())
    argilla.restart()
    assert _flow(local, push) == 0
    records = site.records()
    assert 250 == some < len(records)
    assert len(records) == len({item["external_id"] for item in records}) >= 1_000
    first = {item["external_id"]: item["updated_at"] for item in records}

    # Three people answer while it is pushed again.
    given: dict[str, dict[str, Any]] = {}

    def review(number: int) -> None:
        person = argilla.reviewers[number]
        for at, record in enumerate(records[number::3][:60]):
            machine = _suggested(record)
            if at % 6 == 0:
                answer = site.answer(person, record["id"], "draft", text=f"{machine} borrador")
            elif at % 6 == 1:
                answer = site.answer(person, record["id"], "discarded")
            elif at % 6 == 2:
                answer = site.answer(person, record["id"], text=machine, verdict="good")
            else:
                answer = site.answer(
                    person, record["id"], text=machine.replace("?", " de verdad?"), verdict="minor", kinds=["style"]
                )
            if at % 6 == 5:
                answer = site.edit(
                    person, answer["id"], text=machine.replace("?", " de veras?"), verdict="major", kinds=["grammar"]
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
    assert -9 == _flow(local, pull, DIES_IN_THE_PULL)
    assert responses.exists()
    assert not (tables / "loop-reviewed.parquet").exists()
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


def _picture(path: Path) -> None:
    """A counter with two baskets, a lamp and a till."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (960, 640), "#f3e9d8")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 420, 960, 640), fill="#8a5a34")
    draw.rectangle((0, 400, 960, 424), fill="#a9713f")
    draw.polygon([(430, 0), (530, 0), (600, 90), (360, 90)], fill="#37474f")
    draw.ellipse((440, 80, 520, 120), fill="#ffe082")
    for left in (90, 400):
        draw.polygon([(left, 320), (left + 240, 320), (left + 205, 410), (left + 35, 410)], fill="#c49a5a")
        for at in range(5):
            draw.chord((left + 12 + 42 * at, 276, left + 76 + 42 * at, 350), 180, 360, fill="#d98f3d")
    draw.rectangle((740, 280, 890, 410), fill="#546e7a")
    draw.rectangle((758, 296, 872, 336), fill="#b2dfdb")
    image.save(path, quality=85)


def test_a_correction_typed_in_the_browser_is_in_the_reviewed_table(
    local: LocalPrefect, argilla: LocalArgilla, page: Any, tmp_path: Path
) -> None:
    source = tmp_path / "typed.json"
    source.write_text(json.dumps(json.loads(SAMPLE.read_text())[345:351]))
    run = local.run("translate-llava/spanish", source=str(source), translator="apertium", name="typed")
    local.wait(run, "COMPLETED")
    tables = local.folder.parent / "tables"
    row = read_table(tables / "typed-es.parquet", LLAVA).to_pylist()[0]
    original, machine = row["conversations"][0]["value"], row["translated"][0]["value"]
    assert "<image>\nWhy do you think the loaves have cuts on top?" == original  # not settled by the test before
    _picture(tmp_path / row["image"])
    run = local.run("push-translations/spanish", table="typed-es", sample=0, audit=6, images=str(tmp_path))
    local.wait(run, "COMPLETED")  # the push that the translation set off goes first
    sign_in(page, argilla, argilla.reviewers[0])
    dataset = Site(argilla, "typed-es").datasets()["typed-es-audit"]
    page.set_viewport_size({"width": 1500, "height": 950})
    page.goto(f"{argilla.url}/dataset/{dataset}/annotation-mode?page=1&status=pending")
    page.click("button.search-area__icon")
    page.fill("input.search-area__input", '"loaves have cuts on top"')
    page.keyboard.press("Enter")
    page.get_by_text("loaves have cuts on top?").first.wait_for()
    page.get_by_text("<image>").first.wait_for()
    page.wait_for_function("[...document.images].some(image => image.naturalWidth === 512)")
    editor = page.locator('[aria-label="Question: text"] [contenteditable=true]')
    expect(editor).to_have_text(machine, use_inner_text=True)
    page.wait_for_load_state("networkidle")
    editor.press("Control+a")
    page.keyboard.type("<image>")
    page.keyboard.press("Enter")
    page.keyboard.type(TYPED.removeprefix("<image>\n"))
    page.get_by_text("Small errors", exact=False).first.click()
    page.screenshot(path=tmp_path / "argilla-record.png")
    with page.expect_response(lambda answer: "/responses" in answer.url and answer.request.method == "POST") as answer:
        page.get_by_role("button", name="↵ Submit").click()
    assert answer.value.status == 201

    local.wait(local.run("pull-reviews/spanish", table="typed-es"), "COMPLETED")

    reviewed = read_table(tables / "typed-es-reviewed.parquet", REVIEWED).to_pylist()[0]
    assert TYPED == reviewed["translated"][0]["value"]
    assert "edited" == reviewed["text_from"][0]
    assert {"machine"} == set(reviewed["text_from"][1:])

    # What people settled is the next translation of the same text, and costs no request.
    run = local.run("translate-llava/spanish", source=str(source), translator="apertium", name="again")
    local.wait(run, "COMPLETED")
    again = read_table(tables / "again-es.parquet", LLAVA).to_pylist()[0]
    assert TYPED == again["translated"][0]["value"]
    assert "reviewed" == again["translator"][0]
    job = json.loads((tables / "again-es.provenance.json").read_text())["job"]
    assert [] == Journal(local.folder.parent / "journal" / "answers.sqlite").calls(job)
