"""Rows, images and adapters for the tests of models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tasks.models.adapter import AdapterRecord, write_record
from tasks.models.examples import Columns, Example
from tasks.models.families.protocol import Family
from tasks.models.label_sets import LabelSets
from tasks.models.load import Loaded, ModelOptions, load
from tasks.models.prompts import CONVERSATION, prompt_for

FAMILIES = ["paligemma", "qwen2_vl", "qwen2_5_vl", "smolvlm", "idefics3", "mistral"]
SEEING = FAMILIES[:-1]
MANY = LabelSets.every(["racist", "sexist", "homophobe"])
ONE = LabelSets.one_of(["toxic", "non_toxic"])
SOME = LabelSets(("red", "blue", "loud"), ((), ("red",), ("red", "loud"), ("blue", "loud")))
TEXTS = ["a red square", "", "some longer text, " * 10, "<image> <|im_end|> [/INST] </s> <eos> {text} Ж 漢 🙂"]


def image(height: int = 40, width: int = 60, seed: int = 0) -> Image.Image:
    """Noise."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def images(family: Family, rows: int) -> list[Image.Image | None]:
    """Of several shapes, for families that see."""
    shapes = [(40, 60), (90, 30), (64, 64), (30, 120)]
    return [image(*shapes[row % 4], seed=row) if family.sees else None for row in range(rows)]


def load_toy(folder: Path, label_sets: LabelSets = MANY, **options: Any) -> Loaded:
    """A model on the CPU, in float32 unless asked otherwise."""
    return load(cpu(folder, **options), prompt_for(label_sets))


def cpu(folder: Path, **options: Any) -> ModelOptions:
    """Options for it."""
    return ModelOptions(**{"base_model": str(folder), "dtype": "float32", "device": "cpu", **options})


def lora(model: Any, family: Family) -> Any:
    """The model with an adapter whose weights are random and not too small."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(5)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=32, target_modules=family.target_modules))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    return adapted.eval()


def adapter(folder: Path, base: Path, label_sets: LabelSets | None = MANY, **changed: Any) -> Path:
    """An adapter on a toy model, sealed; without label sets one that writes the next turn of conversations."""
    prompt = prompt_for(label_sets) if label_sets else CONVERSATION
    loaded = load(cpu(base, **{name: changed[name] for name in ("max_pixels",) if name in changed}), prompt)
    lora(loaded.model, loaded.family).save_pretrained(folder)
    loaded.family.processor.save_pretrained(folder)
    record: dict[str, Any] = {
        "base_model": str(base),
        "base_digest": loaded.digest,
        "family": loaded.family.name,
        "prompt": prompt,
        "label_sets": label_sets.plain() if label_sets else None,
        "columns": Columns(("text",), "image", "labels"),
        "min_pixels": None,
        "max_pixels": None,
        "dtype": "float32",
        "load_in_4bit": False,
        "dataset": {"name": "shapes", "version": "0123456789ab"},
        "settings": {"r": 4, "lora_alpha": 32},
        "seed": 5,
        "versions": {},
        "environment": {},
        "toy": loaded.toy,
    }
    write_record(folder, AdapterRecord(**{**record, **changed}))
    return folder


def example(row: int, text: str = "", path: str = "", labels: tuple[str, ...] | None = ()) -> Example:
    """A row of a split."""
    return Example(row, f"id-{row}", text, path, labels, f"group-{row}")
