"""The pack in a real Chromium, offline: opened as a file, answered by keyboard and mouse, saved, read back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect, sync_playwright

from tasks.reviews.records import Refused, Response, ReviewTurn
from tests.reviews.local_argilla import PATIENCE_MS
from tests.reviews.test_pack import HOSTILE, Shelf, a_pack, a_turn, came, push

# A red square of four pixels.
RED = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEElEQVR4nGP4z8AARAwQCgAf7gP9i18U1AAAAABJRU5ErkJg"
    "gg=="
)
TYPED = "El autobús es «blanco» — ¡qué ñandú! <image> & 👩‍👩‍👧\u2028fin "
ENGLISH = {"locale": "en-GB"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        if binary is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("There is no Chromium. Debian, Ubuntu: apt-get install chromium")
        options = [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
        ]
        started = playwright.chromium.launch(
            executable_path=binary, args=[*options, "--disable-sync"], timeout=PATIENCE_MS
        )
        expect.set_options(PATIENCE_MS)
        yield started
        started.close()


@dataclass
class Reader:
    """One reviewer's browser with a pack open in it; what went wrong there is collected."""

    context: BrowserContext
    path: Path
    page: Page = field(init=False)
    wrong: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.set_default_timeout(PATIENCE_MS)
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on(
            "console",
            lambda message: self.wrong.append(message.text) if message.type in ("error", "warning") else None,
        )
        self.page.on("dialog", self._accept)
        self.page.goto(self.path.as_uri())

    def _accept(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.type)
        dialog.accept()

    def begin(self, name: str = "Ana López") -> None:
        self.page.fill("#name", name)
        self.page.click("#start")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def open(self, text: str) -> None:
        self.page.locator("#list button", has_text=text).click()

    def status(self, text: str) -> str:
        return self.page.locator("#list li", has_text=text).get_attribute("class") or ""

    def shown(self) -> list[str]:
        return self.page.locator("#list .text").all_text_contents()  # what is not on the screen has no inner text

    def save(self, folder: Path) -> Path:
        with self.page.expect_download() as download:
            self.page.click("#save")
        path = folder / "answers" / download.value.suggested_filename
        path.parent.mkdir(exist_ok=True)
        download.value.save_as(path)
        return path

    def load(self, path: Path) -> None:
        with self.page.expect_file_chooser() as chooser:
            self.page.locator("#load, #load-first").locator("visible=true").last.click()
        chooser.value.set_files(path)

    def toast(self, text: str) -> None:
        expect(self.page.locator("#toast")).to_contain_text(text)


@pytest.fixture
def reader(browser: Browser, tmp_path: Path) -> Iterator[Any]:
    """Makes readers, each with a browser profile of its own; nothing may have gone wrong in any."""
    readers: list[Reader] = []

    def make(path: Path = tmp_path / "llava-es.html", **options: Any) -> Reader:
        context = browser.new_context(offline=True, **{**ENGLISH, **options})
        readers.append(Reader(context, path))
        return readers[-1]

    yield make
    for each in readers:
        each.context.close()
        assert [] == each.wrong


def turns() -> list[ReviewTurn]:
    first = a_turn(1, 0, "<image>\nWhat is it?", "<image>\n¿Qué es?", image="bus.jpg", codes=(), score=0.1)
    second = a_turn(1, 1, "A bus, <b>white</b>.", "Un autobús, <b>blanca</b>.", image="bus.jpg", score=0.4)
    third = a_turn(2, 0, "The dog runs.", "El perro corre.", codes=("seam",), score=0.5)
    fourth = a_turn(3, 0, "One\r\ntwo\r\nthree", "Uno\r\ndos\r\ntres", codes=(), part="audit")
    return [
        replace(first, context=()),
        replace(second, context=(("human", "<image>\n¿Qué es?"),)),
        replace(third, translator="memory", context=()),
        replace(fourth, context=()),
    ]


def responses(folder: Path) -> dict[str, Response]:
    found = list(a_pack(folder).responses())
    assert [] == [each for each in found if isinstance(each, Refused)]
    return {each.record: each for each in found if isinstance(each, Response)}


