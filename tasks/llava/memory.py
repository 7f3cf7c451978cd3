"""An existing translation as answers: good turns are taken over, the others are translated again.

The published Spanish LLaVA-Instruct is the case in mind: 157,500 rows, 28 % of them damaged. Its turns are held against
the same checks as a fresh translation, so what is whole costs nothing and what is damaged is mended. One row::

    conversations  [{from: human, value: "<image>\\nWhat is this?"}, …]     (or a list of texts)
    translated     ["<image>\\n¿Qué es esto?", …]                            (or turns, or the dict reprs as published)

or, in TMX, one ``<tu>`` per turn (``tasks/llava/tmx.py``).

What is kept goes into the journal under the file's digest; the summary stands beside it in ``memory-<digest>.json``.
What reviewers settled (``tasks/llava/corrections.py``) goes the same way, under the digest of its texts.
"""

from __future__ import annotations

import ast
import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.llava.checks import Checks
from tasks.llava.conversation import TARGET_COLUMNS
from tasks.llava.language import base_code, clearly_other
from tasks.llava.lexicon import Lexicon
from tasks.llava.segments import sentences, without_zero_width
from tasks.llava.tmx import read_tmx
from tasks.llava.translate import REVIEWED, Remembered
from tasks.llava.verify import verify_turn
from tasks.remote.journal import Answer, Journal, key_of
from tasks.storage.errors import PermanentError, TornFile
from tasks.storage.files import sha256, write_bytes
from tasks.storage.tables import open_parquet


class BadMemory(PermanentError):
    """The file is no translation memory."""


@dataclass(slots=True)
class MemorySummary:
    """What an import did.

    Args:
        digest: SHA-256 of the file.
        turns: Turns in the file.
        distinct: Distinct texts kept, flagged ones included.
        taken: Turns without any finding.
        flagged: Turns kept only as a last resort, by soft code.
        refused: Turns not kept, by hard code.
        lexicon: Word pairs learnt from the turns, for the alignment check.
    """

    digest: str
    turns: int = 0
    distinct: int = 0
    taken: int = 0
    flagged: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    lexicon: str = ""


class JournaledMemory:
    """A memory whose turns are in the journal, under the digest of what it was made from.

    Args:
        journal: Where the turns are.
        digest: What tells this version from another.
        source: Language of the source turns.
        target: Language of the target turns.
        lexicon: Words learnt from it.
        name: The translator of its turns.
    """

    def __init__(
        self,
        journal: Journal,
        digest: str,
        source: str,
        target: str,
        lexicon: Lexicon | None = None,
        name: str = "memory",
    ) -> None:
        self.name = name
        self.lexicon = lexicon
        self._journal = journal
        self._parts = (name, digest, source, target)

    def key(self, value: str) -> bytes:
        """The journal's key for one turn."""
        return key_of(*self._parts, value)

    def store(self, batch: Mapping[bytes, Answer]) -> int:
        """Put turns into the journal by key, soft codes as refusal: a good one stands. How many are new."""
        stored = self._journal.get(list(batch))
        new = {key: a for key, a in batch.items() if key not in stored or (stored[key].refusal and not a.refusal)}
        self._journal.put(new)
        return len(batch.keys() - stored.keys())

    def recall(self, values: Sequence[str]) -> dict[str, Remembered]:
        """What is remembered of these turns."""
        keys = {self.key(value): value for value in values}
        found = self._journal.get(list(keys))
        return {keys[key]: Remembered(answer.text or "", bool(answer.refusal)) for key, answer in found.items()}


def keep_reviewed(texts: Mapping[str, str], journal: Journal, source: str, target: str) -> str:
    """Put what reviewers settled into the journal, so that a job's chunks all use this very version.

    Args:
        texts: For each turn its translation.
        journal: Where they are kept.
        source: Language of the turns.
        target: Language of the translations.

    Returns:
        The version: SHA-256 over the texts.
    """
    digest = hashlib.sha256()
    for pair in sorted(texts.items()):
        digest.update(json.dumps(pair).encode())
    memory = reviewed_memory(journal, digest.hexdigest(), source, target)
    memory.store({memory.key(value): Answer(text) for value, text in texts.items()})
    return digest.hexdigest()


def reviewed_memory(journal: Journal, digest: str, source: str, target: str) -> JournaledMemory:
    """A version of what reviewers settled."""
    return JournaledMemory(journal, digest, source, target, name=REVIEWED)


def summary_path(folder: Path, digest: str, source: str, target: str) -> Path:
    """Where the summary of an imported memory lies."""
    return folder / f"memory-{digest[:12]}-{source}-{target}.json"


def read_summary(path: Path) -> MemorySummary:
    """Read back what an import did."""
    stored = json.loads(path.read_bytes())
    return MemorySummary(**{**stored, "flagged": Counter(stored["flagged"]), "refused": Counter(stored["refused"])})


