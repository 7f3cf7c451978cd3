"""The client of both services: connections, proxies and certificates from the environment, what each trouble is called."""

from __future__ import annotations

import asyncio
import base64
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tasks.remote.errors import Denied, NoAnswer, Unreachable
from tasks.remote.http import Http, Response, proxy_of

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Served:
    """A server that gives one and the same bytes for each request, and remembers what came over which connection."""

    def __init__(self, answer: bytes, keep: int = 1_000) -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self._answer = answer
        self._keep = keep  # requests after which it closes a connection

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        for _ in range(self._keep):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            self.heads.append(head)
            writer.write(self._answer)
        writer.close()


@asynccontextmanager
async def _listening(served: Served, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def _http(base: str) -> Http:
    return Http("The service", "TRASVASE_SERVICE", base, 30.0, 30.0, {"x-one": "1"})


def _ask(served: Served, work: Callable[[Http], Awaitable[Response]], base: str = "http://127.0.0.1:{}") -> Response:
    async def one() -> Response:
        async with _listening(served) as port:
            http = _http(base.format(port))
            try:
                return await work(http)
            finally:
                await http.aclose()

    return asyncio.run(one())


def _get(http: Http) -> Awaitable[Response]:
    return http.send("GET", "/path?q=%20a+b")


def test_the_path_goes_out_as_it_is_under_the_path_of_the_base() -> None:
    served = Served(OK)

    assert b"ok" == _ask(served, _get, "http://127.0.0.1:{}/base/").content
    assert served.heads[0].startswith(b"GET /base/path?q=%20a+b HTTP/1.1\r\n")
    assert b"x-one: 1\r\n" in served.heads[0]


def test_one_connection_carries_requests_one_after_the_other() -> None:
    async def thrice(http: Http) -> Response:
        for _ in range(2):
            await http.send("POST", "/", b"{}")
        return await http.send("GET", "/")

    served = Served(OK)
    _ask(served, thrice)

    assert 1 == served.connections
    assert 3 == len(served.heads)


def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    async def thrice(http: Http) -> Response:
        for _ in range(3):
            response = await http.send("POST", "/")
            await asyncio.sleep(0.01)
        return response

    served = Served(OK, keep=1)

    assert b"ok" == _ask(served, thrice).content
    assert 3 == served.connections


def test_what_is_compressed_comes_out_whole_and_text_in_its_own_charset() -> None:
    body = gzip.compress("mañana".encode("latin-1"))
    head = f"content-type: text/html; charset=latin-1\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n"

    response = _ask(Served(b"HTTP/1.1 200 OK\r\n" + head.encode() + body), _get)

    assert "mañana" == response.text
    assert "gzip" == response.headers["Content-Encoding"]


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    served = Served(b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n")

    assert 302 == _ask(served, _get).status_code
    assert 1 == len(served.heads)


def test_a_long_header_is_taken() -> None:
    answer = OK.replace(b"\r\n\r\n", b"\r\nx-long: " + b"a" * 30_000 + b"\r\n\r\n")

    assert 30_000 == len(_ask(Served(answer), _get).headers["x-long"])


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", b"\x00\x01 no HTTP\r\n\r\n",
     b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nok"],
)  # fmt: skip
def test_what_is_no_whole_answer_is_told(answer: bytes) -> None:
    with pytest.raises(
        NoAnswer, match=r"The service gave no whole answer within 30 s .*TRASVASE_SERVICE_TIMEOUT_SECONDS"
    ):
        _ask(Served(answer, keep=1), _get)


@pytest.mark.parametrize("base", ["127.0.0.1:80", "ftp://127.0.0.1", "http://", "http://[::1", "http://127.0.0.1:x"])
def test_what_is_no_address_is_told(base: str) -> None:
    with pytest.raises(Denied, match=r"TRASVASE_SERVICE_URL=.* is no address"):
        asyncio.run(_http(base).send("GET", "/"))


class TestProxies:
    def test_a_request_goes_to_the_proxy_that_the_environment_names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def one() -> Response:
            async with _listening(served) as port:
                monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@127.0.0.1:{port}")
                http = _http("http://service.test")
                try:
                    return await http.send("GET", "/path")
                finally:
                    await http.aclose()

        served = Served(OK)

        assert b"ok" == asyncio.run(one()).content
        assert served.heads[0].startswith(b"GET http://service.test/path HTTP/1.1\r\n")
        assert b"Proxy-Authorization: Basic " + base64.b64encode(b"me:secret") in served.heads[0]

    def test_a_proxy_that_refuses_is_no_connection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def one() -> None:
            async with _listening(served) as port:
                monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{port}")
                http = _http("https://service.test")
                try:
                    await http.send("GET", "/")
                finally:
                    await http.aclose()

        served = Served(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")

        with pytest.raises(Unreachable, match=r"cannot be reached \(ClientHttpProxyError\)") as error:
            asyncio.run(one())
        assert not isinstance(error.value, NoAnswer)
        assert served.heads[0].startswith(b"CONNECT service.test:443 HTTP/1.1\r\n")

    @pytest.mark.parametrize(
        ("env", "proxy"),
        [
            ({}, None),
            ({"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
            ({"https_proxy": "p:1"}, "http://p:1"),
            ({"ALL_PROXY": "http://p:1"}, "http://p:1"),
            ({"HTTP_PROXY": "http://p:1"}, None),
            ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
            ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "localhost, .mistral.ai"}, None),
            ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "mistral.ai"}, None),
            ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "stral.ai"}, "http://p:1"),
        ],
    )
    def test_the_environment_names_it_as_for_other_programs(
        self, monkeypatch: pytest.MonkeyPatch, env: dict[str, str], proxy: str | None
    ) -> None:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        assert proxy == proxy_of("https://api.mistral.ai:443/v1")

    def test_a_proxy_of_another_kind_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ALL_PROXY", "socks5://p:1")
        with pytest.raises(Denied, match=r"'socks5' for https://a.test; only http and https.*HTTPS_PROXY.*NO_PROXY"):
            asyncio.run(_http("https://a.test").send("GET", "/"))


def test_a_certificate_counts_when_the_environment_names_who_signed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = _certificate(tmp_path / "own.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pem)

    async def one() -> Response:
        async with _listening(Served(OK), tls) as port:
            http = _http(f"https://localhost:{port}")
            try:
                return await http.send("GET", "/")
            finally:
                await http.aclose()

    with pytest.raises(Unreachable, match=r"cannot be reached \(ClientConnectorCertificateError\)"):
        asyncio.run(one())
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    assert b"ok" == asyncio.run(one()).content


def _certificate(path: Path) -> Path:
    """Key and certificate of localhost, signed by itself."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
        .sign(key, hashes.SHA256())
    )
    own = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(own + signed.public_bytes(serialization.Encoding.PEM))
    return path
