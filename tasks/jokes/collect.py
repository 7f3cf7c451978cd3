"""Chunks into tables: the jokes that were extracted, then all that is known of them.

::

    jobs/extract-jokes-3f2a…/jokes.parquet   every joke found, located in its transcript; what refining works on
                             jokes.json      what it was made of, and its SHA-256; written after it
    tables/jokes.parquet                     every joke found, with what each step brought, `keep` and its reason
    tables/jokes.rejected.parquet            windows that were not answered, and routines that could not be read
    tables/jokes.provenance.json             jobs, counts, costs, sizes and SHA-256 of the two; written last
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.chunks.manifest import Manifest
from tasks.jokes import accents, duplicates
from tasks.jokes.funnel import PRESETS, own_keywords
from tasks.jokes.locate import LEAST_FOUND, LEAST_TOLD, locate, share_told
from tasks.jokes.plan import transcripts_of
from tasks.jokes.prompts import telling
from tasks.jokes.refine import STEPS
from tasks.jokes.transcript import Segment, Span, Transcript
from tasks.jokes.windows import without_marks
from tasks.storage import files
from tasks.storage.files import fingerprint, sha256, write_bytes
from tasks.storage.schemas import JOKES, JOKES_EXTRACTED, JOKES_REFINED, JOKES_REJECTED, WINDOW_JOKES
from tasks.storage.tables import read_table, table_writer, write_table

_GROUP = 5_000  # rows of a row group


@dataclass(frozen=True, slots=True)
class Tables:
    """What collecting left: paths and counts."""

    table: Path
    rejected: Path
    provenance: Path
    windows: int
    jokes: int
    kept: int
    reasons: Counter[str]
    stages: Sequence[tuple[str, int]]
    costs: Mapping[str, Cost]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a step cost.

    Args:
        asked: Windows, or jokes, that were asked about.
        failed: How many of them have no answer.
        models: Who answered.
        usd: All of it, in US dollars.
    """

    asked: int
    failed: int
    models: Sequence[str]
    usd: float


def collect_extracted(manifest: Manifest) -> Path:
    """Write a job's jokes from its chunks, each located in its transcript: equal chunks give equal bytes.

    What is there and was made of these very chunks, by this very code, is left alone: locating 10,000 jokes takes 10 s.

    Args:
        manifest: A job of ``extract-jokes`` whose chunks are all done.

    Returns:
        ``jokes.parquet`` in the job's folder.

    Raises:
        CountsDiffer: A window is missing or stands twice; nothing is written.
        TornFile: A chunk is damaged; the message names it.
        DiskFull: No room; an old table is untouched.
    """
    path, note = manifest.folder / "jokes.parquet", manifest.folder / "jokes.json"
    made_of = _made_of(manifest)
    if not _already(path, note, made_of):
        write_table(_extracted(manifest), path, JOKES_EXTRACTED, {"job": manifest.job})
        write_bytes(note, json.dumps({"made_of": made_of, "sha256": sha256(path)}, indent=2).encode())
    return path


def _made_of(manifest: Manifest) -> str:
    """A digest over all that decides a job's jokes: its chunks, its transcripts, our code and the library that writes."""
    parts = [manifest.rejected_path, manifest.folder / "segments.parquet", *map(manifest.path, manifest.chunks())]
    return hashlib.sha256(json.dumps([manifest.job, *_code(), *map(sha256, parts)]).encode()).hexdigest()


@cache
def _code() -> list[str]:
    """Not a version, which somebody would forget to raise: a table of old code's would be believed."""
    folders = Path(__file__).parent, Path(files.__file__).parent
    return [pa.__version__, *(sha256(path) for folder in folders for path in sorted(folder.glob("*.py")))]


def _already(path: Path, note: Path, made_of: str) -> bool:
    try:
        found = json.loads(note.read_bytes())
        return bool(found == {"made_of": made_of, "sha256": sha256(path)})
    except (FileNotFoundError, ValueError):
        return False


