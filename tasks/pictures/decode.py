"""An image file into upright RGB pixels, or a reason why not. Training and evaluation open images here and nowhere else.

What is normalised is said in ``changes``; what would have to be guessed is refused::

    IMG_0341.jpg, lying on its side    ->  upright pixels, changes ["rotated"]
    cat.png, transparent               ->  on white,       changes ["transparency"]
    funny.gif, animated                ->  BadImage("animated", …)

Which formats are taken stands in ``tasks/pictures/formats.py``.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from tasks.pictures.formats import FORMATS, UNREADABLE, on_white, upright
from tasks.storage.errors import PermanentError

MAX_PIXELS = 50_000_000
MIN_SIDE = 8
MAX_ASPECT = 200  # beyond it the processors of Qwen-VL raise, and a whole batch with them

# Why an image is refused, for every code that a table may hold.
REASONS = {
    "animated": "the image has several frames, and only one of them could be read",
    "damaged": "the image is cut off or damaged",
    "empty": "the file has no bytes",
    "polyglot": "the file is an image and something else as well",
    "too-many-pixels": "the image has more pixels than are taken",
    "too-narrow": "the image is a strip that no model takes",
    "too-small": "the image is too small to show anything",
    "unknown-format": "the file is none of the image formats that are taken",
}

_PDF_WITHIN = 1024  # where readers of PDF look for its beginning
_ZIP_END, _ZIP_END_BYTES, _ZIP_COMMENT = b"PK\x05\x06", 22, 65_535
_SCRIPT = re.compile(rb"<script[\s>]|<\?php\s|<!doctype html|<html[\s>]", re.IGNORECASE)


class BadImage(PermanentError):
    """An image that is not taken: a code of ``REASONS``, and a sentence that goes on after the file's name."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ImageChanged(PermanentError):
    """An image is not what it was when the job was planned."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as readers and models get it.

    Args:
        image: RGB, upright.
        format: What the file is: one of ``tasks.pictures.formats.FORMATS``.
        changes: What was normalised: 16-bit, cmyk, first-frame, rotated, transparency.
    """

    image: Image.Image
    format: str
    changes: tuple[str, ...]


def open_picture(content: bytes) -> Picture:
    """Decode one file.

    Raises:
        BadImage: It is not taken, and why.
    """
    if not content:
        raise BadImage("empty", "is empty. Download it again.")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise BadImage("unknown-format", f"is none of {', '.join(FORMATS)}. Convert it, or take it away.") from None
    except Image.DecompressionBombError:
        raise _too_many() from None
    except UNREADABLE as error:
        raise _damaged(error) from error
    with image:
        changes = _check(image, content)
        try:
            image.load()
            turned = upright(image)
            if turned is not image:
                changes.append("rotated")
            return Picture(_rgb(turned, changes), _format(image), tuple(sorted(changes)))
        except Image.DecompressionBombError:
            raise _too_many() from None
        except UNREADABLE as error:
            raise _damaged(error) from error


def read_unchanged(row: int, path: Path, sha256: str) -> bytes:
    """The bytes of an image that a job was planned with.

    Args:
        row: Its position in the job, for the message.
        path: The file.
        sha256: What it was then.

    Raises:
        ImageChanged: It is gone, or is another one.
    """
    again = "Start the flow again: a changed folder is a new job."
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageChanged(
            f"Row {row}: {path} was there when the job was planned ({error.strerror}). {again}"
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ImageChanged(f"Row {row}: {path} is not the image that it was when the job was planned. {again}")
    return content


def perceptual_hash(image: Image.Image) -> str | None:
    """A hash of what an image shows, equal or nearly so after resizing and saving again.

    The signs of the 64 lowest frequencies of a 32 x 32 grey copy against their median (the "pHash" of Zauner,
    Implementation and Benchmarking of Perceptual Image Hash Functions, 2010).

    Returns:
        16 hex digits; None where nothing is shown, since all plain areas would be the same image.
    """
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), np.float64)
    low = _COSINES @ grey @ _COSINES.T
    rest = low.ravel()[1:]
    if np.abs(rest).max() < 32:  # an edge of one grey level over the whole height gives 10 to 30
        return None
    bits = np.concatenate([[0], rest > np.median(rest)]).astype(np.uint8)
    return np.packbits(bits).tobytes().hex()


_COSINES = np.cos(np.pi / 32 * (np.arange(32) + 0.5) * np.arange(8)[:, None]) / 4


def _check(image: Image.Image, content: bytes) -> list[str]:
    """Refuse by what the header says, before any pixel is decoded."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_many()
    if min(width, height) < MIN_SIDE:
        raise BadImage("too-small", f"has {width} x {height} pixels; {MIN_SIDE} x {MIN_SIDE} is the least.")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadImage(
            "too-narrow", f"has {width} x {height} pixels; a side may be {MAX_ASPECT} times the other at most."
        )
    if other := _also(content):
        raise BadImage("polyglot", f"is {image.format} and {other} in one file. Save it anew as an image alone.")
    try:
        several = bool(getattr(image, "is_animated", False))
    except UNREADABLE as error:
        raise _damaged(error) from error
    if several and image.format != "MPO":
        raise BadImage("animated", "is animated. Save the frame that is meant as an image of its own.")
    return ["first-frame"] if several else []


def _also(content: bytes) -> str | None:
    """What else a file is, by the places where other programs look."""
    end = content.rfind(_ZIP_END, max(0, len(content) - _ZIP_END_BYTES - _ZIP_COMMENT))
    if end >= 0 and end + _ZIP_END_BYTES + int.from_bytes(content[end + 20 : end + 22], "little") == len(content):
        return "ZIP"
    if b"%PDF-" in content[:_PDF_WITHIN]:
        return "PDF"
    return "HTML or a script" if _SCRIPT.search(content) else None


def _rgb(image: Image.Image, changes: list[str]) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey; Pillow's own conversion cuts all above 255 to white
        changes.append("16-bit")
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        changes.append("transparency")
        image = on_white(image)
    if image.mode == "CMYK":
        changes.append("cmyk")
    return image.convert("RGB")


def _format(image: Image.Image) -> str:
    return "JPEG" if image.format == "MPO" else str(image.format)


def _too_many() -> BadImage:
    return BadImage("too-many-pixels", f"has more than {MAX_PIXELS:,} pixels. Make it smaller.")


def _damaged(error: BaseException) -> BadImage:
    return BadImage("damaged", f"is cut off or damaged ({error or type(error).__name__}). Download it again.")
