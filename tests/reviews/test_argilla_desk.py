"""The desk against the real server."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tasks.remote.errors import BadAnswer, Denied, Throttled, Unreachable
from tasks.reviews import argilla_desk
from tasks.reviews.argilla_desk import GUIDELINES, ArgillaDesk
from tasks.reviews.images import Images
from tasks.reviews.records import KINDS, VERDICTS, Part, Pushed, Refused, Response, ReviewTurn, pseudonym, record_id
from tasks.storage.errors import PermanentError, TransientError
from tests.reviews.local_argilla import LocalArgilla

NEXT_STEP = "Use the key of an owner, or of an admin who is in the workspace."


class Place:
    """A workspace of the test's own with one review in it."""

    def __init__(self, argilla: LocalArgilla, workspace: str) -> None:
        self.argilla = argilla
        self.workspace = workspace
        self.workspace_id = argilla.workspace(workspace)
        self.known: dict[str, str] = {}  # our id -> the server's

    def desk(self, key: str = "", images: str = "", overlap: int = 2, dataset: str = "llava-es") -> ArgillaDesk:
        return ArgillaDesk(
            self.argilla.url, key or self.argilla.owner.key, self.workspace, dataset, Images(images), overlap
        )

    def push(self, turns: Sequence[ReviewTurn], **options: Any) -> Pushed:
        return self.desk(**options).push(turns, lambda done, of: None)

    def answers(self) -> list[Response]:
        found = list(self.desk().responses())
        assert not [answer for answer in found if isinstance(answer, Refused)]
        return [answer for answer in found if isinstance(answer, Response)]

    def datasets(self) -> dict[str, dict[str, Any]]:
        found = self.argilla.call("GET", f"/me/datasets?workspace_id={self.workspace_id}").json()["items"]
        return {dataset["name"]: dataset for dataset in found}

    def records(self, name: str = "llava-es") -> dict[str, dict[str, Any]]:
        """All records as the server has them, by our id."""
        path = f"/datasets/{self.datasets()[name]['id']}/records"
        params = {"include": ["responses", "suggestions"], "limit": 1000}
        return {item["external_id"]: item for item in self.argilla.call("GET", path, params=params).json()["items"]}

    def answer(
        self, turn: ReviewTurn, text: str | None, reviewer: int = 0, status: str = "submitted", **more: Any
    ) -> dict[str, Any]:
        """Answer as a reviewer does, or answer again."""
        values = {"text": text, "verdict": "minor", **more} if text is not None else more
        name = "llava-es" if turn.part == "worst" else "llava-es-audit"
        if turn.id not in self.known:
            self.known |= {known: record["id"] for known, record in self.records(name).items()}
        item = {
            "record_id": self.known[turn.id],
            "status": status,
            "values": {name: {"value": value} for name, value in values.items()} or None,
        }
        answered = self.argilla.call(
            "POST", "/me/responses/bulk", self.argilla.reviewers[reviewer], json={"items": [item]}
        )
        done = answered.raise_for_status().json()["items"][0]
        assert done["item"], done
        return dict(done["item"])


@pytest.fixture
def place(argilla: LocalArgilla, request: pytest.FixtureRequest) -> Place:
    return Place(argilla, request.node.name[:150])


def make_turn(row: int, part: Part = "worst", **changes: Any) -> ReviewTurn:
    turn = ReviewTurn(
        id="",
        row=row,
        turn=1,
        chunk=row // 500,
        role="human",
        image=None,
        original=f"<image>\nIs bus {row} white & <b>new</b>?",
        machine=f"<image>\n¿Es el autobús {row} blanca & <b>nueva</b>?",
        context=(("human", f"¿Qué se ve? <image> {row}"), ("gpt", "Un autobús.")),
        translator="apertium/eng-spa@4fcf88d3",
        codes=("numbers", "seam"),
        score=0.0227,
        ratio=1.0,
        part=part,
        version="translate-llava-1",
    )
    turn = replace(turn, **changes)
    return replace(turn, id=record_id("llava-es", row, turn.turn, turn.original, turn.machine))


