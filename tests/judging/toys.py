"""Toy chat models whose texts end, and a dataset of keywords."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

from data.samples.toy_models import mistral
from tasks.splits.build import Dataset, Wanted, build

_EOS = 2  # of the toy's tokenizer


def writer(folder: Path, seed: int) -> Path:
    """A random model that ends its texts after a few dozen tokens: the end is made as likely as a few dozen others."""
    mistral(folder, seed)
    path = folder / "model.safetensors"
    weights = load_file(path)
    head = weights["lm_head.weight"]
    generator = torch.Generator().manual_seed(seed)
    head[_EOS] = 12 * head.std() * torch.randn(head.shape[1], generator=generator)
    save_file(weights, path, {"format": "pt"})
    return folder


def keywords(root: Path, count: int) -> Dataset:
    """``datasets/jokes/…`` whose test split has about so many conversations, two of a routine."""
    rows = [
        {
            "id": f"joke-{at}",
            "routine": f"routine-{at // 2}",
            "keyword": f"palabra {at}",
            "messages": [
                {"role": "user", "content": f"Write a joke in Chilean Spanish about: palabra {at}."},
                {"role": "assistant", "content": f"Chiste {at}."},
            ],
            "keep": at % 7 != 3,
        }
        for at in range(2 * count)
    ]
    table = root / "jokes.parquet"
    pq.write_table(pa.Table.from_pylist(rows), table)
    return build(table, root / "data" / "datasets", "jokes", Wanted(("routine",), validation=0.0, test=0.5, distance=0))
