"""One Argilla for all tests that want one, each makes a workspace of its own; a browser's page; a small disk.

Hypothesis gets no clock. What takes minutes goes first, then the files with most tests.
"""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.reviews.local_argilla import PATIENCE_MS, LocalArgilla

# A busy machine is slow, and that is no fault of what is tested.
settings.register_profile("trasvase", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("trasvase")

# The longest first: a file is one process's, and a long one that comes last leaves the other core idle. Kill points fork,
# so they come before anything has left a thread in their process. The first and the third file are one process's.
LONG = (
    "kill_points/test_translate.py",
    "kill_points/test_routines.py",
    "kill_points/test_jokes.py",
    "flows/test_review.py",
    "flows/test_evaluation.py",
    "flows/test_compare.py",
    "flows/test_translate_llava.py",
    "flows/test_jokes.py",
    "flows/test_automations.py",
    "flows/test_serve.py",
    "flows/test_finetune.py",
    "flows/test_splits.py",
    "flows/test_classify.py",
    "flows/test_memes.py",
    # few tests, of which some take a minute
    "test_walk.py",
    "jokes/test_real.py",
    "memes/test_easyocr.py",
    "test_disk.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    at = {Path(__file__).parent / name: number for number, name in enumerate(LONG)}
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (at.get(item.path, len(LONG)), -tests[item.path]))


@pytest.fixture(scope="session")
def argilla(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalArgilla]:
    with LocalArgilla(tmp_path_factory.mktemp("argilla")) as local:
        yield local


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    """A page of a new Chromium."""
    from playwright.sync_api import expect, sync_playwright

    flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            tmp_path / "chromium",
            executable_path="/usr/bin/chromium",
            headless=True,
            args=[*flags.split(), "--disable-component-update", "--disable-sync"],
            timeout=PATIENCE_MS,
        )
        browser.set_default_timeout(PATIENCE_MS)
        expect.set_options(PATIENCE_MS)
        page = browser.pages[0]
        page.route("**/fonts.googleapis.com/**", lambda route: route.abort())
        yield page
        browser.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 16 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "trasvase", place], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a disk needs root")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)
