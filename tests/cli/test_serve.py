"""What is typed after `trasvase serve`; tests/flows/test_serve.py has the processes."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from tasks.cli import serve


def _parsed(*typed: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return parser.parse_args(typed)


def test_each_param_belongs_to_the_run_before_it() -> None:
    typed = "--run a/b --param x=1 --param y=[2,3] --run c/d --run e/f --param x=a=b"
    assert [("a/b", {"x": 1, "y": [2, 3]}), ("c/d", {}), ("e/f", {"x": "a=b"})] == _parsed(*typed.split()).run


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--param x=1 --run a/b", "--param x=1: no --run stands before it"),
        ("--run a/b --param source", "--param source: no value; write --param source=…"),
        ("--run a/b --stop", "argument --stop: not allowed with argument --run"),
    ],
)
def test_what_cannot_be_meant_is_refused(typed: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        _parsed(*typed.split())
    assert 2 == raised.value.code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("new", "old", "marks"),
    [
        (2, 3, ["made now"] * 2 + ["as it was"] * 3),
        (0, 23, ["as it was"] * 20 + ["and 3 older"]),
        (22, 2, ["made now"] * 22 + ["and 2 older"]),
    ],
)
def test_all_files_of_a_run_are_named_and_few_of_those_before(
    tmp_path: Path, new: int, old: int, marks: list[str]
) -> None:
    (tmp_path / "tables").mkdir()
    for number in range(new + old):
        path = tmp_path / "tables" / f"{number}.parquet"
        path.touch()
        os.utime(path, (2_000, 2_000) if number < new else (1_000, 1_000))
    assert marks == [line.strip()[: len(mark)] for line, mark in zip(serve._made(tmp_path, 2_000), marks, strict=True)]
    assert ["made now"] * new == [line.strip()[:8] for line in serve._made(tmp_path, 2_000, failed=True)]


def test_a_dataset_is_named_by_its_card(tmp_path: Path) -> None:
    card = tmp_path / "datasets" / "mmhs" / "3f2a9c01d7b4" / "README.md"
    card.parent.mkdir(parents=True)
    card.touch()
    assert [str(card)] == [line.split()[-1] for line in serve._made(tmp_path, 0)]


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Report: r.html\nand more", "Report: r.html"),
        (
            "Task run failed with exception: BadSource('x')\nTraceback …\nBadSource: x",
            "Task run failed with exception: BadSource('x')",
        ),
        (
            "Unexpected exception when trying to load flow\nTraceback …\nModuleNotFoundError: No module named 'prefekt'\n",
            "Unexpected exception when trying to load flow: ModuleNotFoundError: No module named 'prefekt'",
        ),
    ],
)
def test_a_line_of_the_log_is_told_with_its_cause(message: str, told: str) -> None:
    line = {"timestamp": "2026-11-28T21:00:00+00:00", "level": 40, "message": message}
    assert told == serve._as_text(line).partition("ERROR ")[2]
