"""What people review, and what they answer: the same for Argilla and for the HTML pack.

One turn on its way out, and one answer on its way back::

    ReviewTurn(id="llava-es:17:1:9f3a0c12d4e5", row=17, turn=1, role="gpt", original="The bus is white.",
               machine="El autobús es blanca.", codes=("numbers",), score=0.62, part="worst", …)
    Response(id="6d1f…", record="llava-es:17:1:9f3a0c12d4e5", user="reviewer-3f2a9c01", status="submitted",
             text="El autobús es blanco.", verdict="minor", kinds=("grammar",), …)

A record's id holds a digest of the two texts that were shown, so an answer belongs to exactly these texts: a changed
translation is another record, and answers to the old one are kept with the old text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from tasks.storage.errors import PermanentError

_NAME = re.compile(r"[^\x00-\x1f/\\.\ud800-\udfff][^\x00-\x1f/\\\ud800-\udfff]*")
_MAX_NAME = 120  # bytes: a file system takes 255, of which what is written aside needs up to 130 for itself

Part = Literal["worst", "audit"]
Status = Literal["submitted", "draft", "discarded"]

# The questions' values; their words for reviewers stand in guidelines.md and in the questions' titles.
VERDICTS = {
    "good": "Good · Bien",
    "minor": "Small errors · Errores leves",
    "major": "Grave errors · Errores graves",
    "unusable": "Unusable · Inservible",
}
ERRORS = ("minor", "major", "unusable")  # verdicts that count as an error of the machine
# After MQM (https://themqm.org), as few as people will use.
KINDS = {
    "mistranslation": "Wrong meaning · Sentido equivocado",
    "omission": "Something is missing · Falta algo",
    "addition": "Something was added · Sobra algo",
    "untranslated": "Left in the source language · Sin traducir",
    "grammar": "Grammar, agreement, spelling · Gramática, concordancia, ortografía",
    "terminology": "Wrong term · Término equivocado",
    "style": "Unnatural · Poco natural",
    "locale": "Numbers, units, conventions · Números, unidades, convenciones",
    "image": "Does not fit the image · No corresponde a la imagen",
    "formatting": "Layout, punctuation, line breaks · Formato, puntuación, saltos de línea",
}


@dataclass(frozen=True, slots=True)
class ReviewTurn:
    """One turn as it is shown to reviewers.

    Args:
        id: ``<dataset>:<row>:<turn>:<12 hex digits>``, see ``record_id``.
        row: Position of its row in the source.
        turn: Number of the turn in its row, from 0.
        chunk: The chunk that its row was translated in.
        role: ``human`` or ``gpt``.
        image: The row's image name, or None.
        original: The source turn's value, as it is.
        machine: Its translation, as it is.
        context: The turns before it: role and translation.
        translator: Name and version.
        codes: Codes of its checks, sorted.
        score: 0 (surely bad) to 1 (no doubt), from the codes.
        ratio: Length ratio (target + 5) / (source + 5).
        part: Shown because it looks bad, or drawn at random for the error rate.
        version: The dataset version: name of the job that made the table.
    """

    id: str
    row: int
    turn: int
    chunk: int
    role: str
    image: str | None
    original: str
    machine: str
    context: tuple[tuple[str, str], ...]
    translator: str
    codes: tuple[str, ...]
    score: float
    ratio: float
    part: Part
    version: str


@dataclass(frozen=True, slots=True)
class Response:
    """One person's answer to one record, in one of its versions: an edited answer has the same id and a later time.

    Args:
        id: The answer's id where it was given.
        record: Id of the record.
        row, turn, part, original, machine, translator, codes: Of the record, as it was shown.
        user: Pseudonym of who gave it, see ``pseudonym``.
        role: ``owner``, ``admin`` or ``annotator``.
        status: Only submitted answers count.
        text: The corrected text as typed; None where there is none (a discard).
        verdict: A key of ``VERDICTS``, or None.
        kinds: Keys of ``KINDS``, sorted.
        note: Free text, or None.
        inserted_at: When it was first given, UTC.
        updated_at: When it was given in this version, UTC.
        origin: Where: ``argilla:<dataset id>`` or ``pack:<file name>``.
    """

    id: str
    record: str
    row: int
    turn: int
    part: Part
    original: str
    machine: str
    translator: str
    codes: tuple[str, ...]
    user: str
    role: str
    status: Status
    text: str | None
    verdict: str | None
    kinds: tuple[str, ...]
    note: str | None
    inserted_at: datetime
    updated_at: datetime
    origin: str


class Refused(NamedTuple):
    """A record that a service would not take, or an answer that cannot be used, with the reason."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did, in records.

    Args:
        added: New ones.
        updated: Known ones that are shown in another way now (an image, a code); their answers are untouched.
        unchanged: Known ones that are as they should be.
        refused: Those that the service would not take; the others are there.
        where: Address or path for people.
    """

    added: int
    updated: int
    unchanged: int
    refused: tuple[Refused, ...]
    where: str


class Desk(Protocol):
    """Where people review: push records, read answers, send broken ones back."""

    def push(self, turns: Sequence[ReviewTurn], progress: Callable[[int, int], None]) -> Pushed:
        """Show these turns. Known ones are left alone; nobody's answer is touched.

        Args:
            turns: What to show.
            progress: Called after each batch with the records done and all records.

        Raises:
            TransientError: The service does not answer; push again.
            PermanentError: It does not serve us; the message says what to change.
        """

    def responses(self) -> Iterator[Response | Refused]:
        """All answers as they are now: drafts and discards too. What belongs to none of our records is Refused."""

    def send_back(self, broken: Sequence[tuple[Response, str]]) -> int:
        """Put submitted answers back on their reviewers' lists, with the reason; how many were."""


def review_name(dataset: str) -> str:
    """A review's name, if files can be called after it.

    Raises:
        PermanentError: They cannot.
    """
    if not _NAME.fullmatch(dataset) or len(dataset.encode(errors="replace")) > _MAX_NAME:
        raise PermanentError(
            f"A review cannot be called {dataset!r}. Give a `dataset` of at most {_MAX_NAME} bytes that has no slash and "
            "does not begin with a dot."
        )
    return dataset


def record_id(dataset: str, row: int, turn: int, original: str, machine: str) -> str:
    """The id of a turn's record."""
    return f"{dataset}:{row}:{turn}:{shown_digest(original, machine)}"


def shown_digest(original: str, machine: str) -> str:
    """Twelve hex digits of SHA-256 over both texts."""
    return hashlib.sha256(f"{len(original)}:{original}{machine}".encode()).hexdigest()[:12]


def pseudonym(user_id: str) -> str:
    """A name for a person that does not tell who it is: ``reviewer-`` and 8 hex digits of the service's own id."""
    return f"reviewer-{hashlib.sha256(user_id.encode()).hexdigest()[:8]}"