def test_a_turn_is_shown_with_all_that_a_reviewer_needs(place: Place, tmp_path: Path) -> None:
    Image.new("RGB", (2000, 1000), "red").save(tmp_path / "bus.jpg")
    turn = make_turn(17, image="bus.jpg")
    pushed = place.push([turn], images=str(tmp_path))
    dataset = place.datasets()["llava-es"]
    assert pushed == Pushed(1, 0, 0, (), f"{place.argilla.url}/dataset/{dataset['id']}/annotation-mode")
    record = place.records()[turn.id]
    assert record["fields"].pop("image").startswith("data:image/jpeg;base64,")
    assert record["fields"] == {
        "original": "&lt;image&gt;\nIs bus 17 white &amp; &lt;b&gt;new&lt;/b&gt;?",
        "conversation": [
            {"role": "human", "content": "¿Qué se ve? &lt;image&gt; 17"},
            {"role": "gpt", "content": "Un autobús."},
        ],
    }
    suggestion = record["suggestions"][0]
    assert (suggestion["value"], suggestion["score"], suggestion["agent"]) == (
        turn.machine,
        0.0227,
        "apertium/eng-spa_4fcf88d3",
    )
    assert record["metadata"].pop("shown")
    assert record["metadata"] == {
        "chunk": 0,
        "row": 17,
        "turn": 1,
        "translator": "apertium/eng-spa@4fcf88d3",
        "codes": ["numbers", "seam"],
        "role": "human",
        "score": 0.0227,
        "ratio": 1.0,
        "version": "translate-llava-1",
    }


def test_the_questions_are_ours_and_only_audited_turns_wait_for_several_answers(place: Place) -> None:
    place.push([make_turn(1), make_turn(2, "audit")], overlap=3)
    datasets = place.datasets()
    assert {name: item["distribution"]["min_submitted"] for name, item in datasets.items()} == {
        "llava-es": 1,
        "llava-es-audit": 3,
    }
    assert {item["guidelines"] for item in datasets.values()} == {GUIDELINES.read_text(encoding="utf-8")}
    questions = place.argilla.call("GET", f"/datasets/{datasets['llava-es']['id']}/questions").json()["items"]
    assert {item["name"]: item["required"] for item in questions} == {
        "text": True,
        "verdict": True,
        "kinds": False,
        "note": False,
    }
    assert [option["value"] for option in questions[1]["settings"]["options"]] == list(VERDICTS)
    assert [option["value"] for option in questions[2]["settings"]["options"]] == list(KINDS)


def test_the_guidelines_fit() -> None:
    assert 0 < len(GUIDELINES.read_text(encoding="utf-8")) <= 10_000


def test_pushing_twice_changes_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argilla_desk, "BATCH", 10)
    parts: tuple[Part, ...] = ("worst", "audit")
    turns = [make_turn(row, part) for part in parts for row in range(12)]
    assert place.push(turns).added == 24
    place.answer(turns[3], "Mejor.")
    place.answer(turns[15], "Mejor.")
    before = place.records(), place.records("llava-es-audit")
    seen: list[tuple[int, int]] = []
    pushed = place.desk().push(turns, lambda done, of: seen.append((done, of)))
    assert (pushed.added, pushed.updated, pushed.unchanged, pushed.refused) == (0, 0, 24, ())
    assert (place.records(), place.records("llava-es-audit")) == before
    assert seen == [(10, 24), (12, 24), (22, 24), (24, 24)]


def test_an_answer_comes_back_as_it_was_typed(place: Place) -> None:
    turn = make_turn(17, "audit")
    place.push([turn])
    text = "<image>\n¿Es el autobús 17 «blanco» — & <b>nuevo</b>?"
    answer = place.answer(turn, text + "\n", kinds=["style", "grammar"], note="El original ya es raro.\n")
    reviewer = place.argilla.reviewers[0]
    assert place.answers() == [
        Response(
            id=answer["id"],
            record=turn.id,
            row=17,
            turn=1,
            part="audit",
            original=turn.original,
            machine=turn.machine,
            translator=turn.translator,
            codes=turn.codes,
            user=pseudonym(place.argilla.user_id(reviewer)),
            role="annotator",
            status="submitted",
            text=text,
            verdict="minor",
            kinds=("grammar", "style"),
            note="El original ya es raro.",
            inserted_at=datetime.fromisoformat(answer["inserted_at"]).replace(tzinfo=UTC),
            updated_at=datetime.fromisoformat(answer["updated_at"]).replace(tzinfo=UTC),
            origin=f"argilla:{place.datasets()['llava-es-audit']['id']}",
        )
    ]