def test_a_review_from_opening_the_file_to_reading_the_answers(tmp_path: Path, reader: Any) -> None:
    all_turns = turns()
    push(a_pack(tmp_path, Shelf(**{"bus.jpg": RED})), all_turns)
    ana = reader()
    ana.begin()

    # The first record: image, original with its token, nothing said before it.
    expect(ana.page.locator("#original")).to_have_text("<image>\nWhat is it?", use_inner_text=True)
    assert 2 == ana.page.evaluate("document.getElementById('image').naturalWidth")
    expect(ana.page.locator("#before")).to_be_hidden()

    ana.press("a")  # accept
    ana.toast("Accepted.")
    expect(ana.page.locator("#original")).to_have_text("A bus, <b>white</b>.")
    expect(ana.page.locator("#chat .bubble")).to_have_text("Person\n<image>\n¿Qué es?", use_inner_text=True)

    # A correction needs a verdict, and "good" is none.
    ana.page.fill("#text", TYPED)
    expect(ana.page.locator("#warnings")).to_have_text(
        "The original has <b> </b>, the correction does not have the same."
    )
    ana.press("Control+Enter")
    ana.toast("Choose a verdict first.")
    ana.press("Escape", "1", "Control+Enter")
    ana.toast("“Good” means that nothing is changed")
    ana.press("2")
    ana.page.check("#kinds input[value=grammar]")
    ana.page.check("#kinds input[value=addition]")
    ana.page.fill("#note", "Género.")
    ana.press("Control+Enter")
    ana.toast("Submitted.")

    ana.press("x")  # discard
    ana.page.fill("#text", "Uno\ndos y medio\ntres")
    expect(ana.page.locator("#diff ins")).to_have_text(" y medio")
    ana.press("Escape", "d")  # draft
    ana.toast("Kept as a draft. This was the last one of the list.")
    expect(ana.page.locator("#count")).to_have_text("Submitted 2 of 4 · Drafts 1 · Discarded 1")

    # All is there after the page was closed without a file; it warned.
    ana.page.reload()
    assert ["beforeunload"] == ana.dialogs
    expect(ana.page.locator("#count")).to_have_text("Submitted 2 of 4 · Drafts 1 · Discarded 1")
    assert ["submitted", "submitted", "discarded", "draft"] == [
        ana.status(text) for text in ("¿Qué es?", "Un autobús", "El perro", "Uno")
    ]
    ana.open("Un autobús")
    expect(ana.page.locator("#text")).to_have_value(TYPED)

    path = ana.save(tmp_path)
    assert "answers-llava-es-Ana-López.json" == path.name
    found = responses(tmp_path)
    first, second, third, fourth = (found[turn.id] for turn in all_turns)
    assert ("submitted", "good", "<image>\n¿Qué es?", ()) == (first.status, first.verdict, first.text, first.kinds)
    assert ("submitted", "minor", TYPED, ("addition", "grammar"), "Género.") == (
        second.status,
        second.verdict,
        second.text,
        second.kinds,
        second.note,
    )
    assert ("discarded", None) == (third.status, third.text)
    assert ("draft", "Uno\r\ndos y medio\r\ntres") == (fourth.status, fourth.text)
    assert 4 == len({each.id for each in found.values()})
    assert all(each.inserted_at <= each.updated_at for each in found.values())

    # Saved: the page may be left without a warning.
    ana.page.reload()
    assert ["beforeunload"] == ana.dialogs


def test_search_knows_no_accents_and_filters_go_together(tmp_path: Path, reader: Any) -> None:
    push(a_pack(tmp_path), turns())
    ana = reader()
    ana.begin()
    ana.press("/")
    ana.page.keyboard.type("AUTOBUS blanca")
    assert ["Un autobús, <b>blanca</b>."] == ana.shown()
    expect(ana.page.locator("#original")).to_have_text("A bus, <b>white</b>.")
    ana.page.fill("#search", "nothing of this")
    expect(ana.page.locator("#nothing")).to_be_visible()
    ana.press("Escape", "a")  # there is nothing to accept
    ana.page.click("#all")
    assert 4 == len(ana.shown())
    for field_name, value, expected in [
        ("part", "audit", ["Uno dos tres"]),
        ("code", "seam", ["El perro corre."]),
        ("translator", "memory", ["El perro corre."]),
    ]:
        ana.page.select_option(f"#{field_name}", value)
        assert expected == [" ".join(text.split()) for text in ana.shown()]
        ana.page.select_option(f"#{field_name}", "")
    ana.press("Escape", "x")
    ana.page.select_option("#status", "discarded")
    assert ["El perro corre."] == ana.shown()
    ana.page.select_option("#code", "numbers")
    assert [] == ana.shown()


