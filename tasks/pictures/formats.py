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

_ORIENTATION = 0x0112  # in the EXIF notes; 1 is upright, and cameras that do not know write 0
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image) -> Image.Image:
    """An image as its camera was held; itself when nothing has to be turned.

    Pillow's own way writes the EXIF notes anew, and fails on those that it can read but not write.
    """
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def on_white(image: Image.Image) -> Image.Image:
    """An image without transparency: what shone through is white."""
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
