"""Texts of strangers in a question: where they begin and end, and how one sees that a model has followed them.

::

    fenced("joke", "a <3 b")   ->   <joke>
                                    a ‹3 b
                                    </joke>

A text stands between delimiters that it cannot write. The instructions carry a mark that never belongs into an answer: a
reply that holds it recites them, as a text with hidden instructions could make it do.
"""

from __future__ import annotations

import hashlib
import re

from tasks.chat.protocol import Question

_MARK = re.compile("TRASVASE-[0-9a-f]{12}")
# The look-alikes keep a joke about "<3" readable, and no text can close its delimiter.
_HARMLESS = str.maketrans({"<": "‹", ">": "›"})


def fenced(name: str, text: str) -> str:
    """The text between delimiters of this name."""
    return f"<{name}>\n{text.translate(_HARMLESS)}\n</{name}>"


def mark_of(*parts: str) -> str:
    """The mark of a question's instructions.

    It is made from what is asked, so that the same texts are the same question and no text can hold its own mark.
    """
    return f"TRASVASE-{hashlib.blake2b(repr(parts).encode(), digest_size=6).hexdigest()}"


def recites(question: Question, reply: str) -> bool:
    """Whether a reply holds the mark of its question's instructions."""
    mark = _MARK.search(question.messages[0][1])
    return mark is not None and mark[0] in reply
