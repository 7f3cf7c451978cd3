"""A data set that a tiny model can learn, and a base model that has learnt something else.

An image shows squares of some colours, a text has some words; each means a label. The base model was trained on the same
rows with the labels in another order, so that it knows how to look and how to answer, and is wrong.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageDraw

from tasks.models.label_sets import LabelSets
from tasks.models.load import ModelOptions, load
from tasks.models.prompts import prompt_for
from tasks.splits.build import Dataset, Wanted, build
from tasks.training.lora import LoraSettings
from tasks.training.plan import Plan, choose_columns, find_base, plan, source_of

LABELS = ("red", "blue", "loud")
_COLOURS = {"red": (220, 40, 40), "blue": (50, 70, 230)}
_OTHERS = ("square", "disc", "word")
_WRONG = {"red": "loud", "blue": "red", "loud": "blue"}

# A few dozen steps of 16 rows are enough.
LEARNS = LoraSettings(
    r=4,
    lora_alpha=32,
    lora_dropout=0.05,
    bf16=False,
    learning_rate=5e-3,
    max_steps=30,
    per_device_train_batch_size=16,
    per_device_eval_batch_size=50,
    eval_steps=15,
)


def draw(labels: set[str], random: np.random.Generator) -> Image.Image:
    """On grey, one square for each colour that the labels name."""
    image = Image.new("RGB", (32, 32), (128, 128, 128))
    for place, colour in enumerate(_COLOURS):
        if colour in labels:
            left, top = 16 * place + int(random.integers(0, 3)), int(random.integers(0, 18))
            ImageDraw.Draw(image).rectangle((left, top, left + 13, top + 13), _COLOURS[colour])
    return image


def rows(count: int, folder: Path, seed: int = 0) -> list[dict[str, object]]:
    """Rows with their images drawn."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    made: list[dict[str, object]] = []
    for number in range(count):
        labels = {label for label in LABELS if random.random() < 0.4}
        draw(labels, random).save(folder / f"{number:04}.png")
        text = f"a {'loud' if 'loud' in labels else 'calm'} {random.choice(_OTHERS)}"
        made.append(
            {
                "id": f"r{number}",
                "image": f"{number:04}.png",
                "text": text,
                "labels": [label for label in LABELS if label in labels],
            }
        )
    return made


def dataset(folder: Path, count: int) -> tuple[Dataset, Path]:
    """A frozen version of such rows, and the folder of their images."""
    images = folder / "images"
    table = folder / "squares.parquet"
    pq.write_table(pa.Table.from_pylist(rows(count, images)), table)
    wanted = Wanted(("image",), validation=0.2, test=0.1, licence="cc0-1.0")
    return build(table, folder / "data" / "datasets", "squares", wanted), images


def teach(base: Path, data: Path, images: Path, steps: int) -> Path:
    """Train a whole model on these rows with the labels in another order."""
    sets = LabelSets.every(LABELS)
    loaded = load(ModelOptions(base_model=str(base), dtype="float32", device="cpu"), prompt_for(sets))
    model, family = loaded.model, loaded.family
    items = pq.read_table(data / "data" / "train-00000-of-00001.parquet").to_pylist()
    answers = [family.answer_tokens(sets.answer(number)) for number in range(len(sets.sets))]
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    model.train()
    for _ in range(steps):
        some = [items[at] for at in random.integers(0, len(items), 16)]
        numbers = [sets.number(_WRONG[label] for label in item["labels"]) for item in some]
        opened = [Image.open(images / item["image"]).convert("RGB") for item in some]
        inputs = family.inputs([item["text"] for item in some], opened)
        longest = max(len(answers[number]) for number in numbers)
        tokens = torch.tensor([answers[n] + [0] * (longest - len(answers[n])) for n in numbers])
        mask = torch.tensor([[1] * len(answers[n]) + [0] * (longest - len(answers[n])) for n in numbers])
        logits = model(**family.extended(inputs, tokens, mask), logits_to_keep=longest + 1).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), tokens.masked_fill(mask == 0, -100).flatten(), ignore_index=-100
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    model.save_pretrained(base)
    return base


def planned(
    jobs: Path,
    made: Dataset,
    base: Path,
    images: Path | None,
    settings: LoraSettings = LEARNS,
    labels: tuple[str, ...] | None = LABELS,
    processes: int = 1,
    completion: str = "",
) -> Plan:
    """A job on the CPU."""
    source = source_of(made.folder, made.certificate, images)
    found = find_base(str(base))
    columns = choose_columns(source, found, None, None, None, completion)
    return plan(jobs, source, found, settings, labels, columns, bool(completion), "cpu", processes)
