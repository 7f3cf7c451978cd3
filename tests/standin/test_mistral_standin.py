"""The stand-in speaks Mistral's wire, as the real SDK reads it, and says that it is a recording."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mistralai.client import Mistral, errors
from mistralai.client.models import ChatCompletionResponse
from mistralai.extra import response_format_from_pydantic_model
from pydantic import BaseModel

from tests.standin import MistralStandIn
from tests.standin.jokes import Joke, Jokes

MODEL = "mistral-small-2603"
JOKES = [
    {"transcript": "mi suegra subi al micro y no pag", "corrected_transcript": "Mi suegra subió al micro y no pagó."},
    {"transcript": "este otro chiste no se cont esa noche", "corrected_transcript": "Este otro no se contó esa noche."},
]
WINDOW = "<transcript>\n[00:01] buenas noches mi suegra subi\n[00:09] al micro y no pag jajaja\n</transcript>"


class Found(BaseModel):
    quote: str
    start_mark: str
    end_mark: str
    text: str


class Repertoire(BaseModel):
    jokes: list[Found]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MistralStandIn]:
    path: Path = tmp_path_factory.mktemp("jokes") / "jokes.jsonl"
    path.write_text("\n".join(map(json.dumps, JOKES)))
    with MistralStandIn(jokes=path) as standin:
        yield standin


@pytest.fixture
def standin(server: MistralStandIn) -> MistralStandIn:
    server.reset()
    return server


def _complete(standin: MistralStandIn, text: str, key: str = "k", **more: Any) -> ChatCompletionResponse:
    with Mistral(api_key=key, server_url=standin.url, timeout_ms=60_000) as sdk:
        answer: ChatCompletionResponse = sdk.chat.complete(
            model=MODEL, messages=[{"role": "user", "content": text}], **more
        )
        return answer


def _text(answer: ChatCompletionResponse) -> str:
    assert answer.choices[0].message is not None
    return str(answer.choices[0].message.content)


def test_the_sdk_reads_its_answers_and_sees_that_they_are_recorded(standin: MistralStandIn) -> None:
    answer = _complete(standin, "¿Qué hay?")

    assert ("¿QUÉ HAY?", "stop") == (_text(answer), answer.choices[0].finish_reason)
    assert (f"recorded-{MODEL}", 3, 3) == (answer.model, answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert "trasvase stand-in" == httpx2.get(f"{standin.url}/v1/models").headers["x-recording"]


def test_the_sdk_lists_its_models(standin: MistralStandIn) -> None:
    with Mistral(api_key="k", server_url=standin.url) as sdk:
        listed = sdk.models.list().data or []

    assert [MODEL, "mistral-medium-3.5", "mistral-large-4"] == [card.id for card in listed if card.type == "base"]


def test_recorded_jokes_are_found_in_the_window_with_their_marks(standin: MistralStandIn) -> None:
    answer = _complete(standin, WINDOW, response_format=response_format_from_pydantic_model(Repertoire))

    jokes = Repertoire.model_validate_json(_text(answer)).jokes
    first = JOKES[0]
    assert jokes == [
        Found(quote=first["transcript"], start_mark="00:01", end_mark="00:09", text=first["corrected_transcript"])
    ]
    assert 1 == standin.stats()["recorded"]


def test_half_a_joke_is_none() -> None:
    jokes = Jokes(Joke(**joke) for joke in JOKES)

    assert [] == jokes.among(["al micro y no pag jajaja"])
    assert [] == jokes.among([])


@pytest.mark.parametrize(
    ("switches", "status"),
    [
        ({"key": "other"}, 401),
        ({"credit": 0}, 402),
        ({"retired": MODEL}, 400),
        ({"unlisted": MODEL}, 400),
        ({"limit_minute": 0}, 429),
        ({"p429": 1}, 429),
        ({"p503": 1}, 503),
        ({"p_html": 1}, 200),
        ({"refuse": "hola"}, 400),
        ({"fail": "hola"}, 503),
        ({"down": 1}, 503),
    ],
)
def test_each_switch_has_its_status(standin: MistralStandIn, switches: dict[str, Any], status: int) -> None:
    standin.switch(**switches)
    with pytest.raises(errors.MistralError) as error:
        _complete(standin, "hola")
    assert status == error.value.status_code


@pytest.mark.parametrize("switch", ["p_cut", "p_reset", "p_hang"])
def test_an_answer_may_break_off_or_never_come(standin: MistralStandIn, switch: str) -> None:
    standin.switch(**{switch: 1})
    with pytest.raises((httpx2.TransportError, errors.MistralError)):
        _complete(standin, "hola", timeout_ms=300)


def test_a_bucket_refuses_what_is_too_fast_and_says_what_it_allows(standin: MistralStandIn) -> None:
    standin.switch(rps=0.1, rps_burst=2)  # 10 s until the next one: a busy machine takes its time
    for _ in range(2):
        _complete(standin, "hola")
    with pytest.raises(errors.MistralError) as error:
        _complete(standin, "hola")

    headers = error.value.headers
    assert ("6", "0") == (headers["x-ratelimit-limit-req-minute"], headers["x-ratelimit-remaining-req-minute"])


def test_a_field_that_the_service_does_not_know_is_refused(standin: MistralStandIn) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "a"}], "seed": 1}
    assert 422 == httpx2.post(f"{standin.url}/v1/chat/completions", json=body).status_code


def test_what_is_asked_twice_is_counted_and_pings_are_not(standin: MistralStandIn) -> None:
    for text in ("a", "a", "b", "ping", "ping"):
        _complete(standin, text)

    stats = standin.stats()
    assert (5, 2, 1, 2) == (stats["answered"], stats["distinct"], stats["paid_again"], stats["pings"])
    assert [2, 1] == list(standin.asked().values())
