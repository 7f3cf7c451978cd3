from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.llava.verify import HARD, is_prose, verify_segment, verify_turn

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "llava_instruct_en_es.parquet"


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("<image>\nWhat is this?", "<image>\n¿Qué es esto?"),
        ("What is this?\n<image>", "¿Qué es esto?\n<image>"),
        ("Tips:\n\n1. Wear a helmet.\r\n  Rest.", "Consejos:\n\n1. Usa casco.\r\n  Descansa."),
        ("Does <image> show a cat?", "¿Muestra <image> un gato?"),
        ("Thomas the Train", "Thomas the Train"),
        ("The Lord of the Rings", "The Lord of the Rings"),
        ("BMW R 1200 GS", "BMW R 1200 GS"),
        ("https://a.b/#home", "https://a.b/#home"),
        ("It says STOP.", "Dice STOP."),
        ("a\x07b is here", "a\x07b está aquí"),
        ("...\n\nIs 3 < 4?", "...\n\n¿Es 3 < 4?"),
        ("", ""),
    ],
)
def test_good_turns_have_no_fault(source: str, target: str) -> None:
    assert [] == verify_turn(source, target)


@pytest.mark.parametrize(
    "target",
    [
        "<imagen>\n¿Qué es esto?",
        "<image >\n¿Qué es esto?",
        "< image>\n¿Qué es esto?",
        "<Image>\n¿Qué es esto?",
        "¿Qué es esto?\n<image>",
        "¿Qué es <image>\nesto?",
        "\n¿Qué es esto?",
        "<image>\n¿Qué es <image> esto?",
        "<image><image>\n¿Qué es esto?",
    ],
)
def test_a_token_that_is_changed_or_elsewhere_is_a_fault(target: str) -> None:
    assert "placeholder" in verify_turn("<image>\nWhat is this?", target)


def test_a_tag_whose_attribute_is_changed_is_a_fault() -> None:
    source = 'Use <a href="https://a.b">this link</a>.'
    assert [] == verify_turn(source, 'Usa <a href="https://a.b">este enlace</a>.')
    assert ["placeholder"] == verify_turn(source, 'Usa <a href="https://un.b">este enlace</a>.')
    assert ["placeholder"] == verify_turn(source, 'Usa <un href="https://a.b">este enlace</a>.')


def test_a_token_that_lost_its_line_break_is_two_faults() -> None:
    assert ["lines", "placeholder"] == verify_turn("<image>\nWhat is this?", "<image>¿Qué es esto?")


def test_two_tokens_must_keep_their_order() -> None:
    assert ["placeholder"] == verify_turn("<image> and <video> here", "<video> y <image> aquí")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("One.\nTwo.", "Uno. Dos."),
        ("One. Two.", "Uno.\nDos."),
        ("One.\n\nTwo.", "Uno.\nDos."),
        ("One.\r\nTwo.", "Uno.\nDos."),
        ("One.\n\nTwo.", "Uno.\n.\nDos."),
        ("One.\n\nTwo. Three.", "Uno. Dos.\n\n"),
    ],
)
def test_other_line_breaks_or_blank_lines_are_a_fault(source: str, target: str) -> None:
    assert "lines" in verify_turn(source, target) or "empty" in verify_turn(source, target)


def test_a_blank_line_that_got_text_is_a_fault_of_lines() -> None:
    assert ["lines"] == verify_turn("One.\n\nTwo.", "Uno.\nn\nDos.")


def test_a_line_with_words_that_became_blank_is_empty() -> None:
    assert ["empty"] == verify_turn("One.\nTwo.", "Uno.\n ")


@pytest.mark.parametrize("target", ["", " ", "\u00a0"])
def test_nothing_is_empty(target: str) -> None:
    assert ["empty"] == verify_turn("What is this?", target)


@pytest.mark.parametrize("character", ["\x07", "\x00", "\u200b", "\ufeff", "\ufffd", chr(0xD83D), "\x7f", "\t"])
def test_a_character_nobody_can_see_is_a_fault_unless_the_source_has_it(character: str) -> None:
    assert ["control"] == verify_turn("What is this?", f"¿Qué es{character} esto?")
    assert [] == verify_turn(f"What is{character} this?", f"¿Qué es{character} esto?")


def test_the_source_given_back_is_an_echo() -> None:
    assert ["echo"] == verify_turn("What is the man doing?", "What is the man doing?")
    assert ["echo"] == verify_turn("What is  the man doing?", "What is the man doing?")
    assert ["echo"] == verify_turn("<image>\nWhat is he doing there?", "<image>\nWhat is he doing there?")


def test_one_sentence_given_back_is_an_echo() -> None:
    assert ["echo"] == verify_turn("He runs. What is the man doing?", "Él corre. What is the man doing?")


def test_a_quotation_of_the_source_is_no_echo() -> None:
    assert [] == verify_turn("Keep off the grass", 'El letrero dice "Keep off the grass" y nada más.')


def test_an_echo_in_a_script_without_spaces_is_seen() -> None:
    assert ["echo"] == verify_turn("公園で男の人が犬と一緒に走っています。", "公園で男の人が犬と一緒に走っています。")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is the man doing?", True),
        ("The bus is white and red.", True),
        ("Thomas the Train", False),
        ("New York City Hall", False),
        ("Yes, it is.", False),
        ("skateboarding, snowboarding", False),
        ("https://example.com/some/path/to/file", False),
        ("/usr/local/lib/python/site-packages", False),
        (r"\sin(\theta) = \cos(\theta) + \tan(x)", False),
        ("What view/image of https://a.example.com is the best?", True),
        ("", False),
    ],
)
def test_prose_is_what_cannot_well_stay_the_same(text: str, expected: bool) -> None:
    assert expected is is_prose(text)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("El autobús es rojo.", []),
        (" El autobús es rojo.\n", []),
        ("El autobús \u200bes rojo.", []),
        ("", ["empty"]),
        ("\u200b ", ["empty"]),
        ("El autobús\nes rojo.", ["lines"]),
        ("El autobús\x07es rojo.", ["control"]),
        ("The bus is  white and red.", ["echo"]),
    ],
)
def test_a_segment_is_verified_as_join_would_put_it(answer: str, expected: list[str]) -> None:
    assert expected == verify_segment("The bus is white and red.", answer)


def test_every_code_is_explained() -> None:
    assert {"control", "echo", "empty", "lines", "placeholder"} == HARD.keys()
    assert all(text.endswith(".") for text in HARD.values())


@pytest.mark.skipif(not REAL.exists(), reason="the published data are not here")
def test_published_turns_without_a_flag_pass_but_for_lost_lines() -> None:
    rows = pq.ParquetFile(REAL).read_row_group(6, columns=["conversations", "translated", "flags"]).to_pylist()
    faults = [
        code
        for row in rows[:1000]
        for turn, target, flags in zip(row["conversations"], row["translated"], row["flags"], strict=True)
        if not flags
        for code in verify_turn(turn["value"], target)
    ]
    assert [] == faults
