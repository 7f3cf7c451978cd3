"""A Prefect server on this machine and its workers, as processes that outlive the command that started them.

What they leave in the data root::

    data/run/server.json, server.log            pid, start time and settings of the server; what it printed
             worker-cpu.json, worker-cpu.log    the same of the worker (worker-gpu.* where a GPU is)
             serve.lock                         held while something is started or stopped
             prefect/prefect.db                 the server's memory: flow runs, logs, artifacts
             prefect/deployed                   digest of what was deployed last
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import httpx
import psutil

from tasks.settings import CHECKOUT, PREFIX
from tasks.storage.errors import PermanentError
from tasks.storage.root import DataRoot

UNDER_WAY = ["PENDING", "RUNNING", "CANCELLING"]
START_SECONDS = 180  # the first start makes the database: 13 s on two idle cores
STOP_SECONDS = 20

PREFECT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # 19 kB a task run: with a database of 0.7 GB everything took two to three times as long.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(30 * 86_400),
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P7D",
    # flows/automations.py counts on it: three heartbeats missed are a crash.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_WORKER_QUERY_SECONDS": "2",
}


@dataclass(frozen=True)
class Child:
    """A process of ours that outlives us; its pid file says which it is.

    Args:
        name: Name of its pid file and log.
        folder: Where these lie.
        command: What it runs, in the checkout.
        env: Its whole environment.
        settings: What of the environment matters to it: changed, it has to be started anew.
    """

    name: str
    folder: Path
    command: tuple[str, ...]
    env: Mapping[str, str]
    settings: Mapping[str, str]

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        """Which process it is."""
        return self.folder / f"{self.name}.json"

    def process(self) -> psutil.Process | None:
        """The running process, or None. A pid that has gone to another process since is not ours."""
        try:
            written = json.loads(self.pid_file.read_text("utf-8"))
            process = psutil.Process(written["pid"])
            same = abs(process.create_time() - written["started"]) < 1
            # A killed leader is a zombie at once; while its threads end, they hold its port.
            ended = process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
            return process if same and not ended else None
        except (FileNotFoundError, psutil.NoSuchProcess):
            return None

    def changed(self) -> list[str]:
        """Names of the settings that differ from those it was started with."""
        then, now = json.loads(self.pid_file.read_text("utf-8"))["settings"], self._digests()
        return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))

    def start(self) -> None:
        """Start it in a session of its own, which Ctrl-C in a terminal does not reach."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            pid = subprocess.Popen(
                self.command,
                env=dict(self.env),
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ).pid
        record = {"pid": pid, "started": psutil.Process(pid).create_time(), "settings": self._digests()}
        aside = self.pid_file.with_suffix(".tmp")
        aside.write_text(json.dumps(record, indent=2), "utf-8")
        aside.replace(self.pid_file)

    def stop(self) -> None:
        """End it, and then whatever it left in its session."""
        if process := self.process():
            with suppress(psutil.NoSuchProcess):
                process.terminate()  # the leader alone: a worker ends its flow runs, a server its own child
            _wait(process)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            _wait(process)
        self.pid_file.unlink(missing_ok=True)

    def fail(self, what: str) -> NoReturn:
        """Raise with the last lines that it printed."""
        tail = "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-15:])
        raise PermanentError(f"{self.name} {what}. The end of {self.log}:\n{tail}")

    def _digests(self) -> dict[str, str]:
        # A value may be a secret, so the file holds digests.
        named = {"the command": " ".join(self.command), **self.settings}
        return {name: hashlib.sha256(value.encode()).hexdigest()[:12] for name, value in named.items()}


