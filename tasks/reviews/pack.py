"""Review without a server: one HTML file goes out, files of answers come back.

::

    reviews/llava-es/llava-es.html                   every record that was ever pushed; opens offline in any browser
    reviews/llava-es/answers/answers-llava-es-Ana.json   what a reviewer saved and sent back; put there by hand
    reviews/llava-es/sent-back.json                  answers that could not be used, with the reason

One answer in such a file::

    {"id": "6d1f…", "record": "llava-es:17:1:9f3a0c12d4e5", "status": "submitted", "text": "El autobús es blanco.",
     "verdict": "minor", "kinds": ["grammar"], "note": null, "inserted_at": "2026-03-01T09:30:00.120Z",
     "updated_at": "2026-03-01T09:31:12.004Z", "original": "The bus is white.", "machine": "El autobús es blanca."}

Texts are data for the page, never markup: it takes them from JSON and shows them as text, and its policy lets no script
but its own run and no address but the images' be asked.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from tasks.chunks.lock import only_run
from tasks.reviews.records import (
    KINDS,
    VERDICTS,
    Pushed,
    Refused,
    Response,
    ReviewTurn,
    Status,
    pseudonym,
    record_id,
    review_name,
    shown_digest,
)
from tasks.storage.errors import PermanentError, TornFile
from tasks.storage.files import write_bytes

MAX_BYTES = 64 * 1024**2  # of a file of answers; 1,000 answers with their texts are about 1 MB

_ANSWERS = "trasvase-answers/1"
_TEMPLATE = Path(__file__).with_name("pack.html")
_DATA = re.compile(r'<script type="application/json" id="pack">(.*?)</script>', re.DOTALL)
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)
# In JSON these stand in strings alone. Escaped, no text can end the script element or a line of an older JavaScript.
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d+)?")
_BATCH = 100  # turns between two calls of progress; an image may have to be read for each


class ForeignPack(PermanentError):
    """The file in the pack's place is no pack of this review."""


class Images(Protocol):
    """Where a record's image comes from."""

    def shown(self, name: str | None) -> str | None:
        """A data URI or an address that a browser can show; None where there is no image."""


