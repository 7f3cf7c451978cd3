"""Mistral's wire: what is sent, and what each trouble is called."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, Literal

import httpx2
import pytest
from mistralai.client import Mistral, sdkconfiguration
from mistralai.extra import response_format_from_pydantic_model
from pydantic import BaseModel, ConfigDict, Field

from tasks.chat import open_chat, split_model
from tasks.chat.asker import Asker
from tasks.chat.mistral import SERVERS, MistralChat, Options, body_of
from tasks.chat.prices import read_prices
from tasks.chat.protocol import (
    CUT,
    REFUSED,
    UNREADABLE,
    Account,
    BudgetReached,
    Completion,
    Keyed,
    Question,
    Reply,
    Role,
    UnknownModel,
)
from tasks.remote.errors import BadAnswer, Denied, NoAnswer, Throttled, TooLarge, Unreachable
from tasks.remote.journal import Journal
from tasks.settings import read_options
from tasks.storage.errors import PermanentError
from tests.standin import MistralStandIn

MODEL = "mistral-small-2603"


class Joke(BaseModel):
    quote: str
    kind: Literal["pun", "story"]


class Repertoire(BaseModel):
    jokes: list[Joke]


DOCUMENT = "Which jokes?\n<transcript>\n[00:01] la suegra llegó al micro\n[00:09] ¿y el perro? ñandú\n</transcript>"


def _question(text: str = "¿Qué hay?", answer: type[BaseModel] | None = None, **more: Any) -> Question:
    return Question(more.pop("model", MODEL), (("user", text),), "test/1", answer, **more)


def _complete(url: str, question: Question | None = None, **options: Any) -> Completion:
    async def one() -> Completion:
        chat = MistralChat(Options(url=url, **options))
        try:
            return await chat.complete(question or _question())
        finally:
            await chat.aclose()

    return asyncio.run(one())


def _ask(
    url: str, journal: Journal, questions: Sequence[Question], cap: float | None = None, **options: Any
) -> list[Reply]:
    asker = Asker(MistralChat(Options(url=url, **options)), journal, read_prices())
    try:
        return asker.ask(questions, account=Account("job", ("job",), cap))
    finally:
        asker.close()


@contextmanager
def _server(answer: bytes, models: bytes | None = None) -> Iterator[str]:
    """A server that gives one and the same bytes to whoever connects; others to who asks for its models."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    listing = connection.recv(65_536).startswith(b"GET")
                    connection.sendall(models if models and listing else answer)

        Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def _http(status: int, body: object, kind: str = "application/json", headers: str = "") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {len(data)}\r\n{headers}\r\n"
    return head.encode() + data


USAGE = {"prompt_tokens": 3, "completion_tokens": 4}
CHOICE = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hola"}}


def test_an_answer_comes_with_its_model_and_its_bill(standin: MistralStandIn) -> None:
    completion = _complete(standin.url)

    assert ("¿QUÉ HAY?", "stop", f"recorded-{MODEL}") == (completion.text, completion.finish, completion.model)
    assert (3, 3) == (completion.prompt_tokens, completion.completion_tokens)
    assert completion.allowance is not None
    assert 60_000 == completion.allowance.requests_per_minute


class Odd(BaseModel):
    """A schema with all that a strict one changes or keeps."""

    model_config = ConfigDict(extra="allow")

    by_name: dict[str, Joke]
    either: Joke | list[int] | None = Field(None, max_length=3, description="«ñ»")


@pytest.mark.parametrize("answer", [None, Repertoire, Odd])
def test_the_body_is_what_the_sdk_sends(answer: type[BaseModel] | None) -> None:
    messages: list[tuple[Role, str]] = [
        ("system", "Eres ñandú \u2028 \x01 \"'"),
        ("user", "¿Qué hay? 🐦"),
        ("assistant", "Nada."),
        ("user", "</s>"),
    ]
    question = Question(MODEL, tuple(messages), "test/1", answer, temperature=0.7, max_tokens=77, seed=5)
    sent: list[httpx2.Request] = []

    def keep(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(500)

    async def by_the_sdk() -> None:
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(keep)) as client:
            sdk = Mistral(api_key="k", async_client=client)
            await sdk.chat.complete_async(
                model=question.model,
                messages=[{"role": role, "content": content} for role, content in messages],  # type: ignore[arg-type]
                temperature=question.temperature,
                max_tokens=question.max_tokens,
                random_seed=question.seed,
                **({"response_format": response_format_from_pydantic_model(answer)} if answer else {}),  # type: ignore[arg-type]
            )

    with pytest.raises(Exception, match="500"):
        asyncio.run(by_the_sdk())

    assert sent[0].content == body_of(question)
    assert f"{SERVERS['global']}/v1/chat/completions" == str(sent[0].url)


