"""Tweets and memes with labels, one after the other, out of three layouts.

An entry of ``MMHS150K_GT.json``, whose split stands in ``splits/val_ids.txt`` and the text of its image in
``img_txt/1114679353714016256.json`` as ``{"img_text": "WHEN YOU"}``::

    "1114679353714016256": {"tweet_text": "@nobody look https://t.co/x", "labels": [4, 1, 0], "img_url": …, …}

A line of the predecessor's ``val.csv``, and one of Hateful Memes' ``dev.jsonl``::

    @nobody look https://t.co/x,images/1114679353714016256.jpg,"racist,religion"
    {"id": 42953, "img": "img/42953.png", "label": 1, "text": "its their character not their color"}

A row that cannot be used comes out as ``Refused`` with its position and a reason. Memory does not grow with the rows, but
for their ids, which find duplicates.
"""

from __future__ import annotations

import csv
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TextIO

from tasks.mmhs.archive import Archive, BadArchive
from tasks.storage.errors import PermanentError
from tasks.storage.split_names import split_of

Votes = Literal["union", "majority"]

GROUND_TRUTH = "MMHS150K_GT.json"
VOTES = ("not_hate", "racist", "sexist", "homophobe", "religion", "otherhate")  # what an annotator's number means
CLASSES = VOTES[1:]
HARMFUL = "harmful"  # the predecessor's name for the one class of Hateful Memes
ANNOTATORS = 3
MAX_CHARS = 100_000
_IMAGES = (".jpg", ".jpeg", ".png", ".gif", ".webp")

REASONS = {
    "bad-id": "the id is no name of letters, digits, - and _",
    "bad-image-path": "the image's path is absolute or leads out of the data set",
    "bad-row": "the row is no object, or has not the columns of its file",
    "bad-votes": f"there are not {ANNOTATORS} votes",
    "damaged-image": "the image's bytes in the archive are damaged",
    "duplicate-row": "an earlier row has the same id",
    "missing-image": "the data set holds images, but not this one",
    "nan-text": "the text is NaN, or the word that an empty cell becomes",
    "no-entry": "an official split names an id that has no entry",
    "no-label": "the row has no label",
    "no-majority": "no two annotators agree",
    "not-json": "the line is no JSON",
    "not-unicode": "the row has bytes that are not UTF-8, or half of a surrogate pair",
    "text-not-text": "the text is no text",
    "text-too-long": f"the text has more than {MAX_CHARS:,} characters",
    "two-splits": "two official splits name the row",
    "unknown-label": "a label or a vote is none of the known ones",
}


class BadSource(PermanentError):
    """The data set cannot be read, or cannot be read to its end."""


@dataclass(frozen=True, slots=True)
class Tweet:
    """One row: what stands in the table."""

    row: int
    id: str
    image: str
    sha256: str | None
    text: str
    ocr: str | None
    votes: Sequence[str] | None
    labels: Sequence[str]
    split: str | None
    extra: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is refused: position, reason code, a sentence for people, and the row as received (JSON text)."""

    row: int
    id: str | None
    split: str | None
    error: str
    message: str
    raw: str | None


@dataclass(frozen=True, slots=True)
class Layout:
    """One of the three layouts: its name, where it comes from, the files that are read, and the labels it may have."""

    name: str
    url: str
    licence: str
    files: Sequence[str]
    classes: Sequence[str]
    read: Callable[[Archive, Layout, Votes], Iterator[Tweet | Refused]]


class _Bad(Exception):
    """A row's fault on its way to ``Refused``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code, self.detail = code, detail


