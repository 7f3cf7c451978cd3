"""HTTP/1.1 for services that are asked thousands of times, over aiohttp: a third of httpx's CPU (decisions.md, "HTTP").

One client serves all requests of the process to one address. What the environment says holds as for httpx: HTTP_PROXY,
HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE, SSL_CERT_DIR. Redirects are answers like others, and nothing is sent twice
but a GET whose idle connection the server had just closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from tasks.remote.errors import Denied, NoAnswer, Unreachable

if TYPE_CHECKING:
    from ssl import SSLContext

    import aiohttp

_KEPT_SECONDS = 5.0  # an idle connection: many servers close theirs then
_HEADER_BYTES = 65_536  # of one line


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer; named as httpx names it, so that either can be read.

    Args:
        status_code: Of its first line.
        headers: Looked up without regard to case.
        content: Decompressed.
        encoding: Of the content, where it is text.
    """

    status_code: int
    headers: Mapping[str, str]
    content: bytes
    encoding: str = "utf-8"

    @property
    def text(self) -> str:
        """The content as text; what is none becomes U+FFFD."""
        return self.content.decode(self.encoding, "replace")


class Http:
    """Asks one address.

    Args:
        name: Whom it asks, for messages.
        setting: What its settings begin with, for messages: ``TRASVASE_MISTRAL``.
        base: URL that a request's path is appended to.
        timeout_seconds: Until the whole answer is there.
        connect_seconds: Of it, until the connection is there.
        headers: Of every request.
    """

    def __init__(
        self,
        name: str,
        setting: str,
        base: str,
        timeout_seconds: float,
        connect_seconds: float,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._name = name
        self._setting = setting
        self._base = base.rstrip("/")
        self._seconds = timeout_seconds
        self._connect_seconds = min(connect_seconds, timeout_seconds)
        self._headers = headers
        self._session: aiohttp.ClientSession | None = None

    async def send(self, method: str, path: str, body: bytes | None = None) -> Response:
        """Send one request; any status is an answer.

        Args:
            method: In capitals.
            path: With its query; percent-encoded.
            body: Its bytes.

        Raises:
            Unreachable: No connection.
            NoAnswer: The request went out, and no whole answer came back in time.
            Denied: The base is no address, or the environment's proxy is of a kind that cannot be used.
        """
        import aiohttp
        from yarl import URL

        try:
            url = URL(self._base + path, encoded=True)
            session = self._session or self._open()
            async with session.request(method, url, data=body, allow_redirects=False) as response:
                content = await response.read()
                return Response(response.status, response.headers, content, response.get_encoding())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError) as error:
            raise self.unreachable(error) from error
        except (aiohttp.NonHttpUrlClientError, ValueError) as error:  # InvalidURL is a ValueError
            raise self.no_address(error) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self.unanswered(error) from error

    def unreachable(self, error: Exception) -> Unreachable:
        """What it means that there is no connection."""
        return Unreachable(
            f"{self._name} cannot be reached ({type(error).__name__}). Check the network and {self._setting}_URL, then "
            "retry: answers so far are kept."
        )

    def unanswered(self, error: Exception) -> NoAnswer:
        """What it means that a request went out, and no whole answer came back."""
        return NoAnswer(
            f"{self._name} gave no whole answer within {self._seconds:g} s ({type(error).__name__}). "
            f"Retry: answers so far are kept. {self._setting}_TIMEOUT_SECONDS waits longer."
        )

    def no_address(self, error: Exception) -> Denied:
        """What it means that the base is none."""
        return Denied(f"{self._setting}_URL={self._base!r} is no address: {error}")

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp  # 0.2 s to import

        proxy = proxy_of(self._base)
        ssl: bool | SSLContext = True
        if any(url is not None and url.startswith("https:") for url in (self._base, proxy)):
            import httpx

            ssl = httpx.create_ssl_context()  # takes 0.1 s, and the import 0.2
        self._session = aiohttp.ClientSession(
            # As many connections as there are requests under way: the gate counts them.
            connector=aiohttp.TCPConnector(
                limit=0,
                keepalive_timeout=_KEPT_SECONDS,
                ssl=ssl,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(self._seconds, self._connect_seconds),
            proxy=proxy,
            max_line_size=_HEADER_BYTES,
            max_field_size=_HEADER_BYTES,
        )
        return self._session


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for a URL; None where it names none, or says that this host needs none.

    Raises:
        Denied: It is of a kind that cannot be used.
    """
    parts, proxies = urlsplit(url), getproxies()
    found = proxies.get(parts.scheme) or proxies.get("all")
    if not found or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    found = found if "://" in found else f"http://{found}"
    if urlsplit(found).scheme not in ("http", "https"):
        raise Denied(
            f"The environment names a proxy of the kind {urlsplit(found).scheme!r} for {url}; only http and https can be "
            f"used. Set {parts.scheme.upper()}_PROXY to such a one, or name the host in NO_PROXY."
        )
    return found
