"""Transcripts as they come: JSON Lines of the predecessor, WebVTT, SubRip, Parquet; a file or a folder of them.

::

    routine_100_transcript.jsonl   {"start_time": 12, "end_time": 15.4, "transcript": "llega un tipo al médico", …}
    100.es.vtt, 100.srt            captions; those that roll are merged
    routines.parquet               routine | start | end | text | language (or the predecessor's names of these)

Every routine comes out once, whole: as a ``Transcript``, or as a ``BadTranscript`` that says what is wrong and where. A
routine with a hole in it is refused, since a joke across the hole would be two halves that look like one.
What was mended stands in ``Transcript.notes``.

The parsers of captions are our own: webvtt-py 0.6.0 leaves out a caption whose time is torn without a word, and pysubs2
1.8.1 takes the torn time and the next ones for words of the caption before.
"""

from __future__ import annotations

import html
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from tasks.jokes.captions import merge, opening_said_twice
from tasks.jokes.language import code, detected, known
from tasks.jokes.transcript import Segment, Transcript
from tasks.storage.errors import PermanentError
from tasks.storage.tables import is_unicode, open_parquet

MAX_WORD_CHARS = 200  # the longest of 500,000 real ones has 36

_PREDECESSOR = re.compile(r"routine_(?P<routine>.+)_transcript", re.IGNORECASE)
_STEM = re.compile(r"(?P<routine>.+?)(?:\.(?P<language>[a-z]{2,3}(?:-[a-z0-9]{2,8})*))?", re.IGNORECASE)
_TIME = r"(?:(\d+):)?([0-5]?\d):([0-5]?\d)[.,](\d{1,3})"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_NUMBERS = re.compile(r"\s*\d[\d\s:.,>-]*")
_TAG = re.compile(r"</?[a-z][^<>]*>|<\d[\d:.]*>|\{\\[^{}]*\}", re.IGNORECASE)
_MOJIBAKE = re.compile(r"Ã[\x80-\xbf]|Â[¡¿\xa0]")
_FOREVER = 1e9  # seconds; JSON has whole numbers that no float can hold
_COLUMNS = {
    "routine": ("routine", "routine_id"),
    "start": ("start", "start_time"),
    "end": ("end", "end_time"),
    "text": ("text", "transcript"),
}


class BadSource(PermanentError):
    """A source that cannot be read at all."""


@dataclass(frozen=True, slots=True)
class BadTranscript:
    """A routine that cannot be used.

    Args:
        routine: Its name.
        code: Why, in a word: ``empty``, ``not-utf8``, ``torn``, ``bad-time``, ``other-language``, ….
        message: For people: file, line and next step.
        origin: The file.
        position: The line of a text file, from 1, or the row of a table, from 0; None where the whole is meant.
    """

    routine: str
    code: str
    message: str
    origin: str
    position: int | None = None