def find_layout(archive: Archive) -> Layout:
    """Which of the three it is, told by the files.

    Raises:
        BadSource: None of them.
    """
    if _enter(archive, [name for name in archive.names() if name.rpartition("/")[2] == GROUND_TRUTH]):
        splits = [name for name in archive.names("splits/") if name.endswith(".txt")]
        return Layout("MMHS150K", _MMHS_URL, _MMHS_LICENCE, [GROUND_TRUTH, *splits], CLASSES, _read_mmhs)
    for ending, found in ((".jsonl", _hateful), (".csv", _tables)):
        files = [name for name in archive.names() if name.endswith(ending) and split_of(name.rpartition("/")[2])]
        if names := _enter(archive, files):
            return found(names)
    packed = next((name for name in archive.names() if name.lower().endswith(".zip")), None)
    raise BadSource(
        f"{archive.source} holds no {GROUND_TRUTH}, no train, val or test .csv and no train, dev or test .jsonl. "
        "Give the zip or the folder of MMHS150K or Hateful Memes as downloaded, or the folder of the CSV files."
        + (f" It holds {packed}: perhaps that is it." if packed else "")
    )


def _enter(archive: Archive, files: Sequence[str]) -> list[str]:
    """Names in the folder that all of these files lie in, which is entered.

    Raises:
        BadSource: They lie in several folders.
    """
    parts = [name.rpartition("/") for name in files]
    folders = sorted({folder for folder, _, _ in parts})
    if len(folders) > 1:
        lie = ", ".join(folder or "the top" for folder in folders)
        raise BadSource(f"{archive.path} holds {parts[0][2]} and its like in several folders: {lie}. Give one of them.")
    if folders:
        archive.enter(folders[0])
    return [name for _, _, name in parts]


def _hateful(files: Sequence[str]) -> Layout:
    return Layout("Hateful Memes", "https://hatefulmemeschallenge.com", "other", files, (HARMFUL,), _read_hateful)


def _tables(files: Sequence[str]) -> Layout:
    return Layout("MMHS150K as CSV", _MMHS_URL, _MMHS_LICENCE, files, (*CLASSES, HARMFUL), _read_tables)


_MMHS_URL = "https://gombru.github.io/2019/10/09/MMHS/"
_MMHS_LICENCE = "other"  # for research; its page names no licence that has a short name


# The three layouts


def _read_mmhs(archive: Archive, layout: Layout, votes: Votes) -> Iterator[Tweet | Refused]:
    splits, twice = _official(archive, layout.files[1:])
    images = _has_images(archive)
    seen: set[str] = set()
    row = -1
    for row, (id_, entry) in enumerate(_pairs(archive, GROUND_TRUTH)):
        try:
            if not isinstance(entry, dict):
                raise _Bad("bad-row", f"is {_kind(entry)}, not an object")
            _once(id_, seen)
            if id_ in twice:
                raise _Bad("two-splits", "is named by two official splits")
            given = _votes(entry.get("labels"))
            labels = decide(given, votes)
            if labels is None:
                raise _Bad("no-majority", f"has the votes {', '.join(given)}: no two agree")
            image = _image(archive, f"img_resized/{id_}.jpg", images)
            text = _text(entry.get("tweet_text"))
            yield Tweet(
                row,
                id_,
                *image,
                text,
                _ocr(archive, id_),
                given,
                labels,
                splits.get(id_),
                _extra(entry, ("tweet_text", "labels")),
            )
        except _Bad as bad:
            yield _refused(row, id_, splits.get(id_), bad, entry)
    if row < 0:
        raise BadSource(f"{archive.path}: {GROUND_TRUTH} has no entries. Download it again.")
    for row, id_ in enumerate((id_ for id_ in splits if id_ not in seen), row + 1):  # noqa: B020  # goes on counting
        missing = _Bad("no-entry", f"stands in the official {splits[id_]} split, but not in {GROUND_TRUTH}")
        yield _refused(row, id_, splits[id_], missing, None)


