r"""TMX 1.4, the exchange format of translation memories: ours out, anybody's in.

One text as it is written, and as it comes back (https://www.gala-global.org/tmx-14b)::

    <tu>
      <prop type="x-how">edited</prop>
      <prop type="x-by">reviewer-3f2a9c01</prop>
      <tuv xml:lang="en"><seg>&lt;image&gt;
    Is the bus white?</seg></tuv>
      <tuv xml:lang="es" changedate="20261120T101500Z" changeid="reviewer-3f2a9c01"><seg>&lt;image&gt;
    ¿El autobús es blanco?</seg></tuv>
    </tu>

    -> Entry("<image>\nIs the bus white?", "<image>\n¿El autobús es blanco?", line=4, at=2026-11-20 10:15:00+00:00,
             by=("reviewer-3f2a9c01",))

Read with expat, which stands in Python itself and names every entity where it is declared: before it could be used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from tasks.llava.corrections import Choice
from tasks.llava.language import base_code
from tasks.storage.errors import PermanentError
from tasks.storage.files import whole_file

# What XML 1.0 cannot carry, not even as &#…;.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# A reader makes a line feed of a bare CR; one of XML 1.1 of the other two as well.
_REFERENCES = {"\r": "&#13;", "\x85": "&#133;", "\u2028": "&#8232;"}
_CODES = frozenset({"bpt", "ept", "it", "ph", "ut"})  # what they hold belongs to the document's format
_TOKEN = re.compile(r"<[^<>\s]{1,200}>")  # such as <image>; a tag with attributes is code
_PIECE = 1 << 16
_SHOWN = 60  # characters of a text that a message names


class BadTmx(PermanentError):
    """The file is no TMX, or has nothing in these languages."""


class Entry(NamedTuple):
    """A text and its translation.

    Args:
        source: The text.
        target: Its translation.
        line: Where its ``<tu>`` stands.
        at: When the translation was last changed, UTC.
        by: Who did it, as the file names them.
    """

    source: str
    target: str
    line: int
    at: datetime | None
    by: tuple[str, ...]


@dataclass(slots=True)
class Written:
    """What went out.

    Args:
        entries: Texts in the file.
        left_out: Texts that XML cannot carry, each with its reason.
    """

    entries: int = 0
    left_out: list[str] = field(default_factory=list)


def write_tmx(path: Path, choices: Mapping[str, Choice], source_language: str, target_language: str) -> Written:
    """Write a translation memory, in the order of its texts: equal choices give equal bytes.

    Args:
        path: The file.
        choices: For each text its translation.
        source_language: Of the texts, such as ``en``.
        target_language: Of the translations.

    Raises:
        DiskFull: No room; the old file, if any, is untouched.
        NotWritable: The folder does not let us write.
    """
    written = Written()
    header = {
        "creationtool": "trasvase",
        "creationtoolversion": version("trasvase"),
        "segtype": "block",
        "o-tmf": "trasvase",
        "adminlang": "en",
        "srclang": source_language,
        "datatype": "plaintext",
    }
    with whole_file(path) as file:
        opening = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4">\n<header{_attributes(header)}/>\n<body>\n'
        )
        file.write(opening.encode())
        for text, choice in sorted(choices.items()):
            if bad := _FORBIDDEN.search(text) or _FORBIDDEN.search(choice.text):
                code = f"U+{ord(bad.group()):04X}"
                written.left_out.append(f"{text[:_SHOWN]!r}: {code} cannot stand in XML")
                continue
            file.write("".join(_unit(text, choice, source_language, target_language)).encode())
            written.entries += 1
        file.write(b"</body>\n</tmx>\n")
    return written


def _unit(text: str, choice: Choice, source_language: str, target_language: str) -> Iterator[str]:
    yield f'<tu>\n  <prop type="x-how">{escape(choice.how)}</prop>\n'
    for name in choice.by:
        yield f'  <prop type="x-by">{escape(name)}</prop>\n'
    changed = {"changedate": f"{choice.at.astimezone(UTC):%Y%m%dT%H%M%SZ}"} if choice.at else {}
    for name in choice.by[:1]:
        changed["changeid"] = name
    yield f"  <tuv{_attributes({'xml:lang': source_language})}><seg>{escape(text, _REFERENCES)}</seg></tuv>\n"
    yield f"  <tuv{_attributes({'xml:lang': target_language, **changed})}>"
    yield f"<seg>{escape(choice.text, _REFERENCES)}</seg></tuv>\n</tu>\n"


def _attributes(values: Mapping[str, str]) -> str:
    return "".join(f" {name}={quoteattr(value)}" for name, value in values.items())


def read_tmx(path: Path, source_language: str, target_language: str) -> Iterator[Entry]:
    """Read the texts of a TMX 1.1 to 1.4 in two languages, whichever of the two was translated from the other.

    A language is found by its code, else without or with a region: ``en-US`` serves for ``en``, ``pt`` for ``pt-BR``,
    but never ``pt-PT`` for ``pt-BR``. Every variant in the source language goes with every one in the target language.
    Of inline elements ``<hi>`` is text. What the others hold is code of the document's own format and no text,
    sub-flows (``<sub>``) included; only a ``<ph>`` stands for text where it holds a token such as ``<image>``, or
    where its type says that it is a line break (``lb``).

    Args:
        path: The file.
        source_language: Language of the texts.
        target_language: Language of the translations.

    Yields:
        Texts in the file's order; the file is never in memory as a whole.

    Raises:
        BadTmx: It is broken (the line is named), declares entities, is no TMX, or has nothing in these languages.
    """
    reader = _Reader(path, source_language, target_language)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield from reader.read(piece)
    yield from reader.read(b"")
    if not reader.found:
        there = ", ".join(sorted(reader.languages)) or "none"
        raise BadTmx(
            f"{path} has no text in both {source_language} and {target_language}. Languages in it: {there}. "
            "Name the languages as they are, or give another file."
        )


@dataclass(slots=True)
class _Variant:
    language: str
    text: str
    at: datetime | None
    by: str | None


class _Reader:
    """What expat tells, put together to entries."""

    def __init__(self, path: Path, source: str, target: str) -> None:
        self.languages: set[str] = set()
        self.found = 0
        self._path = path
        self._wanted = (source, target)
        self._entries: list[Entry] = []
        self._started = False
        self._unit: dict[str, str] | None = None
        self._line = 0
        self._by: list[str] = []
        self._variants: list[_Variant] = []
        self._variant: dict[str, str] = {}
        self._into: list[str] | None = None  # where characters go
        self._text: list[str] | None = None  # of the segment that is open
        self._code = 0  # how deep in inline codes
        self._placeholder: tuple[str, list[str]] = ("", [])  # type and content of the ``<ph>`` that is open
        self._expat = expat.ParserCreate()
        self._expat.buffer_text = True
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = self._characters
        self._expat.EntityDeclHandler = self._declared
        self._expat.SkippedEntityHandler = self._skipped

    def read(self, piece: bytes) -> list[Entry]:
        """Take a piece of the file, and none at its end; the entries that ended in it."""
        try:
            self._expat.Parse(piece, not piece)
        except expat.ExpatError as error:
            what = expat.ErrorString(error.code)
            raise self._bad(f"{what}, column {error.offset + 1}. Export it again, or mend it", error.lineno) from error
        except (ValueError, LookupError) as error:
            raise self._bad(f"its encoding cannot be read ({error}). Export it again as UTF-8") from error
        entries, self._entries = self._entries, []
        self.found += len(entries)
        return entries

    def _bad(self, what: str, line: int | None = None) -> BadTmx:
        return BadTmx(f"{self._path}, line {line or self._expat.CurrentLineNumber}: {what}.")

    def _declared(self, name: str, *_: object) -> None:
        raise self._bad(f"it declares the entity {name!r}, and entities are not read. Export it again without")

    def _skipped(self, name: str, *_: object) -> None:
        raise self._bad(f"the entity {name!r} is not declared. Export it again, or put the character in its place")

    def _start(self, name: str, given: dict[str, str]) -> None:
        if not self._started:
            self._started = True
            if name != "tmx":
                raise self._bad(f"this is no TMX file: it begins with <{name}>. Give a TMX file")
            if not given.get("version", "1.4").startswith("1."):
                raise self._bad(f"TMX {given['version']} is not read. Export it again as TMX 1.4")
        elif self._text is not None:
            if name in _CODES:
                self._code += 1
                if self._code == 1:
                    self._placeholder = (given.get("type", ""), [])
                    self._into = self._placeholder[1]
        elif name == "tu":
            self._unit, self._line = given, self._expat.CurrentLineNumber
            self._by, self._variants = [], []
        elif name == "tuv":
            self._variant = given
        elif name == "seg":
            self._text = self._into = []
            self._code = 0
        elif name == "prop" and self._unit is not None and given.get("type") == "x-by":
            self._into = []

    def _end(self, name: str) -> None:
        if self._text is not None:
            if name == "seg":
                self._end_variant("".join(self._text))
                self._text = self._into = None
            elif name in _CODES:
                self._code -= 1
                if self._code == 0:
                    kind, content = self._placeholder[0], "".join(self._placeholder[1]).strip()
                    if name == "ph" and (kind == "lb" or _TOKEN.fullmatch(content)):
                        self._text.append("\n" if kind == "lb" else content)
                    self._into = self._text
        elif name == "prop" and self._into is not None:
            self._by.append("".join(self._into))
            self._into = None
        elif name == "tu":
            self._end_unit()

    def _characters(self, text: str) -> None:
        if self._into is not None:
            self._into.append(text)

    def _end_variant(self, text: str) -> None:
        given = self._variant
        language = given.get("xml:lang") or given.get("lang") or ""
        self.languages.add(language)
        who = given.get("changeid") or given.get("creationid")
        self._variants.append(_Variant(language, text, _moment(given), who))

    def _end_unit(self) -> None:
        unit, self._unit = self._unit or {}, None
        sources, targets = (_in_language(self._variants, wanted) for wanted in self._wanted)
        for source in sources:
            for target in targets:
                who = target.by or unit.get("changeid") or unit.get("creationid")
                by = tuple(self._by) or ((who,) if who else ())
                self._entries.append(Entry(source.text, target.text, self._line, target.at or _moment(unit), by))


def _in_language(variants: list[_Variant], wanted: str) -> list[_Variant]:
    """Those whose code is this one; where there are none, those that differ by a region that only one side has."""
    asked = _plain(wanted)
    exact = [variant for variant in variants if _plain(variant.language) == asked]
    return exact or [
        variant
        for variant in variants
        if base_code(variant.language) == base_code(wanted) and "-" not in min(asked, _plain(variant.language), key=len)
    ]


def _plain(language: str) -> str:
    return language.replace("_", "-").casefold()


def _moment(given: Mapping[str, str]) -> datetime | None:
    try:
        at = datetime.fromisoformat(given.get("changedate") or given.get("creationdate") or "")
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
