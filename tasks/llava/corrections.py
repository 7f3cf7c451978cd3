r"""What people settled, one file per pair of languages: the next translation of an equal text is theirs.

``memory/en-es.parquet`` holds every settled text, with where it comes from, and for each text one translation is used::

    source             target                   how       by                      at                origin
    Is the bus white?  ¿El autobús es blanco?   edited    ["reviewer-3f2a9c01"]   2026-11-20 10:15  llava-es
    Is the bus white?  ¿Es blanco el autobús?   accepted  ["reviewer-77d01b2e"]   2026-11-19 08:02  llava-es
    Is the bus white?  ¿Es blanco el autobús?   tmx       []                      2024-03-05 10:11  tmx:agency.tmx

    -> {"Is the bus white?": Choice("¿Es blanco el autobús?", votes=2, …)}
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from tasks.chunks.lock import only_run
from tasks.llava.verify import verify_turn
from tasks.storage.errors import ForeignTable, PermanentError, TornFile
from tasks.storage.schemas import CORRECTIONS
from tasks.storage.tables import read_table, write_table

HOW = ("accepted", "edited", "tmx")
_LANGUAGE = re.compile(r"[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*")
_EARLIEST = datetime.min.replace(tzinfo=UTC)  # of what carries no time
_NOBODY = "\0"  # begins the voter that stands for an origin's entries without a name
_SHOWN = 60  # characters of a text that a message names


@dataclass(frozen=True, slots=True)
class Correction:
    """A text that people settled.

    Args:
        source: The turn's text.
        target: Its translation.
        how: ``accepted`` as the machine gave it, ``edited``, or ``tmx``.
        by: Pseudonyms of who settled it; none where that is not known.
        at: When, UTC.
        origin: A dataset's name, or ``tmx:`` and the name of a file.
        row: Position of its row in the source; None where it comes from no data set.
        turn: Number of its turn.
    """

    source: str
    target: str
    how: str
    by: tuple[str, ...]
    at: datetime | None
    origin: str
    row: int | None = None
    turn: int | None = None


_NAMES = CORRECTIONS.columns.names


class Change(NamedTuple):
    """What adding did to the file.

    Args:
        entries: Entries in it now.
        added: Those that are new.
        removed: Those of the same origin that are gone.
    """

    entries: int
    added: int
    removed: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The translation that is used for a text.

    Args:
        text: The translation.
        by: Who is for it, sorted.
        at: When the last of them said so.
        how: How the last of them did.
        votes: How many people are for it; an origin that names nobody counts as one.
    """

    text: str
    by: tuple[str, ...]
    at: datetime | None
    how: str
    votes: int


class Best(NamedTuple):
    """What is used, and what is not.

    Args:
        choices: For each text its translation.
        conflicts: Texts for which people have settled on different translations.
        unusable: Entries that no translation may be like, each with its origin and the codes of ``HARD``.
    """

    choices: dict[str, Choice]
    conflicts: int
    unusable: tuple[str, ...]


def memory_path(folder: Path, source: str, target: str) -> Path:
    """Where the memory of two languages lies.

    Raises:
        PermanentError: One of them is no language's code.
    """
    for code in (source, target):
        if not _LANGUAGE.fullmatch(code):
            raise PermanentError(f"{code!r} is no language's code. Give one such as 'en' or 'pt-BR'.")
    return folder / f"{source}-{target}.parquet"


def add_corrections(path: Path, corrections: Iterable[Correction], origin: str) -> Change:
    """Put an origin's corrections in place of those that it had; all others stay. Equal entries give equal bytes.

    Args:
        path: The memory's file; made if it is missing, and left alone when nothing changes.
        corrections: All that the origin has.
        origin: Whose they are.

    Raises:
        TornFile, ForeignTable: The old file is damaged or another table; it is untouched.
        PermanentError: A text cannot be stored.
        DiskFull: No room; the old file is untouched.
    """
    new = set(corrections)
    for correction in new:
        _check(correction)
    with only_run(path.parent, wait=True):  # pull-reviews of several data sets and an import may come at once
        old = set(read_corrections(path))
        entries = new | {entry for entry in old if entry.origin != origin}
        if entries != old:
            write_table(_table(entries), path, CORRECTIONS, {})
    return Change(len(entries), len(entries - old), len(old - entries))


def read_corrections(path: Path) -> list[Correction]:
    """Every entry; none where there is no file.

    Raises:
        TornFile, ForeignTable: The file is damaged or another table.
    """
    try:
        rows = read_table(path, CORRECTIONS).to_pylist()
    except FileNotFoundError:
        return []
    except (TornFile, ForeignTable) as error:
        raise type(error)(
            f"The memory of what reviewers settled cannot be read: {error} Its entries come back with pull-reviews, and "
            "with `trasvase memory import` those of TMX files."
        ) from error
    return [Correction(**row | {"by": tuple(row["by"] or ())}) for row in rows]


def best(path: Path) -> Best:
    """For each text the translation that most people are for; of equal ones the latest, then the smaller text.

    Whoever settled a text more than once counts with the last time. Accepted and edited texts count alike.

    Raises:
        TornFile, ForeignTable: The file is damaged or another table.
    """
    entries = sorted(read_corrections(path), key=_order, reverse=True)
    entries.sort(key=_moment)  # stable: of equal times the smaller text comes last
    last: dict[str, dict[str, Correction]] = defaultdict(dict)  # by text and voter
    unusable = []
    for correction in entries:
        if codes := verify_turn(correction.source, correction.target):
            unusable.append(f"{correction.origin}: {correction.source[:_SHOWN]!r}: {', '.join(codes)}")
            continue
        for voter in correction.by or (_NOBODY + correction.origin,):
            last[correction.source][voter] = correction
    conflicts = sum(len({said.target for said in votes.values()}) > 1 for votes in last.values())
    return Best({text: _choice(votes) for text, votes in sorted(last.items())}, conflicts, tuple(sorted(unusable)))


def _choice(votes: Mapping[str, Correction]) -> Choice:
    sides: dict[str, list[str]] = defaultdict(list)
    for voter, said in votes.items():
        sides[said.target].append(voter)

    def weight(target: str) -> tuple[int, datetime]:
        return len(sides[target]), max(_moment(votes[voter]) for voter in sides[target])

    target = max(sorted(sides), key=weight)
    latest = max((votes[voter] for voter in sides[target]), key=lambda said: (_moment(said), said.how))
    by = tuple(sorted(voter for voter in sides[target] if not voter.startswith(_NOBODY)))
    return Choice(target, by, latest.at, latest.how, len(sides[target]))


def _check(correction: Correction) -> None:
    try:
        (correction.source + correction.target).encode()
    except UnicodeEncodeError as error:
        raise PermanentError(
            f"{correction.origin}: the correction of {correction.source[:_SHOWN]!r} (row {correction.row}, turn "
            f"{correction.turn}) has half of a surrogate pair and cannot be stored. Have it typed again."
        ) from error


def _table(entries: Iterable[Correction]) -> pa.Table:
    """Entries as rows, in an order that depends on nothing but them."""
    rows = sorted(entries, key=_order)
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in _NAMES}
    return pa.table(columns, schema=CORRECTIONS.columns)


def _order(said: Correction) -> tuple[Any, ...]:
    row = (-1 if said.row is None else said.row, -1 if said.turn is None else said.turn)
    return said.source, said.target, said.origin, said.how, said.by, _moment(said), row


def _moment(said: Correction) -> datetime:
    return said.at or _EARLIEST
