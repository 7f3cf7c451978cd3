from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tasks.models.examples import Columns
from tasks.storage.errors import PermanentError, TransientError
from tasks.training.launch import Event, NotEnoughMemory, TrainingFailed, launch
from tasks.training.lora import LoraSettings
from tasks.training.plan import COMPLETION, Base, Plan, Source

SAYS = 'import json, sys; print(json.dumps({"event": "error", "kind": sys.argv[2], "message": "so"})); sys.exit(1)'
WAITS = 'import json, time; print(json.dumps({"event": "start"}), flush=True); time.sleep(600)'


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    source = Source("squares", "3f2a9c01d7b4", "", tmp_path, None)
    base = Base("base", "digest", toy=True, sees=False)
    columns = Columns(("prompt",), "", "completion")
    return Plan(tmp_path, source, base, columns, None, COMPLETION, LoraSettings(), "cpu", 1, {}, {})


def _python(code: str) -> list[str]:
    return ["-c", code]


def test_events_arrive_and_other_lines_do_not(plan: Plan) -> None:
    events: list[Event] = []
    launch(plan, events.append, _python("""print('{"event": "log", "step": 1}'); print("noise"); print("[1]")"""))
    assert [{"event": "log", "step": 1}] == events


@pytest.mark.parametrize(
    ("kind", "error"), [("memory", NotEnoughMemory), ("permanent", PermanentError), ("transient", TransientError)]
)
def test_what_a_training_refuses_arrives_as_its_own_kind(plan: Plan, kind: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^so$"):
        launch(plan, print, _python(SAYS.replace("sys.argv[2]", repr(kind))))


def test_a_process_that_dies_is_told_with_the_end_of_its_log(plan: Plan) -> None:
    with pytest.raises(TrainingFailed, match=r"exit code 3(.|\n)*The end of .*train\.log:\n(.|\n)*it burns"):
        launch(plan, print, _python("import sys; print('it burns', file=sys.stderr); sys.exit(3)"))
    with pytest.raises(TrainingFailed, match="SIGKILL: somebody killed it, or the machine had no memory left"):
        launch(plan, print, _python("import os; os.kill(os.getpid(), 9)"))


def test_an_error_of_the_listener_ends_the_process(plan: Plan) -> None:
    class Cancelled(BaseException):
        pass

    def cancel(_: Event) -> None:
        raise Cancelled

    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(Cancelled):
        launch(plan, cancel, _python(WAITS))
    assert set() == {child.pid for child in psutil.Process().children()} - before


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that launches one that waits, and says its id."""
    code = f"""
import os, signal
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as some shells hand it on
from tasks.models.examples import Columns
from tasks.training.launch import launch
from tasks.training.lora import LoraSettings
from tasks.training.plan import COMPLETION, Base, Plan, Source
folder = Path({str(tmp_path)!r})
plan = Plan(folder, Source("s", "v", "", folder, None), Base("b", "d", True, False), Columns(("p",), "", "c"), None,
            COMPLETION, LoraSettings(), "cpu", 1, {{}}, {{}})
launch(plan, lambda event: print(event["pid"], flush=True), ["-c", '''
import json, os, time
print(json.dumps({{"event": "start", "pid": os.getpid()}}), flush=True)
time.sleep(600)'''])
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    yield process
    with suppress(ProcessLookupError):
        process.kill()
    process.wait()


def test_a_caller_that_is_killed_leaves_no_process_behind(caller: subprocess.Popen[str]) -> None:
    assert caller.stdout
    child = psutil.Process(int(caller.stdout.readline()))
    os.kill(caller.pid, signal.SIGKILL)
    child.wait(20)
