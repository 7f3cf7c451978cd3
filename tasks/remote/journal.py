"""Every answer of every service, stored before it is used, under what was asked.

``journal/answers.sqlite`` has four tables::

    answers  key (16 bytes)  |  answer "El autobús es blanco."  |  refusal null
    calls    at 1763629200.1 |  job "translate-llava-3f2a…"  |  service "google/4.0.2"  |  texts 38  |  chars 4471  |
             seconds 0.31    |  outcome "answered"           |  cost_usd 0.0
    holds    at 1763629200.1 |  job "mine-jokes-9b1c…"       |  service "mistral"       |  cost_usd 0.0031
    batches  digest "3f2a…-0"  |  chat "mistral"  |  job "mine-jokes-9b1c…"  |  keys 1,472 x 16 bytes  |  hold 17  |
             file_id "…"  |  batch_id "…"  |  taken 1,472 bytes: 1 for each line that is in `answers` or given up

A hold is a call under way, with the most that it can cost. It goes when the call is written down; the hold of a call
that kill -9 cut off stays, and counts as spent. A batch is many questions sent at once: it is written down before it is
sent, and stays open until each of its lines is taken.

SQLite in WAL mode with ``synchronous=FULL``: an answer that was used has been on the disk before.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tasks.storage.errors import DiskFull, NotWritable, TornFile, disk_error

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, answer TEXT, refusal TEXT);
CREATE TABLE IF NOT EXISTS calls (
    at REAL NOT NULL, job TEXT NOT NULL, service TEXT NOT NULL, texts INTEGER NOT NULL, chars INTEGER NOT NULL,
    seconds REAL NOT NULL, outcome TEXT NOT NULL, cost_usd REAL NOT NULL);
CREATE INDEX IF NOT EXISTS calls_of_job ON calls (job, at);
CREATE TABLE IF NOT EXISTS holds (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, job TEXT NOT NULL, service TEXT NOT NULL, cost_usd REAL NOT NULL);
CREATE TABLE IF NOT EXISTS batches (
    digest TEXT PRIMARY KEY, chat TEXT NOT NULL, job TEXT NOT NULL, at REAL NOT NULL, keys BLOB NOT NULL,
    hold INTEGER NOT NULL, highest_usd REAL NOT NULL, file_id TEXT NOT NULL, batch_id TEXT NOT NULL,
    taken BLOB NOT NULL, done INTEGER NOT NULL);
"""
_AT_ONCE = 500  # keys in one SELECT; SQLite allows 32,766 variables


REFUSED = "refused"  # the service will not take this question; its last word
UNANSWERED = "unanswered"  # it fails on this question while it answers others; another day it may not


class Answer(NamedTuple):
    """What a service gave for one question: an answer, or ``REFUSED`` or ``UNANSWERED``."""

    text: str | None
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request to someone else's machine.

    Args:
        at: When it was sent, seconds since 1970.
        job: The job that asked, or ``job/chunk-00017`` where it is known for which of its chunks.
        service: Name and version of the service.
        texts: Questions in the request.
        chars: Characters in the request.
        seconds: How long it took.
        outcome: ``answered``, or the error's class.
        cost_usd: What it cost, in US dollars.
        hold: The hold that it settles; not kept.
    """

    at: float
    job: str
    service: str
    texts: int
    chars: int
    seconds: float
    outcome: str
    cost_usd: float = 0.0
    hold: int | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """What a call that is about to be sent may cost.

    Args:
        job: The job that asks.
        service: Name of the service.
        cost_usd: The most that it can cost, in US dollars.
        jobs: All jobs that share the cap; the one that asks is among them.
        cap_usd: What they may cost in all; None for no cap.
    """

    job: str
    service: str
    cost_usd: float
    jobs: tuple[str, ...]
    cap_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Many questions sent at once, from before they are sent until each of its lines is taken.

    Args:
        digest: Of its lines, with how often these very lines were sent before; the service keeps it too.
        chat: Name of the service.
        job: The job that asks and pays.
        at: When it was written down, seconds since 1970.
        keys: Of its questions, in the order of its lines.
        highest_usd: The most that it can cost; held until it is done.
        file_id: Of its lines at the service; empty until they are uploaded.
        batch_id: At the service; empty until it is submitted and the service's answer is written down.
        taken: A byte for each line: 1 where it is in the journal or given up.
    """

    digest: str
    chat: str
    job: str
    at: float
    keys: tuple[bytes, ...]
    highest_usd: float
    file_id: str = ""
    batch_id: str = ""
    taken: bytes = b""