def import_memory(path: Path, journal: Journal, folder: Path, source: str, target: str) -> MemorySummary:
    """Check a translation and put its turns into the journal. A file that was imported before is not read again.

    Args:
        path: TMX; or Parquet with source turns in ``conversations`` and target turns in one of ``TARGET_COLUMNS``.
        journal: Where turns are kept.
        folder: Where the summary is kept.
        source: Language of the source turns.
        target: Language of the target turns.

    Raises:
        BadMemory: The file is missing, has other columns, or is in other languages.
        BadTmx: The TMX file is broken, or has nothing in these languages.
    """
    if not path.is_file():
        raise BadMemory(
            f"The memory {path} does not exist. Give the path of a Parquet or TMX file, as the worker sees it."
        )
    digest = sha256(path)
    kept = summary_path(folder, digest, source, target)
    if kept.exists():
        return read_summary(kept)
    _check_languages(path, source, target)
    lexicon = Lexicon.learn(_sentences(path, source, target))
    checks = Checks(source, target, lexicon)
    memory = JournaledMemory(journal, digest, source, target, lexicon)
    summary = MemorySummary(digest, lexicon=lexicon.to_json())
    batch: dict[bytes, Answer] = {}
    for value, translated in _pairs(path, source, target):
        summary.turns += 1
        hard = ["unreadable"] if translated is None else verify_turn(value, translated)
        if hard:
            summary.refused[hard[0]] += 1
            continue
        soft = checks.grade(value, translated or "")
        summary.flagged.update(soft)
        summary.taken += not soft
        key = memory.key(value)
        if key not in batch or batch[key].refusal:  # a good turn stands, a flagged one gives way to a good one
            batch[key] = Answer(translated, ",".join(soft) or None)
        if len(batch) >= 20_000:
            summary.distinct += memory.store(batch)
            batch = {}
    summary.distinct += memory.store(batch)
    write_bytes(
        kept,
        json.dumps({item.name: getattr(summary, item.name) for item in fields(summary)}, ensure_ascii=False).encode(),
    )
    return summary


def _sentences(path: Path, source: str, target: str) -> Iterator[tuple[str, str]]:
    """Sentences side by side, where a whole turn has as many on both sides: better to learn from than turns."""
    for value, translated in _pairs(path, source, target):
        if translated is not None and not verify_turn(value, translated):
            asked, given = sentences(value), sentences(translated)
            if len(asked) == len(given):
                yield from zip(asked, given, strict=True)


def _pairs(path: Path, source: str, target: str) -> Iterator[tuple[str, str | None]]:
    """Source and target of every turn; the target is None where it cannot be read."""
    if path.suffix.lower() == ".tmx":
        return ((entry.source, without_zero_width(entry.target)) for entry in read_tmx(path, source, target))
    return _parquet_pairs(path)


def _check_languages(path: Path, source: str, target: str) -> None:
    """A translation into another language would pass every check; TMX names its languages itself."""
    if path.suffix.lower() == ".tmx":
        return
    long = ((said, given) for said, given in _parquet_pairs(path) if given and min(len(said), len(given)) >= 40)
    sample = list(islice(long, 200))
    for what, texts, language in zip(
        ("source", "translated"), zip(*sample, strict=True), (source, target), strict=False
    ):
        if other := clearly_other([str(text) for text in texts], base_code(language)):
            raise BadMemory(
                f"The {what} turns of the memory {path} are in {other!r}, not in {language!r}. "
                f"Give a translation from {source!r} to {target!r}."
            )


def _parquet_pairs(path: Path) -> Iterator[tuple[str, str | None]]:
    try:
        file = open_parquet(path)
    except TornFile as error:
        raise BadMemory(f"The memory {path} is no TMX (*.tmx) and no whole Parquet file. Give one that is.") from error
    with file:
        schema = file.schema_arrow
        lists = [field.name for field in schema if isinstance(field.type, pa.ListType | pa.LargeListType)]
        column = next((name for name in TARGET_COLUMNS if name in lists), None)
        if column is None or "conversations" not in lists:
            raise BadMemory(
                f"The memory {path} has the columns {', '.join(schema.names)}. It needs `conversations` and one of "
                f"{', '.join(TARGET_COLUMNS)}, both lists of turns."
            )
        for batch in file.iter_batches(batch_size=500, columns=["conversations", column]):
            for item in batch.to_pylist():
                sources = [_value(turn) for turn in item["conversations"] or []]
                # Google writes a zero-width space where it cuts a long text: 3.2 % of the published rows.
                targets = [
                    None if text is None else without_zero_width(text) for text in map(_value, item[column] or [])
                ]
                if len(sources) != len(targets):
                    targets = [None] * len(sources)
                yield from ((s, t) for s, t in zip(sources, targets, strict=True) if s is not None)


def _value(turn: Any) -> str | None:
    """The text of a turn: as it is, out of ``{from, value}``, or out of a Python dict's repr (as published)."""
    if isinstance(turn, dict):
        value = turn.get("value")
        return value if isinstance(value, str) else None
    if not isinstance(turn, str):
        return None
    if turn.startswith(("{'from'", '{"from"', "{'de'")):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)  # the published reprs hold escapes such as "\¿"
                read = ast.literal_eval(turn)
        except (ValueError, SyntaxError):
            return None
        return _value(read) if isinstance(read, dict) else None
    return turn