def test_drafts_discards_and_empty_corrections_come_back_too(place: Place) -> None:
    turns = [make_turn(row) for row in range(5)]
    place.push(turns)
    place.answer(turns[0], "Un borrador", status="draft")
    place.answer(turns[1], None, status="discarded")
    place.answer(turns[2], "", reviewer=1)
    place.answer(turns[3], "a" * 20_000, reviewer=2)
    place.answer(turns[4], turns[4].machine)
    found = {answer.row: (answer.status, answer.text, answer.verdict) for answer in place.answers()}
    assert found == {
        0: ("draft", "Un borrador", "minor"),
        1: ("discarded", None, None),
        2: ("submitted", "", "minor"),
        3: ("submitted", "a" * 20_000, "minor"),
        4: ("submitted", turns[4].machine, "minor"),
    }


def test_only_the_editors_own_line_break_is_taken_off(place: Place) -> None:
    turns = [make_turn(0), make_turn(1, machine="Dos líneas\n"), make_turn(2, machine="Dos líneas\n")]
    place.push(turns)
    place.answer(turns[0], "Una línea\n\n")
    place.answer(turns[1], "Otras líneas\n")
    place.answer(turns[2], "Dos líneas\n")
    assert [answer.text for answer in place.answers()] == ["Una línea\n", "Otras líneas\n", "Dos líneas\n"]


def test_a_changed_translation_is_another_record_and_the_answers_to_the_old_one_stay(place: Place) -> None:
    old, new = make_turn(17), make_turn(17, machine="<image>\n¿Es blanco el autobús 17?")
    place.push([old])
    place.answer(old, "La vieja, corregida.")
    pushed = place.push([new])
    assert (pushed.added, pushed.updated) == (1, 0)
    place.answer(new, "La nueva, corregida.", reviewer=1)
    assert {(answer.record, answer.machine, answer.text) for answer in place.answers()} == {
        (old.id, old.machine, "La vieja, corregida."),
        (new.id, new.machine, "La nueva, corregida."),
    }


def test_what_is_shown_in_another_way_is_updated_and_keeps_its_answers(place: Place, tmp_path: Path) -> None:
    turns = [make_turn(row, image="bus.jpg") for row in range(3)]
    assert place.push(turns, images=str(tmp_path)).added == 3  # the image is not there yet
    place.answer(turns[1], "Mejor.")
    answers = place.answers()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "bus.jpg")
    pushed = place.push([replace(turns[0], image=None), *turns[1:]], images=str(tmp_path))
    assert (pushed.added, pushed.updated, pushed.unchanged) == (0, 2, 1)
    assert ["image" in record["fields"] for record in place.records().values()] == [False, True, True]
    assert place.answers() == answers


def test_images_that_cannot_be_shown_do_not_cost_their_records(place: Place, tmp_path: Path) -> None:
    noise = Image.frombytes("RGB", (1400, 1250), os.urandom(1400 * 1250 * 3))
    noise.save(tmp_path / "5MB.png")
    (tmp_path / "text.jpg").write_text("no image")
    turns = [make_turn(row, image=name) for row, name in enumerate(["5MB.png", "text.jpg", "gone.jpg"])]
    desk = place.desk(images=str(tmp_path))
    assert desk.push(turns, lambda done, of: None).added == 3
    assert ["image" in record["fields"] for record in place.records().values()] == [True, False, False]
    assert desk.images.problems.keys() == {"text.jpg", "gone.jpg"}


def test_a_record_that_the_server_does_not_take_costs_itself_alone(place: Place) -> None:
    turns = [make_turn(row) for row in range(30)]
    turns[17] = replace(turns[17], score=1.5)
    turns[26] = replace(turns[26], context=(("somebody with a very long name", "Hola."),))
    pushed = place.push(turns)
    assert pushed.added == 28
    assert [item.id for item in pushed.refused] == [turns[17].id, turns[26].id]
    assert "score must be between 0 and 1" in pushed.refused[0].reason
    assert "Argilla does not take it: " in pushed.refused[1].reason
    assert "at most 20 characters" in pushed.refused[1].reason
    assert place.records().keys() == {turn.id for turn in turns} - {turns[17].id, turns[26].id}