class Spent(NamedTuple):
    """What jobs have cost so far, in US dollars: calls that are written down, and holds."""

    calls_usd: float
    held_usd: float

    @property
    def usd(self) -> float:
        """Both."""
        return self.calls_usd + self.held_usd


def key_of(*parts: str) -> bytes:
    """The key of a question: 16 bytes of a hash over all that decides the answer."""
    return next(keys_of(parts[:-1], parts[-1:]))


def keys_of(parts: Iterable[str], last: Iterable[str]) -> Iterator[bytes]:
    """The keys of many questions that differ in their last part alone."""
    start = hashlib.blake2b(digest_size=16)
    for part in parts:
        start.update(_framed(part))
    for part in last:
        digest = start.copy()
        digest.update(_framed(part))
        yield digest.digest()


def _of(jobs: Sequence[str]) -> tuple[str, list[str]]:
    """SQL for what these jobs have asked, themselves or under their chunks' names, with its values."""
    names = [name for job in jobs for name in (job, f"{job}/", f"{job}0")]  # "0" comes after "/"
    return " OR ".join(["job = ? OR (job > ? AND job < ?)"] * len(jobs)), names


def _parted(keys: bytes) -> tuple[bytes, ...]:
    return tuple(keys[start : start + 16] for start in range(0, len(keys), 16))


def _framed(part: str) -> bytes:
    data = part.encode(errors="surrogatepass")  # what no service may take has a key all the same
    return len(data).to_bytes(8, "big") + data


class Overtaken(Exception):
    """Another process has sent a batch with some of the same questions meanwhile."""