def _moment(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        moment = None
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ValueError(f"{value!r} is no time such as 2026-03-01T09:30:00Z")
    return moment.astimezone(UTC)


def _one_of(known: Mapping[str, str]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in known:
            raise ValueError(f"{value!r} is none of {', '.join(known)}")
        return value

    return AfterValidator(check)


_Moment = Annotated[datetime, BeforeValidator(_moment)]
_Verdict = Annotated[str, _one_of(VERDICTS)]
_Kind = Annotated[str, _one_of(KINDS)]
_Short = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]


class _Given(BaseModel):
    """An answer without the texts that it was given to."""

    model_config = ConfigDict(strict=True)

    id: _Short
    record: str
    status: Status
    text: str | None
    verdict: _Verdict | None
    kinds: tuple[_Kind, ...] = Field(strict=False)
    note: str | None
    inserted_at: _Moment
    updated_at: _Moment


class _Answer(_Given):
    original: str
    machine: str


class _AnswerFile(BaseModel):
    model_config = ConfigDict(strict=True)

    format: Literal["trasvase-answers/1"]
    dataset: str
    reviewer: _Short
    answers: list[Any]  # each is checked by itself: a bad one costs that one


class _Back(BaseModel):
    """Why an answer came back; a later version of it takes this away."""

    record: str
    updated_at: _Moment
    reason: str


class _BackFile(BaseModel):
    format: Literal["trasvase-sent-back/1"] = "trasvase-sent-back/1"
    answers: dict[str, _Back]


class _Records(BaseModel):
    """What a pack keeps for the next one."""

    format: Literal["trasvase-pack/1"] = "trasvase-pack/1"
    dataset: str
    records: list[ReviewTurn]
    images: dict[str, str]

    def by_id(self) -> dict[str, ReviewTurn]:
        """The records by their ids."""
        return {turn.id: turn for turn in self.records}


class _Came(NamedTuple):
    """One answer of one file."""

    reviewer: str
    response: Response


class Pack:
    """The desk that is one HTML file.

    Args:
        folder: The review's folder; made when something is pushed.
        dataset: Name of the review.
        images: Where the images come from.

    Raises:
        PermanentError: The name cannot be a file's.
    """

    def __init__(self, folder: Path, dataset: str, images: Images) -> None:
        self.path = folder / f"{review_name(dataset)}.html"
        self._answers = folder / "answers"
        self._sent_back = folder / "sent-back.json"
        self._dataset = dataset
        self._images = images

    def push(self, turns: Sequence[ReviewTurn], progress: Callable[[int, int], None]) -> Pushed:
        """Write the pack: these turns, those of the pack that is there, and what reviewers answered so far.

        Equal content gives equal bytes, and then nothing is written.

        Raises:
            ForeignPack, TornFile: Another file, or a damaged one, is in the pack's place; it is left alone.
            DiskFull: No room; the old pack is untouched.
        """
        with only_run(self.path.parent / "pack", wait=True):  # a pull that sends answers back writes it too
            return self._push(turns, progress)

    def _push(self, turns: Sequence[ReviewTurn], progress: Callable[[int, int], None]) -> Pushed:
        old = self._read()
        before = old.by_id()
        records = dict(before)
        asked: dict[str, str | None] = {}
        pushed: set[str] = set()
        refused: list[Refused] = []
        updated = 0
        for done, turn in enumerate(turns, 1):
            if fault := self._fault(turn, pushed):
                refused.append(Refused(turn.id, fault))
            else:
                if turn.image is not None and turn.image not in asked:
                    asked[turn.image] = self._images.shown(turn.image)
                pushed.add(turn.id)
                # What was drawn at random stays so, with its answers.
                was_drawn = turn.id in before and before[turn.id].part == "audit"
                records[turn.id] = replace(turn, part="audit") if was_drawn else turn
                # Where there is no image now, the old pack's stays.
                uri = asked.get(turn.image or "")
                other = uri is not None and uri != old.images.get(turn.image or "")
                updated += turn.id in before and (other or before[turn.id] != records[turn.id])
            if done % _BATCH == 0 or done == len(turns):
                progress(done, len(turns))
        self._write(records, old.images | {name: uri for name, uri in asked.items() if uri})
        added = len(pushed - before.keys())
        return Pushed(added, updated, len(pushed) - added - updated, tuple(refused), str(self.path))

    def responses(self) -> Iterator[Response | Refused]:
        """Every version of every answer in ``answers/``; a bad one, or a file that cannot be read, is Refused.

        Raises:
            PermanentError: There are answers, but not the pack that they were given to.
        """
        if not self._files():
            return
        if not self.path.is_file():
            raise PermanentError(
                f"{self._answers} has answers, but {self.path} is not there. Put the pack back, or push the same "
                "translations again with to=pack."
            )
        for each in self._came(self._read().by_id()):
            yield each if isinstance(each, Refused) else each.response

    def send_back(self, broken: Sequence[tuple[Response, str]]) -> int:
        """Have the next pack show these answers to their reviewers with the reason; how many are new."""
        known = self._known_back()
        back = _still_back(known, self._usable(self._read().by_id()))
        new = 0
        for response, reason in broken:
            entry = _Back(record=response.record, updated_at=response.updated_at, reason=reason)
            if response.origin.startswith("pack:") and back.get(response.id) != entry:
                back[response.id] = entry
                new += 1
        if back != known:
            write_bytes(
                self._sent_back, _BackFile(answers=dict(sorted(back.items()))).model_dump_json(indent=1).encode()
            )
        return new

    # ---- The pack

    def _fault(self, turn: ReviewTurn, pushed: set[str]) -> str | None:
        if turn.id != record_id(self._dataset, turn.row, turn.turn, turn.original, turn.machine):
            return (
                f"Row {turn.row}, turn {turn.turn}: its id is not that of its texts in {self._dataset}. Choose again."
            )
        if turn.id in pushed:
            return f"Row {turn.row}, turn {turn.turn} is there twice; the first one is shown."
        return None

    def _read(self) -> _Records:
        """Records and images of the pack that is there, verified; nothing of none."""
        if not self.path.is_file():
            return _Records(dataset=self._dataset, records=[], images={})
        found = _DATA.search(self.path.read_bytes().decode(errors="replace"))
        try:
            document = _Records.model_validate_json(found[1] if found else "")
        except ValidationError as error:
            raise TornFile(
                f"{self.path} is no whole pack ({_first(error)}). Move it away and push again: the records are chosen anew."
            ) from error
        if document.dataset != self._dataset:
            raise ForeignPack(
                f"{self.path} is the pack of {document.dataset!r}, not of {self._dataset!r}. Move it away and push again."
            )
        for turn in document.records:
            if fault := self._fault(turn, set()):
                raise TornFile(
                    f"{self.path} was changed by hand. {fault.removesuffix('Choose again.')}Move it away and push again."
                )
        return document

    def _write(self, records: Mapping[str, ReviewTurn], images: Mapping[str, str]) -> None:
        lowest: dict[int, float] = {}
        for turn in records.values():
            lowest[turn.row] = min(turn.score, lowest.get(turn.row, turn.score))

        def order(turn: ReviewTurn) -> tuple[bool, float, int, int, str]:
            # The worst rows first, then the random ones as they stand; a row's turns together.
            audit = turn.part == "audit"
            return audit, 0.0 if audit else lowest[turn.row], turn.row, turn.turn, turn.id

        came = self._usable(records)
        named = {turn.image for turn in records.values()}
        kept = _Records(
            dataset=self._dataset,
            records=sorted(records.values(), key=order),
            images={name: images[name] for name in sorted(images) if name in named},
        )
        data = {
            **kept.model_dump(mode="json"),
            "answers_format": _ANSWERS,
            "verdicts": {key: words.split(" · ") for key, words in VERDICTS.items()},
            "kinds": {key: words.split(" · ") for key, words in KINDS.items()},
            "answers": _starts(came),
            "back": {key: back.model_dump(mode="json") for key, back in _still_back(self._known_back(), came).items()},
        }
        content = _page(data, self._dataset, kept.images.values())
        if not self.path.is_file() or self.path.read_bytes() != content:
            write_bytes(self.path, content)

    # ---- The answers

    def _files(self) -> list[Path]:
        if not self._answers.is_dir():
            return []
        return sorted(path for path in self._answers.iterdir() if not path.name.startswith("."))

    def _usable(self, records: Mapping[str, ReviewTurn]) -> list[_Came]:
        return [each for each in self._came(records) if isinstance(each, _Came)]

    def _came(self, records: Mapping[str, ReviewTurn]) -> Iterator[_Came | Refused]:
        """What stands in the files; the same version of an answer comes once, however often it was saved."""
        versions: dict[tuple[str, datetime], Response] = {}
        givers: dict[str, tuple[str, str, str]] = {}
        for path in self._files():
            name = path.name.encode(errors="replace").decode()
            if name != path.name:  # unpacked with another encoding than it was packed with
                yield Refused(name, f"{name} in {self._answers} has a name that is no UTF-8. Rename it.")
                continue
            file = self._answer_file(path)
            if isinstance(file, str):
                yield Refused(path.name, file)
                continue
            for at, raw in enumerate(file.answers):
                response = self._response(path, file.reviewer, raw, records)
                if isinstance(response, str):
                    given = raw.get("id") if isinstance(raw, dict) else None
                    yield Refused(_printable(given) if isinstance(given, str) else f"{path.name}#{at}", response)
                    continue
                where = f"{path}, record {response.record}"
                first = versions.setdefault((response.id, response.updated_at), response)
                giver = (response.record, response.user)
                *same, origin = givers.setdefault(response.id, (*giver, response.origin))
                if tuple(same) != giver:
                    yield Refused(
                        response.id,
                        f"{where}: its id is that of another record's or reviewer's answer in "
                        f"{origin.removeprefix('pack:')}. Ask its reviewer to answer the record again and save.",
                    )
                elif first is response:
                    yield _Came(file.reviewer, response)
                elif replace(response, origin=first.origin) != first:
                    yield Refused(
                        response.id,
                        f"{where}: {first.origin.removeprefix('pack:')} has the same version of this answer with other "
                        "content. One of the files was changed by hand; remove it.",
                    )

    def _answer_file(self, path: Path) -> _AnswerFile | str:
        """A file of answers, or why it cannot be used."""
        again = "Ask its reviewer to save it again, and put that file in its place."
        if path.suffix.lower() != ".json":
            return f"{path} is no .json file. Unpack or rename it if it holds answers, or remove it."
        try:
            size = path.stat().st_size
            if size > MAX_BYTES:
                return f"{path} has {size:,} bytes; a file of answers has {MAX_BYTES:,} at most. {again}"
            content = json.loads(path.read_bytes().decode("utf-8-sig"))
        except OSError as error:
            return f"{path} cannot be read: {error.strerror}. Make it a file that can be read, or remove it."
        except (ValueError, RecursionError) as error:
            return f"{path} is no whole JSON file ({error}). {again}"
        try:
            file = _AnswerFile.model_validate(content)
        except ValidationError as error:
            return f"{path} is no file of answers ({_first(error)}). Only files that the page saved belong here."
        if file.dataset != self._dataset:
            return (
                f"{path} has answers to {file.dataset!r}, not to {self._dataset!r}. "
                f"Move it to the folder answers of that review."
            )
        return file

    def _response(self, path: Path, reviewer: str, raw: object, records: Mapping[str, ReviewTurn]) -> Response | str:
        """An answer with its record, or why it cannot be used."""
        named = raw.get("record") if isinstance(raw, dict) else None
        where = f"{path}, record {_printable(named) if isinstance(named, str) else 'without an id'}"
        again = "Ask its reviewer to answer the record again and save."
        try:
            answer = _Answer.model_validate(raw)
        except ValidationError as error:
            return f"{where}: {_first(error)}. {again}"
        if answer.status == "submitted" and (answer.text is None or answer.verdict is None):
            return f"{where}: a submitted answer needs a text and a verdict. {again}"
        if shown_digest(answer.original, answer.machine) != answer.record.rpartition(":")[2]:
            return f"{where}: its texts are not those of its id; the file or the page was changed by hand. {again}"
        turn = records.get(answer.record)
        if turn is None:
            return (
                f"{where}: {self.path} does not have this record. Push the translations that it belongs to again, "
                "or remove the answer."
            )
        return Response(
            id=answer.id,
            record=turn.id,
            row=turn.row,
            turn=turn.turn,
            part=turn.part,
            original=turn.original,
            machine=turn.machine,
            translator=turn.translator,
            codes=turn.codes,
            user=pseudonym(_tidy(reviewer)),
            role="annotator",
            status=answer.status,
            text=answer.text,
            verdict=answer.verdict,
            kinds=tuple(sorted(set(answer.kinds))),
            note=answer.note,
            inserted_at=answer.inserted_at,
            updated_at=answer.updated_at,
            origin=f"pack:{path.name}",
        )

    def _known_back(self) -> dict[str, _Back]:
        if not self._sent_back.is_file():
            return {}
        try:
            return _BackFile.model_validate_json(self._sent_back.read_bytes()).answers
        except ValidationError as error:
            raise TornFile(
                f"{self._sent_back} is not as it was written ({_first(error)}). Move it away and pull again: "
                "it is made anew."
            ) from error


def _page(data: Mapping[str, Any], title: str, uris: Iterable[str]) -> bytes:
    template = _TEMPLATE.read_text("utf-8")
    hashes = {
        tag: base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        for tag, content in _INLINE.findall(template)
    }
    policy = (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}'; "
        f"img-src {' '.join(['data:', *_hosts(uris)])}; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    parts = {
        "@policy@": html.escape(policy),
        "@title@": html.escape(title),
        "@data@": json.dumps(data, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES),
    }
    return re.sub("|".join(parts), lambda found: parts[found[0]], template).encode()


