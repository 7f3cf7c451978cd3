"""A disk that is full or read-only says so, and the walk goes on once it is mended."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.storage.errors import DiskFull, NotWritable
from tasks.translators.shouting import Options, open_translator
from tests.walk import walk

ROWS = [
    {
        "id": str(n),
        "conversations": [
            {"from": "human", "value": f"What is number {n} doing? {n * 7919}"},
            {
                "from": "gpt",
                "value": " ".join(f"{word} {n * place % 9973}." for place, word in enumerate(["Bus"] * 40)),
            },
        ],
    }
    for n in range(300)
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.json"
    path.write_text(json.dumps(ROWS))
    return path


def _walk(source: Path, data: Path) -> bytes:
    tables = walk(source, data, [open_translator(Options(), "en", "es")], chunk_size=50, threads=1)
    return tables.table.read_bytes()


def test_a_disk_that_fills_up_at_any_time_is_named_and_nothing_is_lost(
    small_disk: Path, source: Path, tmp_path: Path
) -> None:
    undisturbed = _walk(source, tmp_path / "undisturbed")
    told: list[str] = []
    for left in range(0, 2_200_000, 440_000):
        shutil.rmtree(small_disk / "data", ignore_errors=True)
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * (16 * 1024 * 1024 - 8_192 - left))
        try:
            _walk(source, small_disk / "data")
        except DiskFull as error:
            told.append(str(error))
        ballast.unlink()
        assert undisturbed == _walk(source, small_disk / "data"), f"with {left} bytes left"
    assert len(told) >= 3, "the disk never filled up"
    assert all("No space left on the disk" in text and "Free some space and retry" in text for text in told)


def test_a_read_only_data_root_is_named(small_disk: Path, source: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(NotWritable, match=r"cannot be written: .*set TRASVASE_DATA to one that is\."):
        _walk(source, small_disk / "data")


def test_a_data_root_inside_a_file_is_named(source: Path) -> None:
    with pytest.raises(NotWritable, match=r"cannot be written: Not a directory\."):
        _walk(source, source / "data")