class Journal:
    """The store. One object per process and file; any thread may use it, and several processes may."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._summed: dict[tuple[str, ...], tuple[int, float]] = {}  # jobs -> last call summed up, their sum
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, path) from error
        with self._worded():
            self._db = sqlite3.connect(path, timeout=60, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA cache_size=-32000")
            self._db.execute("PRAGMA wal_autocheckpoint=8000")  # pages; keys are random, so each page is written often
            self._db.executescript(_TABLES)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Answer]:
        """The stored answers among these keys."""
        found: dict[bytes, Answer] = {}
        with self._lock, self._worded():
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, answer, refusal FROM answers WHERE key IN ({marks})"
                found.update((key, Answer(text, refusal)) for key, text, refusal in self._db.execute(query, some))
        return found

    def put(
        self, answers: Mapping[bytes, Answer], calls: Sequence[Call] = (), holds: Sequence[Hold] = ()
    ) -> list[int | None]:
        """Store answers, the requests that brought them, and what requests about to be sent may cost, in one transaction.

        A stored key is overwritten. The holds of the requests that are done are settled first.

        Returns:
            For each of ``holds`` its id, for ``Call.hold``; None where it does not fit under its cap beside all that its
            jobs have cost and hold. Nothing is written for those.
        """
        ids: list[int | None] = []
        with self._transaction():
            self._put(answers, calls)
            for hold in holds:
                if hold.cap_usd is not None and self._spent(hold.jobs).usd + hold.cost_usd > hold.cap_usd:
                    ids.append(None)
                    continue
                values = (time.time(), hold.job, hold.service, hold.cost_usd)
                row = self._db.execute("INSERT INTO holds (at, job, service, cost_usd) VALUES (?, ?, ?, ?)", values)
                ids.append(row.lastrowid)
        return ids

    def _put(self, answers: Mapping[bytes, Answer], calls: Sequence[Call]) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)",
            [(key, answer.text, answer.refusal) for key, answer in answers.items()],
        )
        self._db.executemany(
            "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(c.at, c.job, c.service, c.texts, c.chars, c.seconds, c.outcome, c.cost_usd) for c in calls],
        )
        if settled := [(call.hold,) for call in calls if call.hold is not None]:
            self._db.executemany("DELETE FROM holds WHERE id = ?", settled)

    def release(self, ids: Iterable[int]) -> None:
        """Forget holds of calls that were never sent."""
        with self._transaction():
            self._db.executemany("DELETE FROM holds WHERE id = ?", [(hold,) for hold in ids])

    def open_batches(self, chat: str) -> list[Batch]:
        """Batches of which lines are not taken yet, in order of time."""
        query = (
            "SELECT digest, chat, job, at, keys, highest_usd, file_id, batch_id, taken FROM batches "
            "WHERE chat = ? AND NOT done ORDER BY at"
        )
        with self._lock, self._worded():
            rows = self._db.execute(query, (chat,)).fetchall()
        return [Batch(digest, chat, job, at, _parted(keys), *more) for digest, chat, job, at, keys, *more in rows]

    def times_sent(self, lines: str) -> int:
        """How many batches of these very lines are done; the digest of the next one ends with this number."""
        with self._lock, self._worded():
            query = "SELECT count(*) FROM batches WHERE digest LIKE ? || '-%'"
            return int(self._db.execute(query, (lines,)).fetchone()[0])

    def intend(self, batches: Sequence[Batch], jobs: tuple[str, ...], cap_usd: float | None = None) -> bool:
        """Write down batches that are about to be sent, and hold what they may cost: all of them, or none.

        Args:
            batches: New ones.
            jobs: All jobs that share the cap.
            cap_usd: What they may cost in all; None for no cap.

        Returns:
            Whether they fit under the cap.

        Raises:
            Overtaken: Another process has sent one of their questions; nothing is written.
        """
        with self._transaction():
            for chat in {batch.chat for batch in batches}:
                open_ones = self._db.execute("SELECT keys FROM batches WHERE chat = ? AND NOT done", (chat,))
                sent = set[bytes]().union(*(_parted(keys) for (keys,) in open_ones))
                if not all(sent.isdisjoint(batch.keys) for batch in batches if batch.chat == chat):
                    raise Overtaken
            needed = sum(batch.highest_usd for batch in batches)
            if cap_usd is not None and self._spent(jobs).usd + needed > cap_usd:
                return False
            for batch in batches:
                values = (batch.at, batch.job, batch.chat, batch.highest_usd)
                hold = self._db.execute("INSERT INTO holds (at, job, service, cost_usd) VALUES (?, ?, ?, ?)", values)
                self._db.execute(
                    "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, '', '', ?, 0)",
                    (
                        batch.digest,
                        batch.chat,
                        batch.job,
                        batch.at,
                        b"".join(batch.keys),
                        hold.lastrowid,
                        batch.highest_usd,
                        bytes(len(batch.keys)),
                    ),
                )
        return True

    def note_batch_file(self, digest: str, file_id: str) -> None:
        """Write down what the service called a batch's lines."""
        with self._transaction():
            self._db.execute("UPDATE batches SET file_id = ? WHERE digest = ?", (file_id, digest))

    def note_batch(self, digest: str, batch_id: str) -> None:
        """Write down what the service called a batch: from here on it is submitted."""
        with self._transaction():
            self._db.execute("UPDATE batches SET batch_id = ? WHERE digest = ?", (batch_id, digest))

    def forget_batch(self, digest: str) -> None:
        """Forget a batch that was never submitted, and what it holds."""
        with self._transaction():
            self._db.execute("DELETE FROM holds WHERE id = (SELECT hold FROM batches WHERE digest = ?)", (digest,))
            self._db.execute("DELETE FROM batches WHERE digest = ?", (digest,))

    def take(
        self, digest: str, places: Iterable[int], answers: Mapping[bytes, Answer], calls: Sequence[Call] = ()
    ) -> bool:
        """Store what became of some lines of a batch, in one transaction; with its last line its hold is settled.

        Args:
            digest: Of the batch.
            places: Of the lines.
            answers: Those that there are; a line without one is given up.
            calls: What these lines cost.

        Returns:
            False where somebody else has taken one of them: then nothing is stored.
        """
        with self._transaction():
            query = "SELECT taken, hold FROM batches WHERE digest = ?"
            before, hold = self._db.execute(query, (digest,)).fetchone()
            taken = bytearray(before)
            for place in places:
                if taken[place]:
                    return False
                taken[place] = 1
            self._put(answers, calls)
            done = all(taken)
            self._db.execute("UPDATE batches SET taken = ?, done = ? WHERE digest = ?", (bytes(taken), done, digest))
            if done:
                self._db.execute("DELETE FROM holds WHERE id = ?", (hold,))
        return True

    def spent(self, jobs: Iterable[str]) -> Spent:
        """What these jobs have cost over all runs, and what they hold."""
        with self._lock, self._worded():
            return self._spent(tuple(jobs))

    def _spent(self, jobs: tuple[str, ...]) -> Spent:
        # Calls are only ever added: each is summed up once. Another process may have added some.
        theirs, names = _of(jobs)
        last, total = self._summed.get(jobs, (0, 0.0))
        query = f"SELECT max(rowid), total(cost_usd) FILTER (WHERE {theirs}) FROM calls WHERE rowid > ?"
        newest, added = self._db.execute(query, (*names, last)).fetchone()
        if newest is not None:
            last, total = self._summed[jobs] = newest, total + added
        (held,) = self._db.execute(f"SELECT total(cost_usd) FROM holds WHERE {theirs}", names).fetchone()
        return Spent(total, held)

    def calls(self, job: str | None = None) -> list[Call]:
        """The requests of one job with its chunks, of one chunk (``job/chunk-00017``), or of all, in order of time."""
        theirs, names = _of((job,)) if job is not None else ("true", [])
        with self._lock, self._worded():
            return [Call(*row) for row in self._db.execute(f"SELECT * FROM calls WHERE {theirs} ORDER BY at", names)]

    def seconds_each(self, service: str) -> float | None:
        """How long a service took for one request that it answered, on average; None where it answered none."""
        query = "SELECT avg(seconds) FROM calls WHERE service = ? AND outcome = 'answered'"
        with self._lock, self._worded():
            (seconds,) = self._db.execute(query, (service,)).fetchone()
        return None if seconds is None else float(seconds)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._worded():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._summed.clear()  # it may have seen calls that are now none
                if self._db.in_transaction:  # a full disk has rolled it back already
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _worded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            kind = getattr(error, "sqlite_errorname", "")
            # A full disk is also an I/O error: the shared-memory file of the WAL cannot grow.
            full = kind.startswith("SQLITE_IOERR") and shutil.disk_usage(self.path.parent).free < 4 << 20
            if full or kind.startswith("SQLITE_FULL"):
                raise DiskFull(
                    f"No space left on the disk for the journal {self.path}. Free some space and retry: "
                    "answers so far are kept."
                ) from error
            if kind.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
                raise NotWritable(
                    f"The journal {self.path} cannot be written: {error}. Make its folder writable, or set TRASVASE_DATA "
                    "to one that is."
                ) from error
            if kind.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                raise TornFile(
                    f"The journal {self.path} is damaged: {error}. Move it away and retry: finished chunks are kept, "
                    "only answers of unfinished chunks are asked again."
                ) from error
            raise