def test_a_turn_longer_than_a_message_may_be_is_cut_where_it_is_only_context(place: Place) -> None:
    turn = make_turn(1, original="é" * 20_000, context=(("gpt", "&" * 20_000), ("human", ""), ("human", "¿?")))
    place.push([turn])
    fields = place.records()[turn.id]["fields"]
    assert fields["original"] == turn.original
    assert [message["role"] for message in fields["conversation"]] == ["gpt", "human"]
    assert fields["conversation"][0]["content"].endswith("&amp;&amp; … [cut · cortado]")
    assert 19_980 < len(fields["conversation"][0]["content"]) <= 20_000


def test_no_answer_is_lost_while_people_answer_during_pushes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argilla_desk, "BATCH", 10)
    turns = [make_turn(row) for row in range(30)]
    place.push(turns)
    ids = {name: record["id"] for name, record in place.records().items()}
    given: dict[tuple[str, str], str] = {}

    def answer(reviewer: int) -> None:
        for number, turn in enumerate(turns[:20]):
            text = f"{reviewer} {number}"
            item = {
                "record_id": ids[turn.id],
                "status": "submitted",
                "values": {"text": {"value": text}, "verdict": {"value": "minor"}},
            }
            user = place.argilla.reviewers[reviewer]
            answered = place.argilla.call("POST", "/me/responses/bulk", user, json={"items": [item]})
            assert answered.json()["items"][0]["item"], answered.text
            given[turn.id, pseudonym(place.argilla.user_id(user))] = text

    people = [threading.Thread(target=answer, args=(number,)) for number in range(3)]
    for person in people:
        person.start()
    for version in range(3):  # shown anew each time, and 10 new ones
        more = [make_turn(row) for row in range(30 + 10 * version, 40 + 10 * version)]
        place.push([*(replace(turn, version=f"translate-llava-{version}") for turn in turns), *more])
    for person in people:
        person.join()
    assert len(given) == 60
    assert {(answer.record, answer.user): answer.text for answer in place.answers()} == given


def test_broken_answers_go_back_to_their_reviewers_with_the_reason(place: Place) -> None:
    turns = [make_turn(row) for row in range(4)]
    place.push(turns)
    for turn in turns[:3]:
        place.answer(turn, "Sin imagen.", kinds=["style"], note="Ojo.")
    place.answer(turns[3], "Un borrador.", status="draft")
    broken = [(answer, "The tag <image>\nis missing.") for answer in place.answers()]
    place.answer(turns[1], "<image>\nYa corregido.")  # edited meanwhile
    assert place.desk().send_back(broken) == 2
    found = {answer.row: (answer.status, answer.text, answer.note) for answer in place.answers()}
    assert found == {
        0: ("draft", "Sin imagen.", "Ojo."),
        1: ("submitted", "<image>\nYa corregido.", None),
        2: ("draft", "Sin imagen.", "Ojo."),
        3: ("draft", "Un borrador.", None),
    }
    values = place.records()[turns[0].id]["responses"][0]["values"]
    assert values["note"]["value"] == "Ojo.\n↩ The tag <image> is missing."
    assert (values["verdict"]["value"], values["kinds"]["value"]) == ("minor", ["style"])
    # Submitted again unchanged: it goes back again, and the note does not grow.
    place.answer(turns[0], "Sin imagen.", note=values["note"]["value"])
    again = [(answer, "Still missing.") for answer in place.answers() if answer.row == 0]
    assert again[0][0].note == "Ojo."
    assert place.desk().send_back(again) == 1
    assert place.records()[turns[0].id]["responses"][0]["values"]["note"]["value"] == "Ojo.\n↩ Still missing."