def _extracted(manifest: Manifest) -> pa.Table:
    """The jokes of all chunks, rows of ``JOKES_EXTRACTED``."""
    rows: list[dict[str, Any]] = []
    refused = set(read_table(manifest.rejected_path, JOKES_REJECTED, ["row"])["row"].to_pylist())
    for chunk in manifest.chunks():
        some = read_table(manifest.path(chunk), WINDOW_JOKES).to_pylist()
        inside = [row for row in refused if chunk.start <= row < chunk.stop]
        manifest.check_rows(chunk, [*(row["row"] for row in some), *inside], "windows")
        rows += some
    transcripts = transcripts_of(manifest)
    jokes: list[dict[str, Any]] = []
    for routine, windows in groupby(rows, key=lambda row: str(row["routine"])):
        jokes += _of_routine(transcripts[routine], list(windows))
    well = [joke["text_found"] >= LEAST_TOLD and joke["damaged_words"] == 0 for joke in jokes]
    by_place = duplicates.by_span([joke["routine"] for joke in jokes], [_span(joke) for joke in jokes], well)
    by_text = duplicates.near([joke["text"] for joke in jokes], by_place, well)
    repeats = {"duplicate_of": by_place, "near_duplicate_of": by_text}
    for number, joke in enumerate(jokes):
        joke["row"] = number
        for column, firsts in repeats.items():
            first = firsts[number]
            joke[column] = None if first is None else jokes[first]["id"]
    return pa.Table.from_pylist(jokes, JOKES_EXTRACTED.columns)


def collect(windows: Manifest, refined: Manifest, folder: Path, name: str) -> Tables:
    """Write the walk's tables from both jobs: equal chunks give equal bytes.

    Args:
        windows: A job of ``extract-jokes`` whose chunks are all done and collected.
        refined: The job of ``refine-jokes`` over its jokes, whose chunks are all done.
        folder: The tables' folder.
        name: Stem of the files, such as ``jokes``.

    Raises:
        CountsDiffer: A joke is missing or stands twice; nothing is written.
        TornFile: A chunk is damaged; the message names it.
        DiskFull: No room; the old tables are untouched.
    """
    rows: list[dict[str, Any]] = []
    for chunk in refined.chunks():
        some = read_table(refined.path(chunk), JOKES_REFINED).to_pylist()
        refined.check_rows(chunk, [row["row"] for row in some], "jokes")
        rows += some
    stages = PRESETS[refined.parameters["funnel"]].of_steps(refined.parameters["steps"]).run(rows)
    for row in rows:
        row["cost_usd"] = row["extract_usd"] + sum(row[f"{step}_usd"] or 0.0 for step in STEPS)
        row["keyword"] = row["messages"] = None
    _teach([row for row in rows if row["keep"]], refined.parameters["variety"])
    failed = _failed_windows(windows)
    table, rejected = folder / f"{name}.parquet", folder / f"{name}.rejected.parquet"
    made = {"jobs": [windows.job, refined.job]}
    with table_writer(table, JOKES, made) as writer:
        for start in range(0, max(len(rows), 1), _GROUP):
            writer.write_table(pa.Table.from_pylist(rows[start : start + _GROUP], JOKES.columns))
    write_table(pa.Table.from_pylist(failed, JOKES_REJECTED.columns), rejected, JOKES_REJECTED, made)
    reasons = Counter(row["error"] for row in failed)
    costs = _costs(windows, rows)
    kept = sum(row["keep"] for row in rows)
    provenance = {
        "job": refined.job,
        "kind": "mine-jokes",
        "source": windows.identity()["source"],
        "jobs": {manifest.kind: manifest.identity() for manifest in (windows, refined)},
        "counts": {
            "rows": windows.rows,
            "rejected": dict(sorted(reasons.items())),
            "jokes": len(rows),
            "kept": kept,
            "funnel": dict(stages),
        },
        "costs": {step: asdict(cost) for step, cost in costs.items()},
        "files": {path.name: fingerprint(path) for path in (table, rejected)},
    }
    path = folder / f"{name}.provenance.json"
    write_bytes(path, json.dumps(provenance, indent=2, ensure_ascii=False).encode())
    return Tables(table, rejected, path, windows.rows, len(rows), kept, reasons, stages, costs)