def test_a_long_list_is_drawn_as_it_is_read(tmp_path: Path, reader: Any) -> None:
    push(a_pack(tmp_path), [a_turn(row) for row in range(450)])
    ana = reader()
    ana.begin()
    items = ana.page.locator("#list li")
    expect(items).to_have_count(200)
    ana.page.evaluate("document.getElementById('list').scrollTop = 1e6")
    expect(items).to_have_count(400)
    ana.page.fill("#search", "llava-es:449:")
    expect(items).to_have_count(1)
    ana.page.click("#all")
    expect(items).to_have_count(450)  # the open record stands at the end
    expect(ana.page.locator("#place")).to_have_text("450 of 450")


def test_keys_move_and_a_key_held_down_accepts_once(tmp_path: Path, reader: Any) -> None:
    push(a_pack(tmp_path), turns())
    ana = reader()
    ana.begin()
    place = ana.page.locator("#place")
    ana.press("j", "ArrowRight")
    expect(place).to_have_text("3 of 4")
    ana.press("k", "ArrowLeft", "k")
    expect(place).to_have_text("1 of 4")
    ana.toast("This is the first one of the list.")
    ana.page.keyboard.down("a")
    ana.page.keyboard.down("a")
    ana.page.keyboard.down("a")
    ana.page.keyboard.up("a")
    expect(ana.page.locator("#count")).to_have_text("Submitted 1 of 4 · Drafts 0 · Discarded 0")
    ana.press("e")
    ana.page.keyboard.type("a?")  # in a field, keys are text
    expect(ana.page.locator("#count")).to_have_text("Submitted 1 of 4 · Drafts 1 · Discarded 0")
    ana.press("Escape", "a")
    ana.toast("The text is changed")
    ana.page.click("#undo")
    ana.press("?")
    expect(ana.page.locator("#helping")).to_be_visible()
    ana.press("a", "Escape", "a")  # the first one goes to the help
    expect(ana.page.locator("#count")).to_have_text("Submitted 2 of 4 · Drafts 0 · Discarded 0")


def test_hostile_texts_are_shown_as_they_are_and_come_back_as_they_were(tmp_path: Path, reader: Any) -> None:
    # Everywhere: texts, conversation, the image's name, codes, the note, the reason for which an answer came back.
    all_turns = [
        replace(
            a_turn(row, 0, text, text, image=text, codes=(text[:200],), score=0.5),
            context=(("human", text),),
            translator=text[:200],
        )
        for row, text in enumerate(HOSTILE)
    ]
    shelf = Shelf(**dict.fromkeys(HOSTILE, RED))
    push(a_pack(tmp_path, shelf), all_turns)
    ana = reader()
    ana.begin()
    for text in HOSTILE:
        assert text == ana.page.evaluate("document.getElementById('original').textContent")
        assert f"Person{text}" == ana.page.evaluate("document.querySelector('#chat .bubble').textContent")
        assert text == ana.page.evaluate("document.getElementById('caption').textContent")
        ana.page.fill("#note", text)
        ana.press("Escape", "a")
    ana.save(tmp_path)
    found = responses(tmp_path)
    assert HOSTILE == [found[turn.id].text for turn in all_turns]
    assert [text.replace("\r\n", "\n").replace("\r", "\n") for text in HOSTILE] == [
        found[turn.id].note for turn in all_turns
    ]

    a_pack(tmp_path).send_back([(found[turn.id], turn.machine) for turn in all_turns])
    push(a_pack(tmp_path, shelf), all_turns)
    ana.page.reload()
    for text in reversed(HOSTILE):  # it opens at the last one, where it was left
        assert f"Sent back: {text}" == ana.page.evaluate("document.getElementById('reason').textContent")
        ana.press("k")
    assert [] == ana.dialogs


