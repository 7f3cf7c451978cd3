"""The real Argilla with our search engine: what its web UI and its SDK ask, asked."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import expect

from tasks.cli.local_argilla import LogIn
from tasks.reviews.server.text import parse, searchable
from tests.reviews.local_argilla import LocalArgilla, sign_in

QUESTIONS = {
    "text": {"type": "text", "use_markdown": False},
    "verdict": {"type": "label_selection", "options": [{"value": each, "text": each} for each in ("good", "bad")]},
    "kinds": {
        "type": "multi_label_selection",
        "options": [{"value": each, "text": each} for each in ("grammar", "style", "term")],
    },
    "stars": {"type": "rating", "options": [{"value": each} for each in (1, 2, 3, 4, 5)]},
}
FIELDS = {
    "original": {"type": "text", "use_markdown": False},
    "context": {"type": "chat", "use_markdown": False},
    "image": {"type": "image"},
}
METADATA: dict[str, dict[str, Any]] = {
    "chunk": {"type": "integer"},
    "ratio": {"type": "float"},
    "code": {"type": "terms", "values": None},
}
IMAGE = "data:image/gif;base64,R0lGODlhAQABAIAAAP8AAP///ywAAAAAAQABAAACAkQBADs="  # one red pixel


@dataclass
class Place:
    """A published dataset of a test's own."""

    argilla: LocalArgilla
    dataset: str
    questions: dict[str, str]

    def push(self, *turns: Mapping[str, Any]) -> None:
        """Records with an ``id``, an ``original``, and what else a test cares for."""
        items = []
        for turn in turns:
            suggestions = [
                {"question_id": self.questions[name], **each} for name, each in turn.get("suggestions", {}).items()
            ]
            fields = {"original": html.escape(turn["original"], quote=False), "context": turn.get("context")}
            item = {
                "external_id": turn["id"],
                "fields": {name: value for name, value in (fields | turn.get("fields", {})).items() if value},
                "metadata": turn.get("metadata"),
                "suggestions": suggestions,
            }
            items.append(item)
        self.argilla.call("PUT", f"/datasets/{self.dataset}/records/bulk", json={"items": items}).raise_for_status()

    def find(
        self,
        text: str | None = None,
        *filters: Mapping[str, Any],
        sort: Sequence[tuple[Mapping[str, Any], str]] = (),
        user: LogIn | None = None,
        field: str | None = None,
        **paging: int,
    ) -> list[str]:
        """Ids of the records that are found, in their order; as a reviewer, or as the owner over all users."""
        body: dict[str, Any] = {}
        if text is not None:
            body["query"] = {"text": {"q": text} | ({"field": field} if field else {})}
        if filters:
            body["filters"] = {"and": list(filters)}
        if sort:
            body["sort"] = [{"scope": scope, "order": order} for scope, order in sort]
        path = f"{'/me' if user else ''}/datasets/{self.dataset}/records/search"
        answer = self.argilla.call("POST", path, user, json=body, params={"limit": 1000} | paging)
        assert answer.is_success, answer.text
        return [item["record"]["external_id"] for item in answer.json()["items"]]

    def ids(self) -> dict[str, str]:
        """The server's ids by ours."""
        answer = self.argilla.call("GET", f"/datasets/{self.dataset}/records", params={"limit": 1000})
        return {item["external_id"]: item["id"] for item in answer.json()["items"]}

    def answer(self, user: LogIn, record: str, status: str = "submitted", **values: object) -> None:
        """Answer a record as a reviewer does."""
        body = {"status": status, "values": {name: {"value": value} for name, value in values.items()}}
        self.argilla.call("POST", f"/records/{self.ids()[record]}/responses", user, json=body).raise_for_status()


@pytest.fixture
def place(argilla: LocalArgilla, request: pytest.FixtureRequest) -> Place:
    return make_place(argilla, request.node.name)


