"""Words that lost their accents on the way: ``mdico``, ``m?dico``, ``medico`` where the transcript says ``médico``.

Of the jokes that the predecessor extracted one in four had such words, since whole answers of its model had come back
without a letter that is not ASCII, and nobody noticed. A word counts as damaged only if the transcript never has it as it
stands: ``si`` is whole where both ``sí`` and ``si`` were said.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from tasks.jokes.spelling import bare, plain, split


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """How the words of a transcript are written.

    Args:
        whole: Its words.
        bare: What is left of those with letters that are not ASCII without these.
        plain: The same words with ASCII letters in their place.
    """

    whole: frozenset[str]
    bare: frozenset[str]
    plain: frozenset[str]

    @classmethod
    def of(cls, words: Iterable[str]) -> Vocabulary:
        """Make it once per transcript, from ``Transcript.words``."""
        whole = frozenset(part for word in set(words) for part in split(word))
        marked = [word for word in whole if not word.isascii()]
        return cls(whole, frozenset(map(bare, marked)) - whole, frozenset(map(plain, marked)) - whole)


def damaged(text: str, vocabulary: Vocabulary) -> list[str]:
    """The words of a text that have lost letters or their accents.

    Args:
        text: What a model gave back.
        vocabulary: Of the transcript that it was taken from.

    Returns:
        The words in order, in lower case and without punctuation; none where all is well.
    """
    words = text.split()
    parts = [part for word in words for part in split(word)]
    # One "quien" beside words with accents is as it should be; a text without any accent has lost them all.
    lost = vocabulary.bare if any(not part.isascii() for part in parts) else vocabulary.bare | vocabulary.plain
    return [
        part for word in words for part in ((word,) if _misread(word) else split(word)) if part in lost or part is word
    ]


def _misread(word: str) -> bool:
    """UTF-8 that was read as one byte per letter: ``mÃ©dico``; or half of an escape in JSON, which leaves a control."""
    if word.isascii():
        return not word.isprintable()
    if any(unicodedata.category(letter) == "Cc" for letter in word):
        return True
    for encoding in ("latin-1", "cp1252"):
        try:
            word.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
        return True
    return False
