"""Google's wire through the real googletrans: what is asked, how it is laid beside, and what each trouble is called."""

from __future__ import annotations

import asyncio
import string
from collections.abc import Sequence
from typing import Any

import pytest

from tasks.remote.errors import BadAnswer, Denied, Echoed, Misaligned, Throttled, TooLarge, Unreachable
from tasks.translators.google import Options, align, open_translator
from tests.standin import GoogleStandIn
from tests.standin.fixture import google_server, google_standin

__all__ = ["google_server", "google_standin"]

TEXTS = ["A man rides a bus.", "It is red.", "The dog is on the beach today."]


def _translate(standin: GoogleStandIn, texts: Sequence[str] = TEXTS, **options: Any) -> list[str]:
    async def one() -> list[str]:
        translator = open_translator(Options(**{"url": standin.url, "client": "at", **options}), "en", "es")
        try:
            return await translator.translate(texts)
        finally:
            await translator.aclose()

    return asyncio.run(one())


def test_texts_come_back_in_order_in_one_request(google_standin: GoogleStandIn) -> None:
    together = _translate(google_standin)

    assert 1 == google_standin.stats()["requests"]
    assert [_translate(google_standin, [text])[0] for text in TEXTS] == together
    assert not set(together) & set(TEXTS)


def test_what_travels_is_plain_text_without_the_dictionary(google_standin: GoogleStandIn) -> None:
    _translate(google_standin, ["¿100 % & more + <b>?"])
    assert {"¿100 % & more + <b>?": 1} == google_standin.asked()


def test_requests_at_once_each_get_their_answer(google_standin: GoogleStandIn) -> None:
    texts = [f"There are {number} men on the bus." for number in range(8)]
    alone = [_translate(google_standin, [text]) for text in texts]
    google_standin.switch(latency_ms=500)

    async def at_once() -> list[list[str]]:
        translator = open_translator(Options(url=google_standin.url, client="at"), "en", "es")
        try:
            return await asyncio.gather(*(translator.translate([text]) for text in texts))
        finally:
            await translator.aclose()

    assert alone == asyncio.run(at_once())
    assert 2 <= google_standin.stats()["max_in_flight"]


def test_every_character_arrives(google_standin: GoogleStandIn) -> None:
    text = f"All of {string.punctuation} {string.digits} \x7f ñ ß € 中 👍🏽 here."
    _translate(google_standin, [text])
    assert {text: 1} == google_standin.asked()


@pytest.mark.parametrize(
    ("switches", "error", "message"),
    [
        ({"p429": 1, "retry_after": "7"}, Throttled, r"asks for a pause \(429\)"),
        ({"p503": 1}, Unreachable, r"is in trouble \(503\)"),
        ({"p_html": 1}, BadAnswer, "gave text/html; charset=.* instead of JSON"),
        ({"p_trunc": 1}, (Unreachable, BadAnswer), "translator at http"),
        ({"p_reset": 1}, Unreachable, r"gave no whole answer within 30 s \(Client\w+Error\)"),
        ({"p_hang": 1}, Unreachable, r"gave no whole answer within 1 s \(TimeoutError\)"),
        ({"p_merge": 1}, Misaligned, "drew two texts together"),
        ({"p_echo": 1}, Echoed, "gave 3 texts back untranslated"),
        ({"refuse": "bus"}, TooLarge, r"does not take this request \(400\)"),
        ({"max_url": 100}, TooLarge, r"does not take this request \(414\)"),
        ({"block_clients": "at"}, (Denied, Throttled), "does not serve|asks for a pause"),
    ],
)
def test_each_trouble_has_its_type(
    google_standin: GoogleStandIn, switches: dict[str, Any], error: type[Exception], message: str
) -> None:
    google_standin.switch(**switches)
    with pytest.raises(error, match=message):
        _translate(google_standin, timeout_seconds=_patience(switches))


def _patience(switches: dict[str, Any]) -> float:
    return 1.0 if "p_hang" in switches else 30.0


