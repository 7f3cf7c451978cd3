"""`trasvase serve`: the local server and worker, and a run on them to its end."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

import httpx

from tasks.cli.local_prefect import LocalPrefect
from tasks.settings import Settings
from tasks.storage.errors import PermanentError

FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
MADE = ("tables/*", "datasets/*/*/README.md", "adapters/*/README.md", "reports/**/*", "reviews/*/*.html")
NAMED = 20  # files that are named although a run has left them as they were
LAST_LINE = "Finished in state"
TOLD_AT_THE_END = (LAST_LINE, "Encountered exception during", "Engine execution exited")
SET_OFF_SECONDS = 20  # an automation starts its run 1 to 3 s after the event
LOG_ROUNDS = 3  # after the end of a flow run its last lines take up to 2 s

_EPILOG = """\
examples:
  trasvase serve                    server and worker in the foreground; Ctrl-C ends them
  trasvase serve --background       leave them running; a second time changes nothing
  trasvase serve --stop             end what --background or --run left running
  trasvase serve --run translate-llava/spanish --param source=rows.json --param 'chunks=[17, 101]'
  trasvase serve --run build-splits/toy --run finetune-lora/toy

--run also follows the runs that this one sets off, such as push-translations after translate-llava. Several go one after
the other, each with the --param that follow it, up to the first that does not complete.

exit codes: 0 done; 1 a run did not complete; 2 it could not be asked for, or server or worker not be started;
            130 Ctrl-C during --run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `trasvase serve`."""
    parser.description = "The local Prefect server with its UI, and a worker for the flows."
    parser.epilog = _EPILOG
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--background", action="store_true", help="leave server and worker running")
    what.add_argument(
        "--run",
        metavar="DEPLOYMENT",
        action=_AddRun,
        help="as --background, then run it and follow it to its end; may be given several times",
    )
    what.add_argument("--stop", action="store_true", help="end server and worker")
    what.add_argument(
        "--pools",
        action="store_true",
        help="only make work pools and automations, on PREFECT_API_URL or the local server",
    )
    parser.add_argument("--param", metavar="NAME=VALUE", action=_AddParam, help="a parameter of the --run before it")
    parser.add_argument("--gpu", action="store_true", help="a worker for the pool gpu also where no GPU is found")
    parser.set_defaults(run_command=run)


class _AddRun(argparse.Action):
    """One more (deployment, parameters)."""

    def __call__(self, _: object, namespace: argparse.Namespace, value: Any, __: object = None) -> None:
        namespace.run = [*(namespace.run or []), (value, {})]


class _AddParam(argparse.Action):
    """One more parameter of the last --run."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, *_: object) -> None:
        if not namespace.run:
            parser.error(f"--param {value}: no --run stands before it")
        name, given, text = value.partition("=")
        if not given:
            parser.error(f"--param {value}: no value; write --param {value}=…")
        try:
            namespace.run[-1][1][name] = json.loads(text, parse_constant=str)  # NaN and Infinity are no JSON
        except ValueError:  # a word without quotes
            namespace.run[-1][1][name] = text


def run(options: argparse.Namespace) -> int:
    """Do what the arguments say; the exit code."""
    settings = Settings()
    local = LocalPrefect(settings.data, settings.port, say=say)
    if options.stop:
        ended = local.stop()
        say(f"Ended {', '.join(ended)}." if ended else "Nothing of ours was running.")
        return 0
    if options.pools:
        say(local.call("-m", "flows.automations", env=_server_of_the_user(local)).strip())
        return 0
    pools = ["cpu", "gpu"] if options.gpu or _has_gpu() else ["cpu"]
    if options.run:
        local.ensure(pools)
        return _run_in_turn(local, options.run, pools)
    if options.background:
        local.ensure(pools)
        say(f"UI: {local.address}   end it: make stop   logs: {local.folder}")
        return 0
    return _foreground(local, pools)


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


def follow(local: LocalPrefect, run_id: str, pools: Sequence[str]) -> Iterator[str]:
    """Log lines of a flow run as they come, to its end; a server or worker that dies is started anew."""
    seen: set[str] = set()
    since = datetime.now(UTC) - timedelta(minutes=1)
    rounds_left = LOG_ROUNDS
    while rounds_left:
        try:
            ended = state_of(local, run_id)["type"] in FINAL
            lines = local.log_lines(run_id, since)
        except httpx.HTTPError as error:  # killed, or a locked database
            if isinstance(error, httpx.HTTPStatusError) and error.response.is_client_error:
                raise
            ended, lines = False, []
        for line in lines:
            # Lines of several tasks come out of order by some seconds.
            since = max(since, datetime.fromisoformat(line["timestamp"]) - timedelta(seconds=5))
            if line["id"] not in seen and not line["message"].startswith(TOLD_AT_THE_END):
                yield _as_text(line)
            seen.add(line["id"])
        whole = any(line["message"].startswith(LAST_LINE) and not line["task_run_id"] for line in lines)
        rounds_left = 0 if ended and whole else rounds_left - ended
        if not ended and _stopped(local, pools):
            raise PermanentError("Server or worker were ended by another command, and the run with them.")
        if not ended and not _all_run(local, pools):
            local.ensure(pools)
        if rounds_left:
            time.sleep(1)


