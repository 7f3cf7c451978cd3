"""One Argilla for all tests that want one, each makes a workspace of its own; a browser's page; a small disk.

Hypothesis gets no clock.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.reviews.local_argilla import PATIENCE_MS, LocalArgilla

# A busy machine is slow, and that is no fault of what is tested.
settings.register_profile("trasvase", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("trasvase")


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