def test_the_servers_are_those_of_the_sdk() -> None:
    assert sdkconfiguration.SERVERS == SERVERS


def test_the_key_and_the_body_travel_as_the_sdk_sends_them(standin: MistralStandIn) -> None:
    question = _question()
    _complete(standin.url, question, api_key="secret")

    (logged,) = standin.log()
    assert ("Bearer secret", body_of(question).decode()) == (logged["authorization"], logged["body"])


def test_the_name_tells_a_compatible_server_from_mistral() -> None:
    assert "mistral" == MistralChat(Options(api_key="k")).name
    assert "mistral@http://127.0.0.1:8000" == MistralChat(Options(url="http://127.0.0.1:8000/")).name


def test_the_key_is_read_under_the_name_that_users_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", "secret")
    monkeypatch.setenv("TRASVASE_MISTRAL_AT_ONCE", "3")

    options = read_options("mistral", Options)

    assert options.api_key is not None
    assert ("secret", 3) == (options.api_key.get_secret_value(), options.at_once)
    assert "secret" not in repr(options)
    assert "mistral" == open_chat("mistral", read_options).name


def test_a_missing_key_is_told_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MISTRAL_API_KEY", raising=False)
    chat = open_chat("mistral", read_options)
    assert isinstance(chat, Keyed)
    with pytest.raises(Denied, match=r"MISTRAL_API_KEY is not set\. Set it to a key .*scripted:upper"):
        chat.check_key()


def test_a_server_of_one_s_own_is_asked_without_a_key() -> None:
    MistralChat(Options(url="http://127.0.0.1:9")).check_key()


@pytest.mark.parametrize("key", ["secret\n", " secret ", "\tsecret\r\n"])
def test_a_key_travels_without_the_blanks_around_it(standin: MistralStandIn, key: str) -> None:
    standin.switch(key="secret")
    assert "HOLA" == _complete(standin.url, _question("hola"), api_key=key).text


@pytest.mark.parametrize(("key", "said"), [("", "is not set"), ("  \n", "is not set"), ("clé", "no key has")])
def test_a_key_that_is_none_is_told_before_anything_is_sent(key: str, said: str) -> None:
    with pytest.raises(Denied, match=f"MISTRAL_API_KEY .*{said}") as error:
        MistralChat(Options(api_key=key)).check_key()
    assert not key.strip() or key not in str(error.value)


def test_a_wrong_key_is_denied(standin: MistralStandIn) -> None:
    standin.switch(key="right")
    with pytest.raises(Denied, match=r"answered 401: Unauthorized\. Check MISTRAL_API_KEY\."):
        _complete(standin.url, api_key="wrong")
    assert "¿QUÉ HAY?" == _complete(standin.url, api_key="right").text


def test_a_key_that_the_server_repeats_is_not_told() -> None:
    with _server(_http(401, {"message": "Wrong key sk-123."})) as url, pytest.raises(Denied) as error:
        _complete(url, api_key="sk-123")
    assert "Wrong key (the key)." in str(error.value)


def test_an_exhausted_quota_ends_the_run_at_once(standin: MistralStandIn, journal: Journal) -> None:
    standin.switch(credit=0)
    with pytest.raises(Denied, match=r"402: Payment required\. The account has no credit left\..*top up, then resume"):
        _ask(standin.url, journal, [_question(str(n)) for n in range(20)], at_once=1)
    assert 1 == standin.stats()["requests"]

    standin.switch(credit=1, month_left=0)
    with pytest.raises(Denied, match="The tokens of this month are used up"):
        _complete(standin.url)