def _read_tables(archive: Archive, layout: Layout, votes: Votes) -> Iterator[Tweet | Refused]:
    _union_only(archive, layout, votes)
    images = _has_images(archive)
    seen: set[str] = set()
    row = 0
    for name in layout.files:
        split = split_of(name)
        with archive.text(name) as text:
            lines = csv.DictReader(text, strict=True)
            try:
                columns = set(lines.fieldnames or ())
                label = "labels" if "labels" in columns else "label"
                if not {"text", "image_path", label} <= columns:
                    raise BadSource(
                        f"{archive.path / name} has the columns {', '.join(sorted(columns)) or '(none)'}; "
                        "text, image_path and labels (or label, 0 or 1) are needed."
                    )
                for item in lines:
                    yield _tweet(archive, row, item, split, seen, images, label)
                    row += 1
            except csv.Error as error:
                raise BadSource(
                    f"{archive.path / name} cannot be read on after line {lines.line_num:,} ({error}). Mend the file."
                ) from error
    if not row:
        raise BadSource(f"{archive.path} has no rows in {', '.join(layout.files)}.")


def _tweet(
    archive: Archive,
    row: int,
    item: Mapping[Any, Any],
    split: str | None,
    seen: set[str],
    images: bool,
    label: str,
) -> Tweet | Refused:
    id_ = None
    try:
        if None in item or None in item.values():
            raise _Bad("bad-row", "has more or fewer cells than its file has columns")
        path = item["image_path"].replace("\\", "/")  # as Windows writes it
        id_ = re.sub(r"\.\w+$", "", path.rpartition("/")[2])
        _once(id_, seen)
        if label == "labels":
            labels = _named(item["labels"])
        elif item["label"] in ("0", "1"):
            labels = [HARMFUL] if item["label"] == "1" else []
        else:
            raise _Bad("unknown-label", f"has the label {item['label']!r}, which is neither 0 nor 1")
        text = _text(item["text"])
        more = _extra(item, ("text", "image_path", label))
        return Tweet(row, id_, *_image(archive, path, images), text, None, None, labels, split, more)
    except _Bad as bad:
        return _refused(row, id_, split, bad, item)


def _read_hateful(archive: Archive, layout: Layout, votes: Votes) -> Iterator[Tweet | Refused]:
    _union_only(archive, layout, votes)
    images = _has_images(archive)
    seen: set[str] = set()
    row = 0
    for name in layout.files:
        with archive.text(name) as lines:
            for line in lines:
                if line.strip():
                    yield _meme(archive, row, line, split_of(name), seen, images)
                    row += 1
    if not row:
        raise BadSource(f"{archive.path} has no rows in {', '.join(layout.files)}.")


def _meme(archive: Archive, row: int, line: str, split: str | None, seen: set[str], images: bool) -> Tweet | Refused:
    id_ = None
    item: Any = line
    try:
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _Bad("not-json", f"is no JSON: {error}") from error
        if not isinstance(item, dict):
            raise _Bad("bad-row", f"is {_kind(item)}, not an object")
        given, image, label = item.get("id"), item.get("img"), item.get("label")
        if isinstance(given, bool) or not isinstance(given, int | str) or not isinstance(image, str):
            raise _Bad("bad-row", "has no id or no img")
        id_ = str(given)
        _once(id_, seen)
        if label is None:
            raise _Bad("no-label", "has no label: a test set whose answers were kept back")
        if isinstance(label, bool) or label not in (0, 1):
            raise _Bad("unknown-label", f"has the label {label!r}, which is neither 0 nor 1")
        text, more = _text(item.get("text")), _extra(item, ("id", "img", "label", "text"))
        labels = [HARMFUL] if label else []
        return Tweet(row, id_, *_image(archive, image, images), text, None, None, labels, split, more)
    except _Bad as bad:
        return _refused(row, id_, split, bad, item)


# Parts of a row


def decide(votes: Sequence[str], rule: Votes) -> list[str] | None:
    """Labels from the annotators' votes, in the order of ``CLASSES``.

    ``union``: what at least one of them said (the predecessor's rule). ``majority``: what at least two said; where that is
    "not hate" there is no label. None for three different votes: no majority is not the same as "not hate".

    >>> decide(["religion", "racist", "not_hate"], "union"), decide(["racist", "not_hate", "not_hate"], "majority")
    (['racist', 'religion'], [])
    """
    needed = 1 if rule == "union" else 2
    if rule == "majority" and max(map(list(votes).count, votes)) < needed:
        return None
    return [name for name in CLASSES if list(votes).count(name) >= needed]


