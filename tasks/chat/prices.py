"""What a model costs: a dated file, and sums.

``prices.json`` beside this file, of which each line names its source and whether anyone has checked it::

    {"mistral-small-2603": {"input_usd": 0.15, "output_usd": 0.60, "as_of": "2026-11-20", "source": "…", "verified": false}}

US dollars per million tokens. A file of one's own adds models, or replaces their prices.
"""

from __future__ import annotations

import codecs
import json
from collections import Counter
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tasks.chat.protocol import Question, schema_of
from tasks.storage.errors import PermanentError

OWN = Path(__file__).with_name("prices.json")
_PER_MESSAGE = 16  # tokens: roles and marks between messages


class PriceUnknown(PermanentError):
    """No price for a model, so nobody can say what a run costs."""


class Price(BaseModel):
    """What one model costs.

    Args:
        input_usd: US dollars per million tokens of the prompt.
        output_usd: US dollars per million tokens of the reply.
        batch_share: What a batch costs of that.
        as_of: When the source said so.
        source: Who said so.
        verified: Whether someone has compared it with the service's own price list or bill.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_usd: float = Field(ge=0, allow_inf_nan=False)
    output_usd: float = Field(ge=0, allow_inf_nan=False)
    batch_share: float = Field(0.5, ge=0, le=1)
    as_of: date
    source: str = Field(min_length=1)
    verified: bool

    def cost(self, prompt_tokens: int, completion_tokens: int, batch: bool = False) -> float:
        """US dollars for so many tokens."""
        usd = (prompt_tokens * self.input_usd + completion_tokens * self.output_usd) / 1e6
        return usd * self.batch_share if batch else usd

    def highest(self, question: Question, batch: bool = False) -> float:
        """US dollars that one call for a question can cost at most.

        A token of these models stands for at least one byte, so a prompt has at most as many tokens as bytes, a few more
        per message, and its schema's twice, as services add to it; the reply has at most ``max_tokens``.
        """
        return self.cost(most_prompt_tokens(question), question.max_tokens, batch)


def most_prompt_tokens(question: Question) -> int:
    """Tokens that a prompt cannot exceed; see ``Price.highest``."""
    return 2 * _schema_bytes(question.answer) + sum(
        len(content.encode(errors="surrogatepass")) + _PER_MESSAGE for _, content in question.messages
    )


@cache
def _schema_bytes(answer: type[BaseModel] | None) -> int:
    return 0 if answer is None else len(str(schema_of(answer)).encode())


class Prices:
    """Prices by model.

    Args:
        path: The file that a user may add lines to.
        models: Its prices, and those of ``prices.json``.
    """

    def __init__(self, path: Path, models: Mapping[str, Price]) -> None:
        self.path = path
        self._models = models

    def of(self, model: str) -> Price:
        """The price of one model.

        Raises:
            PriceUnknown: It has none.
        """
        if model in self._models:
            return self._models[model]
        known = ", ".join(sorted(self._models))
        raise PriceUnknown(
            f"No price for the model {model!r}, so no run with it can be kept under a budget. Add a line to {self.path} "
            f'(US dollars per million tokens; 0 for a model of your own): "{model}": {{"input_usd": 0.0, '
            f'"output_usd": 0.0, "as_of": "{date.today():%Y-%m-%d}", "source": "where you read it", "verified": true}}. '  # noqa: DTZ011
            f"Models with a price: {known}."
        )


def read_prices(path: Path | None = None) -> Prices:
    """Read our prices, and a user's own ones over them.

    Raises:
        PermanentError: The file is not there, something in it is no price, or a model has two.
    """
    models = _read(OWN)
    if path is not None:
        models |= _read(path)
    return Prices(path or OWN, models)


def _read(path: Path) -> dict[str, Price]:
    def once(pairs: list[tuple[str, Any]]) -> None:
        # JSON lets a name stand there twice, and every reader takes the last one without a word.
        if twice := [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]:
            raise PermanentError(f"The file of prices {path} names {', '.join(twice)} twice. Keep the one that holds.")

    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
        models = TypeAdapter(dict[str, Price]).validate_json(content)
        json.loads(content, object_pairs_hook=once)
        return models
    except OSError as error:
        raise PermanentError(f"The file of prices {path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in error.errors())
        raise PermanentError(f"The file of prices {path} is not one: {wrong}. {OWN} shows the format.") from error
