r"""Invented memes: coloured shapes with a line of text, for a walk from table to judged adapter in a minute on a CPU.

    python data/samples/toy_memes.py data/raw/toy-memes

Two labels show in the picture, one in the words, so neither is enough alone. About every third picture stands in several
rows with other texts, as memes do. The same numbers are drawn each time. One row of ``memes.parquet``::

    {"id": "00017", "image": "images/00009.png", "text": "a storm over the old pier", "labels": ["disc", "storm"]}
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

SHAPES = {"square": (205, 45, 40), "disc": (40, 80, 210)}
WORDS = ("storm",)
LABELS = (*SHAPES, *WORDS)
SIDE = 32  # pixels
ROWS = 2_000

_PLACES = ("the old pier", "our street", "a quiet field", "the market", "my garden", "the station")
_STARTS = ("look at", "nobody wanted", "when you see", "monday is like", "we only asked for", "he said")


def write_memes(folder: Path, rows: int = ROWS, seed: int = 0) -> Path:
    """Draw pictures and write the table that names them.

    Args:
        folder: Gets ``images/`` and ``memes.parquet``.
        rows: How many memes.
        seed: Another seed is other memes.

    Returns:
        The table.
    """
    draw = random.Random(seed)
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    memes: list[dict[str, Any]] = []
    picture, shown = -1, set[str]()
    for row in range(rows):
        if row == 0 or draw.random() < 0.7:
            picture, shown = picture + 1, {name for name in SHAPES if draw.random() < 0.4}
            Image.fromarray(_draw(shown, draw)).save(images / f"{picture:05}.png")
        said = {name for name in WORDS if draw.random() < 0.4}
        thing = " and ".join(f"a {name}" for name in WORDS if name in said) or "nothing"
        text = f"{draw.choice(_STARTS)} {thing} over {draw.choice(_PLACES)}"
        labels = [name for name in LABELS if name in shown | said]
        memes.append({"id": f"{row:05}", "image": f"images/{picture:05}.png", "text": text, "labels": labels})
    schema = pa.schema(
        [("id", pa.string()), ("image", pa.string()), ("text", pa.string()), ("labels", pa.list_(pa.string()))]
    )
    path = folder / "memes.parquet"
    pq.write_table(pa.Table.from_pylist(memes, schema), path)
    return path


def _draw(shown: set[str], draw: random.Random) -> NDArray[np.uint8]:
    """Each shape in a corner of its own, somewhat moved, on a noisy ground."""
    ground = np.random.default_rng(draw.randrange(2**32)).integers(190, 240, (SIDE, SIDE, 3), np.uint8)
    y, x = np.mgrid[:SIDE, :SIDE]
    for name, (left, top) in zip(SHAPES, [(9, 9), (22, 21)], strict=True):
        dx, dy, half = left + draw.randint(-2, 2), top + draw.randint(-2, 2), draw.randint(5, 6)
        inside = {
            "square": (abs(x - dx) <= half) & (abs(y - dy) <= half),
            "disc": (x - dx) ** 2 + (y - dy) ** 2 <= (half + 1) ** 2,
        }[name]
        if name in shown:
            ground[inside] = SHAPES[name]
    return ground


if __name__ == "__main__":
    print(write_memes(Path(sys.argv[1])))
