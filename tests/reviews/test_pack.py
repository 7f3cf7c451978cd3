from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tasks.reviews import pack
from tasks.reviews.pack import ForeignPack, Pack
from tasks.reviews.records import KINDS, Part, Pushed, Refused, Response, ReviewTurn, pseudonym, record_id
from tasks.storage.errors import PermanentError, TornFile

BUS = "data:image/png;base64,iVBORw0KGgo="
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!-- <script> <img src=x onerror=alert(1)>",
    "a\u2028b\u2029c",
    "uno\r\ndos\rtres\n\ncuatro",
    "x" * 20_000,
    "\u202eעברית عربي\u202c",
    "👩‍👩‍👧 ñ \\u003c &lt; &amp; \\ \" ' ]]> @data@ @policy@",
    "tab\t \x7f \ufeff",
]


class Shelf:
    """Images by name; counts how often one is asked for."""

    def __init__(self, **images: str) -> None:
        self.images = images
        self.asked: list[str] = []

    def shown(self, name: str | None) -> str | None:
        assert name is not None
        self.asked.append(name)
        return self.images.get(name)


def a_turn(
    row: int = 17,
    turn: int = 1,
    original: str = "The bus is white.",
    machine: str = "El autobús es blanca.",
    image: str | None = None,
    codes: tuple[str, ...] = ("numbers",),
    score: float = 0.62,
    part: Part = "worst",
    dataset: str = "llava-es",
) -> ReviewTurn:
    return ReviewTurn(
        id=record_id(dataset, row, turn, original, machine),
        row=row,
        turn=turn,
        chunk=0,
        role="gpt",
        image=image,
        original=original,
        machine=machine,
        context=(("human", "¿De qué color es el autobús?"),),
        translator="google/4.0.2",
        codes=codes,
        score=score,
        ratio=1.1,
        part=part,
        version="translate-llava-3f2a",
    )


def a_pack(folder: Path, images: Shelf | None = None) -> Pack:
    return Pack(folder, "llava-es", images or Shelf())


def push(desk: Pack, turns: Sequence[ReviewTurn]) -> Pushed:
    return desk.push(turns, lambda done, of: None)


def an_answer(turn: ReviewTurn, **changed: Any) -> dict[str, Any]:
    return {
        "id": "6d1f0c3e-0000-4000-8000-000000000001",
        "record": turn.id,
        "status": "submitted",
        "text": "El autobús es blanco.",
        "verdict": "minor",
        "kinds": ["style", "grammar"],
        "note": None,
        "inserted_at": "2026-03-01T09:30:00.120Z",
        "updated_at": "2026-03-01T10:31:12.004+01:00",
        "original": turn.original,
        "machine": turn.machine,
        "edit": None,
        **changed,
    }


def came(folder: Path, *answers: object, name: str = "answers-llava-es-Ana.json", **changed: Any) -> Path:
    file = {"format": "trasvase-answers/1", "dataset": "llava-es", "reviewer": "Ana", "answers": answers, **changed}
    path = folder / "answers" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(file, ensure_ascii=False), "utf-8")
    return path


def data_of(path: Path) -> dict[str, Any]:
    """The pack's data as a browser finds them: the first end tag ends the element."""
    text = path.read_bytes().decode()
    start = text.index('<script type="application/json" id="pack">')
    found: dict[str, Any] = json.loads(text[text.index(">", start) + 1 : text.index("</script", start)])
    return found


def only(desk: Pack) -> Response:
    [response] = desk.responses()
    assert isinstance(response, Response)
    return response


def refused(desk: Pack) -> Refused:
    [response] = desk.responses()
    assert isinstance(response, Refused)
    return response


# ---- Out


def test_a_pack_holds_the_turns_and_says_where_it_is(tmp_path: Path) -> None:
    turns = [a_turn(row=row) for row in range(3)]
    calls: list[tuple[int, int]] = []
    done = a_pack(tmp_path).push(turns, lambda *counts: calls.append(counts))
    assert Pushed(3, 0, 0, (), str(tmp_path / "llava-es.html")) == done
    assert [(3, 3)] == calls
    assert [turn.id for turn in turns] == [record["id"] for record in data_of(tmp_path / "llava-es.html")["records"]]