def test_an_answer_that_is_gone_or_from_elsewhere_is_not_sent_back(place: Place) -> None:
    turn = make_turn(1)
    place.push([turn])
    answer = place.answer(turn, "Hola.")
    [response] = place.answers()
    place.argilla.call("DELETE", f"/responses/{answer['id']}", place.argilla.reviewers[0]).raise_for_status()
    assert place.desk().send_back([(response, "x"), (replace(response, origin="pack:llava-es.json"), "x")]) == 0


def test_a_deleted_users_answers_go_with_the_user_and_the_others_stay(place: Place) -> None:
    turn = make_turn(1)
    place.push([turn])
    user = {"username": f"gone-{place.workspace_id}", "first_name": "Gone", "password": "12345678", "role": "annotator"}
    made = place.argilla.call("POST", "/users", json=user).raise_for_status().json()
    place.argilla.call("POST", f"/workspaces/{place.workspace_id}/users", json={"user_id": made["id"]})
    place.answer(turn, "Se queda.")
    path = f"/records/{place.records()[turn.id]['id']}/responses"
    gone = replace_key(place.argilla, made["api_key"])
    values = {"text": {"value": "Se va."}, "verdict": {"value": "minor"}}
    gone("POST", path, {"status": "submitted", "values": values}).raise_for_status()
    assert len(place.answers()) == 2
    place.argilla.call("DELETE", f"/users/{made['id']}").raise_for_status()
    assert [answer.text for answer in place.answers()] == ["Se queda."]


def replace_key(argilla: LocalArgilla, key: str) -> Callable[[str, str, Any], httpx.Response]:
    """Ask as another user than those of the fixture."""

    def ask(method: str, path: str, body: Any) -> httpx.Response:
        return httpx.request(
            method, f"{argilla.url}/api/v1{path}", json=body, headers={"X-Argilla-Api-Key": key}, trust_env=False
        )

    return ask


def make_admin(place: Place, is_member: bool) -> str:
    """An admin's key."""
    name = f"admin-{place.workspace_id}"
    user = {"username": name, "first_name": "Ada", "password": "12345678", "role": "admin"}
    made = place.argilla.call("POST", "/users", json=user).raise_for_status().json()
    if is_member:
        path = f"/workspaces/{place.workspace_id}/users"
        place.argilla.call("POST", path, json={"user_id": made["id"]}).raise_for_status()
    return str(made["api_key"])


def test_an_admin_of_the_workspace_does_as_well_as_an_owner(place: Place) -> None:
    key = make_admin(place, is_member=True)
    turn = make_turn(1, "audit")
    assert place.push([turn], key=key).added == 1
    place.answer(turn, "Mejor.")
    [answer] = place.desk(key=key).responses()
    assert isinstance(answer, Response)
    assert (answer.text, answer.role) == ("Mejor.", "annotator")
    assert place.desk(key=key).send_back([(answer, "x")]) == 1


def test_who_is_unknown_is_still_heard(place: Place) -> None:
    key = make_admin(place, is_member=True)
    turn = make_turn(1)
    place.push([turn])
    path = f"/records/{place.records()[turn.id]['id']}/responses"
    values = {"text": {"value": "Del dueño."}, "verdict": {"value": "good"}}
    place.argilla.call("POST", path, json={"status": "submitted", "values": values}).raise_for_status()
    assert [answer.role for answer in place.answers()] == ["owner"]
    # An admin may not ask who is not in the workspace.
    assert [answer.role for answer in place.desk(key=key).responses() if isinstance(answer, Response)] == ["unknown"]


def test_a_missing_workspace_is_made_and_who_has_none_is_let_in(argilla: LocalArgilla) -> None:
    user = {"username": "new-annotator", "first_name": "Nora", "password": "12345678", "role": "annotator"}
    nora = argilla.call("POST", "/users", json=user).raise_for_status().json()
    argilla.workspace("somebody-works-here")
    desk = ArgillaDesk(argilla.url, argilla.owner.key, "brand-new", "llava-es", Images(""), 2)
    assert desk.push([make_turn(1)], lambda done, of: None).added == 1
    [workspace] = [
        item for item in argilla.call("GET", "/me/workspaces").json()["items"] if item["name"] == "brand-new"
    ]
    users = f"/workspaces/{workspace['id']}/users"
    assert [item["username"] for item in argilla.call("GET", users).json()["items"]] == ["new-annotator"]
    argilla.call("DELETE", f"/users/{nora['id']}").raise_for_status()


