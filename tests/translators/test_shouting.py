"""The offline translator is deterministic and visibly not the input."""

from __future__ import annotations

import asyncio

from tasks.translators.shouting import Options, open_translator


def test_answers_are_the_texts_in_capitals_and_in_order() -> None:
    shouting = open_translator(Options(), "en", "es")
    texts = ["What is it?", "a ñandú", "straße", "12 %"]
    assert ["WHAT IS IT?", "A ÑANDÚ", "STRASSE", "12 %"] == asyncio.run(shouting.translate(texts))


def test_nothing_gives_nothing() -> None:
    assert [] == asyncio.run(open_translator(Options(), "en", "es").translate([]))


def test_the_name_says_its_version_and_closing_is_harmless() -> None:
    shouting = open_translator(Options(), "en", "es")
    asyncio.run(shouting.aclose())
    assert shouting.name == "shouting/1"
    assert shouting.limits.at_once >= 1
