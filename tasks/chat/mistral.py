"""Mistral's API, or any server that speaks it; files and batches through the SDK mistralai 3.7.

::

    POST /v1/chat/completions  {"model": "mistral-small-2603", "messages": [{"content": "…", "role": "user"}], …}
    ->  200  {"choices": [{"message": {"content": "{\"jokes\": []}"}, "finish_reason": "stop"}], "usage": {…}, …}
             x-ratelimit-limit-req-minute: 1200

A chat goes past the SDK, in its own words, byte for byte: its models cost more CPU than all else that a call needs here
(docs/decisions.md, "Mistral"). Kinds of errors are decided from status, content type and headers, here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_core import from_json

from tasks.chat.protocol import Chat, Completion, Limits, Question, UnknownModel, schema_of
from tasks.remote.allowance import Allowance
from tasks.remote.errors import BadAnswer, Denied, Throttled, TooLarge, Unreachable
from tasks.remote.http import Http, Response
from tasks.remote.retry import seconds_of
from tasks.storage.errors import PermanentError, TransientError

if TYPE_CHECKING:
    from mistralai.client import Mistral

SERVERS = {
    "global": "https://api.mistral.ai",
    "eu": "https://api.eu.mistral.ai",
    "us": "https://api.us.mistral.ai",
}  # as the SDK has them, which takes 0.25 s of CPU to import
CONNECT_SECONDS = 10.0
_SHOWN = 300  # characters of a service's own words in a message


class Options(BaseModel):
    """Settings, read from ``TRASVASE_MISTRAL_…`` and ``MISTRAL_API_KEY``."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    api_key: SecretStr | None = Field(None, validation_alias="MISTRAL_API_KEY", description="Key of the account.")
    url: str | None = Field(None, description="Base URL of a compatible server, without /v1, instead of Mistral's.")
    server: Literal["global", "eu", "us"] = Field("global", description="Which of Mistral's servers.")
    at_once: int = Field(16, ge=1, le=64, description="Calls under way.")
    rate: float | None = Field(None, gt=0, description="Calls per second to begin with; else learnt from the headers.")
    max_rate: float | None = Field(None, gt=0, description="Calls per second at most; else what the headers allow.")
    tokens_per_minute: int | None = Field(None, gt=0, description="At most; else what the headers allow.")
    timeout_seconds: float = Field(120.0, gt=0, description="How long to wait for an answer.")

    @field_validator("api_key")
    @classmethod
    def _bare(cls, key: SecretStr | None) -> SecretStr | None:
        """Without the line break that a file of secrets ends with; an empty one is none."""
        bare = key.get_secret_value().strip() if key else ""
        return SecretStr(bare) if bare else None


def open_chat(options: Options) -> Chat:
    """Make the chat; nothing is sent yet."""
    return MistralChat(options)