def make_place(argilla: LocalArgilla, name: str, min_submitted: int = 1) -> Place:
    workspace = argilla.workspace(name)
    distribution = {"strategy": "overlap", "min_submitted": min_submitted}
    body: dict[str, object] = {"name": "turns", "workspace_id": workspace, "distribution": distribution}
    dataset = made(argilla, "/datasets", body)
    for field, settings in FIELDS.items():
        body = {"name": field, "title": field, "required": field == "original", "settings": settings}
        made(argilla, f"/datasets/{dataset}/fields", body)
    questions = {}
    for question, settings in QUESTIONS.items():
        body = {"name": question, "title": question, "required": question == "text", "settings": settings}
        questions[question] = made(argilla, f"/datasets/{dataset}/questions", body)
    for prop, settings in METADATA.items():
        body = {"name": prop, "title": prop, "settings": settings, "visible_for_annotators": True}
        made(argilla, f"/datasets/{dataset}/metadata-properties", body)
    argilla.call("PUT", f"/datasets/{dataset}/publish").raise_for_status()
    return Place(argilla, dataset, questions)


def made(argilla: LocalArgilla, path: str, body: Mapping[str, object]) -> str:
    answer = argilla.call("POST", path, json=body)
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


def terms(entity: str, *values: object, **scope: str) -> dict[str, Any]:
    return {"type": "terms", "scope": {"entity": entity, **scope}, "values": list(values)}


def between(low: object, high: object, entity: str, **scope: str) -> dict[str, Any]:
    return {"type": "range", "scope": {"entity": entity, **scope}, "ge": low, "le": high}


@pytest.mark.parametrize(
    ("query", "text", "found"),
    [
        ("autobús", "El autobús es blanco.", True),
        ("AUTOBÚS", "El autobús es blanco.", True),
        ("autobús", "El autobu\u0301s es blanco.", True),
        ("autobus", "El autobús es blanco.", False),
        ("nino", "El niño", False),
        ("niño", "El niño", True),
        ("es blanco", "Blanco es el autobús.", True),
        ('"es blanco"', "Blanco es el autobús.", False),
        ('"es blanco"', "El autobús es blanco.", True),
        ('"es blanco', "El autobús es blanco.", True),
        ("blan*", "El autobús es blanco.", True),
        ("blan", "El autobús es blanco.", False),
        ("*anco", "El autobús es blanco.", False),
        ("rojo|blanco", "El autobús es blanco.", True),
        ("rojo | blanco perro", "El autobús es blanco.", False),
        ("autobús -rojo", "El autobús es blanco.", True),
        ("autobús -blanco", "El autobús es blanco.", False),
        ('-"es rojo"', "El autobús es blanco.", True),
        ("autobús +blanco", "El autobús es blanco.", True),
        ("(rojo|blanco) -(perro|gato)", "El autobús es blanco.", True),
        ("(rojo|blanco) -(perro|autobús)", "El autobús es blanco.", False),
        ("-(perro (gato", "El autobús es blanco.", True),
        ("autobús)", "El autobús es blanco.", True),
        ("autobús", "l'autobús", True),
        ("l'autobús", "Que l’autobús", True),
        ("wi-fi", "the wi-fi here", True),
        ("3.5", "It is 3.5 m", True),
        ("3.5", "It is 3 by 5 m", False),
        ("हिन्दी", "यह हिन्दी है", True),
        ("हिन्द", "यह हिन्दी है", False),
        ("白色", "公交车是白色的", True),
        ("色白", "公交车是白色的", False),
        ("ΟΔΟΣ", "η οδός οδος", True),
        ("<image>", "&lt;image&gt;\nWhat is it?", True),
        ("lt", "&lt;image&gt;", False),
        ("AT&T", "from AT&amp;T", True),
        ("*", "anything", True),
        ("¿?", "¿Qué?", False),
        ("", "anything", False),
        ("-", "anything", False),
        ("((((", "anything", False),
        (")))) anything", "anything", True),
        ("(" * 5000 + "anything", "anything", True),
    ],
)
def test_a_query_finds_what_it_says(query: str, text: str, found: bool) -> None:
    assert found == bool(parse(query)(searchable([text])))


def test_words_may_stand_in_several_fields_but_a_phrase_stands_in_one() -> None:
    line = searchable(["El autobús es", "blanco.", "¡!", ""])
    assert 2 == parse("autobús blanco")(line)
    assert 0 == parse('"es blanco"')(line)