def state_of(local: LocalPrefect, run_id: str) -> dict[str, Any]:
    """State of a flow run."""
    state: dict[str, Any] = local.get(f"/flow_runs/{run_id}")["state"]
    return state


def _all_run(local: LocalPrefect, pools: Sequence[str]) -> bool:
    return all(child.process() for child in [local.server, *map(local.worker, pools)])


def _stopped(local: LocalPrefect, pools: Sequence[str]) -> bool:
    """Whether one was ended on purpose: what dies leaves its pid file."""
    return not all(child.pid_file.exists() for child in [local.server, *map(local.worker, pools)])


def _run_in_turn(local: LocalPrefect, runs: Sequence[tuple[str, dict[str, Any]]], pools: Sequence[str]) -> int:
    """Run deployments one after the other, up to the first that does not complete; the exit code."""
    for name, parameters in runs:  # all of them before the first one starts
        _check(local, name, parameters, pools)
    begun, code = time.time(), 0
    for name, parameters in runs:
        if not code:
            code = _run_to_its_end(local, name, parameters, pools)
    if code <= 1:
        for line in _made(local.data, begun, failed=bool(code)):
            say(line)
        say(f"UI: {local.address}   end server and worker: make stop")
    return code


def _run_to_its_end(local: LocalPrefect, deployment: str, parameters: dict[str, Any], pools: Sequence[str]) -> int:
    """Follow a run, then what it set off; the exit code."""
    run_id: str | None = _ask_for_a_run(local, deployment, parameters)
    told, states = f"Run of {deployment}", set()
    while run_id:
        since, page = time.time(), f"{local.address}/runs/flow-run/{run_id}"
        say(f"{told}: {page}")
        try:
            for line in follow(local, run_id, pools):
                say(line)
            state = state_of(local, run_id)
            say(f"{state['name']} after {time.time() - since:.0f} s. {state['message'] or ''}".strip())
            states.add(state["type"])
            run_id = _set_off_by(local, run_id) if state["type"] == "COMPLETED" else None
            told = f"It set off a run of {_flow_of(local, run_id)}" if run_id else ""
        except KeyboardInterrupt:
            say(f"The run goes on in the background: {page}   end it: make stop")
            return 130
    return 0 if states == {"COMPLETED"} else 1


def _check(local: LocalPrefect, deployment: str, parameters: dict[str, Any], pools: Sequence[str]) -> None:
    """Refuse a run that cannot be, or that nobody would take up.

    Raises:
        PermanentError: There is no such deployment or parameter, or its pool has no worker.
    """
    flows = {each["id"]: each["name"] for each in local.post("/flows/filter", {})}
    there = {f"{flows[each['flow_id']]}/{each['name']}": each for each in local.post("/deployments/filter", {})}
    if not (found := there.get(deployment)):
        raise PermanentError(
            f"There is no deployment {deployment!r}. Nothing was started. There are: {', '.join(sorted(there))}."
        )
    if unknown := [name for name in parameters if name not in found["parameter_openapi_schema"]["properties"]]:
        names = ", ".join(found["parameter_openapi_schema"]["properties"])
        raise PermanentError(
            f"{deployment} has no parameter {', '.join(unknown)}. Nothing was started. Its parameters: {names}."
        )
    if (pool := found["work_pool_name"]) not in pools and not local.has_worker(pool):
        raise PermanentError(
            f"{deployment} runs on the pool {pool}, which has no worker: no GPU was found here. With --gpu one is "
            "started all the same, for runs with device=cpu. Nothing was started."
        )


def _set_off_by(local: LocalPrefect, run_id: str) -> str | None:
    """The run that an automation started because this one completed, or None."""
    run = local.get(f"/flow_runs/{run_id}")
    deployment = local.get(f"/deployments/{run['deployment_id']}")["name"]
    about: set[tuple[Any, ...]] = {("flow", _flow_of(local, run_id)), ("deployment", deployment)}
    waiting = [each["id"] for each in local.post("/automations/filter", {}) if _waits_for(each, about)]
    until = time.monotonic() + SET_OFF_SECONDS
    while waiting and time.monotonic() < until:
        later = {"flow_runs": {"expected_start_time": {"after_": run["end_time"]}}, "sort": "START_TIME_ASC"}
        for each in local.post("/flow_runs/filter", later):
            if each["created_by"] and each["created_by"]["id"] in waiting:
                found: str = each["id"]
                return found
        time.sleep(0.5)
    return None


