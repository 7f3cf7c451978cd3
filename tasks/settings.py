"""The only reader of the environment.

What a user sets, with the value it has when nothing is set::

    TRASVASE_DATA=data             the data root
    TRASVASE_PORT=4200             the local server's port
    TRASVASE_CHUNK_THREADS=2       chunks in flight in one flow run
    TRASVASE_CHUNK_RETRIES=3       how often a chunk is tried again after an error that may pass
    TRASVASE_CHUNK_RETRY_SECONDS=30  the first pause before that
    ARGILLA_API_URL=...            the Argilla to review in; else the one of `make argilla`, if it was ever started
    ARGILLA_API_KEY=...            the key of an owner or admin of it
    TRASVASE_PRICES=prices.json    prices of models that ours lack, or other ones
    TRASVASE_GOOGLE_URL=...        a field of an engine's ``Options``: TRASVASE_<ENGINE>_<FIELD>
    MISTRAL_API_KEY=...            such a field under the name that users already have
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.storage.errors import PermanentError
from tasks.storage.root import DataRoot

CHECKOUT = Path(__file__).resolve().parents[1]
PREFIX = "TRASVASE_"

Options = TypeVar("Options", bound=BaseModel)


class Settings(BaseSettings):
    """Settings of the product; build it inside a task body, never at import.

    Args:
        data: The data root, made absolute against the working directory.
        port: Port of the local Prefect server on 127.0.0.1.
        chunk_threads: Chunks in flight in one flow run.
        chunk_retries: How often a chunk is tried again after an error that may pass.
        chunk_retry_seconds: The first pause before that; each next one is twice as long.
        argilla_api_url: Address of the user's own Argilla.
        argilla_api_key: Key of one of its owners or admins.
        prices: A file of prices of models, read over tasks/chat/prices.json.

    Raises:
        PermanentError: A variable has a value that it cannot have.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True)

    data: Path = CHECKOUT / "data"
    port: int = Field(default=4200, ge=1, le=65535)
    chunk_threads: int = Field(default=2, ge=1, le=256)
    chunk_retries: int = Field(default=3, ge=0, le=50)
    chunk_retry_seconds: float = Field(default=30, ge=0, le=3600)
    argilla_api_url: str | None = Field(default=None, validation_alias="ARGILLA_API_URL")
    argilla_api_key: SecretStr | None = Field(default=None, validation_alias="ARGILLA_API_KEY")

    prices: Path | None = None

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _wrong_values(error, PREFIX) from None

    @field_validator("data")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()


class ArgillaAccess(NamedTuple):
    """Where to review, and the key to it."""

    url: str
    key: SecretStr


def argilla_access(settings: Settings) -> ArgillaAccess | None:
    """The user's own Argilla, else the one that `make argilla` left its address of, else none.

    Raises:
        PermanentError: Half of it is set, or what `make argilla` left is damaged.
    """
    url, key = settings.argilla_api_url, settings.argilla_api_key
    if url and key:
        return ArgillaAccess(url.rstrip("/"), key)
    if url or key:
        missing = "ARGILLA_API_KEY" if url else "ARGILLA_API_URL"
        raise PermanentError(f"{missing} is not set. Set both ARGILLA_API_URL and ARGILLA_API_KEY, or neither.")
    local = DataRoot(settings.data).argilla / "access.json"
    if not local.is_file():
        return None
    try:
        stored = json.loads(local.read_bytes())
        return ArgillaAccess(stored["url"], SecretStr(stored["key"]))
    except (ValueError, KeyError, TypeError):
        raise PermanentError(f"{local} is damaged. Move it away and type `make argilla`: it is written anew.") from None


def read_options(name: str, model: type[Options]) -> Options:
    """Build an engine's options from the variables ``TRASVASE_<NAME>_<FIELD>``.

    A field with a ``validation_alias`` is also read from the variable of that name.

    Raises:
        PermanentError: A variable is unknown, or has a value that it cannot have.
    """
    prefix = f"{PREFIX}{name.upper()}_"
    given = {
        variable[len(prefix) :].lower(): text
        for variable, text in os.environ.items()
        if variable.upper().startswith(prefix) and text
    }
    if unknown := sorted(given.keys() - model.model_fields.keys()):
        names = ", ".join(prefix + field.upper() for field in unknown)
        known = ", ".join(prefix + field.upper() for field in model.model_fields) or "none"
        raise PermanentError(f"{names}: no such setting of {name!r}. Settings that it has: {known}.")
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, str) and os.environ.get(alias) and name not in given:
            given[name] = os.environ[alias]
    try:
        return model.model_validate_strings(given, by_name=True)
    except ValidationError as error:
        raise _wrong_values(error, prefix) from None


def _wrong_values(error: ValidationError, prefix: str) -> PermanentError:
    """Name each variable, its value and what it may be."""
    return PermanentError(
        "; ".join(
            f"{prefix}{'_'.join(map(str, wrong['loc'])).upper()}={wrong['input']!r}: {wrong['msg']}"
            for wrong in error.errors()
        )
    )
