"""What CLIP compares an image with: one or several texts per class, with or without the text on the image.

The predecessor's two, and the same with what was read on the image::

    toxic      токсичный мем      токсичный мем с текстом «СЕРГЕЙ БЕЗРУКОВ»
    non_toxic  нейтральный мем    нейтральный мем с текстом «СЕРГЕЙ БЕЗРУКОВ»

CLIP's text tower takes 77 tokens, and its vocabulary is English: a Cyrillic letter is often a token of its own, so a long
caption does not fit. Whole words are left out at its end, the same ones for every class, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tasks.storage.errors import PermanentError

RUSSIAN = {"toxic": ("токсичный мем",), "non_toxic": ("нейтральный мем",)}
RUSSIAN_WITH_TEXT = "{prompt} с текстом «{text}»"


class BadPrompts(PermanentError):
    """Texts of the classes that CLIP cannot be asked with."""


class Fitted(NamedTuple):
    """The texts of all classes with as much of the image's text as fits: texts in the order of ``flat``; words."""

    texts: list[str]
    used: int
    words: int


@dataclass(frozen=True)
class ClassTexts:
    """The texts of each class.

    Args:
        labels: The classes, in the order that probabilities are stored in.
        prompts: Texts per class; CLIP's features of a class are the mean of theirs.
        with_text: How the text on the image joins a prompt: has ``{prompt}`` and ``{text}``.

    Raises:
        BadPrompts: A class has no text, a text is empty or belongs to no class, or ``with_text`` lacks a part.
    """

    labels: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    with_text: str

    @classmethod
    def read(cls, labels: Sequence[str], prompts: Mapping[str, Sequence[str]] | None, with_text: str) -> ClassTexts:
        """What a user gave; the Russian predecessor's where nothing was given."""
        given: Mapping[str, Sequence[str]] = prompts or RUSSIAN
        if lacking := [label for label in labels if not given.get(label)]:
            raise BadPrompts(
                f"The class {lacking[0]!r} has no text for CLIP. Give `prompts`, such as "
                f'{{"{lacking[0]}": ["a text that describes it"], …}} with every class.'
            )
        if prompts and (unknown := sorted(set(prompts) - set(labels))):
            raise BadPrompts(f"`prompts` has the class {unknown[0]!r}, and the classes are {', '.join(labels)}.")
        if empty := [label for label in labels if not all(text.strip() for text in given[label])]:
            raise BadPrompts(f"A text of the class {empty[0]!r} in `prompts` is empty. Take it away or write one.")
        if "{prompt}" not in with_text or "{text}" not in with_text:
            raise BadPrompts(f"`with_text` is {with_text!r} and must hold {{prompt}} and {{text}}.")
        return cls(tuple(labels), tuple(tuple(given[label]) for label in labels), with_text)

    @property
    def flat(self) -> list[str]:
        """All texts, class by class."""
        return [text for texts in self.prompts for text in texts]

    def fitted(self, text: str, tokens: Callable[[list[str]], Any], limit: int) -> Fitted:
        """The texts of all classes with the text on an image, shortened by words until each one fits.

        Args:
            text: What is written on the image.
            tokens: Token ids of each of several texts, beginning and end included.
            limit: Tokens that the text tower takes.

        Returns:
            The classes' own texts where the image has none, or where not even one word fits.

        Raises:
            BadPrompts: A prompt alone is too long.
        """
        words = text.split()
        low, high = 0, len(words)  # so many words fit; more than so many do not
        while low < high:
            half = (low + high + 1) // 2
            if all(len(ids) <= limit for ids in tokens(self._with(words[:half]))):
                low = half
            else:
                high = half - 1
        if not low and (long := [n for n, ids in enumerate(tokens(self.flat)) if len(ids) > limit]):
            raise BadPrompts(
                f"The text {self.flat[long[0]]!r} in `prompts` has more than the {limit} tokens that this CLIP takes. "
                "Shorten it."
            )
        return Fitted(self._with(words[:low]), low, len(words))

    def _with(self, words: Sequence[str]) -> list[str]:
        if not words:
            return self.flat
        # Split first: a text on an image may hold "{prompt}" or braces.
        before, _, after = self.with_text.partition("{prompt}")
        before, after = (part.replace("{text}", " ".join(words)) for part in (before, after))
        return [before + prompt + after for prompt in self.flat]