def test_pushing_nothing_leaves_a_pack_of_nothing(tmp_path: Path) -> None:
    assert 0 == push(a_pack(tmp_path), []).added
    assert [] == data_of(tmp_path / "llava-es.html")["records"]


def test_progress_is_told_on_the_way(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    a_pack(tmp_path).push([a_turn(row=row) for row in range(201)], lambda *counts: calls.append(counts))
    assert [(100, 201), (200, 201), (201, 201)] == calls


def test_a_second_push_holds_the_union_and_counts_truly(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn(1), a_turn(2), a_turn(3)])
    other_text = a_turn(2, machine="El bus es blanco.")
    done = push(a_pack(tmp_path), [a_turn(1), a_turn(3, codes=("seam",)), other_text, a_turn(4)])
    assert (2, 1, 1) == (done.added, done.updated, done.unchanged)
    records = data_of(tmp_path / "llava-es.html")["records"]
    assert {a_turn(1).id, a_turn(2).id, other_text.id, a_turn(3).id, a_turn(4).id} == {each["id"] for each in records}
    assert ["seam"] == next(each["codes"] for each in records if each["row"] == 3)


def test_pushing_twice_changes_nothing_and_order_does_not_matter(tmp_path: Path) -> None:
    turns = [a_turn(row, turn, score=row / 10) for row in range(5) for turn in (0, 1)]
    push(a_pack(tmp_path), turns)
    first = (tmp_path / "llava-es.html").stat()
    done = push(a_pack(tmp_path), turns[::-1])
    assert (0, 0, 10) == (done.added, done.updated, done.unchanged)
    assert first.st_mtime_ns == (tmp_path / "llava-es.html").stat().st_mtime_ns
    push(a_pack(tmp_path / "other"), turns[::-1])
    assert (tmp_path / "llava-es.html").read_bytes() == (tmp_path / "other" / "llava-es.html").read_bytes()


def test_what_was_drawn_at_random_stays_so(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn(part="audit")])
    came(tmp_path, an_answer(a_turn()))
    before = list(a_pack(tmp_path).responses())
    assert Pushed(0, 0, 1, (), str(tmp_path / "llava-es.html")) == push(a_pack(tmp_path), [a_turn()])
    assert before == list(a_pack(tmp_path).responses())
    assert "audit" == only(a_pack(tmp_path)).part


def test_the_worst_rows_come_first_with_their_turns_together_and_random_ones_stay_in_order(tmp_path: Path) -> None:
    turns = [
        a_turn(9, 0, score=0.1, part="audit"),
        a_turn(8, 0, score=0.9, part="audit"),
        a_turn(5, 0, score=0.9),
        a_turn(5, 1, score=0.2),
        a_turn(4, 0, score=0.5),
    ]
    push(a_pack(tmp_path), turns)
    records = data_of(tmp_path / "llava-es.html")["records"]
    assert [(5, 0), (5, 1), (4, 0), (8, 0), (9, 0)] == [(record["row"], record["turn"]) for record in records]


def test_an_image_is_asked_for_and_held_once(tmp_path: Path) -> None:
    shelf = Shelf(bus=BUS)
    push(a_pack(tmp_path, shelf), [a_turn(1, 0, image="bus"), a_turn(1, 1, image="bus"), a_turn(2, image="gone")])
    assert ["bus", "gone"] == shelf.asked
    assert {"bus": BUS} == data_of(tmp_path / "llava-es.html")["images"]
    assert 1 == (tmp_path / "llava-es.html").read_text("utf-8").count(BUS)


def test_a_changed_image_is_an_update_and_an_image_that_is_gone_stays_as_it_was(tmp_path: Path) -> None:
    turns = [a_turn(1, image="bus"), a_turn(2)]
    push(a_pack(tmp_path, Shelf()), turns)
    done = push(a_pack(tmp_path, Shelf(bus=BUS)), turns)
    assert (0, 1, 1) == (done.added, done.updated, done.unchanged)
    done = push(a_pack(tmp_path, Shelf()), turns)
    assert (0, 0, 2) == (done.added, done.updated, done.unchanged)
    assert {"bus": BUS} == data_of(tmp_path / "llava-es.html")["images"]


