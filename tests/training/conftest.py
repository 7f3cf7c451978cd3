"""Toy models and a toy data set, made once; nothing here asks the hub for anything."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tasks.splits.build import Dataset

# Also for the processes that train: with more threads one step of a toy takes ten times as long.
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A toy model's folder, by the name of its builder."""

    @cache
    def build(name: str) -> Path:
        from data.samples import toy_models

        return toy_models.BUILDERS[name](tmp_path_factory.mktemp("toys") / name)

    return build


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    """A small version of a data set, and the folder of its images."""
    from tests.training.toy import dataset

    return dataset(tmp_path_factory.mktemp("squares"), 60)
