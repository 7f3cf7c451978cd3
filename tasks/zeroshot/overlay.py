"""Heat over an image, as a picture for a page. What the model never saw is grey and hatched."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from math import isqrt

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks.zeroshot.crop import Box

SIDE = 360  # pixels of the longer side
_STRONGEST = 0.75  # how much of the image the hottest place hides
_HATCH = 8  # pixels from stripe to stripe


def heat_over(image: Image.Image, heat: Sequence[float], box: Box) -> Image.Image:
    """A small copy of an image with a heat map on the part of it that was seen.

    Args:
        image: Upright RGB.
        heat: A square of patches, row by row; what is below 0 speaks against and is left out.
        box: The part that the patches cover, in pixels of ``image``.
    """
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    across, down = small.width / image.width, small.height / image.height
    seen = Box(box.left * across, box.top * down, box.right * across, box.bottom * down)
    shown = _spread(heat, seen, small.size)
    pixels = np.asarray(small, np.float64)
    alpha = _STRONGEST * shown[..., None]
    mixed = (1 - alpha) * pixels + alpha * _colours(shown)
    outside = _outside(seen, small.size)
    grey = 0.35 * pixels.mean(axis=2, keepdims=True) + 0.65 * 225
    stripes = (np.add.outer(np.arange(small.height), np.arange(small.width)) % _HATCH < 1)[..., None]
    mixed = np.where(outside[..., None], np.where(stripes, 120, grey), mixed)
    return Image.fromarray(mixed.round().astype(np.uint8))


def small_copy(image: Image.Image) -> Image.Image:
    """The image itself, as small as the others."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    return small


def data_uri(image: Image.Image) -> str:
    """An image as a page carries it; nothing of the file that it came from but its pixels."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _spread(heat: Sequence[float], seen: Box, size: tuple[int, int]) -> NDArray[np.float64]:
    """Heat from 0 to 1 per pixel ``[height, width]``, 0 where nothing was seen."""
    side = isqrt(len(heat))
    patches = np.clip(np.asarray(heat, np.float32).reshape(side, side), 0, None)
    patches = patches / patches.max() if patches.max() > 0 else patches
    # Every pixel asks where in the grid of patches it lies, so a box that ends between pixels needs no rounding.
    x = (np.arange(size[0]) + 0.5 - seen.left) / (seen.right - seen.left) * side - 0.5
    y = (np.arange(size[1]) + 0.5 - seen.top) / (seen.bottom - seen.top) * side - 0.5
    rows = np.stack([np.interp(x, np.arange(side), row) for row in patches])
    spread = np.stack([np.interp(y, np.arange(side), column) for column in rows.T], axis=1)
    spread[_outside(seen, size)] = 0
    return spread


def _outside(seen: Box, size: tuple[int, int]) -> NDArray[np.bool_]:
    x, y = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    across, down = (x < seen.left) | (x > seen.right), (y < seen.top) | (y > seen.bottom)
    return np.logical_or.outer(down, across)


def _colours(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Dark violet over red to yellow: told apart without seeing colours, too."""
    from matplotlib import colormaps

    coloured: NDArray[np.float64] = colormaps["inferno"](values)[..., :3] * 255
    return coloured