def test_a_limit_of_0_is_final(standin: MistralStandIn, journal: Journal) -> None:
    standin.switch(limit_minute=0)
    with pytest.raises(
        Denied, match=r"429: Rate limit exceeded\. It allows 0 requests per minute, so waiting does not help"
    ):
        _ask(standin.url, journal, [_question(str(n)) for n in range(20)], at_once=1)
    assert 1 == standin.stats()["requests"]


def test_a_refusal_says_when_to_come_back_and_what_is_allowed(standin: MistralStandIn) -> None:
    standin.switch(p429=1, retry_after=7)
    with pytest.raises(Throttled) as error:
        _complete(standin.url)
    assert 7 == error.value.retry_after_seconds
    assert error.value.allowance is not None
    assert error.value.allowance.shows_room


@pytest.mark.parametrize(
    ("after", "seconds"),
    [("1.5", 1.5), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("soon", None), ("-1", None), ("nan", None)],
)
def test_retry_after_is_read_as_seconds_or_a_date(after: str, seconds: float | None) -> None:
    with _server(_http(429, {}, headers=f"retry-after: {after}\r\n")) as url, pytest.raises(Throttled) as error:
        _complete(url)
    assert seconds == error.value.retry_after_seconds


@pytest.mark.parametrize("switch", ["retired", "unlisted"])
def test_a_retired_model_is_named_with_those_that_there_are(
    standin: MistralStandIn, journal: Journal, switch: str
) -> None:
    standin.switch(models=f"{MODEL},mistral-large-4", **{switch: MODEL})
    with pytest.raises(
        UnknownModel, match=rf"does not know the model '{MODEL}', or has retired it.*models\.list.*mistral-large-4"
    ):
        _ask(standin.url, journal, [_question(str(n)) for n in range(20)])
    assert [] == [call for call in journal.calls() if call.cost_usd]


def test_a_model_that_answers_others_is_not_suspected(standin: MistralStandIn, journal: Journal) -> None:
    standin.switch(refuse="poison")

    replies = _ask(standin.url, journal, [_question("a"), _question("poison"), _question("b")])

    assert ["A", None, "B"] == [reply.text for reply in replies]
    assert "The prompt is not taken." in replies[1].message


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, TooLarge), (413, TooLarge), (422, TooLarge), (403, Denied), (405, Denied), (302, Denied), (500, Unreachable),
     (502, Unreachable), (504, Unreachable), (408, Unreachable)],
)  # fmt: skip
def test_each_status_has_its_kind(status: int, kind: type[Exception]) -> None:
    with _server(_http(status, {"message": "no"})) as url, pytest.raises(kind, match=f"answered {status}: no"):
        _complete(url)


def test_an_address_that_is_not_the_api_is_told(standin: MistralStandIn) -> None:
    with pytest.raises(Denied, match=r"404.*Check TRASVASE_MISTRAL_URL: it is the address without /v1"):
        _complete(f"{standin.url}/v1")
    with pytest.raises(Denied, match="is no address"):
        _complete("127.0.0.1:80")


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_server_that_says_404_for_a_model_does_not_know_it(wrapped: bool) -> None:
    said: dict[str, Any] = {"message": "The model `x` does not exist", "type": "NotFoundError", "code": 404}
    listed = _http(200, {"object": "list", "data": [{"id": "y"}]})
    told = rf"answered 404: The model `x` does not exist\. It does not know the model '{MODEL}'.* It lists: y\."
    with (
        _server(_http(404, {"error": said} if wrapped else said), listed) as url,
        pytest.raises(UnknownModel, match=told),
    ):
        _complete(url)


@pytest.mark.parametrize("said", [{"detail": "Not Found"}, {"error": {"code": 404, "message": "File Not Found"}}])
def test_a_404_in_json_from_a_server_without_a_list_is_a_wrong_address(said: object) -> None:
    told = r"answered 404: (File )?Not Found\. Check TRASVASE_MISTRAL_URL: it is the address without /v1"
    with _server(_http(404, said)) as url, pytest.raises(Denied, match=told):
        _complete(url)