class _Bad(Exception):
    """What is wrong with the routine that is being read."""

    def __init__(self, code: str, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.position = position

    def transcript(self, file: Path, routine: str) -> BadTranscript:
        return BadTranscript(routine, self.code, self.message, str(file), self.position)


class _Line(NamedTuple):
    """A segment as it stands in a file, not yet looked at."""

    position: int
    start: Any
    end: Any
    text: Any


class _Routine(NamedTuple):
    """A routine as it stands in a file, not yet looked at."""

    name: str
    declared: str | None
    lines: list[_Line]
    twice: bool  # the predecessor's merging made it, which says the opening twice


def read_transcripts(path: Path, language: str) -> Iterator[Transcript | BadTranscript]:
    """Read routines one after the other, in the order of their files' names.

    Args:
        path: A file, or a folder of them (not of folders); hidden files are passed over.
        language: Code of the language that the routines are in, such as ``es``.

    Yields:
        Every routine once. Segments stand in order of time and hold every word once.

    Raises:
        BadSource: There are no transcripts, a table lacks a column, or the language is none that can be detected.
        TornFile: A table is cut off or damaged.
    """
    wanted = code(language)
    if wanted not in known():
        raise BadSource(f"{language!r} is no language that can be told from others. Use a code such as es, en or pt.")
    taken: dict[str, str] = {}
    for file in _files(path):
        for item in _read_file(file, wanted):
            if isinstance(item, Transcript) and item.routine in taken:
                message = (
                    f"{file}: {taken[item.routine]} has a routine {item.routine!r} too. Keep one of the two files."
                )
                yield BadTranscript(item.routine, "second-file", message, item.origin)
                continue
            if isinstance(item, Transcript):
                taken[item.routine] = item.origin
            yield item


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise BadSource(f"{path} does not exist. Name a transcript (.jsonl, .vtt, .srt, .parquet) or a folder of them.")
    if path.is_file():
        return [path]
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    if not any(file.suffix.lower() in _READERS or file.suffix.lower() == ".parquet" for file in files):
        raise BadSource(f"{path} holds no transcripts. Put .jsonl, .vtt, .srt or .parquet files there.")
    return files


def _read_file(file: Path, language: str) -> Iterator[Transcript | BadTranscript]:
    if file.suffix.lower() == ".parquet":
        routines = list(_parquet(file))
        if not routines:
            message = f"{file}: the table has no rows. Leave the file out, or make it again."
            yield BadTranscript(file.stem, "empty", message, str(file))
        for routine in routines:
            try:
                yield _transcript(file, "row", language, routine)
            except _Bad as bad:
                yield bad.transcript(file, routine.name)
        return
    name, declared = _name(file)
    try:
        if file.suffix.lower() not in _READERS:
            endings = ", ".join([*_READERS, ".parquet"])
            raise _Bad("unknown-format", f"{file} is none of {endings}. Move it out of the folder, or convert it.")
        yield _transcript(file, "line", language, _READERS[file.suffix.lower()](file, name, declared))
    except _Bad as bad:
        yield bad.transcript(file, name)


def _name(file: Path) -> tuple[str, str | None]:
    """The routine's name, and the language where the file's name tells: ``100.es.vtt``, as yt-dlp writes it."""
    if made := _PREDECESSOR.fullmatch(file.stem):
        return made["routine"], None
    found = _STEM.fullmatch(file.stem)
    if found and found["language"] and code(found["language"]) in known():
        return found["routine"], found["language"]
    return file.stem, None


def _transcript(file: Path, unit: str, language: str, routine: _Routine) -> Transcript:
    if not routine.name:
        at = routine.lines[0].position
        raise _Bad("no-routine", f"{file}, row {at} and {len(routine.lines) - 1} more name no routine. Fill it in.", at)
    notes: list[str] = []
    where = f"{file}, routine {routine.name}" if unit == "row" else f"{file}"
    lines = [_line(where, unit, line) for line in routine.lines]
    lines = _in_order(where, unit, lines, notes)
    segments = merge(segment for _, segment in lines)
    if routine.twice and (twice := opening_said_twice(segments)):
        first, *others = segments
        said, kept = first.text.split()[:twice], first.text.split()[twice:]
        notes.append(f"{where}: the first segment says {' '.join(said)!r} twice in a row; it is taken once.")
        segments = (first._replace(text=" ".join(kept)), *others)
    if not segments:
        raise _Bad("empty", f"{where}: nobody says a word in it. Leave the file out, or transcribe it again.")
    transcript = Transcript(routine.name, language, segments, str(file))
    _check_language(where, language, routine.declared, transcript.words, notes)
    return Transcript(routine.name, language, segments, str(file), tuple(notes))


def _line(where: str, unit: str, line: _Line) -> tuple[int, Segment]:
    at = f"{where}, {unit} {line.position}"
    if not isinstance(line.text, str):
        raise _Bad("no-text", f"{at}: the text is {line.text!r}. Mend or remove the {unit}.", line.position)
    for what, seconds in (("start", line.start), ("end", line.end)):
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise _Bad(
                "bad-time", f"{at}: the {what} is {seconds!r}, not seconds. Mend or remove the {unit}.", line.position
            )
        if not 0 <= seconds < _FOREVER:
            message = f"{at}: the {what} is {seconds}, no time from 0 on. Mend or remove the {unit}."
            raise _Bad("bad-time", message, line.position)
    if not is_unicode(line.text):
        message = f"{at}: the text has half a surrogate pair, which no file can hold. Mend or remove the {unit}."
        raise _Bad("not-unicode", message, line.position)
    if mojibake := _MOJIBAKE.search(line.text):
        message = (
            f"{at}: {line.text[mojibake.start() :][:20]!r} is UTF-8 that was read as Latin-1 and saved. "
            "Make the file anew from the original, or undo it: iconv -f UTF-8 -t LATIN1."
        )
        raise _Bad("mojibake", message, line.position)
    if any(len(word) > MAX_WORD_CHARS for word in line.text.split()):
        message = f"{at}: a word of more than {MAX_WORD_CHARS} characters is no speech. Mend or remove the {unit}."
        raise _Bad("no-speech", message, line.position)
    return line.position, Segment(float(line.start), float(line.end), line.text)


def _in_order(where: str, unit: str, lines: list[tuple[int, Segment]], notes: list[str]) -> list[tuple[int, Segment]]:
    """In order of time, each line once, none ending before it begins; with a note of each change."""
    early = [at for at, segment in lines if segment.end < segment.start]
    if early:
        notes.append(
            f"{where}: {len(early)} segments end before they begin, the first in {unit} {early[0]}; "
            "each is taken to end where it begins."
        )
        lines = [(at, segment._replace(end=max(segment.start, segment.end))) for at, segment in lines]
    back = [at for (_, before), (at, segment) in pairwise(lines) if segment.start < before.start]
    if back:
        notes.append(
            f"{where}: {len(back)} segments stand after later ones, the first in {unit} {back[0]}; sorted by their start."
        )
        lines = sorted(lines, key=lambda line: line[1].start)
    again = [at for (_, before), (at, segment) in pairwise(lines) if segment == before and segment.text.strip()]
    if again:
        notes.append(
            f"{where}: {len(again)} segments stand there twice with equal times and words, the first in {unit} {again[0]}; "
            "each is taken once."
        )
        lines = lines[:1] + [line for before, line in pairwise(lines) if line[1] != before[1]]
    over = sum(segment.start < before.end for (_, before), (_, segment) in pairwise(lines))
    if over:
        notes.append(f"{where}: {over} segments begin before the one before them ends; their times are kept.")
    return lines


def _check_language(where: str, language: str, declared: str | None, words: tuple[str, ...], notes: list[str]) -> None:
    found = detected(words)
    if found not in (None, language):
        raise _Bad(
            "other-language",
            f"{where}: its words are {found}, not {language}. Leave the file out, or start a run with language={found!r}.",
        )
    if declared and code(declared) != language:
        if found is None:
            raise _Bad(
                "other-language",
                f"{where}: it declares the language {declared!r}, not {language!r}, and has too few words to tell. "
                "Leave the file out, or correct what it declares.",
            )
        notes.append(f"{where}: it declares the language {declared!r}, but its words are {found}.")


def _text(file: Path) -> str:
    content = file.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:200]:
        raise _Bad("not-utf8", f"{file} is UTF-16, not UTF-8. Convert it: iconv -f UTF-16 -t UTF-8.", 1)
    try:
        return content.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = (
            f"{file}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; the file is probably Windows-1252. "
            "Convert it: iconv -f WINDOWS-1252 -t UTF-8."
        )
        raise _Bad("not-utf8", message, line) from None


