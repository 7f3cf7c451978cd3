"""Making a server's database and deploying everything is done once for all tests that do not look at that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.local_prefect import UNSCHEDULED, LocalPrefect


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Home of a server that has ended, with every deployment, pool and automation."""
    with LocalPrefect(tmp_path_factory.mktemp("deployed"), None, **UNSCHEDULED) as local:
        local.deploy()
        local.stop()
    return local.home
