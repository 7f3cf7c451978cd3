"""Memes that are drawn here, with the font that matplotlib brings: it has Cyrillic letters."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tasks.memes.readers.protocol import Line

SAID = {"a.png": "ДОБРОЕ УТРО", "b.png": "СПОКОЙНОЙ НОЧИ"}


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf", size)


def printed(*lines: str, size: tuple[int, int] = (640, 360)) -> Image.Image:
    """Black print on white."""
    image = Image.new("RGB", size, "white")
    for number, text in enumerate(lines):
        ImageDraw.Draw(image).text((40, 40 + 70 * number), text, "black", _font(40))
    return image


def meme(*lines: str, size: tuple[int, int] = (640, 480), seed: int = 0) -> Image.Image:
    """White letters with a black edge on blurred blots of colour, as on memes."""
    blots = np.random.default_rng(seed).integers(40, 215, (6, 8, 3), np.uint8)
    image = Image.fromarray(blots).resize(size, Image.Resampling.BICUBIC)
    for number, text in enumerate(lines):
        place = (size[0] // 2, 60 + 80 * number)
        ImageDraw.Draw(image).text(place, text, "white", _font(46), anchor="mm", stroke_width=3, stroke_fill="black")
    return image


def encoded(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    """A file's bytes."""
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def folder_of_memes(folder: Path) -> Path:
    """Two labels; of five files one is cut off, and one is no image."""
    for name, images in {"Плохо": ["a.png"], "Хорошо": ["b.png", "c.jpg"]}.items():
        (folder / name).mkdir(parents=True)
        for file in images:
            said = SAID.get(file)
            kind = "PNG" if file.endswith("png") else "JPEG"
            (folder / name / file).write_bytes(encoded(meme(*([said] if said else []), seed=len(file + name)), kind))
    (folder / "Хорошо" / "cut.png").write_bytes(encoded(meme("ДА"))[:5000])
    (folder / "Хорошо" / "notes.txt").write_text("to do")
    return folder


class Measuring:
    """Reads the size of an image aloud; keeps count."""

    name = "measuring/1"

    def __init__(self) -> None:
        self.read_images = 0

    def read(self, images: Sequence[Image.Image]) -> list[list[Line]]:
        self.read_images += len(images)
        return [[Line(f"{image.width} by {image.height}", 0, 0, image.width, 10, 90.0)] for image in images]