@dataclass(frozen=True)
class LocalPrefect:
    """A Prefect server on 127.0.0.1 with workers, for one data root.

    Args:
        data: The data root.
        port: The server's port.
        extra: Environment for server and workers on top of ours.
        say: Where to tell what is being done.
    """

    data: Path
    port: int
    extra: Mapping[str, str] = field(default_factory=dict)
    say: Callable[[str], None] = print

    @property
    def folder(self) -> Path:
        """Pid files and logs."""
        return DataRoot(self.data).run

    @property
    def home(self) -> Path:
        """Prefect's own folder, with the database; apart from the one of the user."""
        return self.folder / "prefect"

    @property
    def address(self) -> str:
        """Where the UI answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """Environment of all children. The user's own PREFECT_ settings are for another server."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("PREFECT_") or name.startswith("PREFECT_LOGGING_")
        }
        direct = ",".join(filter(None, [kept.get("NO_PROXY") or kept.get("no_proxy"), "127.0.0.1"]))
        return {
            **kept,
            **PREFECT,
            "NO_PROXY": direct,
            "no_proxy": direct,
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": f"{self.address}/api",
            f"{PREFIX}DATA": str(self.data),
            f"{PREFIX}PORT": str(self.port),
            "PWD": str(CHECKOUT),  # prefect.yaml takes the working directory of flow runs from it
            **self.extra,
        }

    @property
    def server(self) -> Child:
        """The server."""
        command = (*_prefect("server", "start"), "--host", "127.0.0.1", "--port", str(self.port))
        return self._child("server", command, {"the version of Prefect": version("prefect")})

    def worker(self, pool: str) -> Child:
        """The worker of one pool."""
        ours = {name: value for name, value in self.env.items() if name.startswith(PREFIX)}
        command = _prefect("worker", "start", "--type", "process", "--pool", pool, "--name", f"local-{pool}")
        return self._child(f"worker-{pool}", command, {"the version of Prefect": version("prefect"), **ours})

    def _child(self, name: str, command: tuple[str, ...], settings: dict[str, str]) -> Child:
        return Child(name, self.folder, command, self.env, settings)

    def workers(self) -> list[Child]:
        """Workers that were started, running or not."""
        return [self.worker(path.stem.removeprefix("worker-")) for path in self.folder.glob("worker-*.json")]

    def children(self) -> list[Child]:
        """Server and workers that were started, running or not, in the order in which to end them."""
        return [*self.workers(), self.server]

    def start_server(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            PermanentError: Something else answers on the port, or the server ends at once.
        """
        if occupant := self._occupant():
            raise PermanentError(
                f"Port {self.port} of 127.0.0.1 is taken: {occupant} answers there. "
                f"Stop it, or take another port: TRASVASE_PORT={self.port + 100} make run"
            )
        self.server.start()
        self.wait_for_server()

    def wait_for_server(self) -> None:
        """Wait until the server answers."""
        wait_until(self.server, self._is_up)

    def start_worker(self, pool: str) -> None:
        """Start the worker of a pool and wait until it has reported to the server."""
        worker, before = self.worker(pool), datetime.now(UTC)
        worker.start()
        wait_until(worker, lambda: self._has_reported(pool, before))

    def deploy(self, folder: Path = CHECKOUT) -> None:
        """Make work pools and automations, deploy all of a folder's prefect.yaml, and let it refuse unknown parameters."""
        self.call("-m", "flows.automations")
        self.call(*_prefect("--no-prompt", "deploy", "--all")[1:], cwd=folder)
        self.call("-m", "flows.automations")

    def deploy_if_changed(self) -> bool:
        """Deploy unless nothing has changed since the last time; False then."""
        # The schema of a flow's parameters comes from flows/ and the files of tasks/.
        files = [
            CHECKOUT / "prefect.yaml",
            *sorted([*CHECKOUT.glob("flows/*.py"), *CHECKOUT.glob("tasks/*.py")]),
        ]
        parts = [str(CHECKOUT).encode(), version("prefect").encode(), *(path.read_bytes() for path in files)]
        digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
        written = self.home / "deployed"
        if written.exists() and written.read_text("utf-8") == digest:
            return False
        self.deploy()
        written.write_text(digest, "utf-8")
        return True

    def ensure(self, pools: Sequence[str]) -> list[Child]:
        """Start what is not running or runs with other settings, and deploy what changed.

        Returns:
            The children that this call started, the server first.
        """
        started = []
        with alone(self.folder / "serve.lock"):
            if not self._runs_as_wanted(self.server):
                self.say(f"Starting the Prefect server on {self.address} ...")
                started.append(self.server)
                self.start_server()
            else:
                self.wait_for_server()
            if self.deploy_if_changed():
                self.say("Work pools, automations and deployments are in place.")
            for pool in pools:
                if not self._runs_as_wanted(worker := self.worker(pool)):
                    self.say(f"Starting {worker.name} ...")
                    started.append(worker)
                    self.start_worker(pool)
        return started

    def stop(self, children: Sequence[Child] | None = None) -> list[str]:
        """End workers, then the server; all of them unless some are named. Names of those that ran."""
        children = self.children() if children is None else children
        running = [child for child in children if child.process()]
        workers = [child for child in running if child.name != "server"]
        with alone(self.folder / "serve.lock"):
            for worker in workers:
                worker.stop()
            if workers and self.server.process():
                try:
                    self._cancel_stopped_runs()
                except httpx.TransportError:  # it hangs, or was started with another TRASVASE_PORT
                    self.say(
                        f"The server does not answer on {self.address}: runs under way show as Running for a while."
                    )
            for child in children:
                child.stop()
        return [child.name for child in running]

    def call(self, *arguments: str, cwd: Path = CHECKOUT, env: Mapping[str, str] | None = None) -> str:
        """Run this Python with arguments to its end; what it printed.

        Args:
            arguments: After the name of Python.
            cwd: Working directory.
            env: Environment; ours when None.

        Raises:
            PermanentError: It ended with another code than 0.
        """
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**(env or self.env), "PWD": str(cwd), "NO_COLOR": "1", "COLUMNS": "200"},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode:
            typed = " ".join(arguments).removeprefix("-m ")
            raise PermanentError(f"`{typed}` ended with {done.returncode}:\n{done.stdout.strip()}")
        return done.stdout

    def _is_up(self) -> bool:
        try:
            return self.get("/health") is True
        except httpx.TransportError:
            return False

    def _has_reported(self, pool: str, since: datetime) -> bool:
        workers = self.post(
            f"/work_pools/{pool}/workers/filter",
            {"workers": {"last_heartbeat_time": {"after_": since.isoformat()}}},
        )
        return any(worker["name"] == f"local-{pool}" for worker in workers)

    def has_worker(self, pool: str) -> bool:
        """Whether anybody takes up runs of a pool, here or on another machine."""
        return any(each["status"] == "ONLINE" for each in self.post(f"/work_pools/{pool}/workers/filter", {}))

    def get(self, path: str) -> Any:
        """GET from the API."""
        return self._ask("GET", path)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST to the API."""
        return self._ask("POST", path, body)

    def log_lines(self, run_id: str, since: datetime) -> list[dict[str, Any]]:
        """Log lines of a flow run after a moment, oldest first."""
        wanted = {"flow_run_id": {"any_": [run_id]}, "timestamp": {"after_": since.isoformat()}}
        lines: list[dict[str, Any]] = []
        while True:  # the server gives at most 200 at once
            asked = {"logs": wanted, "sort": "TIMESTAMP_ASC", "offset": len(lines)}
            if not (page := self.post("/logs/filter", asked)):
                return lines
            lines += page

    def is_busy(self) -> bool:
        """Whether a flow run is under way: it is a process of its worker."""
        return any(process.children() for worker in self.workers() if (process := worker.process()))

    def _cancel_stopped_runs(self) -> None:
        # A worker that is asked to end kills its flow runs and leaves them Running: zombies that hold the
        # deployment's one place for 95 s.
        wanted = {"state": {"type": {"any_": UNDER_WAY}}}
        message = "Stopped together with its worker. Retry does what is missing."
        for run in self.post("/flow_runs/filter", {"flow_runs": wanted}):
            if run["work_pool_name"]:
                state = {"type": "CANCELLED", "name": "Cancelled", "message": message}
                self.post(f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        # Loading certificates that nobody asks for takes 57 ms of CPU, and a run is asked about every second.
        with httpx.Client(trust_env=False, verify=False, timeout=60) as client:
            for pause in (1, 2, 4, 8, 0):  # a busy server's SQLite is locked for a moment: 503, and nothing was done
                answer = client.request(method, f"{self.address}/api{path}", json=body)
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    break
                time.sleep(pause)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def _occupant(self) -> str | None:
        """What answers on our port, or None."""
        for _ in range(10):  # a server that was killed holds its port until its last thread is gone
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=3).close()
                found = f"a Prefect server {self.get('/admin/version')}"
                return f"{found} that keeps its data in {self.get('/admin/settings')['home']}"
            except ConnectionRefusedError:
                return None
            except httpx.HTTPStatusError as error:
                return f"an HTTP server ({error.response.headers.get('server', 'nameless')})"
            except (httpx.TransportError, OSError):
                time.sleep(0.3)
            except (ValueError, KeyError, TypeError):
                return "an HTTP server that is not Prefect"
        return "something other than a Prefect server"

    def _runs_as_wanted(self, child: Child) -> bool:
        """Whether a child runs with these settings; one with other settings is ended here."""
        if not child.process():
            return False
        if not (changed := child.changed()):
            return True
        what = f"{child.name} runs with other settings ({', '.join(changed)})"
        if self.is_busy():
            raise PermanentError(f"{what}, and a flow run is under way. Wait for it, or end it: make stop")
        self.say(f"{what}: starting it anew.")
        child.stop()
        return False


@contextmanager
def alone(lock_file: Path) -> Iterator[None]:
    """One start or stop at a time, over all processes."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def wait_until(child: Child, is_ready: Callable[[], bool]) -> None:
    """Wait for a child that was started.

    Raises:
        PermanentError: It ended, or takes too long; with the last lines that it printed.
    """
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if not child.process():
            child.fail("ended while it started")
        if is_ready():
            return
        time.sleep(0.2)
    child.fail(f"is not ready after {START_SECONDS} s")


def _wait(process: psutil.Process) -> None:
    """Wait until it has ended, at most STOP_SECONDS."""
    until = time.monotonic() + STOP_SECONDS
    with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < until:
            time.sleep(0.05)
        process.wait(
            0
        )  # one of ours is gone then; that of another command in the foreground stays a zombie until it ends


def _prefect(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "prefect", *arguments)