class MistralChat:
    """One client for the whole process."""

    def __init__(self, options: Options) -> None:
        self._key = options.api_key.get_secret_value() if options.api_key else None
        self.name = "mistral" if options.url is None else f"mistral@{options.url.rstrip('/')}"
        self.limits = Limits(options.at_once, options.rate, options.max_rate, options.tokens_per_minute)
        self._options = options
        self.http = Http(
            self.name,
            "TRASVASE_MISTRAL",
            options.url or SERVERS[options.server],
            options.timeout_seconds,
            CONNECT_SECONDS,
            {"content-type": "application/json"} | ({"authorization": f"Bearer {self._key}"} if self._key else {}),
        )
        self._serves: set[str] = set()  # models that have answered
        self._listed: dict[str, str | None] | None = None

    @cached_property
    def sdk(self) -> Mistral:
        """The SDK's client, for files and batches. It never retries by itself."""
        from mistralai.client import Mistral

        options = self._options
        return Mistral(
            api_key=self._key,
            server=options.server,
            server_url=options.url,
            timeout_ms=int(1000 * options.timeout_seconds),
        )

    def check_key(self) -> None:
        """See ``Keyed``: a server of one's own may need none."""
        if self._key is None and self._options.url is None:
            raise Denied(
                "MISTRAL_API_KEY is not set. Set it to a key of your account at console.mistral.ai, or set "
                "TRASVASE_MISTRAL_URL to a server of your own; scripted:upper tries a walk without either."
            )
        if self._key is not None and not (self._key.isascii() and self._key.isprintable()):
            raise Denied("MISTRAL_API_KEY holds a character that no key has. Copy the key again.")

    async def complete(self, question: Question) -> Completion:
        """Ask once.

        Raises:
            Throttled: 429, or 503 with Retry-After.
            Denied: The account, its key or its allowance, or the address (401, 402, 403, 404 without JSON, 429 with a
                limit of 0).
            UnknownModel: The service says so, or refuses a question to a model that is not on its list.
            TooLarge: 400, 413 or 422.
            Unreachable: No connection, or a 5xx; NoAnswer where the request went out.
            BadAnswer: 200 with HTML, broken JSON or without ``usage``.
        """
        response = await self.http.send("POST", "/v1/chat/completions", body_of(question))
        if response.status_code != 200:
            raise await self._refusal(response, question.model)
        completion = self._completion(response)
        self._serves.add(question.model)
        return completion

    async def models(self) -> dict[str, str | None]:
        """Models that the account may ask, by name and alias, with the date of their retirement where one is set.

        Raises:
            TransientError: The service does not answer.
            PermanentError: It does not serve us.
        """
        response = await self.http.send("GET", "/v1/models")
        if response.status_code != 200:
            raise self.error_of(response)
        found: dict[str, str | None] = {}
        try:
            for card in self._json(response)["data"]:
                for name in (card["id"], *(card.get("aliases") or ())):
                    found[name] = card.get("deprecation")
        except (KeyError, TypeError, AttributeError) as error:
            raise BadAnswer(f"{self.name} gave a list of models of another shape ({error!r}).") from error
        return found

    async def aclose(self) -> None:
        """Close the connections."""
        await self.http.aclose()

    def error_of(self, response: Response) -> TransientError | PermanentError:
        """What an answer other than 200 means, whatever was asked; by its status, type and headers."""
        status, words = response.status_code, self._without_key(_words(response))
        said = f"{self.name} answered {status}: {words}" + ("" if words.endswith((".", "!", "?")) else ".")
        headers = response.headers
        wait = seconds_of(headers.get("retry-after"))
        if status == 429 or (status == 503 and wait is not None):
            if headers.get("x-ratelimit-limit-req-minute") == "0":
                return Denied(
                    f"{said} It allows 0 requests per minute, so waiting does not help: this account may not use the "
                    "model. Choose another one, or another plan."
                )
            if headers.get("x-ratelimit-remaining-tokens-month") == "0":
                return Denied(f"{said} The tokens of this month are used up. Answers so far are kept; raise the plan.")
            return Throttled(said, wait, allowance_of(headers))
        if status >= 500 or status == 408:
            return Unreachable(f"{said} Retry later: answers so far are kept.")
        if status in (401, 403):
            return Denied(f"{said} Check MISTRAL_API_KEY.")
        if status == 402:
            return Denied(f"{said} The account has no credit left. Answers so far are kept; top up, then resume.")
        if status in (400, 413, 422):
            return TooLarge(said)
        return Denied(f"{said} Check TRASVASE_MISTRAL_URL: it is the address without /v1.")

    async def _refusal(self, response: Response, model: str) -> TransientError | PermanentError:
        """What a refused question means: a model that is unknown or retired is told apart from the question's fault."""
        error = self.error_of(response)
        speaks_json = "json" in response.headers.get("content-type", "")
        if response.status_code not in (400, 404, 422) or not speaks_json:
            return error
        named = response.status_code == 404 or _kind(response) == "invalid_model"
        if not named and model in self._serves:
            return error
        listed = await self._list()
        if not named and (not listed or model in listed):
            return error
        if response.status_code == 404 and not listed:
            return error  # a server says so too at an address that it does not have
        names = f" It lists: {', '.join(sorted(listed))}." if listed else ""
        return UnknownModel(
            f"{error.args[0].split(' Check ')[0]} It does not know the model {model!r}, or has retired it. See which ones "
            f"there are (models.list of the API, `trasvase doctor`) and choose one.{names}"
        )

    async def _list(self) -> dict[str, str | None]:
        """The list of models, asked once; empty where it cannot be had: then the question's own error is told."""
        if self._listed is None:
            try:
                self._listed = await self.models()
            except (TransientError, PermanentError):
                self._listed = {}
        return self._listed

    def _json(self, response: Response) -> Any:
        if "json" not in response.headers.get("content-type", ""):
            raise BadAnswer(f"{self.name} gave a page that is not JSON: {_words(response)}")
        try:
            return from_json(response.content)  # also refuses half surrogates, which no table could keep
        except ValueError as error:
            raise BadAnswer(f"{self.name} gave broken JSON: {error}.") from error

    def _completion(self, response: Response) -> Completion:
        return replace(self.completion(self._json(response)), allowance=allowance_of(response.headers))

    def _without_key(self, words: str) -> str:
        """Some servers repeat it."""
        return words.replace(self._key, "(the key)") if self._key is not None else words

    def completion(self, answer: Any) -> Completion:
        """Read the JSON of an answer, whichever way it came.

        Raises:
            BadAnswer: It has another shape, or ended with an error.
        """
        try:
            choice, usage = answer["choices"][0], answer["usage"]
            finish = choice["finish_reason"] or "stop"
            prompt_tokens, completion_tokens = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
            text, model = _text(choice["message"].get("content")), str(answer["model"])
        except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
            said = self._without_key(_in_short(json.dumps(answer, ensure_ascii=False)))  # an error, by its words
            raise BadAnswer(f"{self.name} gave an answer of another shape ({error!r}): {said}") from error
        if finish == "error" or min(prompt_tokens, completion_tokens) < 0:
            raise BadAnswer(f"{self.name} gave an answer that ended with an error.")
        return Completion(text, finish, model, prompt_tokens, completion_tokens)


