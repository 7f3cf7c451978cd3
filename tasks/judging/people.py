"""What people chose, to hold the judge against it: a CSV or Parquet file, one choice per line::

    id,choice,user
    8c1f0a9c01d2e477,a,ana
    77b0e4c1a9f30d44,neither,ana

``id`` is a pair's in the table that compare-jokes left, ``choice`` one of a, b, tie and neither, or empty where nobody has
chosen yet; ``user`` may be left out.
"""

from __future__ import annotations

import csv
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from tasks.storage.errors import PermanentError
from tasks.storage.tables import open_parquet

CHOICES = ("a", "b", "tie", "neither")


class BadChoices(PermanentError):
    """A file that holds no choices of these pairs."""


def read_choices(path: Path, pairs: Container[str]) -> tuple[dict[str, dict[str, str]], int]:
    """Choices by pair and person, and how many were of other pairs. A person's last word counts.

    Args:
        path: The file.
        pairs: Ids of the pairs.

    Raises:
        BadChoices: There is no such file or column, a choice is none, or no pair is one of these.
    """
    found: dict[str, dict[str, str]] = {}
    others = 0
    for line, row in enumerate(_rows(path), start=1):
        identity, choice, user = (str(row.get(name) or "").strip() for name in ("id", "choice", "user"))
        if not choice:
            continue  # a pair of the sheet that this person has not looked at
        if choice.lower() not in CHOICES:
            raise BadChoices(f"{path}, row {line}: the choice is {choice!r}. Choices are {', '.join(CHOICES)}.")
        if identity in pairs:
            found.setdefault(identity, {})[user or "someone"] = choice.lower()
        else:
            others += 1
    if not found:
        raise BadChoices(
            f"{path} holds no choice of a pair of this comparison, and {others:,} of others. Take the ids of its table."
        )
    return found, others


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        raise BadChoices(f"There is no file {path} with people's choices. Correct `human`, or leave it empty.")
    if path.suffix == ".parquet":
        with open_parquet(path) as file:
            _check(path, file.schema_arrow.names)
            yield from file.read().to_pylist()
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, strict=True)  # else a quote that nobody closes takes all lines after it
            _check(path, reader.fieldnames or ())
            yield from reader
    except UnicodeDecodeError as error:
        raise BadChoices(f"{path} is not UTF-8 ({error}). Save it as UTF-8.") from error
    except csv.Error as error:
        raise BadChoices(f"{path} is no CSV after line {reader.line_num} ({error}). Mend the quotes there.") from error


def _check(path: Path, names: Any) -> None:
    if missing := [name for name in ("id", "choice") if name not in names]:
        raise BadChoices(f"{path} has no column {missing[0]!r}. It has: {', '.join(names) or 'none'}.")
