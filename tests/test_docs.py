"""What the documents show works."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint

from tasks.translators import names

ROOT = Path(__file__).parents[1]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", *(f"docs/{each.name}" for each in (ROOT / "docs").glob("*.md"))]


def test_the_translator_shown_to_contributors_translates() -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)[0]
    module = ModuleType("reversing")
    sys.modules["reversing"] = module  # pydantic looks there for the names in annotations
    try:
        exec(compile(code, "CONTRIBUTING.md", "exec"), vars(module))  # our own document
        translator = module.open_translator(module.Options(suffix="!"), "en", "es")
        assert ["bus a!", "red is it!"] == asyncio.run(translator.translate(["a bus", "it is red"]))
    finally:
        del sys.modules["reversing"]


def test_every_translator_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [] == [name for name in names() if f"| `{name}` |" not in readme]


def test_every_file_that_the_documents_name_is_there() -> None:
    named = {
        path
        for document in DOCUMENTS
        for path in re.findall(
            r"`((?:flows|tasks|tests|docs|data/samples)/[\w./-]+)`", (ROOT / document).read_text("utf-8")
        )
    }
    invented = {"tasks/translators/reversing.py"}
    assert [] == sorted(path for path in named - invented if not (ROOT / path).exists())


def test_every_link_and_picture_leads_somewhere_and_every_picture_is_shown() -> None:
    linked = {
        ((ROOT / document).parent / target).resolve()
        for document in DOCUMENTS
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)\)", (ROOT / document).read_text("utf-8"))
    }
    assert [] == sorted(path for path in linked if not path.exists())
    assert set() == set((ROOT / "docs" / "images").iterdir()) - linked


def test_every_run_that_the_documents_show_has_such_a_deployment_with_these_parameters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    parameters: dict[str, set[str]] = {}
    for each in yaml.safe_load((ROOT / "prefect.yaml").read_text("utf-8"))["deployments"]:
        flow: Flow[..., Any] = load_flow_from_entrypoint(each["entrypoint"])
        parameters[f"{flow.name}/{each['name']}"] = set(flow.parameters.properties)
    shown = [
        (deployment, set(re.findall(r"--param (\w+)=", given)))
        for document in DOCUMENTS
        for deployment, given in re.findall(
            r"(?:serve --run|deployment run) ([\w-]+/[\w-]+)((?:\\\n|[^`\n])*)", (ROOT / document).read_text("utf-8")
        )
    ]
    assert len(shown) > 10
    assert [] == [each for each in shown if each[0] not in parameters or each[1] - parameters[each[0]]]


def test_recovery_s_number_of_restarts_is_the_flow_s() -> None:
    from tasks.plan import MAX_RESTARTS

    assert MAX_RESTARTS == 3
    assert "at most three times" in (ROOT / "docs" / "recovery.md").read_text()