def test_before_the_first_push_there_are_no_answers(place: Place, argilla: LocalArgilla) -> None:
    assert place.answers() == []
    nowhere = ArgillaDesk(argilla.url, argilla.owner.key, "no-such-workspace", "llava-es", Images(""), 2)
    assert list(nowhere.responses()) == []
    assert nowhere.send_back([]) == 0


def test_an_admin_elsewhere_is_told_what_to_ask_for(place: Place) -> None:
    with pytest.raises(Denied) as caught:
        place.push([make_turn(1)], key=make_admin(place, is_member=False))
    assert str(caught.value) == (
        f"There is no workspace {place.workspace!r} for the admin 'admin-{place.workspace_id}'. Ask an owner of that "
        "Argilla to make it and to add this admin, or name another `workspace`."
    )


def test_a_wrong_key_is_refused(place: Place) -> None:
    for key in ("wrong", "schlüssel"):
        with pytest.raises(Denied) as caught:
            place.push([make_turn(1)], key=key)
        with pytest.raises(Denied):
            list(place.desk(key=key).responses())
        assert str(caught.value) == (
            f"Argilla at {place.argilla.url} does not know the key. Set ARGILLA_API_KEY to the one that an owner or "
            "admin finds there under 'My settings'."
        )


def test_an_annotators_key_is_refused(place: Place) -> None:
    reviewer = place.argilla.reviewers[0]
    with pytest.raises(Denied) as caught:
        place.push([make_turn(1)], key=reviewer.key)
    assert str(caught.value) == (
        f"ARGILLA_API_KEY is the key of {reviewer.username!r}, an annotator. "
        "Reviews are set up and read with the key of an owner or admin."
    )
    assert place.datasets() == {}


def test_someone_elses_dataset_of_the_same_name_is_left_alone(place: Place) -> None:
    call, body = place.argilla.call, {"name": "llava-es", "workspace_id": place.workspace_id}
    theirs = call("POST", "/datasets", json=body).raise_for_status().json()
    with pytest.raises(PermanentError) as caught:
        place.push([make_turn(1)])
    assert str(caught.value) == (
        f"Someone else is setting up a dataset 'llava-es' in workspace {place.workspace!r} of {place.argilla.url}. "
        "Push under another name (`dataset`). Nothing was changed."
    )
    field = {"name": "original", "title": "O", "required": True, "settings": {"type": "text", "use_markdown": True}}
    question = {"name": "fluency", "title": "F", "required": True, "settings": {"type": "text"}}
    call("POST", f"/datasets/{theirs['id']}/fields", json=field).raise_for_status()
    call("POST", f"/datasets/{theirs['id']}/questions", json=question).raise_for_status()
    call("PUT", f"/datasets/{theirs['id']}/publish").raise_for_status()
    before = place.datasets()
    for act in (lambda: place.push([make_turn(1)]), place.answers):
        with pytest.raises(PermanentError) as caught:
            act()
        assert str(caught.value) == (
            f"The dataset 'llava-es' in workspace {place.workspace!r} of {place.argilla.url} is not as we set it up "
            "(fields: 'original' is another; fields: no 'conversation'; fields: no 'image'; questions: 'fluency' is not "
            "ours; questions: no 'kinds'; questions: no 'note'; questions: no 'text'; questions: no 'verdict'). If it is "
            "someone else's, push under another name (`dataset`); if its settings were edited, undo that in Argilla. "
            "Nothing was changed."
        )
    assert place.datasets() == before
    assert place.push([make_turn(1)], dataset="llava-es-2").added == 1


