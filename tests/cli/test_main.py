from __future__ import annotations

import subprocess
import sys

import pytest

from tasks.cli import COMMANDS, main

HEAVY = ("prefect", "torch", "matplotlib", "pyarrow", "pydantic", "httpx")


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_shows_examples_and_exit_codes(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert "examples:" in shown
    assert "exit codes:" in shown


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, tasks.cli\n"
        "try: tasks.cli.main(['--help'])\n"
        f"finally: print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", [[], ["repair"], ["explain"], ["explain", "table.parquet", "first"]])
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_wrong_setting_ends_with_2_and_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRASVASE_PORT", "many")
    assert main(["status"]) == 2
    assert "TRASVASE_PORT='many'" in capsys.readouterr().err