def test_text_is_searched_in_all_fields_but_images(place: Place) -> None:
    place.push(
        {"id": "a", "original": "The bus is white.", "fields": {"image": IMAGE}},
        {"id": "b", "original": "<image>\nEl niño & el autobús", "context": [{"role": "user", "content": "¿Qué ves?"}]},
        {"id": "c", "original": "El nino"},
    )
    assert ["b"] == place.find("niño")
    assert ["c"] == place.find("nino")
    assert ["b"] == place.find("<image>")
    assert ["b"] == place.find('"ves"')
    assert ["b"] == place.find("autobús ves")
    assert [] == place.find("autobús", field="context")
    assert ["b"] == place.find("qué", field="context")
    assert [] == place.find("gif")
    assert [] == place.find("user")
    assert ["a"] == place.find("bus -autobús")
    assert ["a", "b", "c"] == sorted(place.find("*"))
    assert [] == place.find("¿?")


def test_the_best_hit_comes_first(place: Place) -> None:
    place.push(
        {"id": "long", "original": "A bus is a thing among many other things."},
        {"id": "short", "original": "A bus, a bus!"},
        {"id": "none", "original": "A dog."},
    )
    assert ["short", "long"] == place.find("bus")


def test_records_are_filtered_by_all_that_they_have(place: Place) -> None:
    place.push(
        {
            "id": "a",
            "original": "one",
            "metadata": {"chunk": 1, "ratio": 0.5, "code": ["numbers", "length"]},
            "suggestions": {"verdict": {"value": "good", "score": 0.9, "agent": "apertium/1"}, "stars": {"value": 5}},
        },
        {
            "id": "b",
            "original": "two",
            "metadata": {"chunk": 2, "ratio": 1.5, "code": "length"},
            "suggestions": {"verdict": {"value": "bad", "score": 0.2, "agent": "google/4"}, "stars": {"value": 1}},
        },
        {"id": "c", "original": "three", "suggestions": {"kinds": {"value": ["grammar", "term"], "type": "model"}}},
    )
    assert ["a", "b", "c"] == place.find()
    assert ["b"] == place.find(None, terms("metadata", "2", metadata_property="chunk"))
    assert ["a"] == place.find(None, terms("metadata", "numbers", "other", metadata_property="code"))
    assert ["a", "b"] == place.find(None, terms("metadata", "length", metadata_property="code"))
    assert ["a", "b"] == place.find(None, between(1, 2, "metadata", metadata_property="chunk"))
    assert ["b"] == place.find(None, between(1, None, "metadata", metadata_property="ratio"))
    assert ["a"] == place.find(None, between(None, 0.5, "metadata", metadata_property="ratio"))
    assert ["b"] == place.find(None, terms("suggestion", "bad", question="verdict", property="value"))
    assert ["a"] == place.find(None, between(0.5, 1, "suggestion", question="verdict", property="score"))
    assert ["a"] == place.find(None, terms("suggestion", "apertium/1", question="verdict", property="agent"))
    assert ["b"] == place.find(None, between(1, 3, "suggestion", question="stars", property="value"))
    assert ["a"] == place.find(None, terms("suggestion", "5", question="stars", property="value"))
    assert ["c"] == place.find(None, terms("suggestion", "term", question="kinds", property="value"))
    assert ["c"] == place.find(None, terms("suggestion", "model", question="kinds", property="type"))
    assert ["b"] == place.find(None, terms("record", "b", "z", property="external_id"))
    assert ["c"] == place.find(None, terms("record", place.ids()["c"], property="id"))
    assert ["a", "b", "c"] == place.find(None, terms("record", "pending", property="status"))
    assert [] == place.find(None, terms("record", "completed", property="status"))
    assert ["a", "b", "c"] == place.find(None, between("2020-01-01T00:00:00Z", None, "record", property="inserted_at"))
    assert [] == place.find(None, between(None, "2020-01-01", "record", property="updated_at"))
    both = (
        terms("metadata", "length", metadata_property="code"),
        between(0, 1, "metadata", metadata_property="ratio"),
    )
    assert ["a"] == place.find(None, *both)
    assert [] == place.find("two", *both)


