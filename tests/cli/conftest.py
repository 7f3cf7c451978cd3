"""A small job with tables and report, made once; a test that damages it works on a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.storage.root import DataRoot
from tests.cli.small_job import make_tables


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    root = DataRoot(tmp_path_factory.mktemp("data"))
    make_tables(root)
    return root


@pytest.fixture
def root(small_root: DataRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataRoot:
    """A copy, and the data root of the environment."""
    shutil.copytree(small_root.path, tmp_path / "data")
    monkeypatch.setenv("TRASVASE_DATA", str(tmp_path / "data"))
    return DataRoot(tmp_path / "data")


@pytest.fixture
def job(root: DataRoot) -> Path:
    return next(root.jobs.iterdir())