def _json_lines(file: Path, name: str, declared: str | None) -> _Routine:
    lines: list[_Line] = []
    languages: set[str] = set()
    for at, text in enumerate(_text(file).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            item = json.loads(text)
        except (ValueError, RecursionError) as error:
            message = f"{file}, line {at} is no JSON ({error}); was it cut off? Get the file again, or mend the line."
            raise _Bad("torn", message, at) from None
        missing = [
            key for key in ("start_time", "end_time", "transcript") if not isinstance(item, dict) or key not in item
        ]
        if missing:
            message = f"{file}, line {at} has no {', '.join(missing)}. Mend or remove the line."
            raise _Bad("no-field", message, at)
        lines.append(_Line(at, item["start_time"], item["end_time"], item["transcript"]))
        if isinstance(item.get("language"), str):
            languages.add(item["language"])
    return _Routine(name, _of_all(languages) or declared, lines, twice=True)


def _captions(file: Path, name: str, declared: str | None) -> _Routine:
    vtt = file.suffix.lower() == ".vtt"
    rows = _text(file).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if vtt and not rows[0].startswith("WEBVTT"):
        raise _Bad("torn", f"{file}, line 1 is not WEBVTT, so its beginning is missing. Get the file again.", 1)
    lines: list[_Line] = []
    for at, block in _blocks(rows, vtt):
        timed = next((number for number, row in enumerate(block) if "-->" in row), None)
        if vtt and timed is None and block[0].startswith(("WEBVTT", "NOTE", "STYLE", "REGION")):
            header = next((row for row in block if row.startswith("Language:")), None)
            declared = header.removeprefix("Language:").strip() if header else declared
            continue
        loose = 0 if timed is None else _loose(block, timed)
        if timed is None or loose is not None:
            number, row = at + (loose or 0), block[loose or 0]
            message = (
                f"{file}, line {number}: {row[:40]!r} belongs to no caption. Put its time before it, or remove it."
            )
            raise _Bad("torn", message, number)
        found = _TIMES.fullmatch(block[timed])
        if not found:
            message = (
                f"{file}, line {at + timed}: {block[timed][:60]!r} is no pair of times. Mend it, or get the file again."
            )
            raise _Bad("torn", message, at + timed)
        times = found.groups()
        said = html.unescape(_TAG.sub("", "\n".join(block[timed + 1 :]).replace("\\h", " ")))
        lines.append(_Line(at + timed, _seconds(*times[:4]), _seconds(*times[4:]), said))
    return _Routine(name, declared, lines, twice=False)


def _blocks(rows: list[str], vtt: bool) -> Iterator[tuple[int, list[str]]]:
    """A caption each, from its name or its time on, or what else stands together; with the number of the first row.

    The next caption ends one, and in WebVTT an empty line. SubRip's captions may hold such lines: ffmpeg makes them of
    YouTube's captions, and lines of one blank.
    """
    first = {at - _named(rows, at, vtt) for at, row in enumerate(rows) if "-->" in row}
    block: list[str] = []
    for at, row in enumerate([*rows, ""]):
        if block and (at in first or at == len(rows) or (vtt and not row)):
            yield at - len(block) + 1, block
            block = []
        if block or row.strip():
            block.append(row)


def _loose(block: list[str], timed: int) -> int | None:
    """The number or the half of a time of a caption that was torn, after an empty line in the words of another one."""
    return next((n for n in range(timed + 2, len(block)) if not block[n - 1] and _NUMBERS.fullmatch(block[n])), None)


def _named(rows: list[str], at: int, vtt: bool) -> bool:
    """Whether the row before a time is the caption's number or, in WebVTT, its name."""
    before = rows[at - 1].strip() if at else ""
    alone = at < 2 or not rows[at - 2].strip()
    return before.isdigit() or (vtt and alone and bool(before))


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str) -> float:
    return round(int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}"), 3)