def test_a_turn_of_another_dataset_or_one_given_twice_is_refused_and_the_others_are_there(tmp_path: Path) -> None:
    foreign = a_turn(dataset="llava-ca")
    done = push(a_pack(tmp_path), [foreign, a_turn(), a_turn()])
    assert 1 == done.added
    assert (
        Refused(foreign.id, "Row 17, turn 1: its id is not that of its texts in llava-es. Choose again."),
        Refused(a_turn().id, "Row 17, turn 1 is there twice; the first one is shown."),
    ) == done.refused


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_data_and_come_back_as_they_were(tmp_path: Path, text: str) -> None:
    turn = replace(a_turn(original=text, machine=text, image=text, codes=(text,)), context=(("human", text),))
    push(a_pack(tmp_path, Shelf(**{text: BUS})), [turn])
    page = (tmp_path / "llava-es.html").read_bytes()
    found = data_of(tmp_path / "llava-es.html")
    assert text == found["records"][0]["original"] == found["records"][0]["machine"]
    assert {text: BUS} == found["images"]
    data = page[page.index(b'id="pack">') + 10 : page.rindex(b"<script>")]
    assert b"<" not in data.removesuffix(b"</script>\n")
    # Read back and written again, byte by byte the same.
    assert 1 == push(a_pack(tmp_path, Shelf(**{text: BUS})), [turn]).unchanged
    assert page == (tmp_path / "llava-es.html").read_bytes()