def test_nobody_there_is_unreachable() -> None:
    with pytest.raises(Unreachable, match=r"mistral@http://127.0.0.1:9 cannot be reached \(ClientConnector") as error:
        _complete("http://127.0.0.1:9")
    assert not isinstance(error.value, NoAnswer)


def test_a_hang_ends_with_the_timeout(standin: MistralStandIn) -> None:
    standin.switch(p_hang=1)
    with pytest.raises(NoAnswer, match=r"gave no whole answer within 1 s"):
        _complete(standin.url, timeout_seconds=1)


@pytest.mark.parametrize("switch", ["p_reset", "p_cut"])
def test_an_answer_that_breaks_off_is_no_answer_or_a_bad_one(standin: MistralStandIn, switch: str) -> None:
    standin.switch(**{switch: 1})
    for number in range(4):
        with pytest.raises((NoAnswer, BadAnswer)):
            _complete(standin.url, _question(str(number)))


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"<html>Sorry</html>", "text/html", "gave a page that is not JSON: <html>Sorry</html>"),
        (b'{"choices": [', "application/json", "gave broken JSON"),
        (b"", "application/json", "gave broken JSON"),
        ({"model": "m", "choices": [CHOICE]}, "application/json", "another shape .*usage"),
        ({"model": "m", "choices": [], "usage": USAGE}, "application/json", "another shape"),
        ({"model": "m", "choices": [CHOICE], "usage": {"prompt_tokens": None}}, "application/json", "another shape"),
        (
            {"model": "m", "choices": [{**CHOICE, "message": {"content": 7}}], "usage": USAGE},
            "application/json",
            "shape",
        ),
        (
            {"model": "m", "choices": [{**CHOICE, "finish_reason": "error"}], "usage": USAGE},
            "application/json",
            "error",
        ),
        (["a", "list"], "application/json", "another shape"),
        ({"model": "m", "choices": [{**CHOICE, "message": None}], "usage": USAGE}, "application/json", "another shape"),
        (
            {"object": "error", "message": "Overloaded"},
            "application/json",
            r"another shape \(KeyError\('choices'\)\): .*Overloaded",
        ),
        (
            b'{"model": "m", "choices": [{"message": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1e999}}',
            "application/json",
            "another shape",
        ),
        (b'{"choices": [{"message": {"content": "\\ud83d"}}]}', "application/json", "gave broken JSON"),
    ],
)
def test_what_is_no_completion_is_a_bad_answer(body: object, kind: str, said: str) -> None:
    with _server(_http(200, body, kind)) as url, pytest.raises(BadAnswer, match=said):
        _complete(url)


def test_other_servers_and_reasoning_models_are_understood() -> None:
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "ho"}, {"type": "text", "text": "la"}]
    choice = {**CHOICE, "finish_reason": None, "message": {"content": parts}}
    with _server(_http(200, {"model": "m", "choices": [choice], "usage": USAGE})) as url:
        assert Completion("hola", "stop", "m", 3, 4) == Completion(**{**vars_of(_complete(url)), "allowance": None})


@pytest.mark.parametrize("message", [{"content": None, "reasoning_content": "Hm."}, {"reasoning": "Hm."}])
def test_an_answer_without_text_is_paid_once_and_is_the_last_word(journal: Journal, message: dict[str, Any]) -> None:
    choice = {**CHOICE, "finish_reason": "length", "message": {"role": "assistant", **message}}
    with _server(_http(200, {"model": "m", "choices": [choice], "usage": USAGE})) as url:
        replies = [_ask(url, journal, [_question("a")])[0] for _ in range(2)]

    assert [CUT, CUT] == [reply.refusal for reply in replies]
    (call,) = journal.calls("job")
    assert read_prices().of(MODEL).cost(3, 4) == call.cost_usd


def vars_of(completion: Completion) -> dict[str, Any]:
    return {name: getattr(completion, name) for name in completion.__dataclass_fields__}


def test_models_are_listed_with_their_retirement(standin: MistralStandIn) -> None:
    async def listed() -> dict[str, str | None]:
        chat = MistralChat(Options(url=standin.url))
        try:
            return await chat.models()
        finally:
            await chat.aclose()

    standin.switch(models="one,two", retired="two")
    assert {"one": None, "two": "2026-05-31T12:00:00Z"} == asyncio.run(listed())


