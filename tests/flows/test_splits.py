"""From MMHS150K as downloaded to a frozen dataset, on a real Prefect server; killed once on the way."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.cli import main
from tasks.splits.build import check_version
from tasks.storage.schemas import MMHS, MMHS_REJECTED
from tasks.storage.tables import read_table
from tests.flows.local_prefect import LocalPrefect
from tests.mmhs.sample import as_zip

ROWS = 600


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, deployed: Path) -> Iterator[LocalPrefect]:
    with LocalPrefect(tmp_path_factory.mktemp("splits"), deployed) as local:
        local.start_worker()
        yield local


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MMHS150K with 600 invented tweets, of which one has a vote that does not exist and one no image."""
    entries: dict[str, Any] = {
        str(n): {"tweet_text": f"tweet {n}", "labels": [n % 6, n % 4, 0]} for n in range(1000, 1000 + ROWS)
    }
    entries["1007"]["labels"] = [7, 0, 0]
    content = {"MMHS150K_GT.json": json.dumps(entries).encode()}
    content |= {f"img_resized/{id_}.jpg": b"JPEG" for id_ in entries if id_ != "1009"}
    ids = list(entries)
    parts = {"train": ids[:400], "val": ids[400:500], "test": ids[500:]}
    content |= {f"splits/{split}_ids.txt": "\n".join(some).encode() for split, some in parts.items()}
    return as_zip(tmp_path_factory.mktemp("raw") / "MMHS150K.zip", content, "MMHS150K/")


def test_mmhs_is_prepared_split_and_verified(
    local: LocalPrefect, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = local.folder.parent
    run = local.run("prepare-mmhs/mmhs150k", source=str(source))
    local.wait(run, "COMPLETED")
    rows = read_table(data / "tables" / "mmhs.parquet", MMHS).to_pylist()
    refused = read_table(data / "tables" / "mmhs.rejected.parquet", MMHS_REJECTED).to_pylist()
    assert [("1007", "unknown-label"), ("1009", "missing-image")] == [(row["id"], row["error"]) for row in refused]
    assert ROWS == len(rows) + len(refused)
    assert "600 rows: 598 in" in local.wait_for_log(run, "2 refused")

    official = local.run("build-splits/by-image")
    local.wait(official, "COMPLETED")
    drawn = local.run("build-splits/by-image", official="ignore", stratify=True, name="mmhs-drawn")
    local.wait(drawn, "COMPLETED")
    (folder,) = (path for path in (data / "datasets" / "mmhs").iterdir() if path.is_dir())
    assert {"train": 398, "validation": 100, "test": 100} == {
        split: counts["rows"] for split, counts in check_version(folder)["splits"].items()
    }
    assert 0 == main(["verify", str(data)])
    shown = capsys.readouterr().out
    assert "labels are known and follow from the votes (votes=union) (n = 598)" in shown
    assert 2 == shown.count("every file is the one that was certified")
    keys = {artifact["key"] for artifact in local.post("/artifacts/filter", {})}
    assert {"refused-mmhs", "dataset-mmhs", "dataset-mmhs-drawn"} <= keys


def test_a_run_that_cannot_be_says_why(local: LocalPrefect, source: Path) -> None:
    run = local.run("prepare-mmhs/mmhs150k", source="/nowhere/MMHS150K.zip")
    assert "The source /nowhere/MMHS150K.zip does not exist." in local.wait(run, "FAILED")["message"]
    run = local.run("build-splits/by-image", table="nothing", name="x")
    assert "There is no table nothing. Give a path, or a name under" in local.wait(run, "FAILED")["message"]
    run = local.run("build-splits/by-image", name="../x")
    assert "name='../x' cannot be a folder's name." in local.wait(run, "FAILED")["message"]


def test_a_run_that_is_killed_starts_again_and_leaves_a_whole_version(local: LocalPrefect, tmp_path: Path) -> None:
    table = tmp_path / "large.parquet"
    images = [f"{n // 2}.jpg" for n in range(400_000)]
    pq.write_table(pa.table({"image": images, "text": [f"{n} {'x' * 40}" for n in range(400_000)]}), table)
    run = local.run("build-splits/by-image", table=str(table), name="killed")
    process = local.flow_process(run)
    folder = local.folder.parent / "datasets" / "killed"
    while not list(folder.glob(".*.part/data")):
        with suppress(psutil.TimeoutExpired):
            process.wait(0.01)
            raise AssertionError(local.logs(run)[-5:])
    os.kill(process.pid, signal.SIGKILL)
    assert [] == [path for path in folder.glob("*") if path.is_dir() and not path.name.startswith(".")]

    local.wait(run, "CRASHED")
    local.wait(local.restart_of(run), "COMPLETED")
    (version,) = (path for path in folder.glob("*") if path.is_dir())
    assert 400_000 == sum(counts["rows"] for counts in check_version(version)["splits"].values())
    assert [] == list(folder.glob(".*.part"))
