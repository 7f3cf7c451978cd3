"""Every version of every answer that was ever seen, in one table that only grows.

``tables/llava-es-responses.parquet``, one row per version::

    id "6d1f…" | record "llava-es:17:1:9f3a…" | row 17 | turn 1 | user "reviewer-3f2a9c01" | status "draft"     | … 10:15:02
    id "6d1f…" | record "llava-es:17:1:9f3a…" | row 17 | turn 1 | user "reviewer-3f2a9c01" | status "submitted" | … 10:16:40

An edited answer has the same id and a later time. What a service has no more stays here. The file is written anew, whole,
and only when there is something to add.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.reviews.records import Response
from tasks.storage.errors import ForeignTable, PermanentError, TornFile
from tasks.storage.schemas import RESPONSES
from tasks.storage.tables import read_precious, write_table

_SETS = ("codes", "kinds")  # lists in the table, tuples in a Response
_NAMES = tuple(field.name for field in fields(Response))


@dataclass(frozen=True, slots=True)
class History:
    """What is known of all answers.

    Args:
        path: The table.
        latest: Each answer in its newest version, in order of rows and turns.
        versions: Versions in the table.
        added: Those that were new.
    """

    path: Path
    latest: tuple[Response, ...]
    versions: int
    added: int


def add_responses(path: Path, responses: Iterable[Response]) -> History:
    """Add the versions that are not known yet. A known one is left alone, and one that is gone stays.

    Args:
        path: The table; made when it is missing.
        responses: All answers as the services have them now.

    Raises:
        TornFile: The table is damaged; it is left as it is.
        ForeignTable: The file is another table; it is left as it is.
        PermanentError: An answer cannot be written as UTF-8, or has a time without a zone.
        DiskFull: No room; the old table is untouched.
    """
    known = dict.fromkeys(_read(path))
    now = dict.fromkeys(_checked(responses))
    added = [each for each in now if each not in known]
    versions = sorted([*known, *added], key=_order)
    if added:
        rows = [asdict(each) for each in versions]
        write_table(pa.Table.from_pylist(rows, RESPONSES.columns), path, RESPONSES, {})
    latest: dict[tuple[str, str], Response] = {}
    for each in versions:
        last = latest.get((each.record, each.id))
        # Two versions of one time (a role that was changed since): what the service says now is the newer one.
        if last is None or (each.updated_at, each in now) >= (last.updated_at, last in now):
            latest[each.record, each.id] = each
    return History(path, tuple(sorted(latest.values(), key=_order)), len(versions), len(added))


def _order(response: Response) -> tuple[Any, ...]:
    whole = tuple(str(getattr(response, name)) for name in _NAMES)
    return response.row, response.turn, response.record, response.id, response.updated_at, whole


def _checked(responses: Iterable[Response]) -> Iterator[Response]:
    for each in responses:
        told = f"Answer {each.id!r} to {each.record!r}"
        try:
            "".join(str(getattr(each, name)) for name in _NAMES).encode()
        except UnicodeEncodeError as error:
            raise PermanentError(
                f"{told} has a character that is none ({error.reason}). Nothing was written."
            ) from None
        if each.inserted_at.tzinfo is None or each.updated_at.tzinfo is None:
            raise PermanentError(f"{told} has a time without a zone. Nothing was written.")
        yield each


def _read(path: Path) -> Iterator[Response]:
    kept = (
        "It may hold answers that no service has any more, so it was not touched. Put a copy of it back; without "
        "one move it away and pull again: only what the services still have comes back."
    )
    try:
        table = read_precious(path, RESPONSES)
    except FileNotFoundError:
        return
    except TornFile as error:
        raise TornFile(f"{path} is damaged. {kept}") from error
    except ForeignTable as error:
        raise ForeignTable(f"{error} {kept}") from error
    for row in table.to_pylist():
        lists = {name: tuple(row[name]) for name in _SETS}
        times = {name: _utc(row[name]) for name in ("inserted_at", "updated_at")}
        yield Response(**{**row, **lists, **times})


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC)