def _votes(given: Any) -> list[str]:
    if not isinstance(given, list) or len(given) != ANNOTATORS:
        said = f"{len(given)} votes" if isinstance(given, list) else f"{_kind(given)} for votes"
        raise _Bad("bad-votes", f"has {said}, not {ANNOTATORS}")
    for vote in given:
        if isinstance(vote, bool) or not isinstance(vote, int) or not 0 <= vote < len(VOTES):
            raise _Bad("unknown-label", f"has the vote {vote!r}, which is none of 0 to {len(VOTES) - 1}")
    return [VOTES[vote] for vote in given]


def _named(cell: str) -> list[str]:
    """Labels out of ``racist,sexist`` or ``['racist', 'sexist']``; the text is split, never evaluated."""
    names = [name.strip().strip("'\"") for name in cell.strip().removeprefix("[").removesuffix("]").split(",")]
    given = {name for name in names if name}
    if unknown := sorted(given - set(CLASSES)):
        raise _Bad("unknown-label", f"has the label {unknown[0]!r}, which is none of {', '.join(CLASSES)}")
    return [name for name in CLASSES if name in given]


def _text(value: Any) -> str:
    if isinstance(value, float) and value != value:
        raise _Bad("nan-text", "has NaN for a text, which JSON does not have")
    if not isinstance(value, str):
        raise _Bad("text-not-text", f"has {_kind(value)} for a text")
    if value.strip().lower() == "nan":
        raise _Bad("nan-text", f"has the text {value!r}, which is what an empty cell becomes by mistake")
    if len(value) > MAX_CHARS:
        raise _Bad("text-too-long", f"has {len(value):,} characters; at most {MAX_CHARS:,} are taken")
    return _unicode(value)


