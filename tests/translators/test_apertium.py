"""Apertium's pipelines keep answers and texts together, whatever is asked and whatever dies."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tasks.remote.errors import Unreachable
from tasks.storage.errors import PermanentError, TransientError
from tasks.translators.apertium import ApertiumTranslator, Chain, Options, Pipeline, Tagger, open_translator

ROOT = Path(__file__).parents[2]
SPECIAL = "^$/<>{}\\*@#+~[]"
CAT = ("The cat is black.", "El gato es negro.")

needs_apertium = pytest.mark.skipif(
    not Path("/usr/share/apertium/modes/eng-spa.mode").exists(), reason="apertium-eng-spa is not installed"
)


def _open(**options: object) -> ApertiumTranslator:
    translator = open_translator(Options.model_validate(options), "en", "es")
    assert isinstance(translator, ApertiumTranslator)
    return translator


def _ask(translator: ApertiumTranslator, *texts: str) -> list[str]:
    return asyncio.run(translator.translate(texts))


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def _ended(pid: int, seconds: float = 60) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def _programs(translator: ApertiumTranslator) -> list[subprocess.Popen[bytes]]:
    [pipeline] = translator._alive
    chains = [part._chain if isinstance(part, Tagger) else part for part in pipeline._parts]
    return [program for chain in chains for program in chain._programs]


@pytest.fixture(scope="module")
def translator() -> Iterator[ApertiumTranslator]:
    translator = _open(pipelines=2)
    yield translator
    asyncio.run(translator.aclose())


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    rows = json.loads((ROOT / "data/samples/llava_sample.json").read_text(encoding="utf-8"))
    texts = [turn["value"].replace("<image>", "") for row in rows[:60] for turn in row["conversations"]]
    return [part for text in texts for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part]


@needs_apertium
def test_sentences_come_back_in_spanish_and_in_order(translator: ApertiumTranslator) -> None:
    texts = ["The house is red.", CAT[0], "I have two dogs."]
    assert ["La casa es roja.", CAT[1], "Tengo dos perros."] == _ask(translator, *texts)


@needs_apertium
def test_nothing_gives_nothing(translator: ApertiumTranslator) -> None:
    assert _ask(translator) == []


@needs_apertium
@pytest.mark.parametrize("special", SPECIAL)
def test_a_special_character_survives_wherever_it_stands(translator: ApertiumTranslator, special: str) -> None:
    shapes = [
        "{0}",
        "{0}{0}",
        "the {0} house",
        "house{0}",
        "{0}house",
        "3{0}4",
        "the {0}house{0} is {0}",
        "a.{0}",
    ]
    texts = [shape.format(special) for shape in shapes]
    assert [text.count(special) for text in texts] == [got.count(special) for got in _ask(translator, *texts)]


@needs_apertium
def test_the_answers_stay_aligned_after_a_text_with_every_special_character(
    translator: ApertiumTranslator,
) -> None:
    first, *answers = _ask(translator, f"the {SPECIAL} house {SPECIAL}", *[CAT[0]] * 5)
    assert list(SPECIAL * 2) == [char for char in first if char in SPECIAL]
    assert [CAT[1]] * 5 == answers


@needs_apertium
@pytest.mark.parametrize(
    "hostile",
    [
        "😀 I 👨‍👩‍👧 you 🇪🇸",
        "שלום world مرحبا",
        "你好，世界",
        "[]",
        "[n1]",
        "[7e][5e]",
        "\\",
        "\\\\[",
        "^",
        "house^",
        "\0",
        "a\0b\0",
        "\uffff",
        "the\uffff house",
        "\ud83d",
        "\udc00x\ud800",
        "a\nb",
        "\t\r\x0b\x1c\x85\u2028",
        "\u200b\u00ad\ufeff",
        "^house<n><sg>$",
        "<STREAMCMD:FLUSH>",
        "[<STREAMCMD:SETVAR:x>]",
        "[[t:b:123456]]house[[/]]",
        "..." * 100,
        "house" * 1_000,
    ],
)
def test_a_hostile_text_does_not_move_its_neighbours(translator: ApertiumTranslator, hostile: str) -> None:
    texts = [CAT[0], hostile, CAT[0], hostile, hostile, CAT[0]]
    answers = _ask(translator, *texts)
    assert [CAT[1]] * 3 == [answers[0], answers[2], answers[5]]
    assert answers[1] == answers[3] == answers[4]
    assert not set("\0\uffff\ud83d\udc00\ud800") & set(hostile) - set(answers[1])


@needs_apertium
def test_a_very_long_line_passes_although_no_pipe_can_hold_it(translator: ApertiumTranslator) -> None:
    answers = _ask(translator, CAT[0], "The cat is black, " * 6_000, CAT[0])
    assert [CAT[1], CAT[1]] == [answers[0], answers[2]]
    assert answers[1].count("gato") == 6_000


@needs_apertium
def test_random_mixtures_keep_their_special_characters_in_order(translator: ApertiumTranslator) -> None:
    draw = random.Random(4)
    words = [
        *SPECIAL,
        "the",
        "red",
        "house",
        "is",
        "Mr.",
        "3/4",
        "it's",
        '"quoted"',
        "😀",
        "ñ",
        "...",
        "in order to",
    ]
    texts = ["".join(draw.choices([*words, " ", " "], k=draw.randint(1, 12))) for _ in range(300)]
    kept = [[char for char in text if char in SPECIAL] for text in texts]
    assert kept == [[char for char in answer if char in SPECIAL] for answer in _ask(translator, *texts)]


@needs_apertium
def test_an_answer_does_not_depend_on_what_was_asked_before(
    translator: ApertiumTranslator, sentences: list[str]
) -> None:
    bare = [text.rstrip(".?!") if n % 3 else text for n, text in enumerate(sentences)]
    assert any("near" in text for text in bare), "the word that spoils apertium-tagger"
    there, back = _ask(translator, *bare), _ask(translator, *bare[::-1])[::-1]
    assert there == back


@needs_apertium
def test_unknown_words_carry_no_mark(translator: ApertiumTranslator) -> None:
    [answer] = _ask(translator, "The racquet has a zorblaxed topspin.")
    assert "racquet" in answer
    assert not set("*@#") & set(answer)


@needs_apertium
def test_white_space_around_a_text_stays_as_it_was(translator: ApertiumTranslator) -> None:
    assert ["  El gato \t", " ", "Lo quiero."] == _ask(translator, "  The cat \t", " ", "I love it.")


@needs_apertium
def test_many_requests_at_once_all_get_their_own_answers(translator: ApertiumTranslator) -> None:
    async def ask_all() -> list[list[str]]:
        return await asyncio.gather(*(translator.translate([f"Number {n}.", CAT[0]]) for n in range(40)))

    assert [[f"Número {n}.", CAT[1]] for n in range(40)] == asyncio.run(ask_all())
    assert len(translator._alive) <= translator.limits.at_once == 2


@needs_apertium
def test_closing_leaves_no_process() -> None:
    before = _children()
    translator = _open(pipelines=2)
    _ask(translator, CAT[0])
    assert _children() > before
    asyncio.run(translator.aclose())
    assert _children() == before


@needs_apertium
def test_a_killed_program_is_reported_and_replaced() -> None:
    translator = _open(pipelines=1)
    for index in (0, 1, 5, -1):
        _ask(translator, CAT[0])
        victim = _programs(translator)[index]
        victim.kill()
        victim.wait()
        with pytest.raises(Unreachable, match="ended"):
            _ask(translator, CAT[0])
        assert [CAT[1]] == _ask(translator, CAT[0])
    asyncio.run(translator.aclose())


@needs_apertium
def test_a_hanging_program_is_reported_and_replaced() -> None:
    before = _children()
    translator = _open(pipelines=1)
    _ask(translator, CAT[0])
    translator._timeout_seconds = 0.5  # from now on: starting takes its time
    hanging = _programs(translator)[4].pid
    os.kill(hanging, signal.SIGSTOP)
    with pytest.raises(Unreachable, match="in time"):
        _ask(translator, CAT[0])
    translator._timeout_seconds = 60
    assert _ended(hanging)
    assert [CAT[1]] == _ask(translator, CAT[0])
    asyncio.run(translator.aclose())
    assert _children() == before


@needs_apertium
def test_closing_does_not_wait_for_a_request_that_hangs() -> None:
    async def close_meanwhile() -> None:
        translator = _open(pipelines=1, timeout_seconds=600)
        await translator.translate([CAT[0]])
        os.kill(_programs(translator)[0].pid, signal.SIGSTOP)
        asking = asyncio.ensure_future(translator.translate([CAT[0]]))
        await asyncio.sleep(0)
        await asyncio.wait_for(translator.aclose(), 30)
        with pytest.raises((Unreachable, asyncio.CancelledError)):
            await asking

    asyncio.run(close_meanwhile())


@needs_apertium
def test_no_program_outlives_us_when_we_are_killed() -> None:
    code = (
        "import asyncio, sys\n"
        "from tasks.translators.apertium import Options, open_translator\n"
        "translator = open_translator(Options(pipelines=2), 'en', 'es')\n"
        "async def ask(): await asyncio.gather(*(translator.translate(['The cat.']) for _ in range(9)))\n"
        "asyncio.run(ask())\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, cwd=ROOT) as ours:
        assert ours.stdout is not None
        assert ours.stdout.readline() == b"ready\n"
        programs = [child.pid for child in psutil.Process(ours.pid).children(recursive=True)]
        ours.kill()
        ours.wait()
    assert len(programs) >= 11
    assert all(_ended(pid) for pid in programs)


@needs_apertium
def test_pipelines_do_not_hold_each_others_pipes() -> None:
    commands = _open()._commands
    first, second = Pipeline(commands), Pipeline(commands)
    [front, *_] = first._parts
    assert isinstance(front, Chain)
    os.close(front._questions)
    front._questions = os.open(os.devnull, os.O_RDONLY)
    assert [0] == [program.wait(timeout=60) for program in front._programs]
    assert [CAT[1]] == second.ask([CAT[0]], 60)
    first.close()
    second.close()


@needs_apertium
def test_the_locale_of_the_worker_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    translator = _open(pipelines=1)
    assert ["La chica es aquí mañana. 😀"] == _ask(translator, "The girl is here tomorrow. 😀")
    asyncio.run(translator.aclose())


@pytest.fixture
def installation(tmp_path: Path) -> Callable[..., Path]:
    """Make an Apertium whose only stage is a Python program."""

    def make(program: str, mode: str = "eng-spa", dictionary: str = "house: casa") -> Path:
        (tmp_path / "modes").mkdir(exist_ok=True)
        stage = tmp_path / "stage"
        stage.write_text(f"#!{sys.executable}\n{program}\n", encoding="utf-8")
        stage.chmod(0o755)
        (tmp_path / "words.bin").write_text(dictionary, encoding="utf-8")
        text = f"{stage} $1 '{tmp_path / 'words.bin'}' $2\n"
        (tmp_path / "modes" / f"{mode}.mode").write_text(text, encoding="utf-8")
        return tmp_path

    return make


# Answers each text by what `answer` makes of it.
STAGE = """
import sys
text = b""
while byte := sys.stdin.buffer.read(1):
    text += byte
    if byte == b"\\0":
        sys.stdout.buffer.write(({answer}))
        sys.stdout.buffer.flush()
        text = b""
