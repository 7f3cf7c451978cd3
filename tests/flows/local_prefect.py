"""A real Prefect server and process worker for one test, with everything that may die.

>>> with LocalPrefect(tmp_path, deployed, TRASVASE_CHUNK_RETRIES="0") as local:
...     local.start_worker()
...     run = local.run("translate-llava/spanish", source=str(sample), translator="shouting")
...     local.wait(run, "COMPLETED")
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import psutil

from tasks.cli import local_prefect

FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
# Only a test that fails waits so long; a busy machine takes its time.
PATIENCE_SECONDS = 600.0
# An answer of the server takes it some 20 ms of a busy core, which is then the run's no more.
ASKED_EVERY = 0.4
UNSCHEDULED = {"PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")


class LocalPrefect(local_prefect.LocalPrefect):
    """The product's own server and worker, in a folder of the test and on a free port.

    Args:
        folder: Where it keeps everything; its data root is ``folder / "data"``.
        begins_as: Home of a server that has ended, which this one goes on from; schedules are not kept then.
        env: Environment for server, worker and flow runs on top of ours.
    """

    def __init__(self, folder: Path, begins_as: Path | None = None, **env: str) -> None:
        # A run that falls due whenever its schedule says would come in the way of any test.
        super().__init__(folder / "data", free_port(), {**env, **(UNSCHEDULED if begins_as else {})})
        if begins_as:
            shutil.copytree(begins_as, self.home)

    def __enter__(self) -> Self:
        self.start_server()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.ours():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for process in self.ours():
            process.wait(60)

    def start_worker(self, pool: str = "cpu") -> None:
        """Start the worker, also after it was killed."""
        super().start_worker(pool)

    def kill_worker(self, pool: str = "cpu") -> None:
        """SIGKILL the worker alone; its flow runs go on."""
        _kill(self.worker(pool).process())

    def without_triggers(self) -> None:
        """Let no run set off another: a test that does not look at that need not pay for it."""
        self.without("trasvase: push", "trasvase: evaluate")

    def without(self, *names: str) -> None:
        """Turn off the automations whose names begin so."""
        for each in self.post("/automations/filter", {}):
            if each["name"].startswith(names):
                self._ask("PATCH", f"/automations/{each['id']}", {"enabled": False})

    def stop_worker(self, pool: str = "cpu") -> None:
        """SIGTERM the worker, which ends its flow runs."""
        self.worker(pool).stop()

    def kill_server(self) -> None:
        """SIGKILL the server; `start_server` brings it back."""
        _kill(self.server.process())

    def run(self, deployment: str, **parameters: Any) -> str:
        """Ask for a run of ``flow/deployment``; its id."""
        found = self.get(f"/deployments/name/{deployment}")
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.post(f"/deployments/{found['id']}/create_flow_run", body)["id"])

    def retry(self, run_id: str) -> None:
        """Press Retry in the UI: the exact call that it makes."""
        state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}
        self.post(f"/flow_runs/{run_id}/set_state", {"state": state, "force": True})

    def resume(self, run_id: str, **entered: float) -> bool:
        """Press Resume in the UI and fill in its form: the exact call that it makes; whether it was taken."""
        told = self.post(f"/flow_runs/{run_id}/resume", {"run_input": entered})
        return bool(told["status"] == "ACCEPT")

    def state(self, run_id: str) -> dict[str, Any]:
        """State of a flow run now: type, name, message."""
        state: dict[str, Any] = self.get(f"/flow_runs/{run_id}")["state"]
        return state

    def wait(self, run_id: str, *types: str) -> dict[str, Any]:
        """Wait until a flow run is in one of these states (any final one when none is named); that state."""
        wanted = types or FINAL

        def state() -> dict[str, Any] | None:
            now = self.state(run_id)
            return now if now["type"] in {*wanted, *FINAL} else None

        found = until(state, lambda: f"not {wanted}, but {self._told(run_id)}", ASKED_EVERY)
        assert found["type"] in wanted, f"not {wanted}, but {self._told(run_id)}"
        return found

    def _told(self, run_id: str) -> str:
        """State and end of the log of a flow run, for a test that fails."""
        state, lines = self.state(run_id), "\n".join(self.logs(run_id)[-30:])
        return f"{state['name']} ({state['message']}). Its log:\n{lines}"

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """Flow runs of a deployment, the first one first."""
        found = self.get(f"/deployments/name/{deployment}")
        wanted = {"deployments": {"id": {"any_": [found["id"]]}}, "sort": "EXPECTED_START_TIME_ASC"}
        runs: list[dict[str, Any]] = self.post("/flow_runs/filter", wanted)
        return runs

    def restart_of(self, run_id: str) -> str:
        """Wait for the run that the automation starts after a crash, with one restart more; its id."""
        crashed = self.get(f"/flow_runs/{run_id}")
        parameters = {**crashed["parameters"], "restarts": crashed["parameters"].get("restarts", 0) + 1}
        wanted = {"deployments": {"id": {"any_": [crashed["deployment_id"]]}}}

        def restarted() -> str | None:
            found = self.post("/flow_runs/filter", wanted)
            return next((str(run["id"]) for run in found if run["parameters"] == parameters), None)

        return until(restarted, lambda: f"no run of the same deployment with {parameters}", ASKED_EVERY)

    def task_runs(self, run_id: str) -> list[dict[str, Any]]:
        """Task runs of a flow run. Their states reach the server late: count files instead where you can."""
        wanted = {"flow_runs": {"id": {"any_": [run_id]}}, "sort": "EXPECTED_START_TIME_ASC", "limit": 200}
        runs: list[dict[str, Any]] = self.post("/task_runs/filter", wanted)
        return runs

    def logs(self, run_id: str) -> list[str]:
        """Messages that a flow run has logged."""
        return [line["message"] for line in self.log_lines(run_id, EPOCH)]

    def wait_for_log(self, run_id: str, text: str) -> str:
        """Wait until a flow run has logged a message with this text, which comes late; that message."""
        return until(
            lambda: next((message for message in self.logs(run_id) if text in message), None),
            lambda: f"{text!r} was not logged:\n" + "\n".join(self.logs(run_id)),
            ASKED_EVERY,
        )

    def flow_process(self, run_id: str) -> psutil.Process:
        """The process of a flow run; waits until it is there."""
        return until(lambda: self._process_of(run_id), lambda: f"no process: {self._told(run_id)}")

    def wait_for_its_process(self, run_id: str) -> None:
        """Wait until the process of a flow run is gone."""
        until(lambda: self._process_of(run_id) is None, lambda: "the worker did not let go of the process")

    def _process_of(self, run_id: str) -> psutil.Process | None:
        for process in self.ours():
            with suppress(psutil.NoSuchProcess):  # it has just ended
                if process.environ().get("PREFECT__FLOW_RUN_ID") == run_id:
                    return process
        return None

    def ours(self) -> Iterator[psutil.Process]:
        """Every process that has our server's home in its environment."""
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and process.environ().get("PREFECT_HOME") == str(self.home):
                    yield process


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def until(
    found: Callable[[], T | None], told: Callable[[], str] = lambda: "it did not come about", every: float = 0.1
) -> T:
    """Ask until there is something true; that. A server that was killed, is starting or is busy is asked again.

    Args:
        found: What is asked.
        told: What a test that fails says.
        every: Seconds between two questions.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        with suppress(httpx.HTTPError):
            if there := found():
                return there
        assert time.monotonic() < end, f"After {PATIENCE_SECONDS:.0f} s: {told()}"
        time.sleep(every)


def _kill(process: psutil.Process | None) -> None:
    assert process is not None, "it does not run"
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