def _unicode(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        escaped = "\udc80" <= error.object[error.start] <= "\udcff"
        raise _Bad(
            "not-unicode", f"has {'bytes that are not UTF-8' if escaped else 'half a surrogate pair'}"
        ) from error
    return value


def _once(id_: str, seen: set[str]) -> None:
    if not re.fullmatch(r"[\w-]{1,100}", id_, re.ASCII):  # it becomes a part of paths
        raise _Bad("bad-id", f"has the id {id_[:100]!r}")
    if id_ in seen:
        raise _Bad("duplicate-row", f"has the id {id_} of an earlier row")
    seen.add(id_)


def _image(archive: Archive, path: str, images: bool) -> tuple[str, str | None]:
    """The image's path, and the SHA-256 of its bytes where images came with the data set."""
    if path.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", path) or re.match(r"[A-Za-z]:", path):
        raise _Bad("bad-image-path", f"has the image {path!r}, which leads out of the data set")
    path = _unicode(path)
    if not images:
        return path, None
    if path not in archive:
        raise _Bad("missing-image", f"has the image {path}, which is not there")
    try:
        return path, archive.sha256(path)
    except BadArchive as error:
        if isinstance(error.__cause__, zlib.error | zipfile.BadZipFile | EOFError):
            raise _Bad("damaged-image", f"has the image {path}, which is damaged ({error.__cause__})") from error
        raise


def _has_images(archive: Archive) -> bool:
    """Whether images came with the data set; then each row must have its own."""
    return any(name.lower().endswith(_IMAGES) for name in archive.names())


def _ocr(archive: Archive, id_: str) -> str | None:
    """The text in the image, as the data set's makers read it; None where they read none."""
    name = f"img_txt/{id_}.json"
    if name not in archive:
        return None
    with archive.text(name) as file:
        try:
            read = json.loads(file.read(MAX_CHARS * 8))
            text = read["img_text"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _Bad("not-json", f"has a damaged {name} ({error})") from error
    return _text(text) if text else None


def _extra(item: Mapping[str, Any], but: Sequence[str]) -> str | None:
    more = {key: value for key, value in item.items() if key not in but}
    if not more:
        return None
    try:
        return _unicode(json.dumps(more, ensure_ascii=False, allow_nan=False))
    except ValueError as error:
        raise _Bad("bad-row", "has NaN in a field, which JSON does not have") from error


def _refused(row: int, id_: str | None, split: str | None, bad: _Bad, item: Any) -> Refused:
    name = None if id_ is None else id_[:100].encode(errors="backslashreplace").decode()
    called = f"Row {row} ({name})" if name else f"Row {row}"
    message = f"{called} {bad.detail}.".encode(errors="backslashreplace").decode()
    return Refused(row, name, split, bad.code, message, None if item is None else json.dumps(item, default=str))


def _kind(value: Any) -> str:
    if isinstance(value, float) and value != value:
        return "NaN"
    return "nothing" if value is None else type(value).__name__


# Files


def _union_only(archive: Archive, layout: Layout, votes: Votes) -> None:
    if votes != "union":
        raise BadSource(
            f"{archive.path} ({layout.name}) does not say what each annotator voted, so votes={votes!r} is not possible. "
            f"Give votes='union', or MMHS150K with its {GROUND_TRUTH}."
        )


def _official(archive: Archive, names: Sequence[str]) -> tuple[dict[str, str], set[str]]:
    """Ids of the official splits with their split, and those that stand in two."""
    found: dict[str, str] = {}
    twice: set[str] = set()
    for name in names:
        split = split_of(name.rpartition("/")[2])
        if split is None:
            raise BadSource(f"{archive.path}: {name} is none of train_ids.txt, val_ids.txt and test_ids.txt.")
        with archive.text(name) as lines:
            for line in lines:
                if (id_ := line.strip()) and found.setdefault(id_, split) != split:
                    twice.add(id_)
    return found, twice


def _pairs(archive: Archive, name: str) -> Iterator[tuple[str, Any]]:
    """Keys and values of one JSON object, with one block and one value in memory.

    Raises:
        BadSource: It is broken or cut off; says after which key.
    """
    with archive.text(name) as text:
        yield from _Object(text, f"{archive.path}: {name}").pairs()


class _Object:
    """A JSON object that is read in blocks, with the standard decoder, which names NaN, lone surrogates and positions."""

    _BLOCK = 1 << 20
    _LONGEST = 64_000_000

    def __init__(self, text: TextIO, name: str) -> None:
        self._text, self._name = text, name
        self._buffer, self._at, self._before, self._ended = "", 0, 0, False
        self._decode = json.JSONDecoder().raw_decode
        self._last = "the beginning"

    def pairs(self) -> Iterator[tuple[str, Any]]:
        self._expect("{")
        if self._peek() == "}":
            return
        while True:
            key = self._value()
            if not isinstance(key, str):
                raise self._broken("a key is no text")
            self._expect(":")
            value = self._value()
            self._last = repr(key)
            yield key, value
            if self._peek() == "}":
                return
            self._expect(",")

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = self._decode(self._buffer, self._at)
            except RecursionError as error:
                raise self._broken("brackets nested too deep") from error
            except json.JSONDecodeError as error:
                # The decoder names a string's start when it misses the end, so only the end of the file tells.
                if not self._more():
                    raise self._broken(error.msg) from error
                continue
            if end < len(self._buffer) or self._ended or not self._more():
                self._at = end
                return value

    def _peek(self) -> str:
        while True:
            while self._at < len(self._buffer) and self._buffer[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                raise self._broken("it ends there")

    def _expect(self, character: str) -> None:
        if (found := self._peek()) != character:
            raise self._broken(f"{character!r} is missing before {found!r}")
        self._at += 1

    def _more(self) -> bool:
        self._before += self._at
        block = self._text.read(max(self._BLOCK, len(self._buffer) - self._at))
        if len(self._buffer) - self._at > self._LONGEST:
            raise self._broken("one entry of more than 64 million characters")
        self._buffer, self._at = self._buffer[self._at :] + block, 0
        self._ended = self._ended or not block
        return not self._ended

    def _broken(self, why: str) -> BadSource:
        return BadSource(
            f"{self._name} is broken JSON after {self._last}, some {self._before + self._at:,} characters in: {why}. "
            "Download it again."
        )
