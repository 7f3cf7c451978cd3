"""Words told apart by how they are written, and told together across what models and encodings do to them.

::

    ¡Médico!   plain: medico   bare: mdico     what is left when the letters that are not ASCII get lost
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_INSIDE = re.compile(r"(?<=\w)['’?\ufffd](?=\w)")  # pa'que; m?dico, where a letter could not be written
_WORD = re.compile(r"[^\W_]+")


@lru_cache(maxsize=1 << 16)
def split(word: str) -> tuple[str, ...]:
    """The words in a word between blanks, in lower case, without punctuation: ``¡Hola,tú!`` holds two, ``-`` none."""
    return tuple(_WORD.findall(_INSIDE.sub("", unicodedata.normalize("NFC", word)).casefold()))


@lru_cache(maxsize=1 << 16)
def plain(word: str) -> str:
    """Without accents: ``médico`` is ``medico``, ``año`` is ``ano``."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", word) if not unicodedata.combining(letter))


@lru_cache(maxsize=1 << 16)
def bare(word: str) -> str:
    """Without letters that are not ASCII: ``médico`` is ``mdico``, ``él`` is ``l``."""
    return word.encode("ascii", "ignore").decode()
