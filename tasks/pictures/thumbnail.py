"""A small copy of an image, made anew from its pixels: nothing of a file but what it shows gets into a page."""

from __future__ import annotations

import base64
import io

from PIL import Image

SIDE = 160  # pixels


def thumbnail(image: Image.Image) -> str:
    """A data URI of at most 160 x 160 pixels, as JPEG."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
