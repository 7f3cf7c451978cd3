"""One Argilla for all tests that want one; each makes a workspace of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.reviews.local_argilla import LocalArgilla


@pytest.fixture(scope="session")
def argilla(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalArgilla]:
    with LocalArgilla(tmp_path_factory.mktemp("argilla")) as local:
        yield local