def _flow_of(local: LocalPrefect, run_id: str) -> str:
    name: str = local.get(f"/flows/{local.get(f'/flow_runs/{run_id}')['flow_id']}")["name"]
    return name


def _waits_for(automation: dict[str, Any], about: set[tuple[Any, ...]]) -> bool:
    """Whether it acts on runs of this flow and deployment, and not on any run."""
    related = automation["trigger"].get("match_related") or {}
    return bool(automation["enabled"]) and all(
        about & set(product(*(_several(each.get(f"prefect.resource.{label}")) for label in ("role", "name"))))
        for each in _several(related)
    )


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _ask_for_a_run(local: LocalPrefect, deployment: str, parameters: dict[str, Any]) -> str:
    """Ask for a run; its id.

    Raises:
        PermanentError: A parameter's value cannot be.
    """
    # `prefect deployment run` does the same in 2 s of CPU.
    about = local.get(f"/deployments/name/{deployment}")["id"]
    try:
        asked = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        run_id: str = local.post(f"/deployments/{about}/create_flow_run", asked)["id"]
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.CONFLICT:
            raise
        raise PermanentError(f"{deployment}: {error.response.json()['detail']}") from None
    return run_id


def _made(data: Path, since: float, failed: bool = False) -> Iterator[str]:
    """Tables, reports and review packs in the data root, newest first: all of this run, marked, and some of before.

    After a failed run only its own: why it failed stands above them, and is not to be pushed off the screen.
    """
    files = [(path, path.stat()) for which in MADE for path in data.glob(which) if path.is_file()]
    files = [each for each in files if not failed or each[1].st_mtime >= since]
    files.sort(key=lambda each: each[1].st_mtime, reverse=True)
    named = max(NAMED, sum(made.st_mtime >= since for _, made in files))
    for path, made in files[:named]:
        mark = "made now" if made.st_mtime >= since else "as it was"
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        yield f"  {mark:9}  {made.st_size:>12,} bytes  {shown}"
    if files[named:]:
        yield f"  and {len(files) - named:,} older ones in {data}"


def _as_text(line: dict[str, Any]) -> str:
    moment = datetime.fromisoformat(line["timestamp"]).astimezone().strftime("%H:%M:%S")
    level = {30: "WARNING ", 40: "ERROR ", 50: "CRITICAL "}.get(line["level"], "")
    first, *rest = line["message"].rstrip().split("\n")
    # "Unexpected exception encountered when trying to load flow" says nothing without the last line.
    cause = f": {rest[-1]}" if rest and level and ":" not in first else ""
    return f"{moment}  {level}{first}{cause}"


def _foreground(local: LocalPrefect, pools: Sequence[str]) -> int:
    """Keep server and workers, started anew when they die, until Ctrl-C or SIGTERM; then end ours."""
    before = {child.name for child in local.children() if child.process()}

    def end_ours() -> None:
        if ours := [child for child in local.children() if child.process() and child.name not in before]:
            say(f"Ending {', '.join(child.name for child in ours)} ...")
            local.stop(ours)

    with until_interrupted(end_ours):
        if not local.ensure(pools):
            say(f"Server and worker run in the background already. UI: {local.address}   end them: make stop")
            return 0
        say(f"UI: {local.address}   logs: {local.folder}   Ctrl-C ends it")
        while not _stopped(local, pools):
            if not _all_run(local, pools):
                local.ensure(pools)
            time.sleep(0.5)
        say("Ended by another command.")
    return 0


@contextmanager
def until_interrupted(end: Callable[[], object]) -> Iterator[None]:
    """Ctrl-C or SIGTERM end the block without an error; however it ends, `end` comes last and is not interrupted."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        say("")
    finally:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        end()
        for each, handler in before.items():
            signal.signal(each, handler)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _server_of_the_user(local: LocalPrefect) -> dict[str, str]:
    """The user's own environment if it names a server, else that of the local one."""
    if "PREFECT_API_URL" in os.environ:
        return dict(os.environ)
    if not local.server.process():
        raise PermanentError("No server: start the local one with `make serve`, or set PREFECT_API_URL.")
    return local.env


def _has_gpu() -> bool:
    if not shutil.which("nvidia-smi"):
        return False
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=30, check=False).returncode == 0
