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
from tests.reviews.local_argilla import LocalArgilla
from tests.standin import GoogleStandIn, MistralStandIn

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
    monkeypatch.delenv("ARGILLA_API_URL", raising=False)
    monkeypatch.delenv("ARGILLA_API_KEY", raising=False)
    monkeypatch.delenv("MISTRAL_API_KEY", raising=False)
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


def test_mistral_without_a_key_is_fine_and_says_what_to_set(box: Box) -> None:
    line = seen(online=False)["Mistral"]
    assert ("ok", "no key: needed for models named mistral:…") == (line.state, line.found)
    assert "Set it to a key of your account" in line.to_do


def test_mistral_is_not_asked_unless_told_to(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", "secret-key")
    found = seen()
    assert "not asked (--online asks): its global server, MISTRAL_API_KEY set" == found["Mistral"].found
    assert "secret-key" not in str(found)
    assert "********** (set)" == found["MISTRAL_API_KEY"].found


def test_mistral_s_key_model_price_and_limits_are_shown(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    with MistralStandIn(key="right", limit_minute=60, tokens_minute=50_000) as standin:
        monkeypatch.setenv("TRASVASE_MISTRAL_URL", standin.url)
        monkeypatch.setenv("TRASVASE_GOOGLE_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("MISTRAL_API_KEY", "wrong")
        found = seen(online=True)
        assert ("failed", f"{standin.url}: Denied") == (found["Mistral"].state, found["Mistral"].found)
        assert "Check MISTRAL_API_KEY" in found["Mistral"].to_do

        monkeypatch.setenv("MISTRAL_API_KEY", "right")
        found = seen(online=True)
        assert f"{standin.url}: recorded-mistral-small-2603 answers" in found["Mistral"].found
        assert "mistral-small-2603 is there, 3 listed" == found["Mistral's models"].found
        assert "per minute: 60 requests, 50,000 tokens" == found["Mistral's limits"].found
        assert "0.15 and 0.6 USD per million tokens" in found["Mistral's price"].found
        assert ("warning", True) == (
            found["Mistral's price"].state,
            "TRASVASE_PRICES" in found["Mistral's price"].to_do,
        )

        standin.switch(retired="mistral-small-2603")
        assert "has retired it" in seen(online=True)["Mistral"].to_do


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


ARGILLA: dict[str, object] = {
    "/api/v1/version": {"version": version("argilla")},
    "/api/v1/me": {"username": "luz", "role": "owner"},
    "/api/v1/me/workspaces": {"items": [{"name": "trasvase"}, {"name": "poems"}]},
}


@pytest.fixture
def own_argilla(box: Box, monkeypatch: pytest.MonkeyPatch) -> Box:
    """An Argilla that the user named, with a key of an owner."""
    url = box.url.removesuffix("/api")
    box.answers |= ARGILLA
    monkeypatch.setenv("ARGILLA_API_URL", f"{url}/")
    monkeypatch.setenv("ARGILLA_API_KEY", "secret-key")
    return box


def told(line: Line) -> tuple[str, str, str]:
    return line.state, line.found, line.to_do


def test_no_argilla_is_fine(box: Box) -> None:
    assert told(seen()["Argilla"]) == (
        "ok",
        "none: push-translations makes an HTML pack instead",
        "Start a local one: make argilla. Or set ARGILLA_API_URL and ARGILLA_API_KEY.",
    )


def test_half_an_argilla_failed(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGILLA_API_URL", "http://127.0.0.1:1")
    to_do = "ARGILLA_API_KEY is not set. Set both ARGILLA_API_URL and ARGILLA_API_KEY, or neither."
    assert told(seen()["Argilla"]) == ("failed", "half of it is set", to_do)


def test_an_argilla_of_the_user_is_shown_without_its_key(own_argilla: Box, capsys: pytest.CaptureFixture[str]) -> None:
    url, found = own_argilla.url.removesuffix("/api"), seen()
    assert told(found["Argilla"]) == ("ok", f"{version('argilla')} at {url} (ARGILLA_API_URL)", "")
    assert told(found["Argilla's key"]) == ("ok", "of luz, owner", "")
    assert told(found["Argilla's workspaces"]) == ("ok", "poems, trasvase", "")
    assert found["ARGILLA_API_URL"].found == f"{url}/ (set)"
    main(["doctor"])
    assert "secret-key" not in capsys.readouterr().out


def test_an_owner_without_a_workspace_makes_one_an_admin_cannot(own_argilla: Box) -> None:
    own_argilla.answers["/api/v1/me/workspaces"] = {"items": []}
    assert told(seen()["Argilla's workspaces"]) == ("ok", "none yet: made when needed", "")
    own_argilla.answers["/api/v1/me"] = {"username": "luz", "role": "admin"}
    to_do = "Ask an owner to add luz to a workspace, and give its name as `workspace`."
    assert told(seen()["Argilla's workspaces"]) == ("failed", "none, and an admin cannot make one", to_do)


def test_a_key_of_an_annotator_failed(own_argilla: Box) -> None:
    own_argilla.answers["/api/v1/me"] = {"username": "ana", "role": "annotator"}
    found = "ARGILLA_API_KEY is of ana, an annotator, who cannot push"
    assert told(seen()["Argilla's key"]) == ("failed", found, "Set ARGILLA_API_KEY to an owner's or admin's.")


def test_another_version_of_argilla_is_a_warning(own_argilla: Box) -> None:
    own_argilla.answers["/api/v1/version"] = {"version": "1.0.0"}
    url = own_argilla.url.removesuffix("/api")
    found = f"1.0.0 at {url} (ARGILLA_API_URL), tested with {version('argilla')}"
    assert told(seen()["Argilla"]) == ("warning", found, f"Run argilla-server {version('argilla')} there.")


@pytest.mark.parametrize(
    ("answer", "found"), [(None, "answers with 404"), ({"name": "shop"}, "answers, but is no Argilla")]
)
def test_an_argilla_of_the_user_that_is_none_failed(own_argilla: Box, answer: object, found: str) -> None:
    own_argilla.answers["/api/v1/version"] = answer
    line = seen()["Argilla"]
    assert (line.state, line.to_do) == ("failed", "Start it, or correct ARGILLA_API_URL.")
    assert line.found.endswith(f"(ARGILLA_API_URL): {found}")


def test_an_address_that_is_none_failed(own_argilla: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGILLA_API_URL", "http://box:port")
    assert seen()["Argilla"].found == "http://box:port (ARGILLA_API_URL): is no address"


def test_a_local_argilla_that_was_stopped_is_a_warning(box: Box, root: DataRoot) -> None:
    root.argilla.mkdir()
    (root.argilla / "access.json").write_text('{"url": "http://127.0.0.1:1", "key": "k"}')
    found = "http://127.0.0.1:1 (the local one): does not answer (ConnectError)"
    assert told(seen()["Argilla"]) == ("warning", found, "Start it: make argilla")


def test_a_damaged_address_of_the_local_argilla_failed(box: Box, root: DataRoot) -> None:
    root.argilla.mkdir()
    access = root.argilla / "access.json"
    access.write_text('{"url": ')
    to_do = f"{access} is damaged. Move it away and type `make argilla`: it is written anew."
    assert told(seen()["Argilla"]) == ("failed", "its address cannot be read", to_do)


def test_the_real_local_argilla_is_well_until_its_key_is_changed(
    box: Box, root: DataRoot, argilla: LocalArgilla, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRASVASE_DATA", str(argilla.data))
    found = seen()
    assert told(found["Argilla"]) == ("ok", f"2.8.0 at {argilla.url} (the local one)", "")
    assert told(found["Argilla's key"]) == ("ok", "of owner, owner", "")
    assert "trasvase" in found["Argilla's workspaces"].found
    assert found["Argilla's server"].found.startswith("2.8.0, ")
    access = argilla.home / "access.json"
    monkeypatch.setenv("ARGILLA_API_URL", argilla.url)
    monkeypatch.setenv("ARGILLA_API_KEY", "not this one")
    to_do = "Correct it: an owner's or admin's, from My settings in the web UI."
    assert told(seen()["Argilla's key"]) == ("failed", "ARGILLA_API_KEY is refused", to_do)
    monkeypatch.delenv("ARGILLA_API_URL")
    monkeypatch.delenv("ARGILLA_API_KEY")
    monkeypatch.setenv("TRASVASE_DATA", str(root.path))
    root.argilla.mkdir()
    (root.argilla / "access.json").write_text(access.read_text().replace(argilla.owner.key, "old"))
    refused = f"the key in {root.argilla / 'access.json'} is refused"
    assert told(seen()["Argilla's key"]) == ("failed", refused, "Renew it: make argilla")


def test_the_environment_of_argilla_is_looked_at(box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tasks.cli.doctor.ENVIRONMENT", tmp_path)
    assert seen()["Argilla's server"].found == "none: make argilla installs it, a remote Argilla needs none"
    (tmp_path / "installed").touch()
    to_do = "Install it anew: rm -r .venv-argilla, then make argilla"
    assert told(seen()["Argilla's server"]) == ("warning", f"not in {tmp_path}", to_do)
