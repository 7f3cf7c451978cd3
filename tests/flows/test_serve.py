"""`trasvase serve`: one server and one worker, however often it is asked, and nothing left at the end."""

from __future__ import annotations

import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from tasks.cli.local_prefect import Child, LocalPrefect
from tasks.storage.errors import PermanentError
from tests.flows import local_prefect


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local_prefect.LocalPrefect]:
    """Everything of ours in a folder of these tests, and an end to it whatever happens."""
    local = local_prefect.LocalPrefect(tmp_path_factory.mktemp("serve"))
    yield local
    local.__exit__()


def serve(local: LocalPrefect, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Type `trasvase serve`."""
    return subprocess.run(_typed(*arguments), env=local.env, capture_output=True, text=True, timeout=400, check=False)


def test_background_is_idempotent_guards_its_port_and_stop_leaves_nothing(
    local: local_prefect.LocalPrefect,
) -> None:
    first = serve(local, "--background")
    assert (first.returncode, first.stderr) == (0, "")
    assert [line.split()[0] for line in first.stdout.splitlines()] == ["Starting", "Work", "Starting", "UI:"]
    pids = _pids(local)

    second = serve(local, "--background")
    assert [line.split()[0] for line in second.stdout.splitlines()] == ["UI:"]
    assert pids == _pids(local)

    with pytest.raises(PermanentError) as raised:
        LocalPrefect(local.data / "other", local.port).start_server()
    assert f"a Prefect server {version('prefect')} that keeps its data in {local.home} answers there" in str(
        raised.value
    )

    changed = subprocess.run(
        _typed("--background"),
        env={**local.env, "TRASVASE_CHUNK_THREADS": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "worker-cpu runs with other settings (TRASVASE_CHUNK_THREADS): starting it anew." in changed.stdout
    assert pids["server"] == _pids(local)["server"]

    os.kill(_pids(local)["worker-cpu"], 9)
    again = serve(local, "--background")
    assert [line.split()[0] for line in again.stdout.splitlines()] == ["Starting", "UI:"]

    stopped = serve(local, "--stop")
    assert (stopped.returncode, stopped.stdout) == (0, "Ended worker-cpu, server.\n")
    assert [] == list(local.ours())
    assert serve(local, "--stop").stdout == "Nothing of ours was running.\n"


def test_foreground_brings_back_what_dies_and_ends_it_all_on_sigterm(
    local: local_prefect.LocalPrefect,
) -> None:
    with subprocess.Popen(_typed(), env=local.env, stdout=subprocess.PIPE, text=True) as foreground:
        try:
            assert foreground.stdout is not None
            lines = iter(foreground.stdout.readline, "")
            assert next(line for line in lines if line.startswith("UI:"))
            server = _pids(local)["server"]
            os.kill(server, 9)
            assert next(lines).startswith("Starting the Prefect server")
            while _pids(local).get("server", server) == server:
                assert foreground.poll() is None
                time.sleep(0.1)
            local.wait_for_server()
        finally:
            foreground.terminate()
        assert foreground.wait(120) == 0
    assert [] == list(local.ours())


def test_a_run_is_followed_with_the_run_that_it_sets_off(local: local_prefect.LocalPrefect, tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A red bus."}]
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"id": "1", "image": "1.jpg", "conversations": turns}))
    given = [f"source={rows}", "translator=shouting", "target=eu", "name=mine"]
    typed = ["--run", "translate-llava/spanish", *(part for each in given for part in ("--param", each))]
    # The second fails, so the third is not asked for.
    wrong = ["--run", "build-splits/toy", "--param", "table=none", "--run", "translate-llava/spanish"]
    done = serve(local, *typed, *wrong)
    assert (done.returncode, done.stderr) == (1, "")
    assert ["Completed", "Completed", "Failed"] == [
        line.split()[0] for line in done.stdout.splitlines() if re.match(r"\w+ after \d+ s\.", line)
    ]
    lines = done.stdout.splitlines()
    assert any(line.startswith("It set off a run of push-translations: http") for line in lines)
    pack = local.data / "reviews" / "mine-eu" / "mine-eu.html"
    made = {line.split()[-1] for line in lines if line.startswith("  made now")}
    assert {str(pack), str(local.data / "tables" / "mine-eu.parquet")} <= made

    # With SQLAlchemy 2.1 the server plans no run of any schedule, and says so in its log only.
    local_prefect.until(
        lambda: [run for run in local.runs("pull-reviews/spanish") if run["auto_scheduled"]],
        lambda: "no pull was scheduled",
    )

    asked = len(local.runs("translate-llava/spanish"))
    for wrong, said in [
        (
            ["translate-llava"],
            "There is no deployment 'translate-llava'. Nothing was started. There are: build-splits/by-image, ",
        ),
        (
            ["translate-llava/spanish", "--param", "sorce=x"],
            "translate-llava/spanish has no parameter sorce. Nothing was started. ",
        ),
        (
            ["translate-llava/spanish", "--run", "build-splits/toy", "--param", "tabel=x"],
            "build-splits/toy has no parameter tabel.",
        ),
        (
            ["translate-llava/spanish", "--param", "chunk_size=many"],
            "field 'chunk_size'. Failure reason: 'many' is not of type",
        ),
        (["translate-llava/spanish", "--param", "budget_usd=NaN"], "'NaN' is not"),
    ]:
        refused = serve(local, "--run", *wrong)
        assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr
    assert asked == len(local.runs("translate-llava/spanish"))

    blind = {**local.env, "PATH": str(tmp_path)}  # nvidia-smi is not found
    refused = subprocess.run(
        _typed("--run", "classify-memes/russian"), env=blind, capture_output=True, text=True, timeout=400, check=False
    )
    assert (refused.returncode, []) == (2, local.runs("classify-memes/russian"))
    assert "classify-memes/russian runs on the pool gpu, which has no worker: no GPU was found" in refused.stderr

    elsewhere = {**local.env, "TRASVASE_PORT": "1"}  # its server is found by its pid file all the same
    stopped = subprocess.run(_typed("--stop"), env=elsewhere, capture_output=True, text=True, check=False)
    assert (stopped.returncode, stopped.stdout.splitlines()[-1]) == (0, "Ended worker-cpu, server.")
    assert "The server does not answer on http://127.0.0.1:1: " in stopped.stdout
    assert [] == list(local.ours())


def test_a_port_taken_by_another_http_server_is_named_with_the_next_step(tmp_path: Path) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        server_version = "Cafeteria/1"
        sys_version = ""

        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        with pytest.raises(PermanentError) as raised:
            LocalPrefect(tmp_path, port).start_server()
        server.shutdown()
    assert str(raised.value) == (
        f"Port {port} of 127.0.0.1 is taken: an HTTP server (Cafeteria/1) answers there. "
        f"Stop it, or take another port: TRASVASE_PORT={port + 100} make run"
    )


def test_a_port_taken_by_something_silent_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, _answering(listener):
        port = listener.getsockname()[1]
        with pytest.raises(PermanentError, match=f"Port {port} of 127.0.0.1 is taken: something other than"):
            LocalPrefect(tmp_path, port).start_server()


def test_a_pid_that_went_to_another_process_is_not_ours_and_not_ended(tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    child = _child(tmp_path, {})
    started = psutil.Process(stranger.pid).create_time()
    child.pid_file.write_text(json.dumps({"pid": stranger.pid, "started": started - 60, "settings": {}}))
    assert child.process() is None
    child.stop()
    assert stranger.poll() is None
    stranger.communicate(b"\n")


def test_what_a_command_that_still_runs_has_started_is_ended_too(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from tasks.cli.local_prefect import Child; "
        f"Child('thing', Path({str(tmp_path)!r}), (sys.executable, '-c', 'import time; time.sleep(600)'), os.environ, {{}})"
        ".start(); print('up', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "up\n"
        child = _child(tmp_path, {})
        assert child.process() is not None
        child.stop()
        assert (child.process(), child.pid_file.exists()) == (None, False)
        other.communicate("\n")


def test_a_server_that_ends_at_once_shows_its_last_words(tmp_path: Path) -> None:
    child = _child(tmp_path, {}, "import sys; sys.exit('no room')")
    child.start()
    while child.process():
        time.sleep(0.01)
    with pytest.raises(PermanentError, match=r"thing ended while it started\. The end of .*thing\.log:\nno room"):
        child.fail("ended while it started")


def test_changed_settings_are_named_without_their_values(tmp_path: Path) -> None:
    child = _child(tmp_path, {"TRASVASE_A": "1", "TRASVASE_SECRET": "hush"}, "input()")
    child.start()
    other = _child(tmp_path, {"TRASVASE_B": "1", "TRASVASE_SECRET": "hush"}, "input()")
    assert other.changed() == ["TRASVASE_A", "TRASVASE_B"]
    assert "hush" not in child.pid_file.read_text()
    child.stop()


def _typed(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from tasks.cli import main; raise SystemExit(main())", "serve", *arguments]


def _pids(local: LocalPrefect) -> dict[str, int]:
    return {child.name: process.pid for child in local.children() if (process := child.process())}


def _child(folder: Path, settings: Mapping[str, str], code: str = "pass") -> Child:
    return Child("thing", folder, (sys.executable, "-c", code), os.environ, settings)


@contextmanager
def _answering(listener: socket.socket) -> Iterator[None]:
    """Answer every connection with what is no HTTP."""

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.sendall(b"+OK ready\r\n")
            connection.close()

    threading.Thread(target=answer, daemon=True).start()
    yield