class TestThroughTheJournal:
    """The service with all its faults, as a walk sees it."""

    def test_json_comes_back_valid_and_is_not_asked_again(self, standin: MistralStandIn, journal: Journal) -> None:
        questions = [_question(DOCUMENT, Repertoire)]

        (reply,) = _ask(standin.url, journal, questions)
        assert [reply] == _ask(standin.url, journal, questions)

        jokes = Repertoire.model_validate_json(reply.text or "").jokes
        assert ["la suegra llegó al micro", "¿y el perro? ñandú"] == [joke.quote for joke in jokes]
        assert 1 == standin.stats()["requests"]
        assert f"recorded-{MODEL}" == reply.model
        assert 0 < reply.cost_usd == journal.spent(["job"]).usd

    def test_faults_lose_nothing_and_ask_nothing_twice(
        self, standin: MistralStandIn, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tasks.remote.retry.FIRST_PAUSE_SECONDS", 0.001)
        standin.switch(p429=0.05, retry_after="0.01", p503=0.05, p_cut=0.03, p_html=0.03, p_usage=0.03, p_reset=0.03)
        texts = [f"chiste {n}" for n in range(150)]

        replies = _ask(standin.url, journal, [_question(text) for text in texts])

        assert [text.upper() for text in texts] == [reply.text for reply in replies]
        assert 0 == standin.stats()["paid_again"]
        assert 5 <= len(standin.stats()["faults"])

    def test_hangs_are_asked_again_on_the_same_clients(
        self, standin: MistralStandIn, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tasks.remote.retry.FIRST_PAUSE_SECONDS", 0.001)
        standin.switch(p_hang=0.3)
        texts = list("abcdefgh")

        replies = _ask(standin.url, journal, [_question(text) for text in texts], timeout_seconds=1)

        assert [text.upper() for text in texts] == [reply.text for reply in replies]
        assert 0 < standin.stats()["faults"]["hang"]

    def test_a_text_that_is_no_unicode_costs_its_row_alone(self, standin: MistralStandIn, journal: Journal) -> None:
        replies = _ask(standin.url, journal, [_question("a"), _question("half a pair: \ud83d")])

        assert [None, REFUSED] == [reply.refusal for reply in replies]

    def test_an_answer_that_is_not_json_costs_its_row_alone(self, standin: MistralStandIn, journal: Journal) -> None:
        standin.switch(garbage="perro verde")
        questions = [_question(text, Joke) for text in ("hola", "el perro verde", "chao")]

        replies = _ask(standin.url, journal, questions)

        assert [None, UNREADABLE, None] == [reply.refusal for reply in replies]
        assert "it begins 'Claro, aquí tienes los chistes" in replies[1].message
        assert 5 == standin.stats()["requests"]

    def test_a_fence_around_json_is_taken_off(self, standin: MistralStandIn, journal: Journal) -> None:
        standin.switch(fenced=1)
        (reply,) = _ask(standin.url, journal, [_question("hola", Joke)])

        assert "hola" == Joke.model_validate_json(reply.text or "").quote

    def test_an_answer_that_is_cut_is_told(self, standin: MistralStandIn, journal: Journal) -> None:
        standin.switch(long="largo")
        replies = _ask(standin.url, journal, [_question("corto"), _question("muy largo")])

        assert [None, CUT] == [reply.refusal for reply in replies]

    def test_the_budget_is_reached_in_mid_run(self, standin: MistralStandIn, journal: Journal) -> None:
        questions = [_question(f"chiste {n}", max_tokens=1_000) for n in range(50)]
        with pytest.raises(BudgetReached, match=r"budget_usd is 0\.0007"):
            _ask(standin.url, journal, questions, cap=0.0007)

        assert journal.spent(["job"]).usd <= 0.0007
        done = standin.stats()["answered"]
        assert 0 < done < 50
        assert [None] * 50 == [reply.refusal for reply in _ask(standin.url, journal, questions, cap=1.0)]
        assert 50 == standin.stats()["answered"]

    def test_a_service_that_goes_away_ends_the_run_and_keeps_the_answers(
        self, standin: MistralStandIn, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tasks.remote.retry.FIRST_PAUSE_SECONDS", 0.001)
        _ask(standin.url, journal, [_question("a")])
        standin.switch(down=1)
        with pytest.raises(Unreachable, match="503"):
            _ask(standin.url, journal, [_question(text) for text in "abcd"])
        standin.switch(down=0)
        assert ["A", "B"] == [reply.text for reply in _ask(standin.url, journal, [_question(text) for text in "ab"])]
        assert 2 == standin.stats()["answered"]

    def test_the_rate_is_learnt_from_the_headers_without_a_refusal(
        self, standin: MistralStandIn, journal: Journal
    ) -> None:
        standin.switch(rps=50, rps_burst=20)  # room for a pause of the machine

        _ask(standin.url, journal, [_question(str(n)) for n in range(60)])

        assert {"200": 60} == standin.stats()["status"]

    def test_few_go_out_until_the_first_answer_is_in(self, standin: MistralStandIn, journal: Journal) -> None:
        standin.switch(latency_ms=100, rps=1_000)
        _ask(standin.url, journal, [_question(str(n)) for n in range(30)])

        log = standin.log()
        first = log[0]["at"]
        early = [one for one in log if one["at"] - one["ms"] / 1000 < first - 0.01]
        assert 3 == len(early)


@pytest.mark.parametrize("name", ["mistral", "mistral:", "", "mistral-small-2603"])
def test_a_model_without_its_chat_is_told(name: str) -> None:
    said = r"Write it as chat:model, such as mistral:mistral-small-2603; chats: mistral, scripted"
    with pytest.raises(PermanentError, match=said):
        split_model(name)


def test_a_chat_and_its_model_are_parted_at_the_first_colon() -> None:
    assert ("mistral", "org/model:tag") == split_model("mistral:org/model:tag")
    with pytest.raises(PermanentError, match="There is no chat 'mistrall'"):
        split_model("mistrall:x")


def test_the_price_file_of_a_user_is_read_over_ours(tmp_path: Path) -> None:
    own = tmp_path / "prices.json"
    line = {"input_usd": 0, "output_usd": 0, "as_of": "2026-11-20", "source": "mine", "verified": True}
    own.write_text(json.dumps({"local-model": line}))

    prices = read_prices(own)

    assert 0 == prices.of("local-model").cost(10**6, 10**6)
    assert pytest.approx(0.75) == prices.of(MODEL).cost(10**6, 10**6)
    assert pytest.approx(0.375) == prices.of(MODEL).cost(10**6, 10**6, batch=True)
    with pytest.raises(PermanentError, match=rf"No price for the model 'x'.*{own}"):
        prices.of("x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Invalid JSON"),
        ('{"m": {}}', "m.input_usd: Field required"),
        ('{"m": {"input_usd": -1}}', "greater than or equal"),
    ],
)
def test_a_damaged_price_file_is_told(tmp_path: Path, text: str, said: str) -> None:
    own = tmp_path / "prices.json"
    own.write_text(text)
    with pytest.raises(PermanentError, match=f"{own} is not one: .*{said}"):
        read_prices(own)
    with pytest.raises(PermanentError, match="cannot be read"):
        read_prices(tmp_path / "none.json")


PRICE = '"input_usd": 1, "output_usd": 0, "as_of": "2026-11-20", "source": "mine", "verified": true'


@pytest.mark.parametrize(("more", "twice"), [('}, "m": {' + PRICE, "m"), (', "input_usd": 9', "input_usd")])
def test_a_model_with_two_prices_is_told_instead_of_taking_the_last_one(tmp_path: Path, more: str, twice: str) -> None:
    own = tmp_path / "prices.json"
    own.write_text('{"m": {' + PRICE + "}}", encoding="utf-8-sig")  # as Windows saves it
    assert 1 == read_prices(own).of("m").input_usd

    own.write_text('{"m": {' + PRICE + more + "}}")
    with pytest.raises(PermanentError, match=f"{own} names {twice} twice. Keep the one that holds"):
        read_prices(own)
