"""Google's public web translator, through googletrans 4.0.2.

Unofficial, without a promise, and against Google's terms for automated use: keep the rate low, and see the README for
engines that you may use freely. What travels is plain sentences, one per line::

    q = "A man rides a bus.\\nIt is red."
    ->  [[["Un hombre viaja en autobús.\\n", "A man rides a bus.\\n", …], ["Es rojo.", "It is red.", …]], …]

Three habits of googletrans are worked around here, each measured (docs/decisions.md, "googletrans"): an error comes back
as the *source text* unless ``raise_exception`` is set; errors have no type, so a hook on the response decides first; and
``client=gtx``, its default, is answered with 429 since August 2026, so the client is a setting that is probed.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
from pydantic import BaseModel, Field

from tasks.remote.errors import BadAnswer, Denied, Echoed, Misaligned, Throttled, TooLarge, Unreachable
from tasks.remote.http import Http, Response
from tasks.remote.retry import seconds_of
from tasks.translators.protocol import Limits

VERSION = "4.0.2"
GOOGLE = "https://translate.googleapis.com"
_CONNECT_SECONDS = 5.0
_TO_QUOTE = re.compile(rb"[^A-Za-z0-9_.~ -]")


class Options(BaseModel):
    """Settings, read from ``TRASVASE_GOOGLE_…``."""

    url: str | None = Field(None, description="Base URL instead of https://translate.googleapis.com.")
    client: str = Field(
        "dict-chrome-ex,at,gtx", description="Client ids to probe, in order; the first that answers is used."
    )
    rate: float = Field(4.0, gt=0, description="Requests per second to begin with.")
    max_rate: float = Field(8.0, gt=0, description="Requests per second at most.")
    at_once: int = Field(8, ge=1, le=24, description="Requests under way; more gains nothing.")
    timeout_seconds: float = Field(20.0, gt=0, description="How long to wait for an answer.")


def open_translator(options: Options, source: str, target: str) -> Google:
    """Make the translator; nothing is sent yet."""
    return Google(options, source, target)


class Google:
    """One client for the whole process."""

    name = f"google/{VERSION}"

    def __init__(self, options: Options, source: str, target: str) -> None:
        self.limits = Limits(at_once=options.at_once, rate=options.rate, max_rate=options.max_rate)
        self._options = options
        self._languages = (source, target)
        self._clients = [client.strip() for client in options.client.split(",") if client.strip()]
        self._chosen: str | None = self._clients[0] if len(self._clients) == 1 else None
        self._probing = asyncio.Lock()
        self._library: Any = None
        self._closing: Callable[[], Awaitable[None]] | None = None

    async def translate(self, texts: Sequence[str]) -> list[str]:
        """Translate one request's texts.

        Raises:
            Throttled: 429, or a page that asks whether we are a robot.
            TooLarge: 400, 413 or 414.
            Denied: 401 or 403, for every client id.
            Unreachable: No connection, no whole answer in time, 5xx.
            BadAnswer: 200 with HTML or with broken JSON.
            Misaligned: The echoed source is not what was asked.
            Echoed: The source came back untranslated.
        """
        if self._chosen is None:
            async with self._probing:
                if self._chosen is None:
                    return await self._probe(texts)
        return await self._request(texts, self._chosen)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._closing is not None:
            await self._closing()

    async def _probe(self, texts: Sequence[str]) -> list[str]:
        """Try the client ids on real work, so that the probe costs nothing when the first one answers."""
        last: Denied | Throttled | None = None
        for client in self._clients:
            try:
                answer = await self._request(texts, client)
            except (Denied, Throttled) as error:
                last = error
            else:
                self._chosen = client
                return answer
        assert last is not None, "Options.client names at least one client"
        raise last

    async def _request(self, texts: Sequence[str], client: str) -> list[str]:
        source, target = self._languages
        try:
            result = await self._translator().translate(
                "\n".join(texts), src=source, dest=target, client=client, dt="t"
            )
        except httpx.TransportError as error:
            raise Unreachable(
                f"{self._where()} cannot be reached ({type(error).__name__}). Check the network and TRASVASE_GOOGLE_URL, "
                "then retry: answers so far are kept."
            ) from error
        except (json.JSONDecodeError, TypeError, IndexError, KeyError, UnicodeDecodeError) as error:
            raise BadAnswer(f"{self._where()} gave something that is not its JSON ({type(error).__name__}).") from error
        except ValueError as error:
            raise Denied(
                f"googletrans does not know these languages: {source} to {target} ({error}). "
                "Its codes are such as 'pt', 'zh-cn' and 'qu'."
            ) from error
        segments = result.extra_data["translation"]
        if not isinstance(segments, list):
            raise BadAnswer(f"{self._where()} gave an answer without sentences.")
        answers = align(texts, segments)
        # A refusal may come as 200 with the source. Short lines in it ("Yes, it is.") would pass every later check.
        if answers == list(texts) and any(text.count(" ") >= 3 for text in texts):
            raise Echoed(f"{self._where()} gave {len(texts)} texts back untranslated.")
        return answers

    def _translator(self) -> Any:
        if self._library is None:
            from googletrans import Translator  # 0.2 s to import

            seconds = self._options.timeout_seconds
            library = Translator(raise_exception=True, timeout=httpx.Timeout(seconds, connect=_CONNECT_SECONDS))
            ask: Callable[[str], Awaitable[Response | httpx.Response]]
            if self._options.url is None:
                self._closing = library.client.aclose
                ask = partial(_ask_google, library.client)
            else:
                agent = {"user-agent": library.client.headers["user-agent"]}
                http = Http(self._where(), "TRASVASE_GOOGLE", self._options.url, seconds, _CONNECT_SECONDS, agent)
                self._closing = http.aclose
                ask = partial(http.send, "GET")
            library.client = _Client(ask, self._judge)
            self._library = library
        return self._library

    def _judge(self, response: Response | httpx.Response) -> None:
        """Decide what an answer is while it is in hand: googletrans would only raise a bare Exception."""
        status, kind = response.status_code, response.headers.get("content-type", "")
        if status == 429 or (status == 503 and "retry-after" in response.headers):
            raise Throttled(
                f"{self._where()} asks for a pause ({status}).", seconds_of(response.headers.get("retry-after"))
            )
        if status in (400, 413, 414):
            raise TooLarge(f"{self._where()} does not take this request ({status}).")
        if status in (401, 403):
            raise Denied(
                f"{self._where()} does not serve this client id ({status}). "
                "Set TRASVASE_GOOGLE_CLIENT to another client id (`trasvase doctor` shows which answer)."
            )
        if status != 200:
            raise Unreachable(f"{self._where()} is in trouble ({status}).")
        if "json" not in kind:
            raise BadAnswer(f"{self._where()} gave {kind or 'nothing'} instead of JSON.")

    def _where(self) -> str:
        return f"Google's translator at {self._options.url or GOOGLE}"


def align(texts: Sequence[str], segments: Sequence[Sequence[Any]]) -> list[str]:
    """Lay the answered sentences beside the texts, walking the source that the service echoes.

    Lines are never counted: the service merges, splits and drops them. White space is not compared.

    Args:
        texts: What was asked, in order.
        segments: ``[translation, source, …]`` each, as in the answer's first element.

    Returns:
        One translation per text.

    Raises:
        Misaligned: A sentence spans two texts, or something is missing.
    """
    parts = [(str(s[0] or ""), str(s[1])) for s in segments if len(s) > 1 and s[1] is not None]
    if len(texts) == 1:  # nothing to confuse it with, so only a cut tail is a fault
        if sum(len(part[1]) for part in parts) < 0.9 * len(texts[0]):
            raise Misaligned("The answer covers only a part of the text.")
        return [_one_line("".join(part[0] for part in parts))]
    answers, at = [], 0
    for text in texts:
        if text and at < len(parts) and parts[at][1].rstrip() == text:  # nearly always
            answers.append(_one_line(parts[at][0]))
            at += 1
            continue
        wanted, echoed, translated = "".join(text.split()), "", ""
        while len(echoed) < len(wanted):
            if at == len(parts):
                raise Misaligned("The answer ends before the last text.")
            translated += parts[at][0]
            echoed += "".join(parts[at][1].split())
            at += 1
        if echoed != wanted:
            raise Misaligned("The service drew two texts together.")
        answers.append(_one_line(translated))
    if any(echoed.strip() for _, echoed in parts[at:]):
        raise Misaligned("The answer has more than was asked.")
    return answers


def _one_line(translated: str) -> str:
    """A text is one line; a line break that the service put into it is a space."""
    translated = translated.strip()
    return " ".join(line.strip() for line in translated.split("\n")) if "\n" in translated else translated


class _Client:
    """What googletrans asks of httpx. The query is ours: httpx reads it character by character, several times.

    Args:
        ask: Sends a GET for a path with its query.
        judge: Raises where the answer is none.
    """

    def __init__(
        self,
        ask: Callable[[str], Awaitable[Response | httpx.Response]],
        judge: Callable[[Response | httpx.Response], None],
    ) -> None:
        self._ask = ask
        self._judge = judge

    async def get(self, url: str, params: Mapping[str, Any]) -> Response | httpx.Response:
        """Send a request for the path of ``url`` to where we send them."""
        response = await self._ask(f"{urlsplit(url).path}?{urlencode(params, doseq=True, quote_via=_quote)}")
        self._judge(response)
        return response


async def _ask_google(http: httpx.AsyncClient, path: str) -> httpx.Response:
    """Over HTTP/2, in which browsers ask it, and of which aiohttp knows nothing."""
    # One more word from httpx: https://www.python-httpx.org/advanced/extensions/#target
    return await http.get(GOOGLE, extensions={"target": path.encode()})


def _quote(text: str | bytes, *_: object) -> str:
    """What ``quote_plus(text)`` says, 3 times as fast on a pack: only what has to change is looked at."""
    data = text.encode() if isinstance(text, str) else text
    quoted = _TO_QUOTE.sub(lambda found: b"%%%02X" % ord(found[0]), data)
    return quoted.replace(b" ", b"+").decode()
