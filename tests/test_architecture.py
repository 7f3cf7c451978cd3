"""What the folder names promise, held by tests where import-linter cannot see it."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.flows import load_flow_from_entrypoint
from pydantic import ValidationError

from tasks.plan import RaisedBudget
from tasks.settings import CHECKOUT
from tasks.storage.errors import PermanentError

HEAVY = "argilla ctranslate2 cv2 easyocr googletrans matplotlib onnxruntime peft torch transformers".split()

# Parameters that no default can know; everything else has one in the flow or in prefect.yaml.
LEFT_TO_THE_USER: dict[str, set[str]] = {}

DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((CHECKOUT / "prefect.yaml").read_text("utf-8"))["deployments"]
FLOWS = sorted(path for path in (CHECKOUT / "flows").glob("*.py") if path.stem != "__init__")
CONTRACTS: list[dict[str, Any]] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["tool"][
    "importlinter"
]["contracts"]


@pytest.fixture(params=DEPLOYMENTS, ids=lambda deployment: str(deployment["name"]))
def deployment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(CHECKOUT)
    found: dict[str, Any] = request.param
    return found


@pytest.fixture
def flow(deployment: dict[str, Any]) -> Flow[..., Any]:
    return load_flow_from_entrypoint(deployment["entrypoint"])


def test_no_flow_file_shadows_another_module() -> None:
    # Prefect loads flows/x.py as `x` and leaves flows/ first on sys.path.
    taken = {*sys.stdlib_module_names, *importlib.metadata.packages_distributions()}
    assert set() == {path.stem for path in FLOWS} & taken


def test_flows_take_what_is_done_from_files_of_tasks_and_from_folders_only_types_and_values() -> None:
    functions = [
        f"{path.name}: {each.module}.{name.name}"
        for path in FLOWS
        for each in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(each, ast.ImportFrom) and each.module and re.match(r"tasks\.\w+\.", each.module)
        for name in each.names
        if inspect.isfunction(getattr(importlib.import_module(each.module), name.name))
    ]
    assert [] == functions


def test_importing_all_flows_loads_no_heavy_package() -> None:
    modules = ", ".join(f"flows.{path.stem}" for path in FLOWS)
    code = f"import sys, json, {modules}; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    printed = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert [] == json.loads(printed.stdout)


def test_a_deployment_and_its_schedules_have_valid_parameters(deployment: dict[str, Any], flow: Flow[..., Any]) -> None:
    given = deployment.get("parameters", {})
    required = {name for name in flow.parameters.required if name not in given}
    assert LEFT_TO_THE_USER.get(flow.name, set()) == required
    open_ones = dict.fromkeys(required, "given by the user")
    for schedule in [{}, *deployment["schedules"]]:
        flow.validate_parameters({**open_ones, **given, **schedule.get("parameters", {})})


@pytest.mark.parametrize("budget", [float("nan"), float("inf"), -0.01])
def test_a_budget_is_a_number_of_dollars(budget: float, deployment: dict[str, Any], flow: Flow[..., Any]) -> None:
    if "budget_usd" not in flow.parameters.properties:
        return
    with pytest.raises(ParameterTypeError, match="budget_usd"):
        flow.validate_parameters({**deployment.get("parameters", {}), "budget_usd": budget})
    with pytest.raises(ValidationError, match="budget_usd"):
        RaisedBudget(budget_usd=budget)


def test_a_deployment_uses_one_of_our_pools(deployment: dict[str, Any]) -> None:
    from flows.automations import POOLS

    assert deployment["work_pool"]["name"] in POOLS
    assert deployment["work_pool"]["job_variables"]["stream_output"] is False


def test_just_flows_that_count_restarts_are_started_again_after_a_crash(
    deployment: dict[str, Any], flow: Flow[..., Any]
) -> None:
    from flows.automations import TAG

    assert ("restarts" in flow.parameters.properties) == (TAG in deployment.get("tags", []))


def test_each_deployment_stands_in_the_readme(deployment: dict[str, Any], flow: Flow[..., Any]) -> None:
    table = [line for line in (CHECKOUT / "README.md").read_text("utf-8").splitlines() if line.startswith("|")]
    assert any(f"`{flow.name}/{deployment['name']}`" in line for line in table)


def test_every_parameter_of_a_flow_is_described(flow: Flow[..., Any]) -> None:
    undescribed = [name for name, field in flow.parameters.properties.items() if not field.get("description")]
    assert [] == undescribed


def test_a_name_that_no_table_can_have_is_refused_before_anything_is_done(flow: Flow[..., Any]) -> None:
    if "name" not in flow.parameters.properties or flow.name in ("build-splits", "finetune-lora"):  # datasets, adapters
        return
    required = dict.fromkeys(flow.parameters.required, "given by the user")
    with pytest.raises(PermanentError, match="cannot begin a file's name"):
        flow.fn(**required, name="../llava")


def test_every_folder_of_tasks_but_cli_is_forbidden_to_import_prefect() -> None:
    folders = {f"tasks.{path.parent.name}" for path in (CHECKOUT / "tasks").glob("*/__init__.py")} - {"tasks.cli"}
    forbidden = next(contract for contract in CONTRACTS if contract["type"] == "forbidden")
    assert folders == set(forbidden["source_modules"])
    assert forbidden["forbidden_modules"] == ["prefect"]


def test_the_layers_are_exhaustive_and_each_folder_has_its_place() -> None:
    layers = next(contract for contract in CONTRACTS if contract.get("containers") == ["tasks"])
    assert layers["exhaustive"]
    named = {name.strip() for layer in layers["layers"] for name in layer.replace("|", ":").split(":")}
    files = {path.stem for path in (CHECKOUT / "tasks").glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in (CHECKOUT / "tasks").glob("*/__init__.py")}
    assert files | folders == named


def test_import_linter_keeps_the_contracts() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports"))]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
