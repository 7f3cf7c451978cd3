"""Toy adapters and a dataset, made once."""

from __future__ import annotations

import os

import pytest

from tests.evaluation.made import Made, make

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Nothing in it may be changed; predictions may be added."""
    import torch

    from data.samples.toy_models import qwen2_5_vl

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("evaluation")
    return make(folder, qwen2_5_vl(folder / "base"))
