"""A page that is written when something about it has changed, and left alone otherwise.

Its last line says what it was made of, and what it is::

    <!-- 5f3b… 91c0… -->
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from tasks.pages.page import Page
from tasks.storage.files import sha256, write_bytes


def write_page(path: Path, made_of: str, code: Path, draw: Callable[[], Page]) -> Path:
    """Write a page unless it is there, whole and made of the same by the same code.

    Args:
        path: Of the HTML file.
        made_of: All that decides the page, as text.
        code: The folder of the code that says what stands on it.
        draw: Makes the page. Matplotlib's import and four plots take 1.5 s of CPU.

    Raises:
        DiskFull: No room; the old page is untouched.
    """
    # Not a version, which somebody would forget to raise.
    files = [file for folder in (code, Path(__file__).parent) for file in sorted(folder.glob("*.py"))]
    made = hashlib.sha256(json.dumps([made_of, version("matplotlib"), *map(sha256, files)]).encode()).hexdigest()
    if not _is_there(path, made):
        html = draw().html().encode()
        write_bytes(path, html + _last_line(made, html))
    return path


def _is_there(path: Path, made: str) -> bool:
    if not path.is_file():
        return False
    html, _, line = path.read_bytes().rpartition(b"<!--")
    return b"<!--" + line == _last_line(made, html)


def _last_line(made: str, html: bytes) -> bytes:
    return f"<!-- {made} {hashlib.sha256(html).hexdigest()} -->\n".encode()
