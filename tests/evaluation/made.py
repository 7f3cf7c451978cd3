"""Two toy adapters on one base, and a dataset whose labels are what the better one holds likely."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.models.label_sets import LabelSets
from tasks.scoring.predictions import softmax
from tests.models import made

SETS = LabelSets.every(["red", "blue", "loud"])
WORDS = "red square blue disc loud word calm one evening text image together".split()


class Made(NamedTuple):
    """What a test evaluates."""

    data: Path
    images: Path
    better: Path
    worse: Path
    dataset: Path


def rows(images: Path, n: int = 180) -> list[dict[str, str]]:
    """Invented rows, each with an image of noise; every third image serves two rows."""
    images.mkdir(parents=True, exist_ok=True)
    found = []
    for at in range(n):
        name = f"{at - (at % 3 == 1)}.png"
        if not (images / name).exists():
            made.image(40, 60, seed=at).save(images / name)
        text = " ".join(WORDS[(at * step + step) % len(WORDS)] for step in range(1, 2 + at % 5))
        split = ("train", "train", "train", "val", "test", "test")[at // 3 % 6]
        found.append({"id": f"row-{at}", "text": text, "image": name, "split": split})
    return found


def make(folder: Path, base: Path) -> Made:
    """A data root with adapters and a dataset.

    Args:
        folder: Of the test; the data root is ``folder / "data"``.
        base: A toy model.
    """
    from tasks.models.predict import open_classifier, predict_rows
    from tasks.models.prompts import prompt_for
    from tasks.splits.build import Wanted, build

    data, images = folder / "data", folder / "images"
    invented = rows(images)
    first = made.adapter(folder / "first", base, SETS)
    model = open_classifier(made.cpu(base, adapter=first), SETS, prompt_for(SETS), 16)
    examples = [made.example(at, row["text"], row["image"]) for at, row in enumerate(invented)]
    logs = np.array([row["log_probabilities"] for row in predict_rows(examples, images, model)])
    likely = softmax(logs) @ SETS.membership
    above = likely > np.median(likely, axis=0)  # a toy nearly always answers nothing, but more so here than there
    answers = [[label for label, is_above in zip(SETS.labels, row, strict=True) if is_above] for row in above]
    table = pa.table(
        {name: [row[name] for row in invented] for name in ("id", "text", "image", "split")} | {"labels": answers}
    )
    (data / "tables").mkdir(parents=True)
    pq.write_table(table, data / "tables" / "shapes.parquet")
    provenance = {"source": {"path": str(images)}, "licence": "cc0-1.0"}
    (data / "tables" / "shapes.provenance.json").write_text(json.dumps(provenance))
    dataset = build(data / "tables" / "shapes.parquet", data / "datasets", "shapes", Wanted(("image",)))
    named = {"name": "shapes", "version": dataset.folder.name}
    (data / "adapters").mkdir()
    better = made.adapter(data / "adapters" / "better-0123", base, SETS, dataset=named)
    worse = turned(made.adapter(data / "adapters" / "worse-4567", base, SETS, dataset=named))
    (data / "adapters" / "latest").symlink_to(better.name)
    return Made(data, images, better, worse, dataset.folder)


def turned(adapter: Path) -> Path:
    """The adapter with its changes in the opposite direction, sealed anew."""
    from safetensors.torch import load_file, save_file

    from tasks.models.adapter import RECORD, WEIGHTS, read_adapter, write_record

    record = read_adapter(adapter)
    weights = load_file(adapter / WEIGHTS)
    save_file({name: -each if "lora_B" in name else each for name, each in weights.items()}, adapter / WEIGHTS)
    (adapter / RECORD).unlink()
    write_record(adapter, replace(record, files={}))
    return adapter