def _of_routine(transcript: Transcript, windows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The jokes of one routine in the order in which they were told; what cannot be placed comes last."""
    vocabulary = accents.Vocabulary.of(transcript.words)
    jokes: dict[str, dict[str, Any]] = {}
    for window in windows:
        part = _within(transcript, window["first_word"], window["stop_word"])
        for quoted in window["jokes"]:
            joke = _placed(quoted, window, part)
            known = jokes.setdefault(joke["id"], joke)
            if window["window"] not in known["windows"]:  # both that overlap here have it, word for word
                known["windows"].append(window["window"])
            known["extract_usd"] += window["cost_usd"] / len(window["jokes"])
    placed = sorted(jokes.values(), key=lambda joke: (joke["first_word"] is None, joke["first_word"] or 0))
    for joke in placed:
        joke["damaged_words"] = len(accents.damaged(joke["text"], vocabulary))
    return placed


def _placed(quoted: Mapping[str, str], window: Mapping[str, Any], part: Transcript) -> dict[str, Any]:
    """A joke as a row, where it stands in its window."""
    quote, routine = quoted["quote"], window["routine"]
    said = without_marks(quote)
    text = without_marks(quoted["text"]) or said or quote
    found = locate(said, part, quoted["start_mark"], quoted["end_mark"])
    span, told = None, 0.0
    if found is not None and found.found >= LEAST_FOUND:
        told = share_told(text, part, found)
        span = found._replace(first=found.first + window["first_word"], stop=found.stop + window["first_word"])
    identity = json.dumps([routine, quote, text, span and [span.first, span.stop]], ensure_ascii=False)
    return {
        "id": hashlib.sha256(identity.encode()).hexdigest()[:16],
        "routine": routine,
        "windows": [window["window"]],
        "quote": quote,
        "text": text,
        "start_mark": quoted["start_mark"],
        "end_mark": quoted["end_mark"],
        "first_word": span and span.first,
        "stop_word": span and span.stop,
        "start": span and span.start,
        "end": span and span.end,
        "found": found.found if found else 0.0,
        "text_found": told,
        "invented": span is None,
        "words": len(text.split()),
        "extracted_by": window["extracted_by"],
        "extract_usd": 0.0,
    }


def _within(transcript: Transcript, first: int, stop: int) -> Transcript:
    """The words of a window as a transcript of its own: what is quoted from elsewhere was not read there."""
    segments: list[Segment] = []
    at = 0
    for segment in transcript.segments:
        words = segment.text.split()
        if inside := words[max(first - at, 0) : max(stop - at, 0)]:
            segments.append(segment._replace(text=" ".join(inside)))
        at += len(words)
    return Transcript(transcript.routine, transcript.language, tuple(segments), transcript.origin)


def _span(joke: Mapping[str, Any]) -> Span | None:
    if joke["invented"]:  # what stands elsewhere in other words is no second telling
        return None
    return Span(joke["first_word"], joke["stop_word"], joke["start"], joke["end"], joke["found"])


def _failed_windows(windows: Manifest) -> list[dict[str, Any]]:
    """Routines that could not be read, and windows of which a part or all was not answered, in order."""
    failed: list[dict[str, Any]] = read_table(windows.rejected_path, JOKES_REJECTED).to_pylist()
    for chunk in windows.chunks():
        some = read_table(windows.path(chunk), WINDOW_JOKES, JOKES_REJECTED.columns.names).to_pylist()
        failed += [row for row in some if row["error"] is not None]
    return sorted(failed, key=lambda row: int(row["row"]))


def _costs(windows: Manifest, rows: Sequence[Mapping[str, Any]]) -> dict[str, Cost]:
    """What each step cost, extracting first."""
    columns = ["extracted_by", "cost_usd", "error"]
    asked = [
        row for chunk in windows.chunks() for row in read_table(windows.path(chunk), WINDOW_JOKES, columns).to_pylist()
    ]
    costs = {"extract": _cost([(row["extracted_by"], row["cost_usd"], row["error"]) for row in asked])}
    for step in STEPS:
        some = [row for row in rows if row[f"{step}_usd"] is not None]
        costs[step] = _cost([(row[f"{step}_by"], row[f"{step}_usd"], row[f"{step}_error"]) for row in some])
    return costs


def _cost(answers: Sequence[tuple[str | None, float, str | None]]) -> Cost:
    models = sorted({by for by, _, _ in answers if by})
    failed = sum(error is not None for _, _, error in answers)
    return Cost(len(answers), failed, models, sum(usd for _, usd, _ in answers))


def latest_text(row: Mapping[str, Any]) -> str:
    """A joke in the latest form that it has."""
    text: str = row["rewritten_text"] or row["corrected_text"] or row["text"]
    return text


def _teach(kept: Sequence[dict[str, Any]], variety: str) -> None:
    """What a model is taught with the jokes that are kept: each is asked for by a keyword, its own one if it has any."""
    for row, own in zip(kept, own_keywords(kept), strict=True):
        row["keyword"] = own or next(iter(row["corrected_keywords"] or row["keywords"] or ()), None)
        row["messages"] = telling(row["keyword"], latest_text(row), variety)
