"""Toy models, built once; nothing here asks the hub for anything."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

Toys = Callable[[str], Path]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Toys:
    """A toy model's folder, by the name of its builder."""

    @cache
    def build(name: str) -> Path:
        from data.samples import toy_models

        return toy_models.BUILDERS[name](tmp_path_factory.mktemp("toys") / name)

    return build