_READERS: dict[str, Callable[[Path, str, str | None], _Routine]] = {
    ".jsonl": _json_lines,
    ".vtt": _captions,
    ".srt": _captions,
}


def _parquet(file: Path) -> Iterator[_Routine]:
    with open_parquet(file) as table:
        names = table.schema_arrow.names
        columns = {key: next((name for name in some if name in names), None) for key, some in _COLUMNS.items()}
        missing = [f"{' or '.join(_COLUMNS[key])}" for key, name in columns.items() if name is None]
        if missing:
            raise BadSource(f"{file} has no column {', '.join(missing)}; it has {', '.join(names)}.")
        wanted = [name for name in (*columns.values(), "language") if name in names]
        lines: dict[Any, list[_Line]] = defaultdict(list)
        languages: dict[Any, set[str]] = defaultdict(set)
        row = 0
        for batch in table.iter_batches(columns=wanted):
            for item in batch.to_pylist():
                routine = item[columns["routine"]]
                lines[routine].append(_Line(row, item[columns["start"]], item[columns["end"]], item[columns["text"]]))
                if item.get("language"):
                    languages[routine].add(str(item["language"]))
                row += 1
    for routine, own in lines.items():
        name = "" if routine is None else str(routine).strip()
        yield _Routine(name, _of_all(languages[routine]), own, twice="transcript_length" in names)


def _of_all(languages: Iterable[str]) -> str | None:
    """The one language that all lines declare."""
    codes = {code(language): language for language in languages}
    return next(iter(codes.values())) if len(codes) == 1 else None
