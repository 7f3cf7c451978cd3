"""The offline chat: answers by a rule, deterministic, at no cost, and visibly not a model.

>>> import asyncio
>>> from tasks.chat.protocol import Question
>>> chat = open_chat(Options())
>>> asyncio.run(chat.complete(Question("upper", (("user", "What is a bus?"),), "demo/1"))).text
'WHAT IS A BUS?'

Free text is the last user message in capitals. Where JSON is asked for, each object quotes one line of the document that
the message shows between tags (``<transcript>`` ... ``</transcript>``), else of the whole message::

    <transcript>                              {"jokes": [{"quote": "A BUS WALKS INTO A BAR", "start_mark": "00:12"},
    [00:12] a bus walks into a bar      ->               {"quote": "AND ASKS FOR OIL", "start_mark": "00:15"}]}
    [00:15] and asks for oil
    </transcript>

``scripted:upper`` writes in capitals, ``scripted:quote`` word for word. The completion's model is ``scripted-upper`` or
``scripted-quote``, so every table says who made it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from pydantic import BaseModel

from tasks.chat.protocol import Chat, Completion, Limits, Question, UnknownModel, schema_of

MODELS: dict[str, Callable[[str], str]] = {"upper": str.upper, "quote": str}
_TAGGED = re.compile(r"<([\w-]+)[^<>]*>(.*?)</\1>", re.DOTALL)
_MARK = re.compile(r"\s*\[([\d:.]+)\]\s*")
_WORD = re.compile(r"\w{5,}")
_ITEMS = 3  # of a list, where the schema and the document allow so many
_CHARS_PER_TOKEN = 4


class Options(BaseModel):
    """Nothing to choose."""


class ScriptedChat:
    """Follows a rule. Deterministic, offline, and visibly not a model."""

    name = "scripted"
    limits = Limits()

    async def complete(self, question: Question) -> Completion:
        """Answer by the rule.

        Raises:
            UnknownModel: The rule is not one of ``MODELS``.
        """
        if question.model not in MODELS:
            raise UnknownModel(
                f"The scripted chat has no model {question.model!r}. Choose from: "
                + ", ".join(f"scripted:{model}" for model in MODELS)
            )
        write = MODELS[question.model]
        message = next((content for role, content in reversed(question.messages) if role == "user"), "")
        if question.answer is None:
            text, finish = write(message), "stop"
        else:
            made = fill(schema_of(question.answer), message, question.identity, write)
            text, finish = json.dumps(made, ensure_ascii=False), "stop"
        if len(text) > question.max_tokens * _CHARS_PER_TOKEN:
            text, finish = text[: question.max_tokens * _CHARS_PER_TOKEN], "length"
        return Completion(text, finish, f"scripted-{question.model}", _tokens(question.chars), _tokens(len(text)))

    async def aclose(self) -> None:
        """Nothing is held."""


def open_chat(options: Options) -> Chat:
    """Nothing to open."""
    return ScriptedChat()


def fill(schema: dict[str, Any], message: str, salt: str, write: Callable[[str], str] = str) -> Any:
    """A value for a schema, out of the document that a message shows.

    Args:
        schema: JSON schema.
        message: The user's; see the module's docstring.
        salt: Of choices between values.
        write: What becomes of a quoted line.
    """
    return _Script(write, _lines(message), schema.get("$defs", {}), salt).make(schema, "", 0)


def _tokens(chars: int) -> int:
    return -(-chars // _CHARS_PER_TOKEN)


def _lines(message: str) -> list[tuple[str, str]]:
    """Mark and text of each line of the longest tagged document in a message, of the whole message without one."""
    document = max((found[2] for found in _TAGGED.finditer(message)), key=len, default=message)
    lines = []
    for line in filter(str.strip, document.splitlines()):
        mark = _MARK.match(line)
        lines.append((mark[1], line[mark.end() :].strip()) if mark else ("", line.strip()))
    return lines or [("", "")]


class _Script:
    """Fills one schema.

    Args:
        write: What becomes of a quoted line.
        lines: Mark and text of each line of the document.
        definitions: ``$defs`` of the schema.
        salt: Of choices between values.
    """

    def __init__(
        self, write: Callable[[str], str], lines: list[tuple[str, str]], definitions: dict[str, Any], salt: str
    ) -> None:
        self._write, self._lines, self._definitions, self._salt = write, lines, definitions, salt

    def make(self, schema: dict[str, Any], path: str, line: int) -> Any:
        """A value for a schema.

        Args:
            schema: Of the value.
            path: To the value, such as ``.jokes.0.quote``.
            line: The one that it quotes.
        """
        if "$ref" in schema:
            return self.make(self._definitions[schema["$ref"].rsplit("/", 1)[1]], path, line)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][self._draw(path, len(schema["enum"]))]
        for some in ("anyOf", "oneOf", "allOf"):
            if some in schema:
                return self.make(next((one for one in schema[some] if one.get("type") != "null"), {}), path, line)
        kind = schema.get("type")
        if kind == "object":
            return {name: self.make(one, f"{path}.{name}", line) for name, one in schema.get("properties", {}).items()}
        if kind == "array":
            return self._array(schema, path, line)
        if kind == "integer" and path.endswith(".id"):
            return int(path.split(".")[-2]) + 1
        if kind in ("integer", "number"):
            low = schema.get("minimum", 1)
            return low + self._draw(path, min(schema.get("maximum", low + 3), low + 3) - low + 1)
        if kind == "boolean":
            return bool(self._draw(path, 2))
        return self._string(schema, path, line) if kind == "string" else None

    def _array(self, schema: dict[str, Any], path: str, line: int) -> list[Any]:
        """Lists of strings name words of the line; other lists go through the lines, or make some up about the only one."""
        least, most, items = schema.get("minItems", 0), schema.get("maxItems", math.inf), schema["items"]
        if items.get("type") == "string":
            words = dict.fromkeys(_WORD.findall(self._lines[line][1])) or {self._lines[line][1]: None}
            return [self._write(word) for word in list(words)[: int(min(most, max(least, _ITEMS)))]]
        alone = len(self._lines) == 1 or path.count(".") > 1
        number = int(
            min(most, max(least, 1 + self._draw(path, 2 * _ITEMS) if alone else min(_ITEMS, len(self._lines))))
        )
        lines = [line if alone else at * len(self._lines) // number for at in range(number)]
        return [self.make(items, f"{path}.{at}", one) for at, one in enumerate(lines)]

    def _string(self, schema: dict[str, Any], path: str, line: int) -> str:
        mark, text = self._lines[line % len(self._lines)]
        return mark if path.rsplit(".", 1)[-1].endswith("mark") else self._write(text)[: schema.get("maxLength")]

    def _draw(self, path: str, number: int) -> int:
        digest = blake2b(f"{self._salt}{path}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) % max(int(number), 1)
