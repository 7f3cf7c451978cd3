"""A real server and worker: a run that dies is started again with its parameters, three times and no more."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.flows.local_prefect import LocalPrefect, until

DEPLOYMENTS = """\
name: dying
pull:
- prefect.deployments.steps.set_working_directory: {directory: "{{ $PWD }}"}
deployments:
- name: again
  entrypoint: dying.py:dying
  work_pool: {name: cpu, job_variables: {stream_output: false}}
  tags: [restarts-after-crash]
  schedules: []
- name: gone
  entrypoint: gone.py:dying
  work_pool: {name: cpu, job_variables: {stream_output: false}}
  tags: [restarts-after-crash]
  schedules: []
- name: once
  entrypoint: dying.py:dying
  work_pool: {name: cpu, job_variables: {stream_output: false}}
  schedules: []
"""

FLOW = """\
import os, signal, time
from prefect import flow

@flow(log_prints=True)
def dying(
    text: str, nothing: str | None = "x", several: list[int | str] | None = None, yes: bool = False,
    dies_until: int = 0, sleeps: float = 0, restarts: int = 0,
) -> None:
    if restarts > 3:
        raise RuntimeError("restarted three times")
    print("alive")
    time.sleep(sleeps if restarts == 0 else 0)
    if restarts < dies_until:
        os.kill(os.getpid(), signal.SIGKILL)
"""

PARAMETERS = {"text": 'it\'s <a> & "b" ñ {{ 1 }}', "nothing": None, "several": [1, "dos"], "yes": True}
SILENCE_SECONDS = 20  # in less a busy worker does not report that a process has died


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPrefect]:
    folder = tmp_path_factory.mktemp("automations")
    for name in ("dying.py", "gone.py"):
        (folder / name).write_text(FLOW)
    (folder / "prefect.yaml").write_text(DEPLOYMENTS)
    with LocalPrefect(folder) as local:
        _apply(local, SILENCE_SECONDS)
        local.call("-m", "prefect", "--no-prompt", "deploy", "--all", cwd=folder)
        (folder / "gone.py").unlink()
        assert "refused by 2 more deployments" in _apply(local, SILENCE_SECONDS)
        local.start_worker()
        yield local


def _apply(local: LocalPrefect, silence_seconds: int) -> str:
    code = f"print(apply(timedelta(seconds={silence_seconds}), timedelta(seconds=1)))"
    printed = local.call("-c", f"from datetime import timedelta; from flows.automations import *; {code}")
    return printed.splitlines()[-1]


def test_applying_again_changes_only_what_differs(local: LocalPrefect) -> None:
    assert _apply(local, SILENCE_SECONDS) == "[]"
    assert _apply(local, 21) == "[\"automation 'trasvase: crash silent runs': updated\"]"
    _apply(local, SILENCE_SECONDS)
    assert len(local.post("/automations/filter", {})) == 2
    assert local.get("/work_pools/gpu")["concurrency_limit"] == 1


def test_a_crashed_run_comes_back_with_its_parameters_until_the_flow_refuses_and_only_where_tagged(
    local: LocalPrefect,
) -> None:
    untagged = local.run("dying/once", text="once", dies_until=9)
    second = local.run("dying/again", dies_until=9, restarts=2, **PARAMETERS)
    third = local.restart_of(second)
    fourth = local.restart_of(third)
    assert local.wait(fourth)["message"].endswith("restarted three times")
    assert ["CRASHED", "CRASHED", "FAILED"] == [local.state(run)["type"] for run in (second, third, fourth)]
    given = {"dies_until": 9, **PARAMETERS}
    expected = [{**given, "restarts": restarts} for restarts in (2, 3, 4)]
    assert expected == [run["parameters"] for run in local.runs("dying/again")]
    local.wait(untagged, "CRASHED")
    assert len(local.runs("dying/once")) == 1


def test_a_parameter_that_the_flow_does_not_have_is_refused_by_name(local: LocalPrefect) -> None:
    with pytest.raises(httpx.HTTPStatusError) as error:
        local.run("dying/again", txet="typed wrong", text="")
    assert 409 == error.value.response.status_code
    names = "'dies_until', 'nothing', 'restarts', 'several', 'sleeps', 'text', 'yes'"
    assert f"'txet' is not one of [{names}]" in error.value.response.json()["detail"]


def test_a_run_that_never_comes_to_its_flow_is_not_started_for_ever(local: LocalPrefect) -> None:
    third = local.run("dying/gone", text="", restarts=3)
    fourth = local.restart_of(third)
    failed = {"filter": {"event": {"name": ["prefect.automation.action.failed"]}}}
    until(lambda: local.post("/events/filter", failed)["events"])
    assert ["CRASHED", "CRASHED"] == [local.state(run)["type"] for run in (third, fourth)]
    assert len(local.runs("dying/gone")) == 2


def test_a_run_whose_host_died_is_found_and_started_again_when_a_worker_is_back(local: LocalPrefect) -> None:
    run = local.run("dying/again", text="host", sleeps=600)
    local.wait_for_log(run, "alive")
    local.kill_worker()
    local.flow_process(run).kill()
    assert local.wait(run, "CRASHED")["message"].startswith(f"No heartbeat for {SILENCE_SECONDS} s")
    local.start_worker()
    local.wait(local.restart_of(run), "COMPLETED")
