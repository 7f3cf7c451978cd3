"""Texts of classes, and how much of an image's text joins them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.zeroshot.class_texts import RUSSIAN_WITH_TEXT, BadPrompts, ClassTexts

LABELS = ("toxic", "non_toxic")


def letters(texts: list[str]) -> list[list[int]]:
    """A token per letter, one for the beginning and one for the end."""
    return [[0, *map(ord, text), 1] for text in texts]


def test_the_predecessor_s_texts_are_what_nothing_means() -> None:
    texts = ClassTexts.read(LABELS, None, RUSSIAN_WITH_TEXT)
    assert ["токсичный мем", "нейтральный мем"] == texts.flat
    fitted = texts.fitted("ДОБРОЕ\nУТРО", letters, 77)
    assert ["токсичный мем с текстом «ДОБРОЕ УТРО»", "нейтральный мем с текстом «ДОБРОЕ УТРО»"] == fitted.texts
    assert (2, 2) == (fitted.used, fitted.words)


def test_a_text_is_shortened_by_words_at_its_end_the_same_for_every_class() -> None:
    texts = ClassTexts.read(LABELS, None, RUSSIAN_WITH_TEXT)
    fitted = texts.fitted("раз два три четыре пять шесть семь восемь девять десять", letters, 50)
    assert "нейтральный мем с текстом «раз два три четыре»" == fitted.texts[1]  # 48 with beginning and end
    assert "токсичный мем с текстом «раз два три четыре»" == fitted.texts[0]
    assert (4, 10) == (fitted.used, fitted.words)


@given(st.lists(st.text("аб{}", min_size=1, max_size=30), max_size=12), st.integers(17, 90))
def test_what_fits_fits_and_one_word_more_does_not(words: list[str], limit: int) -> None:
    texts = ClassTexts.read(LABELS, None, RUSSIAN_WITH_TEXT)
    fitted = texts.fitted(" ".join(words), letters, limit)
    assert all(len(ids) <= limit for ids in letters(fitted.texts))
    assert len(words) == fitted.words
    if fitted.used < fitted.words:
        longer = texts.fitted(" ".join(words[: fitted.used + 1]), letters, 10_000)
        assert any(len(ids) > limit for ids in letters(longer.texts))


def test_an_image_without_text_or_with_one_endless_word_gets_the_classes_own_texts() -> None:
    texts = ClassTexts.read(LABELS, None, RUSSIAN_WITH_TEXT)
    assert (texts.flat, 0, 0) == tuple(texts.fitted("  \n", letters, 77))
    assert (texts.flat, 0, 1) == tuple(texts.fitted("а" * 200, letters, 77))


def test_a_text_on_an_image_is_never_a_placeholder() -> None:
    texts = ClassTexts.read(LABELS, {"toxic": ["плохо"], "non_toxic": ["хорошо", "мило"]}, "{text}: {prompt}")
    assert ["{prompt} {0}: плохо", "{prompt} {0}: хорошо", "{prompt} {0}: мило"] == texts.fitted(
        "{prompt} {0}", letters, 77
    ).texts


@pytest.mark.parametrize(
    ("labels", "prompts", "with_text", "message"),
    [
        (("a", "b"), None, "{prompt} {text}", "The class 'a' has no text for CLIP. Give `prompts`"),
        (LABELS, {"toxic": ["x"]}, "{prompt} {text}", "The class 'non_toxic' has no text"),
        (LABELS, {"toxic": ["x"], "non_toxic": []}, "{prompt} {text}", "The class 'non_toxic' has no text"),
        (LABELS, {"toxic": ["x"], "non_toxic": [" "]}, "{prompt} {text}", "A text of the class 'non_toxic'"),
        (
            LABELS,
            {"toxic": ["x"], "non_toxic": ["y"], "bad": ["z"]},
            "{prompt} {text}",
            "`prompts` has the class 'bad'",
        ),
        (LABELS, None, "{prompt}", "`with_text` is '{prompt}' and must hold {prompt} and {text}"),
    ],
)
def test_texts_that_cannot_be_say_why(
    labels: tuple[str, ...], prompts: dict[str, list[str]] | None, with_text: str, message: str
) -> None:
    with pytest.raises(BadPrompts) as caught:
        ClassTexts.read(labels, prompts, with_text)
    assert str(caught.value).startswith(message)


def test_a_class_s_text_that_is_too_long_is_refused_and_not_cut() -> None:
    texts = ClassTexts.read(LABELS, {"toxic": ["x" * 80], "non_toxic": ["y"]}, RUSSIAN_WITH_TEXT)
    with pytest.raises(BadPrompts, match="has more than the 77 tokens that this CLIP takes"):
        texts.fitted("", letters, 77)
