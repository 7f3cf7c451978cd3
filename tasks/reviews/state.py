"""What a review knows of itself from one run to the next, beside its packs and the answers that came back.

::

    reviews/llava-es/
      languages.json  ["en", "es"]                           the pair that it keeps to
      pushed.json     {"images": "…", "workspace": "team"}   what a push that names neither takes from the last one
      drawn.json      [[17, 1], [17, 3]]                     turns ever drawn at random: row, turn
      merged.json     [["0.1.0", [path, [size, time, inode]], …], …]   what the last whole pull was made from, and left
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from tasks.reviews.records import ReviewTurn, review_name
from tasks.storage.errors import PermanentError, TornFile
from tasks.storage.files import write_bytes
from tasks.storage.root import DataRoot

_LANGUAGES = "languages.json"
_PUSHED = "pushed.json"
_DRAWN = "drawn.json"
_MERGED = "merged.json"


class Review(NamedTuple):
    """One table under review."""

    table: Path
    name: str
    root: DataRoot

    @property
    def folder(self) -> Path:
        """Packs, answers that came back, the lock, and what this module writes."""
        return self.root.reviews / self.name

    @property
    def report(self) -> Path:
        """The folder of its report."""
        return self.root.reports / f"review-{self.name}"

    def path(self, what: str) -> Path:
        """A table that the review leaves, such as ``tables/llava-es-reviewed.parquet``."""
        return self.root.tables / f"{self.name}-{what}.parquet"


def find(table: Path, dataset: str, root: DataRoot) -> Review | None:
    """The table that is meant: a path, or a name under ``tables/``; None where there is none yet.

    Raises:
        PermanentError: The review's name cannot be a file's.
    """
    for path in (table, root.tables / f"{table}.parquet"):
        if path.is_file():
            return Review(path.absolute(), review_name(dataset or path.stem), root)
    return None


def languages(review: Review) -> tuple[str, str]:
    """The table's pair of languages, which its provenance names and which the review keeps to.

    Raises:
        PermanentError: The provenance is missing or damaged, or the review is one of other languages.
    """
    provenance = review.table.with_suffix(".provenance.json")
    try:
        asked = json.loads(provenance.read_bytes())["parameters"]
        pair = [str(asked["source_language"]), str(asked["target"])]
    except FileNotFoundError:
        raise PermanentError(
            f"{provenance} is missing: it names the languages of {review.table}. Run translate-llava."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise PermanentError(
            f"{provenance} does not name the languages of {review.table} ({error}). Move it away and run translate-llava: "
            "it is written anew."
        ) from error
    path = review.folder / _LANGUAGES
    try:
        known = [str(code) for code in json.loads(path.read_bytes())]
    except (FileNotFoundError, ValueError, TypeError):
        write_bytes(path, json.dumps(known := pair).encode())
    if known != pair:  # the answers would be settled, and go into the memory, as if they were in these languages
        raise PermanentError(
            f"The review {review.name!r} is one of {' into '.join(known)}, and {review.table} is {' into '.join(pair)}. "
            "Give it a review of its own (`dataset`). Nothing was changed."
        )
    return pair[0], pair[1]


class PushedWith(NamedTuple):
    """What a push that does not name it takes from the last one: one that is triggered names nothing."""

    images: str = ""
    workspace: str = "trasvase"


def pushed_with(review: Review) -> PushedWith:
    """What the last push was made with.

    Raises:
        TornFile: What it wrote down is damaged.
    """
    path = review.folder / _PUSHED
    try:
        return PushedWith(**json.loads(path.read_bytes())) if path.is_file() else PushedWith()
    except (ValueError, TypeError) as error:
        raise TornFile(
            f"{path} is damaged ({error}). Move it away and push again, with `images` and `workspace` where they were "
            "given."
        ) from error


def remember_pushed(review: Review, now: PushedWith) -> None:
    """Write down what this push is made with."""
    if now != pushed_with(review):
        write_bytes(review.folder / _PUSHED, json.dumps(now._asdict(), ensure_ascii=False).encode())


def drawn(review: Review) -> set[tuple[int, int]] | None:
    """Row and turn of all that was ever drawn at random; None where that is not known.

    Raises:
        TornFile: What was written down is damaged.
    """
    path = review.folder / _DRAWN
    try:
        return {(row, turn) for row, turn in json.loads(path.read_bytes())} if path.is_file() else None
    except (ValueError, TypeError) as error:
        raise TornFile(f"{path} is damaged ({error}). Move it away and push again: it is made anew.") from error


def remember_drawn(review: Review, turns: Sequence[ReviewTurn]) -> None:
    """Which turns were ever drawn at random: what the error rate's answers are a part of."""
    known, now = drawn(review), {(turn.row, turn.turn) for turn in turns if turn.part == "audit"}
    # A push without an audit does not make an unknown draw an empty one.
    if now - (known or set()):
        write_bytes(review.folder / _DRAWN, json.dumps(sorted(now | (known or set()))).encode())


def found_by(review: Review) -> list[Any]:
    """What a merge is made from: program and files, as they are before it."""
    return [version("trasvase"), *_seen([review.table, review.path("responses"), review.folder / _DRAWN])]


def is_merged(review: Review, found: list[Any], left: Iterable[Path]) -> bool:
    """Whether the last whole pull was made from these very files, and what it left is as it was left.

    Not told by which file is younger: a table put back from a backup, or moved here, is older than what it replaces.
    """
    path = review.folder / _MERGED
    try:
        return bool(json.loads(path.read_bytes()) == [found, _seen(left)])
    except (FileNotFoundError, ValueError):
        return False


def remember_merged(review: Review, found: list[Any], left: Iterable[Path]) -> None:
    """Write down, last of all, that this has been merged."""
    write_bytes(review.folder / _MERGED, json.dumps([found, _seen(left)]).encode())


def _seen(paths: Iterable[Path]) -> list[list[Any]]:
    stats = [(path, path.stat() if path.is_file() else None) for path in paths]
    return [[str(path), stat and [stat.st_size, stat.st_mtime_ns, stat.st_ino]] for path, stat in stats]