def test_each_reviewer_has_a_queue_of_their_own(place: Place) -> None:
    ana, luz, eva = place.argilla.reviewers
    place.push(*({"id": str(number), "original": f"turn {number}"} for number in range(6)))
    place.answer(ana, "0", text="cero", verdict="good", kinds=["style"], stars=4)
    place.answer(ana, "1", "draft", text="uno")
    place.answer(ana, "2", "discarded")
    place.answer(luz, "3", text="tres", verdict="bad")

    def queue(user: LogIn, *statuses: str) -> list[str]:
        return sorted(place.find(None, terms("response", *statuses, property="status"), user=user))

    assert ["3", "4", "5"] == queue(ana, "pending")
    assert ["0"] == queue(ana, "submitted")
    assert ["1"] == queue(ana, "draft")
    assert ["2"] == queue(ana, "discarded")
    assert ["0", "1"] == queue(ana, "submitted", "draft")
    assert ["1", "3", "4", "5"] == queue(ana, "pending", "draft")
    assert ["0", "1", "2", "4", "5"] == queue(luz, "pending")
    assert ["0", "1", "2", "3", "4", "5"] == queue(eva, "pending")
    assert ["0", "3"] == place.find(None, terms("response", "submitted", property="status"))
    assert ["4", "5"] == place.find(None, terms("response", "pending", property="status"))
    assert ["0"] == place.find(None, terms("response", "good", question="verdict"), user=ana)
    assert [] == place.find(None, terms("response", "bad", question="verdict"), user=ana)
    assert ["3"] == place.find(None, terms("response", "bad", question="verdict"))
    assert ["0"] == place.find(None, terms("response", "style", question="kinds"))
    assert ["0"] == place.find(None, between(3, 5, "response", question="stars"))
    assert ["0", "3"] == place.find(None, terms("record", "completed", property="status"))


def test_progress_is_counted_for_the_team_and_for_each_user(argilla: LocalArgilla) -> None:
    place = make_place(argilla, "progress", min_submitted=2)
    ana, luz, eva = argilla.reviewers
    place.push(*({"id": str(number), "original": f"turn {number}"} for number in range(5)))
    place.answer(ana, "0", text="cero")
    place.answer(luz, "0", text="zero")
    place.answer(ana, "1", text="uno")
    place.answer(ana, "2", "draft", text="dos")
    place.answer(ana, "3", "discarded")
    team = argilla.call("GET", f"/datasets/{place.dataset}/progress").json()
    assert (5, 1, 4) == (team["total"], team["completed"], team["pending"])
    assert {ana.username, luz.username} == {user["username"] for user in team["users"]}
    wanted = {
        ana: {"total": 5, "submitted": 2, "draft": 1, "discarded": 1, "pending": 1},
        luz: {"total": 5, "submitted": 1, "draft": 0, "discarded": 0, "pending": 4},
        eva: {"total": 5, "submitted": 0, "draft": 0, "discarded": 0, "pending": 5},
    }
    for user, counts in wanted.items():
        assert {"responses": counts} == argilla.call("GET", f"/me/datasets/{place.dataset}/metrics", user).json()


def test_the_filters_of_the_web_ui_offer_what_there_is(place: Place) -> None:
    for number, code in enumerate(["length", "numbers", "length"]):
        place.push({"id": str(number), "original": "x", "metadata": {"chunk": number + 7, "ratio": 0.5, "code": code}})
    properties = place.argilla.call("GET", f"/me/datasets/{place.dataset}/metadata-properties").json()["items"]
    found = {
        each["name"]: place.argilla.call("GET", f"/metadata-properties/{each['id']}/metrics").json()
        for each in properties
    }
    assert {"type": "integer", "min": 7, "max": 9} == found["chunk"]
    assert {"type": "float", "min": 0.5, "max": 0.5} == found["ratio"]
    counts = [{"term": "length", "count": 2}, {"term": "numbers", "count": 1}]
    assert {"type": "terms", "total": 3, "values": counts} == found["code"]


def test_records_without_a_value_come_last_whichever_way_they_are_sorted(place: Place) -> None:
    ana = place.argilla.reviewers[0]
    place.push(
        {"id": "a", "original": "x", "metadata": {"chunk": 2, "code": "y"}, "suggestions": {"stars": {"value": 1}}},
        {"id": "b", "original": "x"},
        {"id": "c", "original": "x", "metadata": {"chunk": 10, "code": "y"}, "suggestions": {"stars": {"value": 5}}},
        {"id": "d", "original": "x", "metadata": {"chunk": 2, "code": "z"}},
    )
    chunk = {"entity": "metadata", "metadata_property": "chunk"}
    code = {"entity": "metadata", "metadata_property": "code"}
    stars = {"entity": "suggestion", "question": "stars", "property": "value"}
    assert ["a", "d", "c", "b"] == place.find(sort=[(chunk, "asc")])
    assert ["c", "a", "d", "b"] == place.find(sort=[(chunk, "desc")])
    assert ["d", "a", "c", "b"] == place.find(sort=[(code, "desc"), (chunk, "asc")])
    assert ["c", "a", "b", "d"] == place.find(sort=[(stars, "desc")])
    assert ["d", "c", "b", "a"] == place.find(sort=[({"entity": "record", "property": "external_id"}, "desc")])
    assert ["c", "a"] == place.find(sort=[(chunk, "desc"), (stars, "asc")], user=ana)[:2]
    place.answer(ana, "d", text="x", stars=3)
    assert ["d"] == place.find(sort=[({"entity": "response", "question": "stars"}, "asc")], user=ana)[:1]