def test_the_policy_lets_one_script_run_and_only_the_images_hosts_be_asked(tmp_path: Path) -> None:
    address = "http://images.cocodataset.org/train2017/1.jpg"
    push(a_pack(tmp_path, Shelf(bus=BUS, coco=address)), [a_turn(1, image="bus"), a_turn(2, image="coco")])
    text = (tmp_path / "llava-es.html").read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    digest = {
        tag: base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        for tag, inline in re.findall(r"<(script|style)>(.*?)</\1>", text, re.DOTALL)
    }
    assert (
        f"default-src 'none'; script-src 'sha256-{digest['script']}'; style-src 'sha256-{digest['style']}'; "
        "img-src data: http://images.cocodataset.org; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ) == policy[1].replace("&#x27;", "'")


def test_an_address_cannot_add_to_the_policy(tmp_path: Path) -> None:
    push(a_pack(tmp_path, Shelf(bus="https://a; script-src *//x.png")), [a_turn(1, image="bus")])
    assert "img-src data:; base-uri" in (tmp_path / "llava-es.html").read_text("utf-8")


class Elements(HTMLParser):
    """Collects handlers, styles and addresses in the page's own markup."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [name for name, _ in attrs if name.startswith("on") or name in ("style", "src", "href", "action")]


def test_the_page_has_no_handler_no_style_attribute_and_no_address(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn()])
    assert [] == Elements((tmp_path / "llava-es.html").read_text("utf-8")).found


def test_both_languages_of_the_page_have_the_same_words() -> None:
    script = Path(pack.__file__).with_name("pack.html").read_text("utf-8")
    words = script[script.index("const WORDS") : script.index("const MARKS")]
    english, spanish = (re.findall(r"\b(\w+): ", re.sub(r'"[^"\n]*"', '""', part)) for part in words.split("\n  es: {"))
    assert english[1:] == spanish  # the first is `en` itself


def test_another_file_in_the_packs_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "llava-es.html"
    path.write_text("<p>My notes</p>", "utf-8")
    with pytest.raises(TornFile) as raised:
        push(a_pack(tmp_path), [a_turn()])
    assert (
        f"{path} is no whole pack (Invalid JSON: EOF while parsing a value at line 1 column 0). "
        "Move it away and push again: the records are chosen anew."
    ) == str(raised.value)
    assert "<p>My notes</p>" == path.read_text("utf-8")


def test_the_pack_of_another_dataset_is_left_alone(tmp_path: Path) -> None:
    Pack(tmp_path, "llava-ca", Shelf()).push([a_turn(dataset="llava-ca")], lambda done, of: None)
    (tmp_path / "llava-ca.html").rename(tmp_path / "llava-es.html")
    with pytest.raises(ForeignPack) as raised:
        push(a_pack(tmp_path), [a_turn()])
    assert (
        f"{tmp_path / 'llava-es.html'} is the pack of 'llava-ca', not of 'llava-es'. Move it away and push again."
    ) == str(raised.value)


def test_a_pack_that_was_changed_by_hand_is_said(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn()])
    path = tmp_path / "llava-es.html"
    path.write_text(path.read_text("utf-8").replace("El autobús es blanca.", "El autobús es azul."), "utf-8")
    with pytest.raises(TornFile) as raised:
        push(a_pack(tmp_path), [a_turn()])
    assert (
        f"{path} was changed by hand. Row 17, turn 1: its id is not that of its texts in llava-es. "
        "Move it away and push again."
    ) == str(raised.value)


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "", ".x", "a\n", "x" * 121])
def test_a_name_that_is_no_files_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PermanentError) as raised:
        Pack(tmp_path, name, Shelf())
    assert (
        f"A review cannot be called {name!r}. Give a `dataset` of at most 120 bytes that has no slash and does not "
        "begin with a dot."
    ) == str(raised.value)


@pytest.mark.parametrize("name", ["Prueba (2) ñ", "@data@", '<title> "b"', "a:b"])
def test_any_other_name_will_do(tmp_path: Path, name: str) -> None:
    turn = a_turn(dataset=name)
    desk = Pack(tmp_path, name, Shelf())
    assert 1 == push(desk, [turn]).added
    assert name == data_of(desk.path)["dataset"]
    came(tmp_path, an_answer(turn), dataset=name)
    assert turn.id == only(desk).record


# ---- Back


def test_an_answer_comes_back_with_its_record(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn()])
    came(tmp_path, an_answer(a_turn()))
    assert Response(
        id="6d1f0c3e-0000-4000-8000-000000000001",
        record=a_turn().id,
        row=17,
        turn=1,
        part="worst",
        original="The bus is white.",
        machine="El autobús es blanca.",
        translator="google/4.0.2",
        codes=("numbers",),
        user=pseudonym("ana"),
        role="annotator",
        status="submitted",
        text="El autobús es blanco.",
        verdict="minor",
        kinds=("grammar", "style"),
        note=None,
        inserted_at=datetime(2026, 3, 1, 9, 30, 0, 120_000, UTC),
        updated_at=datetime(2026, 3, 1, 9, 31, 12, 4_000, UTC),
        origin="pack:answers-llava-es-Ana.json",
    ) == only(a_pack(tmp_path))


def test_without_answers_there_are_no_responses_and_no_pack_is_needed(tmp_path: Path) -> None:
    assert [] == list(a_pack(tmp_path).responses())


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_typed_text_comes_back_as_it_is(tmp_path: Path, text: str) -> None:
    push(a_pack(tmp_path), [a_turn()])
    came(tmp_path, an_answer(a_turn(), text=text, note=text))
    response = only(a_pack(tmp_path))
    assert (text, text) == (response.text, response.note)


def test_a_name_is_the_same_however_it_is_written(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn(1), a_turn(2)])
    came(tmp_path, an_answer(a_turn(1), id="a"), name="1.json", reviewer=" Ana  LÓPEZ")
    came(tmp_path, an_answer(a_turn(2), id="b"), name="2.json", reviewer="ana lo\u0301pez ")
    users = {response.user for response in a_pack(tmp_path).responses() if isinstance(response, Response)}
    assert {pseudonym("ana lópez")} == users


def test_drafts_and_discards_come_too(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn(1), a_turn(2)])
    empty: dict[str, Any] = {"text": None, "verdict": None, "kinds": []}
    came(
        tmp_path,
        an_answer(a_turn(1), id="a", status="draft", verdict=None),
        an_answer(a_turn(2), id="b", status="discarded", **empty),
    )
    found = [response for response in a_pack(tmp_path).responses() if isinstance(response, Response)]
    assert [("draft", "El autobús es blanco."), ("discarded", None)] == [(each.status, each.text) for each in found]


def test_an_older_and_a_newer_save_give_both_versions_and_equal_ones_once(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn(1), a_turn(2)])
    old, other = an_answer(a_turn(1), id="a"), an_answer(a_turn(2), id="b")
    new = {**old, "text": "El bus es blanco.", "updated_at": "2026-03-02T08:00:00Z"}
    came(tmp_path, old, other, name="answers.json")
    came(tmp_path, new, other, name="answers (1).json")
    found = [response for response in a_pack(tmp_path).responses() if isinstance(response, Response)]
    assert {("a", "El bus es blanco."), ("b", "El autobús es blanco."), ("a", "El autobús es blanco.")} == {
        (each.id, each.text) for each in found
    }
    assert 3 == len(found)


def test_a_byte_order_mark_does_no_harm_and_hidden_files_are_none_of_ours(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn()])
    path = came(tmp_path, an_answer(a_turn()))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    path.with_name("._answers.json").write_bytes(b"\x00\x05")
    assert "El autobús es blanco." == only(a_pack(tmp_path)).text


AGAIN = "Ask its reviewer to answer the record again and save."


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"verdict": "great"}, f"verdict: 'great' is none of good, minor, major, unusable. {AGAIN}"),
        (
            {"kinds": ["grammar", "smell"]},
            f"kinds.1: 'smell' is none of {', '.join(KINDS)}. {AGAIN}",
        ),
        ({"updated_at": "yesterday"}, f"updated_at: 'yesterday' is no time such as 2026-03-01T09:30:00Z. {AGAIN}"),
        (
            {"inserted_at": "2026-03-01T09:30:00"},
            f"inserted_at: '2026-03-01T09:30:00' is no time such as 2026-03-01T09:30:00Z. {AGAIN}",
        ),
        ({"updated_at": 1763629200}, f"updated_at: 1763629200 is no time such as 2026-03-01T09:30:00Z. {AGAIN}"),
        ({"status": "done"}, f"status: Input should be 'submitted', 'draft' or 'discarded'. {AGAIN}"),
        ({"text": 3}, f"text: Input should be a valid string. {AGAIN}"),
        ({"text": None}, f"a submitted answer needs a text and a verdict. {AGAIN}"),
        ({"verdict": None}, f"a submitted answer needs a text and a verdict. {AGAIN}"),
        (
            {"machine": "El autobús es azul."},
            f"its texts are not those of its id; the file or the page was changed by hand. {AGAIN}",
        ),
    ],
    ids=lambda value: "",
)
def test_a_bad_answer_costs_that_answer_and_says_why(tmp_path: Path, changed: dict[str, Any], reason: str) -> None:
    push(a_pack(tmp_path), [a_turn(1), a_turn(2)])
    path = came(tmp_path, an_answer(a_turn(1), id="bad", **changed), an_answer(a_turn(2), id="good"))
    bad, good = a_pack(tmp_path).responses()
    assert Refused("bad", f"{path}, record {a_turn(1).id}: {reason}") == bad
    assert isinstance(good, Response)


def test_an_answer_that_is_no_answer_is_named_by_its_place(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn()])
    path = came(tmp_path, "hello")
    reason = f"{path}, record without an id: not an object. {AGAIN}"
    assert Refused("answers-llava-es-Ana.json#0", reason) == refused(a_pack(tmp_path))


def test_half_a_character_is_refused_and_the_message_can_be_written(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn()])
    path = came(tmp_path)
    text = json.dumps(
        {
            "format": "trasvase-answers/1",
            "dataset": "llava-es",
            "reviewer": "Ana",
            "answers": [an_answer(a_turn(), id="x\ud83d", record="y\ud83d", text="🚌"[0] + "\ud83d")],
        }
    )
    path.write_text(text, "utf-8")
    found = refused(a_pack(tmp_path))
    assert "x?" == found.id
    assert found.reason.startswith(f"{path}, record y?: id: Input should be a valid string, unable to parse")
    assert found.reason.encode()


def test_a_record_that_the_pack_does_not_have_is_refused(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn(1)])
    path = came(tmp_path, an_answer(a_turn(2), id="a"))
    reason = (
        f"{path}, record {a_turn(2).id}: {tmp_path / 'llava-es.html'} does not have this record. "
        "Push the translations that it belongs to again, or remove the answer."
    )
    assert Refused("a", reason) == refused(a_pack(tmp_path))


def test_two_contents_of_one_version_are_refused(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn()])
    came(tmp_path, an_answer(a_turn(), id="a"), name="1.json")
    path = came(tmp_path, an_answer(a_turn(), id="a", text="Otro."), name="2.json")
    _, found = a_pack(tmp_path).responses()
    reason = (
        f"{path}, record {a_turn().id}: 1.json has the same version of this answer with other content. "
        "One of the files was changed by hand; remove it."
    )
    assert Refused("a", reason) == found


def test_an_answer_under_another_reviewers_id_is_refused(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn()])
    came(tmp_path, an_answer(a_turn(), id="a"), name="1.json")
    path = came(
        tmp_path, an_answer(a_turn(), id="a", updated_at="2027-01-01T00:00:00Z"), name="2.json", reviewer="Luis"
    )
    _, found = a_pack(tmp_path).responses()
    reason = f"{path}, record {a_turn().id}: its id is that of another record's or reviewer's answer in 1.json. {AGAIN}"
    assert Refused("a", reason) == found


SAVE = "Ask its reviewer to save it again, and put that file in its place."
DEEP = "maximum recursion depth exceeded while decoding a JSON array from a unicode string"
OURS = "Only files that the page saved belong here."


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"format": ', f"is no whole JSON file (Expecting value: line 1 column 12 (char 11)). {SAVE}"),
        (
            b"\xff\xfe{\x00",
            f"is no whole JSON file ('utf-8' codec can't decode byte 0xff in position 0: invalid start byte). {SAVE}",
        ),
        (
            b"[" * 100_000,
            f"is no whole JSON file ({DEEP}). {SAVE}",
        ),
        (
            b"[]",
            f"is no file of answers (not an object). {OURS}",
        ),
        (b"{}", f"is no file of answers (format: Field required). {OURS}"),
        (
            b'{"format": "trasvase-answers/2", "dataset": "llava-es", "reviewer": "Ana", "answers": []}',
            f"is no file of answers (format: Input should be 'trasvase-answers/1'). {OURS}",
        ),
        (
            b'{"format": "trasvase-answers/1", "dataset": "llava-es", "reviewer": " ", "answers": []}',
            f"is no file of answers (reviewer: String should have at least 1 character). {OURS}",
        ),
        (
            b'{"format": "trasvase-answers/1", "dataset": "llava-ca", "reviewer": "Ana", "answers": []}',
            "has answers to 'llava-ca', not to 'llava-es'. Move it to the folder answers of that review.",
        ),
    ],
    ids=lambda value: "",
)
def test_a_file_that_cannot_be_used_is_refused_whole_and_the_others_are_read(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    push(a_pack(tmp_path), [a_turn()])
    came(tmp_path, an_answer(a_turn()), name="good.json")
    path = tmp_path / "answers" / "bad.json"
    path.write_bytes(content)
    bad, good = a_pack(tmp_path).responses()
    assert Refused("bad.json", f"{path} {reason}") == bad
    assert isinstance(good, Response)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push(a_pack(tmp_path), [a_turn()])
    path = came(tmp_path, an_answer(a_turn()))
    monkeypatch.setattr(pack, "MAX_BYTES", 100)
    reason = f"{path} has {path.stat().st_size:,} bytes; a file of answers has 100 at most. {SAVE}"
    assert Refused(path.name, reason) == refused(a_pack(tmp_path))


def test_a_file_whose_name_is_no_utf_8_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn()])
    came(tmp_path, an_answer(a_turn()))
    path = came(tmp_path, an_answer(a_turn(), id="another"), name="answers-Jos\udce9.json")
    found = list(a_pack(tmp_path).responses())
    reason = f"answers-Jos?.json in {path.parent} has a name that is no UTF-8. Rename it."
    assert [Refused("answers-Jos?.json", reason)] == [each for each in found if isinstance(each, Refused)]
    assert 2 == len(found)


def test_folders_and_other_files_are_named(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn()])
    folder = tmp_path / "answers"
    (folder / "a.json").mkdir(parents=True)
    (folder / "b.zip").write_bytes(b"PK")
    assert [
        Refused(
            "a.json",
            f"{folder / 'a.json'} cannot be read: Is a directory. Make it a file that can be read, or remove it.",
        ),
        Refused(
            "b.zip", f"{folder / 'b.zip'} is no .json file. Unpack or rename it if it holds answers, or remove it."
        ),
    ] == list(a_pack(tmp_path).responses())


def test_answers_without_their_pack_are_said(tmp_path: Path) -> None:
    came(tmp_path, an_answer(a_turn()))
    with pytest.raises(PermanentError) as raised:
        list(a_pack(tmp_path).responses())
    assert (
        f"{tmp_path / 'answers'} has answers, but {tmp_path / 'llava-es.html'} is not there. Put the pack back, or push "
        "the same translations again with to=pack."
    ) == str(raised.value)


# ---- Once more


def test_the_next_pack_starts_from_the_latest_answers_without_anybodys_name(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn()])
    old = an_answer(a_turn(), id="a", updated_at="2026-03-01T09:31:12Z")
    came(tmp_path, {**old, "text": "El bus es blanco.", "updated_at": "2026-03-02T08:00:00Z"}, name="1.json")
    came(tmp_path, old, name="2.json")
    came(tmp_path, an_answer(a_turn(), id="b", text="Otro."), name="3.json", reviewer="Luis Pérez")
    done = push(a_pack(tmp_path), [a_turn()])
    assert 1 == done.unchanged
    starts = data_of(tmp_path / "llava-es.html")["answers"]
    assert {("a", "El bus es blanco."), ("b", "Otro.")} == {(start["id"], start["text"]) for start in starts}
    assert 2 == len({start["by"] for start in starts})
    assert "Luis" not in (tmp_path / "llava-es.html").read_text("utf-8")


def test_the_mark_is_fnv_1a_of_64_bits() -> None:
    # http://www.isthe.com/chongo/src/fnv/test_fnv.c: "" and "foobar"
    assert ("cbf29ce484222325", "85944171f73967e8") == (pack._mark(""), pack._mark("Foobar "))


def test_a_broken_answer_goes_back_with_its_reason_and_a_newer_one_clears_it(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn(1), a_turn(2)])
    broken, other = an_answer(a_turn(1), id="a"), an_answer(a_turn(2), id="b")
    came(tmp_path, broken, other, name="1.json")
    desk = a_pack(tmp_path)
    responses = [response for response in desk.responses() if isinstance(response, Response)]
    reason = "Falta <image>."
    assert 2 == desk.send_back([(response, reason) for response in responses])
    written = (tmp_path / "sent-back.json").read_bytes()
    assert 0 == desk.send_back([(response, reason) for response in responses])
    assert written == (tmp_path / "sent-back.json").read_bytes()
    push(desk, [])
    back = data_of(tmp_path / "llava-es.html")["back"]
    assert {"a": (a_turn(1).id, reason), "b": (a_turn(2).id, reason)} == {
        key: (each["record"], each["reason"]) for key, each in back.items()
    }

    came(tmp_path, {**broken, "text": "Bien.", "updated_at": "2026-03-02T08:00:00Z"}, name="2.json")
    push(desk, [])
    assert ["b"] == list(data_of(tmp_path / "llava-es.html")["back"])
    assert 0 == desk.send_back([(responses[1], reason)])
    assert ["b"] == list(json.loads((tmp_path / "sent-back.json").read_bytes())["answers"])


def test_answers_of_another_desk_are_not_ours_to_send_back(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn()])
    came(tmp_path, an_answer(a_turn()))
    response = replace(only(a_pack(tmp_path)), origin="argilla:3f2a")
    assert 0 == a_pack(tmp_path).send_back([(response, "Falta <image>.")])
    assert not (tmp_path / "sent-back.json").exists()


def test_a_damaged_list_of_what_went_back_is_said(tmp_path: Path) -> None:
    push(a_pack(tmp_path), [a_turn()])
    (tmp_path / "sent-back.json").write_bytes(b"{")
    with pytest.raises(TornFile) as raised:
        push(a_pack(tmp_path), [a_turn()])
    assert (
        f"{tmp_path / 'sent-back.json'} is not as it was written (Invalid JSON: EOF while parsing an object at line 1 "
        "column 1). Move it away and pull again: it is made anew."
    ) == str(raised.value)
