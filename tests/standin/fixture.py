"""The stand-in as a fixture, and the way to it for a client that insists on https://translate.googleapis.com.

In a conftest, or a test module: ``pytest_plugins = ["tests.standin.fixture"]``.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.standin import GoogleStandIn


class ToStandIn(httpx.AsyncBaseTransport):
    """Sends every request to the stand-in, whatever host it names."""

    def __init__(self, standin: GoogleStandIn) -> None:
        self._port = standin.port
        self._inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.fixture(scope="session")
def google_server() -> Iterator[GoogleStandIn]:
    """One stand-in for the whole session, with the committed pairs."""
    with GoogleStandIn() as standin:
        yield standin


@pytest.fixture
def google_standin(google_server: GoogleStandIn) -> GoogleStandIn:
    """The stand-in as new: nothing asked, no latency, no fault."""
    google_server.reset()
    return google_server