def _hosts(uris: Iterable[str]) -> list[str]:
    """Where images come from that are not in the pack, as a policy names it."""
    parts = {urlsplit(uri)[:2] for uri in uris if not uri.startswith("data:")}
    return sorted(
        f"{scheme}://{host}" for scheme, host in parts if scheme in ("http", "https") and _HOST.fullmatch(host)
    )


def _starts(came: Iterable[_Came]) -> list[dict[str, Any]]:
    """The latest answer of each reviewer to each record; whose it is, only that reviewer's name tells."""
    latest: dict[tuple[str, str], Response] = {}
    for reviewer, response in came:
        key = (response.record, _mark(reviewer))
        if key not in latest or latest[key].updated_at < response.updated_at:
            latest[key] = response
    return [
        {"by": by, **_Given.model_validate(response, from_attributes=True).model_dump(mode="json")}
        for (_, by), response in sorted(latest.items())
    ]


def _still_back(known: Mapping[str, _Back], came: Iterable[_Came]) -> dict[str, _Back]:
    """Without those that a newer version has come of."""
    newest: dict[str, datetime] = {}
    for _, response in came:
        newest[response.id] = max(response.updated_at, newest.get(response.id, response.updated_at))
    return {key: back for key, back in known.items() if newest.get(key, back.updated_at) <= back.updated_at}


def _tidy(name: str) -> str:
    """A name as it is compared; the page has the same rule."""
    return " ".join(unicodedata.normalize("NFKC", name).lower().split())


def _mark(name: str) -> str:
    """FNV-1a over 64 bits, http://www.isthe.com/chongo/tech/comp/fnv: the page has no SHA-256 in every browser."""
    mark = 0xCBF29CE484222325
    for byte in _tidy(name).encode():
        mark = (mark ^ byte) * 0x100000001B3 % 2**64
    return f"{mark:016x}"


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, with its place."""
    wrong = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, wrong["loc"]))
    said = "not an object" if wrong["type"] == "model_type" else wrong["msg"].removeprefix("Value error, ")
    return f"{place}: {said}" if place else said


def _printable(text: str) -> str:
    """What stands in a foreign file, for a message: short, and without what cannot be written."""
    return text[:120].encode(errors="replace").decode()