"""


def _fake(installation: Callable[..., Path], answer: str, **options: object) -> ApertiumTranslator:
    return _open(data=installation(STAGE.format(answer=answer)), pipelines=1, **options)


def test_options_of_the_mode_file_become_null_flush_and_no_marks(installation: Callable[..., Path]) -> None:
    translator = _open(data=installation(""))
    [[stage, *words]] = translator._commands
    assert Path(stage).name == "stage"
    assert ["-z", "-n", "words.bin"] == [Path(word).name for word in words]


def test_a_text_travels_escaped_and_numbered(installation: Callable[..., Path]) -> None:
    translator = _fake(installation, "text.replace(b'[n', b' seen ' + text[:-1].hex().encode() + b'[n')")
    [_, answer] = _ask(translator, "x", "a[~]/")
    assert answer.startswith("a[~]/ seen ")
    assert b"a\\[[7e]\\]\\/[n1]" == bytes.fromhex(answer.split()[-1])
    asyncio.run(translator.aclose())


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("b'lost\\0'", "do not belong"),
        ("text + text", "answers (to|do not)"),
        ("sys.exit(3)", "ended early"),
        ("sys.exit('out of memory')", "out of memory"),
        ("exec('while 1: pass')", "in time"),
        ("b'\\xff' + text", "not UTF-8"),
    ],
)
def test_a_wrong_answer_is_never_taken_for_a_translation(
    installation: Callable[..., Path], answer: str, error: str
) -> None:
    before = _children()
    translator = _fake(installation, answer, timeout_seconds=1 if error == "in time" else 60)
    with pytest.raises(TransientError, match=error):
        _ask(translator, "one", "two")
    assert not translator._alive
    assert _children() == before
    asyncio.run(translator.aclose())


def test_another_dictionary_is_another_translator(installation: Callable[..., Path]) -> None:
    first = _open(data=installation("pass")).name
    assert first == _open(data=installation("pass")).name
    changed = _open(data=installation("pass", dictionary="house: hogar")).name
    updated = _open(data=installation("pass # faster")).name
    assert len({first, changed, updated}) == 3
    assert re.fullmatch(r"apertium/eng-spa@[0-9a-f]{8}", first)


def test_without_apertium_the_message_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"not installed.*apt-get install .*apertium apertium-eng-spa"):
        _open(data=tmp_path)


def test_without_the_mode_the_message_names_those_that_are_there(installation: Callable[..., Path]) -> None:
    data = installation("pass")
    with pytest.raises(PermanentError, match=r"no mode eng-fra; installed: eng-spa.*package apertium-eng-fra"):
        open_translator(Options(data=data), "en", "fr")


def test_modes_named_by_two_letters_are_found(installation: Callable[..., Path]) -> None:
    data = installation("pass", mode="eo-en")
    assert open_translator(Options(data=data), "eo", "en").name.startswith("apertium/eo-en@")


def test_a_missing_program_is_named(installation: Callable[..., Path]) -> None:
    data = installation("pass")
    (data / "modes" / "eng-spa.mode").write_text("lrx-prok -m x.bin | apertium-trensfer", encoding="utf-8")
    with pytest.raises(PermanentError, match="lacks the programs apertium-trensfer, lrx-prok"):
        _open(data=data)


def test_a_program_that_cannot_start_leaves_nothing(installation: Callable[..., Path]) -> None:
    data = installation("pass")
    translator = _open(data=data, pipelines=1)
    open_files = psutil.Process().num_fds()
    (data / "stage").unlink()
    for _ in range(3):
        with pytest.raises(Unreachable, match="did not start"):
            _ask(translator, "one")
    assert open_files == psutil.Process().num_fds()
    asyncio.run(translator.aclose())
