"""Argilla as the place where people review: the only module that talks to it.

Two Argilla datasets per review, because an audited turn waits for more answers than another::

    llava-es         the worst rows; done with one answer
    llava-es-audit   the rows drawn at random; done with ``overlap`` answers

One record as it is sent; the server keeps it under its ``external_id``, beside everybody's answers::

    {"external_id": "llava-es:17:1:9f3a0c12d4e5",
     "fields": {"image": "data:image/jpeg;base64,…", "original": "&lt;image&gt;\\nIs the bus white?", "conversation": […]},
     "suggestions": [{"question_id": "…", "value": "<image>\\n¿Es el autobús blanca?", "score": 0.5, …}],
     "metadata": {"row": 17, "turn": 1, "codes": ["numbers"], "shown": "5d0c…", …}}

The SDK's client carries the requests; its records and datasets are not used, since they hide the ids and times of answers
and which record of a batch is refused, and delete what they had begun to set up. So this speaks the REST interface of
Argilla 2.8. Records are always built fresh and without answers: one sent back as it was read would overwrite newer answers.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from tasks.remote.errors import BadAnswer, Denied, Throttled, TooLarge, Unreachable
from tasks.reviews.images import Images
from tasks.reviews.records import (
    KINDS,
    VERDICTS,
    Part,
    Pushed,
    Refused,
    Response,
    ReviewTurn,
    pseudonym,
    shown_digest,
)
from tasks.storage.errors import PermanentError, TransientError

BATCH = 50  # records per request: the server answers nobody else while it takes one in
_PAGE = 250  # records per request when reading: thumbnails come along
_PASSES = 3
_AUDIT = "-audit"  # ends the name of the second dataset
_OVERLAP = 2  # answers that an audited turn of a new review waits for
_TIMEOUT_SECONDS = 60
_MAX_MESSAGE, _MAX_MESSAGES = 20_000, 500  # characters and number of a chat field's messages that Argilla takes
_OURS = {"made_by": "trasvase"}
_BACK = "↩ "  # begins a line of ours in a reviewer's note

GUIDELINES = Path(__file__).with_name("guidelines.md")


def _options(words: Mapping[str, str]) -> dict[str, Any]:
    return {"options": [{"value": value, "text": text} for value, text in words.items()], "visible_options": len(words)}


# As they are posted, in the order in which they are shown.
FIELDS: list[dict[str, Any]] = [
    {"name": "image", "title": "Image · Imagen", "required": False, "settings": {"type": "image"}},
    {
        "name": "original",
        "title": "Original",
        "required": True,
        "settings": {"type": "text", "use_markdown": False},
    },
    {
        "name": "conversation",
        "title": "Before it · Lo anterior",
        "required": False,
        "settings": {"type": "chat", "use_markdown": False},
    },
]
QUESTIONS: list[dict[str, Any]] = [
    {
        "name": "text",
        "title": "Corrected text · Texto corregido",
        "description": "Keep <image> and the line breaks. · Conserva <image> y los saltos de línea.",
        "required": True,
        "settings": {"type": "text", "use_markdown": False},
    },
    {
        "name": "verdict",
        "title": "How was the machine's text? · ¿Qué tal era el texto de la máquina?",
        "required": True,
        "settings": {"type": "label_selection", **_options(VERDICTS)},
    },
    {
        "name": "kinds",
        "title": "What was wrong · Qué fallaba",
        "required": False,
        "settings": {"type": "multi_label_selection", **_options(KINDS)},
    },
    {
        "name": "note",
        "title": "Note · Nota",
        "required": False,
        "settings": {"type": "text", "use_markdown": False},
    },
]
METADATA: list[dict[str, Any]] = [
    {"name": name, "title": title, "visible_for_annotators": name != "shown", "settings": {"type": kind}}
    for name, title, kind in (
        ("chunk", "Chunk · Bloque", "integer"),
        ("row", "Row · Fila", "integer"),
        ("turn", "Turn · Turno", "integer"),
        ("translator", "Translator · Traductor", "terms"),
        ("codes", "Doubts of the checks · Dudas de las comprobaciones", "terms"),
        ("role", "Who speaks · Quién habla", "terms"),
        ("score", "Score, 1 is no doubt · Puntuación, 1 es sin duda", "float"),
        ("ratio", "Length ratio · Proporción de longitud", "float"),
        ("version", "Dataset version · Versión de los datos", "terms"),
        ("shown", "Digest of what is shown", "terms"),
    )
]


@dataclass(frozen=True, slots=True)
class _Place:
    """One of the two datasets, as it stands on the server."""

    id: str
    name: str
    part: Part
    questions: Mapping[str, str]  # name -> id
    is_new: bool


class ArgillaDesk:
    """A ``Desk`` on an Argilla server.

    Args:
        url: Its address.
        key: The key of an owner or admin.
        workspace: Argilla's workspace; made when it is missing.
        dataset: Name of the review.
        images: What is shown of a row's image.
        overlap: Answers that an audited turn waits for; None is 2 for a new review, and as it is for another.

    Raises:
        PermanentError: ``overlap`` is less than 1, the address is none, or the review is called like another's audit.
    """

    def __init__(
        self, url: str, key: str, workspace: str, dataset: str, images: Images, overlap: int | None = None
    ) -> None:
        if overlap is not None and overlap < 1:
            raise PermanentError(f"overlap={overlap}: an audited turn waits for at least 1 answer.")
        if dataset.endswith(_AUDIT):
            raise PermanentError(f"A review cannot be called {dataset!r}: {_AUDIT!r} is added to another's. Rename it.")
        self._server = _Server(url, key)
        self._workspace = workspace
        self._dataset = dataset
        self._overlap = overlap
        self.images = images

    def push(self, turns: Sequence[ReviewTurn], progress: Callable[[int, int], None]) -> Pushed:
        """Show these turns. See ``Desk``.

        Raises:
            Unreachable: The server does not answer, or stopped in between; what it took is there, push again.
            Denied: It does not know the key, or the key is not an owner's or admin's.
            PermanentError: There is another dataset of that name, or it has been set up in another way.
        """
        workspace = self._open_workspace()
        done, added, updated, unchanged = 0, 0, 0, 0
        refused: list[Refused] = []
        where: list[str] = []
        for part in ("worst", "audit"):
            mine = [turn for turn in turns if turn.part == part]
            if not mine:
                continue
            place = self._open(workspace, part)
            known = {} if place.is_new else self._known(place)
            where.append(f"{self._server.url}/dataset/{place.id}/annotation-mode")
            for start in range(0, len(mine), BATCH):
                batch = [self._record(turn, place) for turn in mine[start : start + BATCH]]
                other = [record for record in batch if known.get(record["external_id"]) != record["metadata"]["shown"]]
                not_taken = self._send(place, other)
                taken = {record["external_id"] for record in other} - {item.id for item in not_taken}
                added += len(taken - known.keys())
                updated += len(taken & known.keys())
                unchanged += len(batch) - len(other)
                refused += not_taken
                done += len(batch)
                progress(done, len(turns))
        return Pushed(added, updated, unchanged, tuple(refused), " and ".join(where) or self._server.url)

    def responses(self) -> Iterator[Response | Refused]:
        """All answers as they are now. See ``Desk``; none where nothing was pushed yet.

        The answers of a user who has been deleted are gone from Argilla: pull before.

        Raises:
            Unreachable: The server does not answer.
            Denied: It does not know the key, or the key is not an owner's or admin's.
            PermanentError: There is another dataset of that name.
        """
        me = self._me()
        workspace = self._find_workspace()
        if workspace is None:
            return
        roles = self._roles(workspace, me)
        for part in ("worst", "audit"):
            place = self._find(workspace, part)
            if place is None:
                continue
            for record in self._records(place, "responses", "suggestions"):
                for answer in record["responses"]:
                    yield self._response(place, record, answer, roles.get(answer["user_id"], "unknown"))

    def send_back(self, broken: Sequence[tuple[Response, str]]) -> int:
        """Make submitted answers drafts again, their text kept, the reason in the note. See ``Desk``.

        An answer that was edited since it was read is left alone. Argilla has no conditional write, so each answer is
        read again right before it is written.

        Raises:
            Unreachable: The server does not answer.
            Denied: It does not know the key, or the key is not an owner's or admin's.
        """
        self._me()
        workspace = self._find_workspace()
        places = [self._find(workspace, part) for part in ("worst", "audit")] if workspace and broken else []
        by_origin = {_origin(place): place for place in places if place}
        return sum(
            self._send_back(by_origin[response.origin], response, reason)
            for response, reason in broken
            if response.origin in by_origin
        )

    def _send_back(self, place: _Place, response: Response, reason: str) -> bool:
        answer = self._answer(place, response)
        if not answer or answer["status"] != "submitted" or _time(answer["updated_at"]) != response.updated_at:
            return False
        values = dict(answer["values"])
        note = _own_note(values.get("note", {}).get("value"))
        values["note"] = {"value": "\n".join([*([note] if note else []), _BACK + " ".join(reason.split())])}
        try:
            self._server.call("PUT", f"responses/{response.id}", {"status": "draft", "values": values})
        except _Missing:  # the reviewer took it back
            return False
        return True

    def _answer(self, place: _Place, response: Response) -> dict[str, Any] | None:
        """A response as it is on the server now."""
        scope = {"entity": "record", "property": "external_id"}
        query = {"filters": {"and": [{"type": "terms", "scope": scope, "values": [response.record]}]}}
        found = self._server.call("POST", f"datasets/{place.id}/records/search", query, include=["responses"])
        answers = (answer for item in found["items"] for answer in item["record"]["responses"])
        return next((answer for answer in answers if answer["id"] == response.id), None)

    # Workspace and datasets

    def _me(self) -> dict[str, Any]:
        """Whose key it is."""
        me: dict[str, Any] = self._server.call("GET", "me")
        if me["role"] not in ("owner", "admin"):
            raise Denied(
                f"ARGILLA_API_KEY is the key of {me['username']!r}, an {me['role']}. "
                "Reviews are set up and read with the key of an owner or admin."
            )
        return me

    def _find_workspace(self) -> str | None:
        workspaces = self._server.call("GET", "me/workspaces")["items"]
        return next((item["id"] for item in workspaces if item["name"] == self._workspace), None)

    def _open_workspace(self) -> str:
        """The workspace's id; it is made when it is missing."""
        me = self._me()
        workspace = self._find_workspace()
        if me["role"] == "owner":
            if workspace is None:
                workspace = self._server.call("POST", "workspaces", {"name": self._workspace})["id"]
            self._let_in(workspace)
        if workspace is None:
            raise Denied(
                f"There is no workspace {self._workspace!r} for the admin {me['username']!r}. "
                "Ask an owner of that Argilla to make it and to add this admin, or name another `workspace`."
            )
        return workspace

    def _let_in(self, workspace: str) -> None:
        """Let annotators who are in no workspace at all see one that nobody is in.

        Nobody else is touched: who works in another workspace was put there by an owner, and so was who is in ours.
        """
        if self._server.call("GET", f"workspaces/{workspace}/users")["items"]:
            return
        for user in self._server.call("GET", "users")["items"]:
            if user["role"] == "annotator" and not self._server.call("GET", f"users/{user['id']}/workspaces")["items"]:
                self._server.call("POST", f"workspaces/{workspace}/users", {"user_id": user["id"]})

    def _name(self, part: Part) -> str:
        return self._dataset if part == "worst" else f"{self._dataset}{_AUDIT}"

    def _get(self, workspace: str, part: Part) -> dict[str, Any] | None:
        found = self._server.call("GET", "me/datasets", workspace_id=workspace, name=self._name(part))["items"]
        return found[0] if found else None

    def _find(self, workspace: str, part: Part) -> _Place | None:
        """A dataset that was pushed before."""
        dataset = self._get(workspace, part)
        return self._check(dataset, part) if dataset and dataset["status"] == "ready" else None

    def _open(self, workspace: str, part: Part) -> _Place:
        """A dataset to push to; it is made when it is missing, and finished where a push was killed while making it."""
        min_submitted = (self._overlap or _OVERLAP) if part == "audit" else 1
        dataset = self._get(workspace, part)
        if dataset is None:
            dataset = self._server.call(
                "POST",
                "datasets",
                {
                    "name": self._name(part),
                    "workspace_id": workspace,
                    "guidelines": GUIDELINES.read_text(encoding="utf-8"),
                    "allow_extra_metadata": False,
                    "distribution": {"strategy": "overlap", "min_submitted": min_submitted},
                    "metadata": _OURS,
                },
            )
        is_draft = dataset["status"] == "draft"
        if is_draft and dataset["metadata"] != _OURS:
            raise PermanentError(
                f"Someone else is setting up a dataset {dataset['name']!r} in workspace {self._workspace!r} of "
                f"{self._server.url}. Push under another name (`dataset`). Nothing was changed."
            )
        place = self._check(dataset, part, complete=True)
        waits_for = dataset["distribution"]["min_submitted"]
        if part == "audit" and self._overlap not in (None, waits_for):
            raise PermanentError(
                f"Records of {dataset['name']!r} wait for {waits_for} answers, not for {self._overlap}. "
                f"Push with overlap={waits_for}, or change it in Argilla (Dataset settings). Nothing was changed."
            )
        if is_draft:
            self._server.call("PUT", f"datasets/{place.id}/publish")
        return place

    def _check(self, dataset: Mapping[str, Any], part: Part, complete: bool = False) -> _Place:
        """Hold a dataset's settings against ours.

        Args:
            dataset: As the server describes it.
            part: What is shown in it.
            complete: Add what a killed push had not yet added, and filters that someone removed.
        """
        path = f"datasets/{dataset['id']}"
        is_draft = dataset["status"] == "draft"
        found = {
            "fields": self._server.call("GET", f"{path}/fields")["items"],
            "questions": self._server.call("GET", f"{path}/questions")["items"],
            "metadata-properties": self._server.call("GET", f"me/{path}/metadata-properties")["items"],
        }
        differences: list[str] = []
        missing: list[tuple[str, dict[str, Any]]] = []
        for kind, ours in (("fields", FIELDS), ("questions", QUESTIONS), ("metadata-properties", METADATA)):
            theirs = {item["name"]: _essence(item) for item in found[kind]}
            for item in ours:
                if item["name"] not in theirs:
                    missing.append((kind, item))
                elif theirs[item["name"]] != _essence(item):
                    differences.append(f"{kind}: {item['name']!r} is another")
            if kind != "metadata-properties":  # more filters do no harm
                differences += [f"{kind}: {name!r} is not ours" for name in theirs.keys() - {i["name"] for i in ours}]
        if not is_draft:  # its fields and questions can no longer change
            differences += [f"{kind}: no {item['name']!r}" for kind, item in missing if kind != "metadata-properties"]
        if differences:
            raise PermanentError(
                f"The dataset {dataset['name']!r} in workspace {self._workspace!r} of {self._server.url} is not as we "
                f"set it up ({'; '.join(sorted(differences))}). If it is someone else's, push under another name "
                "(`dataset`); if its settings were edited, undo that in Argilla. Nothing was changed."
            )
        for kind, item in missing if complete else ():
            found[kind].append(self._server.call("POST", f"{path}/{kind}", item))
        questions = {item["name"]: item["id"] for item in found["questions"]}
        return _Place(dataset["id"], dataset["name"], part, questions, is_new=is_draft)

    # Records

    def _known(self, place: _Place) -> dict[str, str]:
        """The records that are there: id -> digest of what is shown."""
        return {
            record["external_id"]: (record.get("metadata") or {}).get("shown", "")
            for record in self._records(place)
            if record["external_id"]
        }

    def _records(self, place: _Place, *include: str) -> Iterator[dict[str, Any]]:
        """Every record once. Pages may shift while others write, so what was missed is looked for again."""
        seen: set[str] = set()
        for _ in range(_PASSES):
            offset, more = 0, True
            while more:
                page = self._server.call(
                    "GET", f"datasets/{place.id}/records", include=list(include), limit=_PAGE, offset=offset
                )
                for record in page["items"]:
                    if record["id"] not in seen:
                        seen.add(record["id"])
                        yield record
                offset += _PAGE
                more = len(page["items"]) == _PAGE
            if len(seen) >= page["total"]:
                return
        raise TransientError(f"The records of {place.name!r} changed while they were read. Try again.")

    def _record(self, turn: ReviewTurn, place: _Place) -> dict[str, Any]:
        """A record as it is sent. Fields are shown as HTML, so they are escaped; suggestions are not."""
        image = self.images.shown(turn.image)
        before = [{"role": role, "content": _message(text)} for role, text in turn.context if text]
        fields = {
            **({"image": image} if image else {}),
            "original": html.escape(turn.original, quote=False),
            **({"conversation": before[-_MAX_MESSAGES:]} if before else {}),
        }
        suggestion = {"value": turn.machine, "score": turn.score, "agent": _agent(turn.translator)}
        metadata = {
            "chunk": turn.chunk,
            "row": turn.row,
            "turn": turn.turn,
            "translator": turn.translator,
            **({"codes": list(turn.codes)} if turn.codes else {}),
            "role": turn.role,
            "score": float(turn.score),
            "ratio": float(turn.ratio),
            "version": turn.version,
        }
        everything = json.dumps([fields, suggestion, metadata], sort_keys=True).encode()
        return {
            "external_id": turn.id,
            "fields": fields,
            "suggestions": [{"question_id": place.questions["text"], **suggestion}],
            "metadata": {**metadata, "shown": hashlib.sha256(everything).hexdigest()[:16]},
        }

    def _send(self, place: _Place, records: list[dict[str, Any]]) -> list[Refused]:
        """Send records; a batch that is not taken is halved down to the record that is to blame, which is returned."""
        if not records:
            return []
        try:
            self._server.call("PUT", f"datasets/{place.id}/records/bulk", {"items": records})
        except TooLarge as error:
            if len(records) == 1:
                return [Refused(records[0]["external_id"], str(error))]
            half = len(records) // 2
            return self._send(place, records[:half]) + self._send(place, records[half:])
        return []

    # Answers

    def _roles(self, workspace: str, me: Mapping[str, Any]) -> dict[str, str]:
        """Everybody's role by id; an admin learns only of the workspace's users."""
        path = "users" if me["role"] == "owner" else f"workspaces/{workspace}/users"
        return {user["id"]: user["role"] for user in [*self._server.call("GET", path)["items"], me]}

    def _response(
        self, place: _Place, record: Mapping[str, Any], answer: Mapping[str, Any], role: str
    ) -> Response | Refused:
        known = _parse_id(record["external_id"], self._dataset)
        if known is None:
            return Refused(
                answer["id"], f"It answers the record {record['external_id']!r} of {place.name!r}, which is not ours."
            )
        row, turn, digest = known
        original = html.unescape(record["fields"].get("original") or "")
        machine = next(
            (item["value"] for item in record["suggestions"] if item["question_id"] == place.questions["text"]), None
        )
        if machine is None or shown_digest(original, machine) != digest:
            return Refused(
                answer["id"],
                f"It answers the record {record['external_id']!r} of {place.name!r}, whose texts were changed in Argilla "
                "after it was pushed; which ones the reviewer saw is not known.",
            )
        metadata = record.get("metadata") or {}
        values = {name: item["value"] for name, item in (answer["values"] or {}).items()}
        return Response(
            id=answer["id"],
            record=record["external_id"],
            row=row,
            turn=turn,
            part=place.part,
            original=original,
            machine=machine,
            translator=metadata.get("translator", "unknown"),
            codes=tuple(metadata.get("codes", ())),
            user=pseudonym(answer["user_id"]),
            role=role,
            status=answer["status"],
            text=_typed(values.get("text"), machine),
            verdict=values.get("verdict"),
            kinds=tuple(sorted(values.get("kinds", ()))),
            note=_own_note(values.get("note")),
            inserted_at=_time(answer["inserted_at"]),
            updated_at=_time(answer["updated_at"]),
            origin=_origin(place),
        )


