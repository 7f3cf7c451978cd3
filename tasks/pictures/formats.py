"""What holds wherever a file that says it is an image is opened: which formats, and what may go wrong.

Pillow decodes. What a file is, its first bytes say, never its ending; so ``cat.jpg`` that is a PostScript program is none::

    with Image.open(path, formats=FORMATS) as image: ...    ->  one of UNREADABLE, or PIL.UnidentifiedImageError

How many pixels are taken is left to who opens: a model reads all of them, a reviewer sees 512 by 512.
"""

from __future__ import annotations

import struct
import zlib

from PIL import Image

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")  # no format that runs a program (EPS), none that is a container (TIFF)

# What Pillow raises on files that are cut off, damaged or hostile.
UNREADABLE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def on_white(image: Image.Image) -> Image.Image:
    """An image without transparency: what shone through is white."""
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