def test_edited_settings_are_named_and_edited_words_are_not_minded(place: Place) -> None:
    turn = make_turn(1)
    place.push([turn])
    call, path = place.argilla.call, f"/datasets/{place.datasets()['llava-es']['id']}"
    questions = {item["name"]: item for item in call("GET", f"{path}/questions").json()["items"]}
    call("PATCH", path, json={"guidelines": "Ours."}).raise_for_status()
    call("PATCH", f"/questions/{questions['text']['id']}", json={"title": "Better"}).raise_for_status()
    [row] = [item for item in call("GET", f"/me{path}/metadata-properties").json()["items"] if item["name"] == "row"]
    call("DELETE", f"/metadata-properties/{row['id']}").raise_for_status()
    assert place.push([turn, make_turn(2)]).added == 1  # the filter was put back
    assert place.datasets()["llava-es"]["guidelines"] == "Ours."
    markdown = {"settings": {"type": "text", "use_markdown": True}}
    call("PATCH", f"/questions/{questions['text']['id']}", json=markdown).raise_for_status()
    with pytest.raises(PermanentError, match=r"is not as we set it up \(questions: 'text' is another\)"):
        place.push([turn])


def test_another_overlap_than_the_datasets_is_refused(place: Place) -> None:
    place.push([make_turn(1, "audit")], overlap=3)
    with pytest.raises(PermanentError) as caught:
        place.push([make_turn(1, "audit")], overlap=2)
    assert str(caught.value) == (
        "Records of 'llava-es-audit' wait for 3 answers, not for 2. "
        "Push with overlap=3, or change it in Argilla (Dataset settings). Nothing was changed."
    )
    with pytest.raises(PermanentError) as caught:
        place.desk(overlap=0)
    assert str(caught.value) == "overlap=0: an audited turn waits for at least 1 answer."


def test_answers_to_records_that_are_not_ours_are_refused_with_the_reason(place: Place) -> None:
    turn = make_turn(1)
    place.push([turn])
    path = f"/datasets/{place.datasets()['llava-es']['id']}/records/bulk"
    others = [{"external_id": name, "fields": {"original": "x"}} for name in ("row-1", f"other:{turn.id}")]
    edited = {"external_id": turn.id, "fields": {"original": "Someone wrote this."}}
    place.argilla.call("PUT", path, json={"items": [*others, edited]}).raise_for_status()
    for name in ("row-1", f"other:{turn.id}", turn.id):
        place.answer(replace(turn, id=name), "Hola.")
    changed = "whose texts were changed in Argilla after it was pushed; which ones the reviewer saw is not known."
    refused = [item.reason for item in place.desk().responses() if isinstance(item, Refused)]
    assert sorted(refused) == sorted(
        [
            "It answers the record 'row-1' of 'llava-es', which is not ours.",
            f"It answers the record 'other:{turn.id}' of 'llava-es', which is not ours.",
            f"It answers the record {turn.id!r} of 'llava-es', {changed}",
        ]
    )


class Killed(BaseException):
    """As if the process died here."""


def test_a_push_that_is_killed_while_setting_up_is_finished_by_the_next(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, calls = argilla_desk._Server.call, 0

    def die(self: Any, method: str, path: str, body: Any = None, **query: Any) -> Any:
        nonlocal calls
        calls += method != "GET"
        if calls == deadly:
            raise Killed
        return call(self, method, path, body, **query)

    monkeypatch.setattr(argilla_desk._Server, "call", die)
    for deadly in (2, 4, 7, 12, 19, 20):  # at the first field, the last, a question, a filter, publishing, the records
        calls = 0
        with pytest.raises(Killed):
            place.push([make_turn(1)], dataset=f"killed-{deadly}")
        calls = 99
        assert place.push([make_turn(1)], dataset=f"killed-{deadly}").added == 1, deadly


def test_a_push_that_was_killed_continues(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argilla_desk, "BATCH", 10)
    turns = [make_turn(row) for row in range(25)]

    def die(done: int, of: int) -> None:
        if done == 20:
            raise Killed

    with pytest.raises(Killed):
        place.desk().push(turns, die)
    assert len(place.records()) == 20
    pushed = place.push(turns)
    assert (pushed.added, pushed.updated, pushed.unchanged) == (5, 0, 20)
    assert len(place.records()) == 25


def test_a_server_that_goes_down_mid_push_loses_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argilla_desk, "BATCH", 10)
    turns = [make_turn(row) for row in range(30)]

    def kill(done: int, of: int) -> None:
        if done == 10:
            place.argilla.kill()

    try:
        with pytest.raises(Unreachable) as caught:
            place.desk().push(turns, kill)
        with pytest.raises(Unreachable):
            place.answers()
    finally:
        place.argilla.start()
    assert str(caught.value).startswith(f"Argilla at {place.argilla.url} does not answer (")
    assert str(caught.value).endswith("Start it or wait for it, then run this again: what is there stays.")
    pushed = place.push(turns)
    assert (pushed.added, pushed.unchanged) == (20, 10)
    assert len(place.records()) == 30


