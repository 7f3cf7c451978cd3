"""Kill -9 at every point where translate-llava touches the disk (points.py)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot
import pandas
import pytest

from tasks.llava.checks import Checks
from tasks.translators.protocol import Limits
from tests.kill_points.points import kill_at_every_point
from tests.walk import walk

ROWS = 7
CHUNK_SIZE = 3
TABLES = ("llava-es.parquet", "llava-es.rejected.parquet", "llava-es.json")


class Engine:
    """Reverses the words, and writes down what it is asked where no counter counts."""

    name = "reversing/1"
    limits = Limits(max_items=3, at_once=1)

    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def translate(self, texts: Sequence[str]) -> list[str]:
        os.write(self._log, "".join(json.dumps(text) + "\n" for text in texts).encode())
        return [" ".join(reversed(text.rstrip(".?").split())).capitalize() + text[-1] for text in texts]

    async def aclose(self) -> None:
        os.close(self._log)


def _source(tmp_path: Path) -> Path:
    rows: list[dict[str, Any]] = []
    for n in range(ROWS):
        turns = [
            {"from": "human", "value": f"<image>\nWhat is the boy number {n} doing there?"},
            {
                "from": "gpt",
                "value": f"The boy is riding bicycle number {n}. He is happy about it.\n1. Shared line of all.",
            },
        ]
        rows.append({"id": str(n), "image": f"{n}.jpg", "conversations": turns})
    rows[4]["conversations"][0]["from"] = "nobody"  # one row that is refused
    path = tmp_path / "source.json"
    path.write_text(json.dumps(rows))
    return path


def test_kill_9_at_every_write_point(tmp_path_factory: pytest.TempPathFactory) -> None:
    # Loaded once here, so that no child has to.
    Checks("en", "es", None).grade("This sentence loads both detectors.", "This sentence loads both detectors.")
    matplotlib.pyplot.close()
    pandas.DataFrame()
    source = _source(tmp_path_factory.mktemp("source"))

    def walked(data: Path, log: Path) -> None:
        walk(source, data, [Engine(log)], chunk_size=CHUNK_SIZE, threads=1)

    kill_at_every_point(walked, TABLES, Engine.limits.max_items, tmp_path_factory)