class _Missing(PermanentError):
    """What we ask for is not there (any more)."""


class _Server:
    """Argilla's REST interface, through the SDK's client; the kind of trouble is decided here, from the status code."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        try:
            address = httpx.URL(self.url)
        except httpx.InvalidURL:
            address = httpx.URL()
        if address.scheme not in ("http", "https") or not address.host:
            raise PermanentError(f"ARGILLA_API_URL={url!r} is no address. It has to begin with http:// or https://.")
        self._is_here = address.host in ("127.0.0.1", "localhost", "::1")
        self._key = key.strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise self._unknown_key()

    @cached_property
    def _http(self) -> httpx.Client:
        """The SDK's client; making it asks the server who we are."""
        import argilla

        client: httpx.Client = argilla.Argilla(
            self.url,
            self._key,
            timeout=_TIMEOUT_SECONDS,
            trust_env=not self._is_here,  # a proxy of the environment is for the world outside
            event_hooks={"response": [self._hold_up]},
        ).api.http_client
        return client

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """One request; its answer as JSON."""
        try:
            return self._http.request(method, f"/api/v1/{path}", json=body, params=query).json()
        except httpx.TransportError as error:
            raise Unreachable(
                f"Argilla at {self.url} does not answer ({error or type(error).__name__}). Start it or wait for it, then "
                "run this again: what is there stays."
            ) from error
        except ValueError as error:
            raise BadAnswer(
                f"{self.url} answers {method} {path} with something that no Argilla says. Is ARGILLA_API_URL the "
                "address of an Argilla 2?"
            ) from error

    def _hold_up(self, response: httpx.Response) -> None:
        """Raise what went wrong, before the SDK or we read it as an answer."""
        if not response.is_success:
            response.read()
            raise self._trouble(
                response, f"{response.request.method} {response.request.url.path.partition('/api/v1/')[2]}"
            )

    def _unknown_key(self) -> Denied:
        return Denied(
            f"Argilla at {self.url} does not know the key. Set ARGILLA_API_KEY to the one that an owner or admin finds "
            "there under 'My settings'."
        )

    def _trouble(self, response: httpx.Response, asked: str) -> Exception:
        code, detail = response.status_code, _detail(response)
        if code == 401:
            return self._unknown_key()
        if code == 403:
            return Denied(
                f"The key for Argilla at {self.url} does not allow {asked} ({detail}). Use the key of an owner, or of an "
                "admin who is in the workspace."
            )
        if code == 404:
            return _Missing(
                f"{self.url} has nothing at {asked} ({detail}). If it is an Argilla 2, someone deleted it meanwhile."
            )
        if code == 409:
            return TransientError(f"Someone else did {asked} at the same time ({detail}). Run this again.")
        if code in (400, 413, 414, 422):
            return TooLarge(f"Argilla does not take it: {detail}")
        if code == 429 or (code == 503 and "Retry-After" in response.headers):
            pause = response.headers.get("Retry-After", "")
            return Throttled(f"Argilla at {self.url} asks for a pause.", float(pause) if pause.isdigit() else None)
        if code >= 500:
            return Unreachable(
                f"Argilla at {self.url} answers {code} to {asked} ({detail}). Its log says why; then run this again."
            )
        to = response.headers.get("Location")
        return PermanentError(
            f"Argilla at {self.url} answers {code} to {asked}{f' and sends us to {to}' if to else ''}. "
            "Correct ARGILLA_API_URL."
        )