def test_pages_show_every_record_once_and_each_reviewer_has_an_order(place: Place) -> None:
    ana, luz, _ = place.argilla.reviewers
    every = [str(number) for number in range(60)]
    place.push(*({"id": each, "original": f"turn {each}"} for each in every))
    by_page = [each for offset in range(0, 70, 7) for each in place.find(user=ana, limit=7, offset=offset)]
    assert sorted(every) == sorted(by_page)
    assert by_page == place.find(user=ana)
    assert by_page != place.find(user=luz)
    assert sorted(every) == sorted(place.find(user=luz))
    answer = place.argilla.call(
        "POST", f"/me/datasets/{place.dataset}/records/search", ana, json={}, params={"limit": 1}
    )
    assert 60 == answer.json()["total"]
    assert [] == place.find(limit=10, offset=60)


def test_a_changed_and_a_deleted_record_are_found_as_they_are_now(place: Place) -> None:
    place.push({"id": "a", "original": "old", "metadata": {"chunk": 1}}, {"id": "b", "original": "old"})
    place.push({"id": "a", "original": "new", "metadata": {"chunk": 2}})
    assert ["b"] == place.find("old")
    assert ["a"] == place.find("new", terms("metadata", "2", metadata_property="chunk"))
    path = f"/datasets/{place.dataset}/records"
    place.argilla.call("DELETE", path, params={"ids": place.ids()["b"]}).raise_for_status()
    assert [] == place.find("old")
    assert ["a"] == place.find()


def test_datasets_do_not_see_each_other(place: Place) -> None:
    other = make_place(place.argilla, "neighbour")
    place.push({"id": "mine", "original": "bus"})
    other.push({"id": "theirs", "original": "bus"})
    assert (["mine"], ["theirs"]) == (place.find("bus"), other.find("bus"))


def test_vectors_are_compared(place: Place) -> None:
    settings = {"name": "meaning", "title": "meaning", "dimensions": 2}
    made(place.argilla, f"/datasets/{place.dataset}/vectors-settings", settings)
    vectors = {"east": [1, 0], "north": [0, 1], "west": [-1, 0]}
    items = [
        {"external_id": each, "fields": {"original": each}, "vectors": {"meaning": vector}}
        for each, vector in vectors.items()
    ]
    path = f"/datasets/{place.dataset}/records"
    place.argilla.call("PUT", f"{path}/bulk", json={"items": items}).raise_for_status()

    def nearest(**query: object) -> list[tuple[str, float]]:
        body = {"query": {"vector": {"name": "meaning", **query}}}
        found = place.argilla.call("POST", f"{path}/search", json=body).raise_for_status().json()["items"]
        return [(each["record"]["external_id"], each["query_score"]) for each in found]

    assert [("east", 1.0), ("north", 0.5), ("west", 0.0)] == nearest(value=[2, 0])
    assert [("west", 1.0), ("north", 0.5), ("east", 0.0)] == nearest(value=[2, 0], order="least_similar")
    assert [("north", 0.5), ("west", 0.0)] == nearest(record_id=place.ids()["east"])


def test_the_sdk_lists_filters_and_searches(place: Place) -> None:
    import argilla as rg

    place.push(
        {"id": "a", "original": "El niño", "metadata": {"chunk": 1}},
        {"id": "b", "original": "El autobús", "metadata": {"chunk": 2}},
    )
    place.answer(place.argilla.reviewers[0], "b", text="El bus")
    client = rg.Argilla(api_url=place.argilla.url, api_key=place.argilla.owner.key)
    workspace = place.argilla.call("GET", f"/datasets/{place.dataset}").json()["workspace_id"]
    names = {each.id: each.name for each in client.workspaces}
    dataset = client.datasets("turns", workspace=next(name for id_, name in names.items() if str(id_) == workspace))
    assert dataset is not None

    def found(**query: Any) -> list[Any]:
        return [record.id for record in dataset.records(query=rg.Query(**query))]

    assert ["a", "b"] == sorted(found())
    assert ["a"] == found(query="niño")
    assert ["b"] == found(filter=[("response.status", "==", "submitted")])
    assert ["b"] == found(filter=[("metadata.chunk", ">=", 2)])
    assert ["a"] == found(filter=[("id", "in", ["a", "x"])])
    assert {"total": 2, "completed": 1, "pending": 1} == dict(dataset.progress())


