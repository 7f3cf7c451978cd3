"""Tiny models, built once: one CLIP as it comes, one that knows two shapes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def trained_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP that knows red squares and blue discs, 64 x 64 pixels in 8 x 8 patches."""
    from data.samples import toy_models
    from tests.zeroshot.shapes import train

    folder = toy_models.clip(tmp_path_factory.mktemp("models") / "clip")
    import torch
    import transformers as hf

    processor = hf.CLIPProcessor.from_pretrained(folder, local_files_only=True)
    processor.image_processor.size = {"shortest_edge": 64}
    processor.image_processor.crop_size = {"height": 64, "width": 64}
    config = hf.CLIPConfig.from_pretrained(folder)
    vision: Any = config.vision_config
    vision.image_size, vision.patch_size, vision.hidden_size, vision.intermediate_size = 64, 8, 48, 96
    torch.manual_seed(0)
    model = hf.CLIPModel(config)
    train(model, processor)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
