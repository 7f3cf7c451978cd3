"""Images with one coloured shape each, and a tiny CLIP that was trained on them for seconds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

TEXTS = {"toxic": ("токсичный мем",), "non_toxic": ("нейтральный мем",)}


class Shape(NamedTuple):
    """An image, where its shape is (left, top, right, bottom), and the number of its class."""

    image: Image.Image
    box: tuple[int, int, int, int]
    kind: int


def shape(kind: int, rng: np.random.Generator, size: tuple[int, int] = (64, 64)) -> Shape:
    """A red square (0) or a blue disc (1) anywhere on a ground that is not quite plain."""
    ground = rng.integers(60, 200, 3) + rng.integers(-20, 21, (size[1] // 16, size[0] // 16, 3))
    image = Image.fromarray(ground.astype(np.uint8)).resize(size)
    radius = int(rng.integers(9, 14))
    x, y = int(rng.integers(radius, size[0] - radius)), int(rng.integers(radius, size[1] - radius))
    box = (x - radius, y - radius, x + radius, y + radius)
    draw = ImageDraw.Draw(image)
    if kind:
        draw.ellipse(box, (30, 30, 220))
    else:
        draw.rectangle(box, (220, 30, 30))
    return Shape(image, box, kind)


def shapes(n: int, seed: int, size: tuple[int, int] = (64, 64)) -> list[Shape]:
    """Both kinds in turn."""
    rng = np.random.default_rng(seed)
    return [shape(number % 2, rng, size) for number in range(n)]


def train(model: Any, processor: Any, steps: int = 60) -> None:
    """Teach a CLIP which text goes with which shape."""
    import torch

    texts = processor.tokenizer([texts[0] for texts in TEXTS.values()], padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    rng = np.random.default_rng(0)
    model.train()
    for _ in range(steps):
        some = [shape(int(kind), rng) for kind in rng.integers(0, 2, 16)]
        pixels = processor.image_processor(images=[each.image for each in some], return_tensors="pt")["pixel_values"]
        logits = model(pixel_values=pixels, **texts).logits_per_image
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([each.kind for each in some]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.eval()
