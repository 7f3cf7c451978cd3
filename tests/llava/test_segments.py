import random
from urllib.parse import quote_plus

import pytest

from tasks.llava.segments import MAX_BYTES, Span, Unit, cut, join, sentences, texts, tidy

PIECES = [
    "<image>", "<video>", "<|im_start|>", "<im_end>", "</s>", "< image>", "<", ">", "\n", "\r\n", "\r",
    "\n\n", "\u2028", "\x85", "\x0b", "\x0c", "\x1c", "\x07", "\x00", "\t", " ", "  ", "\u00a0", "\u200b",
    "\ud83d", "\ufffd", "1. ", "12) ", "a) ", "- ", "* ", "• ", "## ", "> ", "**", "**Safety:** ",
    "**Bold**", "```\ncode. More\n```", "```", "https://a.b/#home", "www.example.com", "Mr. Smith",
    "e.g. this", "at 3.5 m. Then", "U.S. Army", "Wait... What", "No. 5", "No. The", "¿Qué?", "¡Sí! ",
    "«Hola». ", '"Stop." ', "He ran. She fell! ", "日本。中国！", "e\u0301", "👩\u200d🚀", "x" * 40,
    "42", "== ==", "",
]  # fmt: skip


def travelling(value: str, unit: Unit = "sentence", max_chars: int = 4500) -> list[str]:
    return texts(cut(value, unit, max_chars))


def random_values(count: int) -> list[str]:
    chance = random.Random(20261120)
    return ["".join(chance.choices(PIECES, k=chance.randrange(12))) for _ in range(count)]


@pytest.mark.parametrize("unit", ["sentence", "line"])
@pytest.mark.parametrize("max_chars", [1, 7, 30, 4500])
def test_spans_joined_are_the_value_whatever_it_is(unit: Unit, max_chars: int) -> None:
    for value in random_values(3000):
        assert value == "".join(span.text for span in cut(value, unit, max_chars))


@pytest.mark.parametrize("unit", ["sentence", "line"])
def test_texts_that_travel_are_single_clean_lines(unit: Unit) -> None:
    for value in random_values(3000):
        for text in travelling(value, unit, 30):
            assert [text] == text.splitlines()
            assert text.strip() == text
            assert len(text) <= 30
            assert any(character.isalpha() for character in text)
            assert "<image>" not in text
            assert not any(ord(character) < 32 or 0xD800 <= ord(character) < 0xE000 for character in text)


def test_nothing_is_no_span() -> None:
    assert [] == cut("", "sentence")


def test_token_and_line_break_stay_at_home_on_both_ends() -> None:
    assert [Span("<image>", True), Span("\n", True), Span("What is this?", False)] == cut(
        "<image>\nWhat is this?", "sentence"
    )
    assert [Span("What is this?", False), Span("\n", True), Span("<image>", True)] == cut(
        "What is this?\n<image>", "sentence"
    )


def test_token_inside_a_sentence_parts_it() -> None:
    assert ["Does", "show a cat or", "a dog?"] == travelling("Does <image> show a cat or <|sep|> a dog?")


def test_tags_with_attributes_stay_at_home_and_comparisons_travel() -> None:
    value = """Use <a href="https://a.b/?c=d" class='x y'>this link</a> or <img src="an a.png" />, not this."""
    assert ["Use", "this link", "or", ", not this."] == travelling(value)
    assert ["If a <b and c> d then stop."] == travelling("If a <b and c> d then stop.")


def test_a_value_of_a_token_alone_sends_nothing() -> None:
    assert [] == travelling("<image>")


@pytest.mark.parametrize(
    "value",
    [
        "42",
        "...",
        " ",
        "\n\n",
        "https://a.b/#home",
        "www.example.com/x",
        "```python\nprint(1)\n```",
        "|---|---|",
    ],
)
def test_what_has_nothing_to_translate_stays_at_home(value: str) -> None:
    assert [] == travelling(value)


def test_markers_and_white_space_of_lines_stay_at_home() -> None:
    value = "Tips:\n\n1. Wear a helmet.\r\n  - Look twice. \n## Rest\n• Sleep\n2) Eat\n> * Drink"
    assert ["Tips:", "Wear a helmet.", "Look twice.", "Rest", "Sleep", "Eat", "Drink"] == travelling(value)


def test_letters_of_choices_stay_at_home_and_initials_travel() -> None:
    choices = "Which one?\nA. cat\nB. a big dog\nC. A. A. Milne\nAnswer with the letter."
    assert ["Which one?", "cat", "a big dog", "A. A. Milne", "Answer with the letter."] == travelling(choices)
    assert ["A. Smith came first.", "He won."] == travelling("A. Smith came first.\nHe won.")
    assert ["cat", "dog", "one", "(almost) new"] == travelling("(A) cat\n(b) dog\n (1) one\n(almost) new")


@pytest.mark.parametrize("value", ["A", " b. ", "(C)", "D)\n"])
def test_a_letter_alone_on_its_line_stays_at_home(value: str) -> None:
    assert [] == travelling(value)
    assert ["是"] == travelling("是")


def test_bars_of_a_table_stay_at_home() -> None:
    assert ["Name", "The old man", "8 years"] == travelling("| Name | 3 |\r\n|:---|--:|\r\n| The old man | 8 years |")
    assert ["one | two"] == travelling("one | two")