@pytest.mark.parametrize(
    ("switches", "error", "message"),
    [
        ({"p429": 1}, Throttled, "asks for a pause"),
        ({"p_html": 1}, BadAnswer, "instead of JSON"),
        ({"p_reset": 1}, Unreachable, r"cannot be reached \((ReadError|RemoteProtocolError)\)"),
        ({"p_hang": 1}, Unreachable, r"cannot be reached \(ReadTimeout\)"),
    ],
)
def test_google_itself_is_asked_over_httpx_with_the_same_troubles(
    google_standin: GoogleStandIn,
    monkeypatch: pytest.MonkeyPatch,
    switches: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setattr("tasks.translators.google.GOOGLE", google_standin.url)  # without TLS, so over HTTP/1.1
    there = _translate(google_standin)

    assert there == _translate(google_standin, url=None)
    google_standin.switch(**switches)
    with pytest.raises(error, match=message):
        _translate(google_standin, url=None, timeout_seconds=_patience(switches))


def test_retry_after_is_passed_on(google_standin: GoogleStandIn) -> None:
    google_standin.switch(p429=1, retry_after="7")
    with pytest.raises(Throttled) as error:
        _translate(google_standin)
    assert error.value.retry_after_seconds == 7


def test_the_client_ids_are_probed_on_real_work(google_standin: GoogleStandIn) -> None:
    google_standin.switch(block_clients="dict-chrome-ex,at")

    assert _translate(google_standin, client="dict-chrome-ex, at, gtx") == _translate(google_standin, client="gtx")
    assert 4 == google_standin.stats()["requests"]


def test_when_no_client_id_answers_the_last_word_is_told(google_standin: GoogleStandIn) -> None:
    google_standin.switch(block_clients="at,gtx")
    with pytest.raises((Denied, Throttled)):
        _translate(google_standin, client="at,gtx")


def test_a_service_that_is_not_there_is_named() -> None:
    with GoogleStandIn() as gone:
        pass
    with pytest.raises(Unreachable) as error:
        _translate(gone)
    assert str(error.value) == (
        f"Google's translator at {gone.url} cannot be reached (ClientConnectorError). Check the network and "
        "TRASVASE_GOOGLE_URL, then retry: answers so far are kept."
    )


def test_a_language_that_google_has_not_is_named(google_standin: GoogleStandIn) -> None:
    async def one() -> list[str]:
        return await open_translator(Options(url=google_standin.url, client="at"), "en", "xx").translate(["a"])

    with pytest.raises(Denied, match=r"these languages: en to xx \(.*\)\. Its codes are such as"):
        asyncio.run(one())


def test_a_long_text_goes_through(google_standin: GoogleStandIn) -> None:
    text = "word " * 890 + "end"
    (answer,) = _translate(google_standin, [text])
    assert len(answer) > 2_000


# The walk along the echoed source.


def _segments(*pairs: tuple[str | None, str | None]) -> list[list[str | None]]:
    return [[translated, source, None] for translated, source in pairs]


def test_lines_are_laid_beside_by_the_echo_not_by_counting() -> None:
    segments = _segments(("Uno. ", "One. "), ("Dos.\n", "Two.\n"), ("Tres\n\n", "Three\n"), ("Cuatro", "Four"))
    assert ["Uno. Dos.", "Tres", "Cuatro"] == align(["One. Two.", "Three", "Four"], segments)


def test_a_lost_line_break_does_no_harm() -> None:
    assert ["Uno", "Dos"] == align(["One", "Two"], _segments(("Uno", "One"), ("Dos", "Two")))


def test_a_transliteration_is_no_answer() -> None:
    assert ["Uno", "Dos"] == align(["One", "Two"], _segments(("Uno\n", "One\n"), ("Dos", "Two"), (None, None)))


def test_a_line_break_inside_an_answer_is_a_space() -> None:
    assert ["Uno dos"] == align(["One two"], _segments(("Uno\ndos", "One two")))


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        (_segments(("Uno Dos", "One Two")), "drew two texts together"),
        (_segments(("Uno", "One")), "ends before the last text"),
        (_segments(("Uno", "One"), ("Dos", "Two"), ("Tres", "Three")), "more than was asked"),
        (_segments(("Dos", "Two"), ("Uno", "One")), "drew two texts together"),
    ],
)
def test_what_cannot_be_laid_beside_is_misaligned(segments: Any, message: str) -> None:
    with pytest.raises(Misaligned, match=message):
        align(["One", "Two"], segments)


def test_a_single_text_whose_tail_was_cut_is_misaligned() -> None:
    with pytest.raises(Misaligned, match="only a part"):
        align(["One two three four five"], _segments(("Uno", "One")))