def test_line_breaks_that_a_text_field_cannot_hold_are_put_back(tmp_path: Path, reader: Any) -> None:
    turn = a_turn(1, 0, "x", "uno\r\ndos\rtres\ncuatro")
    push(a_pack(tmp_path), [turn])
    ana = reader()
    ana.begin()
    for typed, expected in [
        ("uno\ndos\ntres\n4", "uno\r\ndos\rtres\n4"),
        ("uno\nnuevo\ndos\ntres\ncuatro", "uno\r\nnuevo\r\ndos\rtres\ncuatro"),
        ("uno\ndos\ncuatro", "uno\r\ndos\rcuatro"),
        ("todo", "todo"),
    ]:
        ana.page.fill("#text", typed)
        ana.press("Escape", "2", "Control+Enter")
        ana.save(tmp_path).rename(tmp_path / "answers" / "saved.json")
        assert expected == responses(tmp_path)[turn.id].text


def test_a_newer_pack_finds_the_answers_and_says_what_was_sent_back(tmp_path: Path, reader: Any) -> None:
    all_turns = turns()
    push(a_pack(tmp_path), all_turns[:2])
    ana = reader()
    ana.begin()
    ana.press("a")
    ana.page.fill("#text", "Un autobús blanco.")
    ana.press("Escape", "3", "Control+Enter")
    ana.save(tmp_path)
    broken = responses(tmp_path)[all_turns[1].id]
    assert 1 == a_pack(tmp_path).send_back([(broken, "Faltan <b> y </b>.")])
    push(a_pack(tmp_path), all_turns)

    # In the same browser, and for the same name in a fresh one, but not for somebody else.
    ana.page.reload()
    fresh = reader()
    fresh.begin(" ana  lópez")
    for each in (ana, fresh):
        expect(each.page.locator("#count")).to_have_text("Submitted 1 of 4 · Drafts 0 · Discarded 0 · Sent back 1")
        each.open("Un autobús")
        expect(each.page.locator("#reason")).to_have_text("Sent back: Faltan <b> y </b>.")
        expect(each.page.locator("#text")).to_have_value("Un autobús blanco.")
    other = reader()
    other.begin("Luis")
    expect(other.page.locator("#count")).to_have_text("Submitted 0 of 4 · Drafts 0 · Discarded 0")

    # A new answer clears it, and is a later version of the same.
    fresh.page.fill("#text", "Un autobús, <b>blanco</b>.")
    fresh.press("Control+Enter")
    assert "submitted" == fresh.status("Un autobús")
    fresh.save(tmp_path)
    versions = [each for each in a_pack(tmp_path).responses() if isinstance(each, Response) and each.id == broken.id]
    assert ["Un autobús blanco.", "Un autobús, <b>blanco</b>."] == [
        each.text for each in sorted(versions, key=lambda each: each.updated_at)
    ]
    push(a_pack(tmp_path), all_turns)
    ana.page.reload()
    expect(ana.page.locator("#count")).to_have_text("Submitted 2 of 4 · Drafts 0 · Discarded 0")


def test_a_submitted_answer_counts_until_it_is_submitted_again(tmp_path: Path, reader: Any) -> None:
    all_turns = turns()
    push(a_pack(tmp_path), all_turns)
    ana = reader()
    ana.begin()
    ana.press("a", "k")
    ana.page.fill("#text", "<image>\n¿Qué será?")
    expect(ana.page.locator("#chips")).to_contain_text("Changes not submitted")
    path = ana.save(tmp_path)
    assert "<image>\n¿Qué es?" == responses(tmp_path)[all_turns[0].id].text

    # What was typed goes along in the file, for another computer.
    other = reader()
    other.load(path)
    other.toast("Answers taken over from answers-llava-es-Ana-López.json: 1; known or older: 0.")
    expect(other.page.locator("#who")).to_have_text("Ana López")
    other.open("¿Qué es?")
    expect(other.page.locator("#text")).to_have_value("<image>\n¿Qué será?")
    other.press("2", "Control+Enter")
    other.save(tmp_path)
    assert "<image>\n¿Qué será?" == responses(tmp_path)[all_turns[0].id].text


