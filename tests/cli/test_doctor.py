from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest

from tasks.cli import main
from tasks.cli.doctor import Line, lines
from tasks.storage.root import DataRoot
from tests.standin import GoogleStandIn

ANSWERS = {
    "/api/admin/version": version("prefect"),
    "/api/work_pools/filter": [{"name": "cpu"}],
    "/api/work_pools/cpu/workers/filter": [{"name": "local-cpu", "status": "ONLINE"}],
}


class Box(HTTPServer):
    """A Prefect server's answers, to be changed by a test."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, object] = dict(ANSWERS)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api"


class Handler(BaseHTTPRequestHandler):
    server: Box

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        answer = self.server.answers.get(self.path)
        body = json.dumps(answer).encode()
        self.send_response(200 if answer is not None else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name is the standard library's

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def box(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    with Box() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PREFECT_API_URL", server.url)
        yield server
        server.shutdown()


def seen(*, online: bool = False) -> dict[str, Line]:
    return {line.what: line for line in lines(online=online)}


def test_a_good_place_has_nothing_that_failed(box: Box, root: DataRoot) -> None:
    found = seen()
    assert [] == [line for line in found.values() if line.state == "failed"]
    assert found["Prefect server"].found == f"{version('prefect')} at {box.url}"
    assert found["worker"].found == "cpu: local-cpu"
    assert found["TRASVASE_DATA"].found == f"{root.path} (set)"
    assert found["journal"].found.endswith("6 requests")
    assert found["shouting"].state == "ok"


def test_google_is_not_asked_unless_told_to(box: Box) -> None:
    found = seen()["Google"]
    assert found.state == "ok"
    assert "not asked" in found.found
    assert "https://translate.googleapis.com" in found.found


def test_every_client_id_is_asked_when_told_to(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRASVASE_GOOGLE_URL", box.url)
    monkeypatch.setenv("TRASVASE_GOOGLE_CLIENT", "gtx, at")
    found = seen(online=True)
    for client in ("gtx", "at"):
        assert found[f"Google {client}"].state == "failed"
        assert found[f"Google {client}"].found == f"{box.url}: Unreachable"
        assert "is in trouble (404)" in found[f"Google {client}"].to_do


def test_one_client_id_that_answers_makes_the_others_a_warning(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    with GoogleStandIn(block_clients="gtx") as standin:
        monkeypatch.setenv("TRASVASE_GOOGLE_URL", standin.url)
        monkeypatch.setenv("TRASVASE_GOOGLE_CLIENT", "gtx,at")
        found = seen(online=True)
        assert (found["Google gtx"].state, found["Google at"].state) == ("warning", "ok")
        assert found["Google gtx"].found == f"{standin.url}: Throttled"
        assert found["Google at"].found.startswith(f"{standin.url}: “Good morning.” is “")
        assert standin.stats()["requests"] == 2


def test_a_server_of_another_version_is_a_warning(box: Box) -> None:
    box.answers["/api/admin/version"] = "3.0.0"
    assert seen()["Prefect server"].state == "warning"


@pytest.mark.parametrize("workers", [[], [{"name": "local-cpu", "status": "OFFLINE"}]])
def test_no_worker_is_a_warning(box: Box, workers: list[dict[str, str]]) -> None:
    box.answers["/api/work_pools/cpu/workers/filter"] = workers
    assert (seen()["worker"].state, seen()["worker"].to_do) == ("warning", "Start one: make serve")


def test_no_pool_is_a_warning(box: Box) -> None:
    box.answers["/api/work_pools/filter"] = []
    assert seen()["worker"].found == "no work pool cpu"


def test_a_named_server_that_does_not_answer_failed(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.answers.clear()
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert f"{box.url}: answers with 404" in shown
    assert "correct PREFECT_API_URL" in shown


def test_no_local_server_is_a_warning(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("TRASVASE_PORT", "9")
    found = seen()["Prefect server"]
    assert (found.state, found.to_do) == ("warning", "Start it: make serve")


def test_wrong_settings_are_named(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRASVASE_GOOGLE_RATE", "fast")
    monkeypatch.setenv("TRASVASE_DATE", "x")
    found = seen()
    assert found["google"].state == "failed"
    assert "TRASVASE_GOOGLE_RATE='fast'" in found["google"].found
    assert found["TRASVASE_DATE"].found == "there is no such setting"
    monkeypatch.setenv("TRASVASE_PORT", "x")
    assert "TRASVASE_PORT='x'" in seen()["settings"].found


def test_a_damaged_journal_failed(box: Box, root: DataRoot) -> None:
    (root.journal / "answers.sqlite").write_bytes(b"no database at all" * 100)
    assert seen()["journal"].state == "failed"
    assert "is damaged" in seen()["journal"].to_do


def test_looking_makes_nothing(box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRASVASE_DATA", str(tmp_path / "new"))
    assert seen()["data root"].found == f"{tmp_path / 'new'} (made when needed)"
    assert not (tmp_path / "new").exists()


def test_json_has_every_line(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"installed", "reachable", "configured"} == {line["area"] for line in told}
