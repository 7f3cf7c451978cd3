"""What a reviewer sees of a row's image: a thumbnail that travels in the record, or an address.

::

    Images("images/train2017")                               "000000033471.jpg" -> "data:image/jpeg;base64,/9j/4AAQ…"
    Images("http://images.cocodataset.org/train2017/{image}")                   -> "http://…/train2017/000000033471.jpg"
    Images("")                                                                  -> None

A missing or unreadable image does not cost the record: it is shown without, and is named in ``problems``.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlsplit

from PIL import Image

from tasks.pictures.formats import FORMATS, UNREADABLE, on_white, upright
from tasks.storage.errors import PermanentError

SIDE = 512  # pixels of a thumbnail's longer side; as a JPEG at most some 400 KB, Argilla takes 5,000,000 characters
MAX_ADDRESS = 2_038  # characters of an address that Argilla takes

_QUALITY = 85
_FORMATS = (*FORMATS, "TIFF")  # of a container, its first page is shown


class Images:
    """Where a dataset's images are.

    Args:
        spec: Their folder, an http address with ``{image}`` in it, or nothing.

    Raises:
        PermanentError: It is neither.
    """

    def __init__(self, spec: str) -> None:
        self._template = spec if "{image}" in spec else ""
        self._folder = Path(spec).expanduser() if spec and not self._template else None
        self.problems: dict[str, str] = {}  # name -> why it is not shown
        self._last: tuple[str, str | None] = ("", None)
        if self._template and urlsplit(spec).scheme not in ("http", "https"):
            raise PermanentError(f"images={spec!r} is no address. It has to begin with http:// or https://.")
        if self._folder and not self._folder.is_dir():
            raise PermanentError(
                f"images={spec!r} is no folder on this machine. Give their folder, or an address with {{image}} in it."
            )

    def shown(self, name: str | None) -> str | None:
        """A data URI or an address for an image's name; None where there is nothing to show."""
        if not name or not (self._folder or self._template):
            return None
        if name != self._last[0]:  # the turns of a row come one after the other
            self._last = (name, self._show(name))
        return self._last[1]

    def _show(self, name: str) -> str | None:
        try:
            _check_name(name)
            return _thumbnail(self._folder / name) if self._folder else self._address(name)
        except FileNotFoundError:
            self.problems[name] = "is not there"
        except UNREADABLE as error:
            self.problems[name] = f"{error or type(error).__name__}"
        return None

    def _address(self, name: str) -> str:
        address = self._template.replace("{image}", quote(name))
        if len(address) > MAX_ADDRESS:
            raise ValueError(f"its address has {len(address)} characters, {MAX_ADDRESS} is the limit")
        return address


def _thumbnail(path: Path) -> str:
    """A small JPEG, upright, without transparency and without the file's own notes (place, camera)."""
    with Image.open(path, formats=_FORMATS) as image:
        pixels, limit = image.width * image.height, Image.MAX_IMAGE_PIXELS or 0
        if pixels > limit:  # Pillow itself only warns up to twice as many
            raise ValueError(f"has {pixels} pixels, {limit} is the limit")
        image.thumbnail((SIDE, SIDE))
        small = upright(image)
        if small.has_transparency_data:
            small = on_white(small)
        file = io.BytesIO()
        small.convert("RGB").save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _check_name(name: str) -> None:
    """Names come from the data; only the user's folder decides where files are, by links too."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError("its name leads out of the folder")