def test_two_tabs_do_not_overwrite_each_other(tmp_path: Path, reader: Any) -> None:
    push(a_pack(tmp_path), turns())
    ana = reader()
    ana.begin()
    second = ana.context.new_page()
    second.goto(ana.path.as_uri())
    second.locator("#list button", has_text="El perro").click()
    second.keyboard.press("x")
    ana.press("a")
    for page in (ana.page, second):
        expect(page.locator("#count")).to_have_text("Submitted 1 of 4 · Drafts 0 · Discarded 1")


def test_files_that_do_not_belong_here_are_refused_by_the_page(tmp_path: Path, reader: Any) -> None:
    all_turns = turns()
    push(a_pack(tmp_path), all_turns)
    ana = reader()
    ana.begin()
    ana.press("a")
    own = ana.save(tmp_path)
    answer = json.loads(own.read_bytes())["answers"][0]
    later = {**answer, "updated_at": "2999-01-01T00:00:00Z", "text": "<image>\nOtro."}
    for path, said in [
        (
            came(tmp_path, later, name="1.json", dataset="llava-ca"),
            "1.json holds answers to “llava-ca”. This is “llava-es”",
        ),
        (came(tmp_path, later, name="2.json", reviewer="Luis"), "2.json holds answers of Luis. You are Ana López"),
        (came(tmp_path, name="3.json", format="x"), "3.json is no file of answers of this page."),
        (came(tmp_path, name="4.json", answers=3), "4.json is no file of answers of this page."),
        (
            came(tmp_path, {**later, "verdict": "constructor"}, None, answer, name="5.json", reviewer="Ana López"),
            "taken over from 5.json: 0; known or older: 1. Left out because they could not be read: 2.",
        ),
    ]:
        ana.load(path)
        ana.toast(said)
    (tmp_path / "6.json").write_bytes(b"\xff{")
    ana.load(tmp_path / "6.json")
    ana.toast("6.json is no file of answers of this page.")
    ana.open("¿Qué es?")
    expect(ana.page.locator("#text")).to_have_value("<image>\n¿Qué es?")


def test_a_browser_that_keeps_nothing_is_said_and_answers_can_still_be_saved(tmp_path: Path, reader: Any) -> None:
    all_turns = turns()
    push(a_pack(tmp_path), all_turns)
    ana = reader()
    expect(ana.page.locator("#forgetful")).to_be_hidden()
    ana.page.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError'); } });"
        "delete Crypto.prototype.randomUUID;"
    )
    ana.page.reload()
    expect(ana.page.locator("#forgetful")).to_be_visible()
    ana.begin()
    ana.press("a", "a")
    ana.save(tmp_path)
    assert 2 == len({each.id for each in responses(tmp_path).values()})


def test_the_page_speaks_the_browsers_language_and_switches(tmp_path: Path, reader: Any) -> None:
    push(a_pack(tmp_path), turns())
    ana = reader(locale="es-MX", color_scheme="dark", viewport={"width": 390, "height": 844})
    expect(ana.page.locator("#hello")).to_have_text("¿Quién revisa?")
    ana.begin()
    expect(ana.page.locator("#verdict")).to_contain_text("Errores leves")
    assert 390 == ana.page.evaluate("document.documentElement.scrollWidth")
    ana.page.fill("#text", "A medias")
    ana.page.click("[data-language=en]")
    expect(ana.page.locator("#verdict")).to_contain_text("Small errors")
    expect(ana.page.locator("#text")).to_have_value("A medias")
    assert "en" == ana.page.locator("html").get_attribute("lang")
    # On a phone there is the list or the record.
    expect(ana.page.locator("#list")).to_be_hidden()
    ana.page.click("#tolist")
    expect(ana.page.locator("#article")).to_be_hidden()
    ana.open("El perro")
    expect(ana.page.locator("#original")).to_have_text("The dog runs.")
    ana.page.reload()
    expect(ana.page.locator("#original")).to_have_text("The dog runs.")
    expect(ana.page.locator("#verdict")).to_contain_text("Small errors")
