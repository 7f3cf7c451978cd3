import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.llava.lexicon import Lexicon, words

NOUNS = [
    ("bus", "autobús"), ("cat", "gato"), ("dog", "perro"), ("girl", "niña"), ("train", "tren"),
    ("house", "casa"), ("bird", "pájaro"), ("horse", "caballo"), ("table", "mesa"), ("chair", "silla"),
    ("man", "hombre"), ("tree", "árbol"),
]  # fmt: skip
VERBS = [
    ("waits", "espera"), ("sleeps", "duerme"), ("turns", "gira"),
    ("burns", "arde"), ("shines", "brilla"), ("falls", "cae"),
]  # fmt: skip
PAIRS = [
    (f"The {noun} {verb} near the {other}.", f"El {sustantivo} {verbo} junto al {otro}.")
    for place, (noun, sustantivo) in enumerate(NOUNS)
    for verb, verbo in VERBS
    for other, otro in (NOUNS[place - 1], NOUNS[place - 3], NOUNS[place - 6])
]


def test_words_that_occur_together_are_partners() -> None:
    lexicon = Lexicon.learn(PAIRS)
    assert "autobús" in lexicon.forward["bus"]
    assert "sleeps" in lexicon.backward["duerme"]
    assert len(PAIRS) == lexicon.pairs


def test_right_answers_are_covered_and_others_are_not() -> None:
    lexicon = Lexicon.learn(PAIRS)
    right = [lexicon.coverage(*pair) for pair in PAIRS]
    source, target = "The bus waits near the cat.", "El perro arde junto al tren."
    assert [1.0] * len(PAIRS) == right
    assert 0.0 == lexicon.coverage(source, target)


def test_few_known_words_are_no_verdict() -> None:
    lexicon = Lexicon.learn(PAIRS)
    assert lexicon.coverage("The bus.", "El autobús.") is None
    assert lexicon.coverage("", "") is None


def test_words_in_most_pairs_or_in_few_have_no_partner() -> None:
    lexicon = Lexicon.learn([*PAIRS, ("A rare zebra.", "Una cebra rara.")])
    assert "near" not in lexicon.forward
    assert "zebra" not in lexicon.forward


def test_a_few_wrong_pairs_do_not_matter() -> None:
    wrong = [(source, "El caballo arde junto al pájaro.") for source, _ in PAIRS[:2]]
    lexicon = Lexicon.learn([*PAIRS, *wrong])
    assert [1.0, 1.0] == [lexicon.coverage(*pair) for pair in PAIRS[:2]]
    assert all((lexicon.coverage(*pair) or 0.0) < 0.4 for pair in wrong)


@pytest.mark.parametrize("pairs", [[], [("", "")], [("bus", "autobús")], [("...", "...")] * 5])
def test_too_little_teaches_nothing(pairs: list[tuple[str, str]]) -> None:
    lexicon = Lexicon.learn(pairs)
    assert ({}, {}, len(pairs)) == (lexicon.forward, lexicon.backward, lexicon.pairs)


def test_json_and_back_is_the_same_lexicon() -> None:
    lexicon = Lexicon.learn(PAIRS)
    assert lexicon == Lexicon.from_json(lexicon.to_json())
    assert lexicon.to_json() == Lexicon.from_json(lexicon.to_json()).to_json()
    assert {"pairs", "forward", "backward"} == json.loads(lexicon.to_json()).keys()


def test_the_lexicon_does_not_depend_on_the_process() -> None:
    code = f"from tasks.llava.lexicon import Lexicon; print(Lexicon.learn({PAIRS!r}).to_json())"
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert 1 == len(runs)
    assert Lexicon.learn(PAIRS).to_json().encode() == runs.pop().strip()


def test_words_are_distinct_and_lower_case() -> None:
    assert {"the", "bus", "autobús"} == words("The bus, the BUS is an autobús")


def test_every_character_parts_words_or_belongs_to_them_as_in_a_pattern() -> None:
    texts = [f"Abc{chr(code)}def g{chr(code)}h" for code in range(0x2100)]
    assert [set(re.findall(r"\w{3,}", text.lower())) for text in texts] == [words(text) for text in texts]
