"""A page is drawn again when, and only when, something about it has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.pages.drawn import write_page
from tasks.pages.page import Page


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "report.py").write_text("title = 'A'\n")
    return folder


def _never() -> Page:
    raise AssertionError("drawn again")


def test_a_page_that_would_be_the_same_is_not_drawn_again(tmp_path: Path, code: Path) -> None:
    path = write_page(tmp_path / "report.html", "figures", code, lambda: Page("A"))
    before = path.read_bytes()
    assert before.startswith(Page("A").html().encode())
    write_page(path, "figures", code, _never)
    assert before == path.read_bytes()


@pytest.mark.parametrize("changed", ["the figures", "the code", "a byte of the page", "its last line", "it is gone"])
def test_a_page_is_drawn_again_when_something_has_changed(tmp_path: Path, code: Path, changed: str) -> None:
    path = write_page(tmp_path / "report.html", "figures", code, lambda: Page("A"))
    whole = path.read_bytes()
    if changed == "the code":
        (code / "report.py").write_text("title = 'B'\n")
    elif changed == "a byte of the page":
        path.write_bytes(whole.replace(b"<h1>A", b"<h1>X"))
    elif changed == "its last line":
        path.write_bytes(whole[:-9])
    elif changed == "it is gone":
        path.unlink()
    write_page(path, "other" if changed == "the figures" else "figures", code, lambda: Page("B"))
    assert path.read_bytes().startswith(Page("B").html().encode())