class Standin(BaseHTTPRequestHandler):
    """Answers whatever the test says."""

    answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")

    def do_GET(self) -> None:
        status, headers, body = self.answer
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def standin() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Standin) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (
            (500, {}, b'{"detail":{"code":"builtins.TypeError"}}'),
            Unreachable,
            'Argilla at URL answers 500 to GET me ({"code": "builtins.TypeError"}). Its log says why; then run this again.',
        ),
        (
            (502, {}, b"<html>Bad\ngateway"),
            Unreachable,
            "Argilla at URL answers 502 to GET me (<html>Bad gateway). Its log says why; then run this again.",
        ),
        ((503, {"Retry-After": "7"}, b""), Throttled, "Argilla at URL asks for a pause."),
        ((429, {}, b""), Throttled, "Argilla at URL asks for a pause."),
        (
            (200, {"Content-Type": "text/html"}, b"<html>"),
            BadAnswer,
            "URL answers GET me with something that no Argilla says. Is ARGILLA_API_URL the address of an Argilla 2?",
        ),
        (
            (404, {}, b"no"),
            PermanentError,
            "URL has nothing at GET me (no). If it is an Argilla 2, someone deleted it meanwhile.",
        ),
        (
            (308, {"Location": "https://x/"}, b""),
            PermanentError,
            "Argilla at URL answers 308 to GET me and sends us to https://x/. Correct ARGILLA_API_URL.",
        ),
        (
            (403, {}, b'{"detail":"Operation not allowed"}'),
            Denied,
            f"The key for Argilla at URL does not allow GET me (Operation not allowed). {NEXT_STEP}",
        ),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else "",
)
def test_the_kind_of_trouble_follows_from_the_status(
    standin: str,
    answer: tuple[int, dict[str, str], bytes],
    error: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Standin, "answer", answer)
    with pytest.raises(error) as caught:
        list(ArgillaDesk(standin, "key", "w", "d", Images(""), 1).responses())
    assert str(caught.value) == message.replace("URL", standin, 1)
    assert isinstance(caught.value, TransientError if answer[0] in (200, 429, 500, 502, 503) else PermanentError)


def test_nobody_at_the_address_is_transient_and_no_address_is_permanent(standin: str) -> None:
    with pytest.raises(Unreachable, match=r"does not answer \(.+\). Start it or wait for it"):
        ArgillaDesk("http://127.0.0.1:9", "key", "w", "d", Images(""), 1).push([], print)
    for url in ("127.0.0.1:6900", "ftp://x", "http://", "http://a b:x"):
        with pytest.raises(PermanentError) as caught:
            ArgillaDesk(url, "key", "w", "d", Images(""), 1)
        assert str(caught.value) == f"ARGILLA_API_URL={url!r} is no address. It has to begin with http:// or https://."


def test_records_that_slip_from_page_to_page_are_looked_for_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(argilla_desk, "_PAGE", 2)
    turns = [make_turn(row) for row in range(5)]
    place.push(turns)
    for turn in turns:
        place.answer(turn, "Mejor.")
    call, hidden = argilla_desk._Server.call, 3

    def slip(self: Any, method: str, path: str, body: Any = None, **query: Any) -> Any:
        nonlocal hidden
        page = call(self, method, path, body, **query)
        if path.endswith("/records") and query["offset"] == 2 and hidden:
            hidden -= 1
            page["items"][1] = page["items"][0]
        return page

    monkeypatch.setattr(argilla_desk._Server, "call", slip)
    with pytest.raises(TransientError) as caught:
        place.answers()
    assert str(caught.value) == "The records of 'llava-es' changed while they were read. Try again."
    hidden = 2
    assert sorted(answer.row for answer in place.answers()) == [0, 1, 2, 3, 4]