def test_nothing_is_lost_when_it_is_killed_or_restarted(place: Place) -> None:
    ana, luz, _ = place.argilla.reviewers
    place.push(*({"id": str(number), "original": f"niño {number}"} for number in range(20)))
    order = place.find(user=ana)
    place.answer(ana, "3", text="tres")
    place.argilla.kill()
    place.argilla.start()
    place.answer(luz, "4", text="cuatro")
    place.argilla.restart()
    assert 20 == len(place.find("niño"))
    assert order == place.find(user=ana)
    assert ["3"] == place.find(None, terms("response", "submitted", property="status"), user=ana)
    assert ["4"] == place.find(None, terms("response", "submitted", property="status"), user=luz)


def test_reviewers_submit_while_records_are_pushed(place: Place) -> None:
    place.push(*({"id": str(number), "original": f"turn {number}"} for number in range(20)))
    ids = place.ids()

    def review(user: LogIn) -> list[int]:
        codes = []
        for record in ids.values():
            place.find(None, terms("response", "pending", property="status"), user=user, limit=10)
            body = {"status": "submitted", "values": {"text": {"value": user.username}}}
            codes.append(place.argilla.call("POST", f"/records/{record}/responses", user, json=body).status_code)
        return codes

    def push() -> list[int]:
        for batch in range(6):
            place.push(*({"id": f"{batch}-{each}", "original": "new"} for each in range(50)))
        return [201] * 20

    with ThreadPoolExecutor() as pool:
        running = [pool.submit(push), *(pool.submit(review, user) for user in place.argilla.reviewers)]
        assert [[201] * 20] * 4 == [each.result() for each in running]
    assert 320 == len(place.find())
    for user in place.argilla.reviewers:
        assert ids.keys() == set(place.find(None, terms("response", "submitted", property="status"), user=user))
    assert "database is locked" not in place.argilla.server.log.read_text("utf-8")


def test_a_reviewer_finds_a_record_in_the_browser_and_submits_a_correction(place: Place, page: Any) -> None:
    ana = place.argilla.reviewers[0]
    suggestion = {"text": {"value": "<image>\nEl autobús es blanca.", "agent": "apertium/1", "score": 0.5}}
    place.push(
        *({"id": str(number), "original": f"A dog, {number}."} for number in range(5)),
        {"id": "bus", "original": "<image>\nThe bus is white.", "fields": {"image": IMAGE}, "suggestions": suggestion},
    )
    sign_in(page, place.argilla, ana)
    page.goto(f"{place.argilla.url}/dataset/{place.dataset}/annotation-mode?page=1&status=pending")
    page.click("button.search-area__icon")
    page.fill("input.search-area__input", '"bus is"')
    page.keyboard.press("Enter")
    page.get_by_text("The bus is white.").wait_for()
    page.get_by_text("<image>").first.wait_for()
    editor = page.locator('[aria-label="Question: text"] [contenteditable=true]')
    expect(editor).to_have_text("<image>\nEl autobús es blanca.", use_inner_text=True)
    page.wait_for_load_state("networkidle")  # an edit before that was once submitted as the suggestion
    editor.press("Control+End")
    page.keyboard.type(" ¡Ñandú, 10 €!")
    with page.expect_response(lambda answer: "/responses" in answer.url and answer.request.method == "POST") as answer:
        page.get_by_role("button", name="↵ Submit").click()
    assert answer.value.status == 201
    found = place.argilla.call("GET", f"/datasets/{place.dataset}/records", params={"include": "responses"})
    answers = {each["external_id"]: each["responses"] for each in found.json()["items"] if each["responses"]}
    assert ["bus"] == list(answers)
    assert "<image>\nEl autobús es blanca. ¡Ñandú, 10 €!" == answers["bus"][0]["values"]["text"]["value"].strip()