def _detail(response: httpx.Response) -> str:
    """What the server says of an error, on one line."""
    try:
        detail = response.json()["detail"]
        errors = detail["params"]["errors"] if isinstance(detail, dict) and "params" in detail else detail
        text = errors if isinstance(errors, str) else json.dumps(errors, ensure_ascii=False)
    except (ValueError, KeyError, TypeError):
        text = response.text
    text = " ".join(text.split()).removeprefix("Record at position 0 is not valid because ")
    return text[:500] or response.reason_phrase


def _essence(item: Mapping[str, Any]) -> tuple[Any, ...]:
    """What must not differ in a field, a question or a filter; its titles may be edited."""
    settings = item["settings"]
    values = sorted(option["value"] for option in settings.get("options", ()))
    return settings["type"], settings.get("use_markdown"), values, item.get("required")


def _message(text: str) -> str:
    """A turn of the conversation so far, cut to what Argilla takes."""
    shown = html.escape(text, quote=False)
    if len(shown) <= _MAX_MESSAGE:
        return shown
    cut = " … [cut · cortado]"
    return re.sub("&[a-z]*$", "", shown[: _MAX_MESSAGE - len(cut)]) + cut


def _agent(translator: str) -> str:
    """A translator's name in the letters that Argilla takes; the metadata have it as it is."""
    return re.sub(r"[^a-zA-Z0-9_:./-]", "_", translator)[:200]


def _parse_id(name: str | None, dataset: str) -> tuple[int, int, str] | None:
    """Row, turn and digest of a record's id; None where it is not one of this review."""
    match = re.fullmatch(r"(.+):(\d+):(\d+):([0-9a-f]{12})", name or "", re.DOTALL)
    if match is None or match[1] != dataset:
        return None
    return int(match[2]), int(match[3]), match[4]


def _typed(text: str | None, machine: str) -> str | None:
    """A text as the reviewer meant it: the editor ends what was typed last with one line break too many."""
    if text is not None and text != machine and text.endswith("\n") and not machine.endswith("\n"):
        return text[:-1]
    return text


def _own_note(note: str | None) -> str | None:
    """A note without the lines that are ours."""
    lines = [line for line in (note or "").splitlines() if not line.startswith(_BACK)]
    return "\n".join(lines).strip() or None


def _time(text: str) -> datetime:
    """Argilla's times are UTC and do not say so."""
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _origin(place: _Place) -> str:
    return f"argilla:{place.id}"