def body_of(question: Question) -> bytes:
    """The body of a chat, byte for byte as the SDK writes it."""
    body = {
        "model": question.model,
        "messages": [_message(role, content) for role, content in question.messages],
        "temperature": question.temperature,
        "max_tokens": question.max_tokens,
        "stream": False,
        "random_seed": question.seed,
    }
    text = _to_json(body)
    if question.answer is not None:
        text = f'{text[:-1]},"response_format":{_format_of(question.answer)}}}'
    return text.encode()


def _message(role: str, content: str) -> dict[str, Any]:
    if role == "assistant":
        return {"role": role, "content": content, "prefix": False}
    return {"content": content, "role": role}


_to_json = json.JSONEncoder(separators=(",", ":")).encode


@cache
def _format_of(answer: type[BaseModel]) -> str:
    """What the SDK's ``response_format_from_pydantic_model`` says, without the 0.25 s of CPU that its import takes."""
    schema = {"name": answer.__name__, "schema": _strict(schema_of(answer)), "strict": True}
    return _to_json({"type": "json_schema", "json_schema": schema})


def _strict(node: Any) -> Any:
    """A schema whose objects have no other fields than those it names."""
    if isinstance(node, list):
        return [_strict(part) for part in node]
    if not isinstance(node, dict):
        return node
    closed = {"additionalProperties": False} if node.get("type") == "object" else {}
    return {key: _strict(value) for key, value in {**node, **closed}.items()}


def allowance_of(headers: Mapping[str, str]) -> Allowance:
    """What the headers of an answer say that the account may do."""
    return Allowance(
        requests_per_minute=_number(headers.get("x-ratelimit-limit-req-minute")),
        requests_left=_number(headers.get("x-ratelimit-remaining-req-minute")),
        tokens_per_minute=_number(headers.get("x-ratelimit-limit-tokens-minute")),
        tokens_left=_number(headers.get("x-ratelimit-remaining-tokens-minute")),
    )


def _number(header: str | None) -> float | None:
    return float(header) if header is not None and header.isdecimal() else None


def _text(content: Any) -> str:
    """The assistant's words: a string, nothing, or the text among the parts that reasoning models send.

    Raises:
        TypeError: It is none of these.
    """
    if content is None:  # all that it may say went into its reasoning, which some servers send beside it
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise TypeError(f"content is {type(content).__name__}")
    return "".join(part["text"] for part in content if part["type"] == "text")


def _kind(response: Response) -> str | None:
    """The ``type`` of an error in JSON."""
    try:
        error = _error(response)
    except ValueError:
        return None
    return error.get("type") if isinstance(error, dict) else None


def _error(response: Response) -> Any:
    """An error in JSON; other servers wrap it once more."""
    error = from_json(response.content)
    return error.get("error") or error if isinstance(error, dict) else error


def _words(response: Response) -> str:
    """What a service says itself, in one line."""
    try:
        error = _error(response)
        said = str(error.get("message") or error.get("detail") or error) if isinstance(error, dict) else str(error)
    except ValueError:
        said = response.text
    return _in_short(said) or "(nothing)"


def _in_short(said: str) -> str:
    said = " ".join(said.split())
    return said[:_SHOWN] + " …" if len(said) > _SHOWN else said