def test_bold_labels_lose_their_stars_where_that_is_safe() -> None:
    assert ["Safety:", "Wear a helmet."] == travelling("1. **Safety:** Wear a helmet.")
    assert ["Safety", "Wear a helmet."] == travelling("- **Safety**: Wear a helmet.")
    assert ["A whole line"] == travelling("**A whole line**")
    assert ["**Note** that it rains."] == travelling("**Note** that it rains.")


def test_a_fence_that_is_never_closed_is_text() -> None:
    assert ["Look here."] == travelling("```\nLook here.")


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "code",
    [
        "```python\nx = go(far)\n```",
        "  ```\n  Look here.\n  ```",
        "````md\n```\nLook here.\n```\n````",
        "```\nLook\n`````",
    ],
)
def test_fenced_code_stays_at_home(code: str, line_break: str) -> None:
    value = f"Before:\n{code}\nIt is red.".replace("\n", line_break)
    assert ["Before:", "It is red."] == travelling(value)
    assert value == join(cut(value, "sentence"), {"Before:": "Before:", "It is red.": "It is red."})


def test_control_characters_stay_at_home() -> None:
    assert ["the bus", "is red", "and big"] == travelling("the bus\x07is red\tand big")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("The bus is red. It waits.", ["The bus is red.", "It waits."]),
        ("Is it red? Yes! It is.", ["Is it red?", "Yes!", "It is."]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("It is (almost) new.) Next one.", ["It is (almost) new.)", "Next one."]),
        ("¿Es rojo? ¡Sí! «Claro». ¿Y tú?", ["¿Es rojo?", "¡Sí!", "«Claro».", "¿Y tú?"]),
        ("No. The bus is red.", ["No.", "The bus is red."]),
        ("Books, cups, etc. They lie there.", ["Books, cups, etc.", "They lie there."]),
        ("日本です。中国です！はい", ["日本です。", "中国です！", "はい"]),
        ("Она дома. Он нет.", ["Она дома.", "Он нет."]),
        ("वह घर पर है। वह नहीं है।", ["वह घर पर है।", "वह नहीं है।"]),
        ("كيف حالك؟ أنا بخير.", ["كيف حالك؟", "أنا بخير."]),
    ],
)
def test_sentences_are_cut_after_their_stops(value: str, expected: list[str]) -> None:
    assert expected == travelling(value)


@pytest.mark.parametrize(
    "value",
    [
        "Mr. Smith and Dr. Jones met Mrs. Hall in St. Louis.",
        "Some fruit, e.g. Apples or i.e. Pears.",
        "Cats vs. Dogs, at 8 a.m. Monday and 9 p.m. Tuesday.",
        "The U.S. Capitol in Washington, D.C. Lies there.",
        "See No. 5 and Fig. 3 of J. R. R. Tolkien.",
        "It is 3.5 m long and costs 1.000 euros.",
        "Well... I think so… Maybe.",
        "He asked why. and left.",
        "Yahoo! is a firm.",
        "They are: 1. Bread 2. Wine",
    ],
)
def test_a_stop_that_ends_no_sentence_does_not_cut(value: str) -> None:
    assert [value] == travelling(value)


def test_the_unit_line_sends_what_is_left_of_a_line() -> None:
    assert ["It is red. It waits.", "It goes."] == travelling("1. It is red. It waits.\nIt goes.", "line")


def test_long_texts_are_cut_at_white_space_and_else_between_characters() -> None:
    assert ["aaa bbb", "ccc ddd", "eee"] == travelling("aaa bbb ccc ddd eee", "line", 10)
    assert ["aaaa", "aaaa", "aa"] == travelling("a" * 10, "line", 4)
    assert ["aae\u0301", "b"] == travelling("aae\u0301b", "line", 4)
    assert ["aa", "e\u0301b"] == travelling("aae\u0301b", "line", 3)


@pytest.mark.parametrize("text", ["漢" * 3_000, "नमस्ते दुनिया " * 300 + "अंत", "é" * 4_100, "😀a" * 2_000])
def test_texts_fit_a_request_also_once_they_are_percent_encoded(text: str) -> None:
    pieces = travelling(text)
    assert text.split() == " ".join(pieces).split() or text == "".join(pieces)
    assert all(len(quote_plus(piece)) <= MAX_BYTES for piece in pieces)
    assert len(pieces) == len(quote_plus(text)) // MAX_BYTES + 1


def test_join_puts_answers_in_their_places() -> None:
    value = "<image>\n1. The bus  waits. It is red.\n\nThe bus  waits."
    spans = cut(value, "sentence")
    answers = {"The bus  waits.": " El autobús espera.\n", "It is red.": "Es rojo."}
    assert "<image>\n1. El autobús espera. Es rojo.\n\nEl autobús espera." == join(spans, answers)


def test_join_with_the_texts_themselves_is_the_value() -> None:
    for value in random_values(1000):
        spans = cut(value, "sentence")
        # Zero-width space is what join takes out of answers.
        if "\u200b" not in value:
            assert value == join(spans, {text: text for text in texts(spans)})


def test_join_misses_an_answer_loudly() -> None:
    with pytest.raises(KeyError):
        join(cut("It is red.", "sentence"), {})


def test_tidy_takes_white_space_and_zero_width_away() -> None:
    assert "Es rojo. Sí." == tidy(" Es rojo. \u200b\u200bSí.\ufeff\n")


def test_sentences_are_the_texts_of_a_value() -> None:
    assert ("It is red.", "It waits.") == sentences("<image>\nIt is red. It waits.")
