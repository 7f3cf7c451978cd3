"""`trasvase argilla`: one real Argilla, however often it is asked, and nothing left at the end."""

from __future__ import annotations

import http.server
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tasks.cli import local_argilla, main
from tasks.cli.argilla import parse_reviewers
from tasks.cli.local_argilla import PORT, LogIn, last_port
from tasks.settings import Settings, argilla_access
from tasks.storage.errors import PermanentError
from tasks.storage.files import write_bytes
from tests.reviews.local_argilla import LocalArgilla


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalArgilla]:
    """Everything of ours in a folder of these tests, and an end to it whatever happens."""
    local = LocalArgilla(tmp_path_factory.mktemp("argilla"))
    yield local
    local.stop()


def typed(local: LocalArgilla, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Type `trasvase argilla`."""
    return subprocess.run(command(*arguments), env=env(local), capture_output=True, text=True, timeout=200, check=False)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "import sys, tasks.cli; sys.exit(tasks.cli.main())", "argilla", *arguments]


def env(local: LocalArgilla) -> dict[str, str]:
    # Settings of another Argilla, which are not for this one.
    foreign = {"ARGILLA_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "ARGILLA_HOME_PATH": "/nowhere"}
    return {**os.environ, **foreign, "TRASVASE_DATA": str(local.data)}


def pids(local: LocalArgilla) -> dict[str, int]:
    return {child.name: process.pid for child in local.children if (process := child.process())}


def can_log_in(local: LocalArgilla, user: LogIn) -> bool:
    form = {"username": user.username, "password": user.password}
    return httpx.post(f"{local.url}/api/v1/token", data=form, trust_env=False).status_code == 201


def test_background_is_idempotent_keeps_everything_and_stop_leaves_nothing(local: LocalArgilla) -> None:
    first = typed(local, "--background", "--port", str(local.port))
    assert (first.returncode, first.stderr) == (0, "")
    assert "for one team and up to about 20,000 records" in first.stdout.lower()
    assert ["owner", "reviewer-1", "reviewer-2", "reviewer-3"] == [user.username for user in local.log_ins]
    for user in local.log_ins:
        assert f"{user.username}  " in first.stdout
        assert user.password in first.stdout
        assert user.key not in first.stdout
        assert can_log_in(local, user)
        assert user.role == local.call("GET", "/me", user).json()["role"]
    running = pids(local)
    assert {"argilla", "redis"} == running.keys()

    second = typed(local, "--background")
    assert second.stdout == (
        f"Log-ins and keys: {local.users_file}\n"
        f"Argilla: {local.url}   end it: trasvase argilla --stop   log: {local.folder / 'argilla.log'}\n"
    )
    assert running == pids(local)
    assert "It runs in the background already." in typed(local).stdout
    assert running == pids(local)

    more = typed(local, "--background", "--reviewers", "ana,reviewer-2")
    ana = local.log_ins[-1]
    assert "Argilla runs with other settings (its users): starting it anew.\n" in more.stdout
    assert (ana.password in more.stdout, local.owner.password in more.stdout) == (True, False)
    assert can_log_in(local, ana)
    assert running["redis"] == pids(local)["redis"]

    assert typed(local, "--stop").stdout == "Ended argilla, redis.\n"
    assert {} == pids(local)
    assert typed(local, "--stop").stdout == "Nothing of ours was running.\n"

    again = typed(local, "--background")
    assert [line.split(" ")[0] for line in again.stdout.splitlines()] == ["Starting", "Log-ins", "Argilla:"]
    assert can_log_in(local, ana)


def test_only_its_owner_can_read_what_it_keeps(local: LocalArgilla) -> None:
    local.ensure()
    kept = [path for path in local.home.iterdir() if path.is_file()]
    assert {"argilla.db", "users.json", "access.json", "redis.conf"} <= {path.name for path in kept}
    assert {path.name: 0 for path in kept} == {path.name: stat.S_IMODE(path.stat().st_mode) & 0o077 for path in kept}


def test_the_flows_find_it(local: LocalArgilla, monkeypatch: pytest.MonkeyPatch) -> None:
    local.ensure()
    monkeypatch.delenv("ARGILLA_API_URL", raising=False)
    monkeypatch.delenv("ARGILLA_API_KEY", raising=False)
    monkeypatch.setenv("TRASVASE_DATA", str(local.data))
    access = argilla_access(Settings())
    assert access is not None
    assert (local.url, local.owner.key) == (access.url, access.key.get_secret_value())
    assert local.port == last_port(local.data)


def test_without_a_first_start_the_port_is_argillas_own(tmp_path: Path) -> None:
    assert PORT == last_port(tmp_path)


def test_foreground_brings_back_what_dies_and_ends_it_on_sigterm(local: LocalArgilla) -> None:
    local.stop()
    with subprocess.Popen(
        command("--port", str(local.port)), env=env(local), stdout=subprocess.PIPE, text=True
    ) as foreground:
        try:
            assert foreground.stdout is not None
            lines = iter(foreground.stdout.readline, "")
            assert any("Ctrl-C ends it" in line for line in lines)
            before = pids(local)
            psutil.Process(before["argilla"]).kill()
            assert f"Starting Argilla on {local.url} ...\n" == next(lines)
            local.ensure()  # waits until it answers
            assert before["redis"] == pids(local)["redis"]
        finally:
            foreground.terminate()
        assert "Ended argilla, redis.\n" in lines
    assert foreground.returncode == 0
    assert {} == pids(local)


def test_a_dead_redis_comes_back_and_the_server_finds_it(local: LocalArgilla) -> None:
    local.ensure()
    before = pids(local)
    psutil.Process(before["redis"]).kill()
    psutil.Process(before["redis"]).wait(10)
    local.ensure()
    assert before["argilla"] == pids(local)["argilla"]
    body = {"name": "after", "workspace_id": local.call("GET", "/me/workspaces").json()["items"][0]["id"]}
    dataset = local.call("POST", "/datasets", json=body).raise_for_status().json()["id"]
    guidelines = {"guidelines": "As always."}  # a changed dataset makes a job in redis
    assert local.call("PATCH", f"/datasets/{dataset}", json=guidelines).is_success


def test_new_log_ins_work_when_their_file_was_lost(local: LocalArgilla) -> None:
    local.start()
    before = local.owner
    local.stop()
    local.users_file.unlink()
    local.start()
    assert before.password != local.owner.password
    assert (False, True) == (can_log_in(local, before), can_log_in(local, local.owner))


def test_a_taken_port_is_refused_with_who_is_there(local: LocalArgilla, tmp_path: Path) -> None:
    local.ensure()
    with pytest.raises(PermanentError) as raised:
        LocalArgilla(tmp_path, local.port).start()
    assert str(raised.value) == (
        f"Port {local.port} of 127.0.0.1 is taken: Argilla 2.8.0 that is not ours answers there. "
        f"Stop it, or take another port: trasvase argilla --port {local.port + 100}"
    )
    assert not (tmp_path / "data" / "argilla").exists()


def test_another_program_on_the_port_is_named(tmp_path: Path) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as taken:
        threading.Thread(target=taken.serve_forever, daemon=True).start()
        with pytest.raises(PermanentError, match=r"is taken: an HTTP server .* that is not ours answers there"):
            LocalArgilla(tmp_path, taken.server_port).start()
        taken.shutdown()


def test_a_server_that_ends_at_once_shows_what_it_said(tmp_path: Path) -> None:
    local = LocalArgilla(tmp_path)
    local.home.mkdir(parents=True)
    (local.home / "argilla.db").write_text("This is no database at all.\n" * 100)
    try:
        with pytest.raises(PermanentError, match=r"(?s)argilla ended while it started.*file is not a database"):
            local.start()
    finally:
        local.stop()


def test_without_its_environment_it_says_how_to_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRASVASE_DATA", str(tmp_path))
    monkeypatch.setattr(local_argilla, "ENVIRONMENT", tmp_path / "none")
    assert main(["argilla"]) == 2
    assert capsys.readouterr().err == (
        f"trasvase: Argilla's server is not installed: {tmp_path / 'none'} is missing or not whole. "
        "Install it: make .venv-argilla/installed\n"
    )


def test_a_path_that_argilla_cannot_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"because of the \[ in the path. Set TRASVASE_DATA to another folder"):
        LocalArgilla(tmp_path / "[old]").start()


def test_reviewers_are_a_number_or_names() -> None:
    assert ["reviewer-1", "reviewer-2"] == parse_reviewers("2")
    assert ["ana", "José.Luis", "x_1"] == parse_reviewers("ana, José.Luis,x_1")


@pytest.mark.parametrize("reviewers", ["0", "101", "ana,", "ana luz", "7ana", "a" * 32, "", "-3"])
def test_strange_reviewers_are_wrong_usage(reviewers: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["argilla", f"--reviewers={reviewers}"])
    assert ended.value.code == 2
    assert f"{reviewers!r}: give a number from 1 to 100, or names of up to 31" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["0", "65536", "web"])
def test_a_strange_port_is_wrong_usage(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["argilla", "--port", port])
    assert ended.value.code == 2
    assert f"{port} is no port: 1 to 65535" in capsys.readouterr().err


def test_access_is_written_when_it_answers(local: LocalArgilla) -> None:
    local.ensure()
    assert {"url": local.url, "key": local.owner.key} == json.loads((local.home / "access.json").read_bytes())


@pytest.mark.parametrize("content", ["", '{"url": "http://127.0.0.1:69', '["url"]', '{"url": "http://127.0.0.1:6900"}'])
def test_a_damaged_address_is_named_and_written_anew_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setenv("TRASVASE_DATA", str(tmp_path))
    monkeypatch.delenv("ARGILLA_API_URL", raising=False)
    monkeypatch.delenv("ARGILLA_API_KEY", raising=False)
    access = write_bytes(tmp_path / "argilla" / "access.json", content.encode())
    with pytest.raises(PermanentError) as raised:
        argilla_access(Settings())
    assert f"{access} is damaged. Move it away and type `make argilla`: it is written anew." == str(raised.value)
    assert PORT == last_port(tmp_path)


def test_damaged_log_ins_are_named(tmp_path: Path) -> None:
    local = LocalArgilla(tmp_path)
    write_bytes(local.users_file, b'{"users": [')
    with pytest.raises(PermanentError) as raised:
        _ = local.log_ins
    assert (
        f"{local.users_file} is damaged (Expecting value: line 1 column 12 (char 11)). Put a copy of it back; without one "
        "move it away and start again: users of the same names get new passwords, their answers stay."
    ) == str(raised.value)
