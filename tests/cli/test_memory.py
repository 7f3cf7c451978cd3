from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.cli import main
from tasks.llava.corrections import Correction, add_corrections, best, memory_path, read_corrections
from tasks.reviews.records import pseudonym
from tasks.storage.root import DataRoot

AT = datetime(2026, 11, 20, 10, 15, 30, tzinfo=UTC)
ANA, LUIS, EVA = "reviewer-3f2a9c01", "reviewer-77d01b2e", "reviewer-a1b2c3d4"
TEXTS = {
    "<image>\nIs the bus white & red?": "<image>\n¿El autobús es blanco y rojo?",
    "The dog runs.\r\nThe cat sleeps. ": "El perro corre.\r\nEl gato duerme. ",
    "A smile 😀 from the old\x85days.": "Una sonrisa 😀 de los viejos\x85tiempos.",
}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataRoot:
    """A data root with three settled texts, and one that cannot be used."""
    monkeypatch.setenv("TRASVASE_DATA", str(tmp_path / "data"))
    root = DataRoot(tmp_path / "data")
    settled = [
        Correction(source, target, "edited", (ANA, LUIS), AT, "llava-es", row, 1)
        for row, (source, target) in enumerate(TEXTS.items())
    ]
    add_corrections(_memory(root), settled, "llava-es")
    return root


def _memory(root: DataRoot, target: str = "es") -> Path:
    return memory_path(root.memory, "en", target)


def test_what_is_there_is_listed_by_origin(data: DataRoot, capsys: pytest.CaptureFixture[str]) -> None:
    text = next(iter(TEXTS))
    add_corrections(
        _memory(data), [Correction(text, "<image>\n¿Otro?", "accepted", (EVA,), AT, "other-es")], "other-es"
    )
    assert main(["memory"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == [str(_memory(data)), "  3 texts, 1 on which people differ, 4 entries"]
    rows = [line.split() for line in shown if line.strip().startswith(("llava-es", "other-es"))]
    assert rows == [
        ["llava-es", "3", "0", "3", "0", "3", "2", "2026-11-20", "10:15", "UTC"],
        ["other-es", "1", "1", "0", "0", "1", "1", "2026-11-20", "10:15", "UTC"],
    ]
    assert main(["memory", "--json"]) == 0
    (held,) = json.loads(capsys.readouterr().out)
    assert (held["texts"], held["conflicts"], sorted(held["origins"])) == (3, 1, ["llava-es", "other-es"])


def test_an_entry_that_cannot_be_used_is_named(data: DataRoot, capsys: pytest.CaptureFixture[str]) -> None:
    add_corrections(_memory(data), [Correction("<image>\nA?", "¿A?", "edited", (ANA,), AT, "bad-es")], "bad-es")
    assert main(["memory"]) == 1
    shown = capsys.readouterr().out
    assert "1 entries break what must hold and are not used:" in shown
    assert "bad-es: '<image>\\nA?': lines, placeholder" in shown


def test_an_empty_root_says_how_to_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRASVASE_DATA", str(tmp_path))
    assert main(["memory"]) == 0
    assert "trasvase memory import FILE.tmx" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_what_goes_out_comes_in_again_byte_for_byte(
    data: DataRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tmx = tmp_path / "llava.tmx"
    assert main(["memory", "export", str(tmx)]) == 0
    assert capsys.readouterr().out == f"3 texts: {tmx}\n"

    monkeypatch.setenv("TRASVASE_DATA", str(tmp_path / "elsewhere"))
    assert main(["memory", "import", str(tmx)]) == 0
    there = _memory(DataRoot(tmp_path / "elsewhere"))
    assert f"3 texts of {tmx} taken over into {there}" in capsys.readouterr().out

    assert {source: choice.text for source, choice in best(there).choices.items()} == TEXTS
    assert {(each.how, each.by, each.at, each.origin) for each in read_corrections(there)} == {
        ("tmx", (ANA, LUIS), AT, "tmx:llava.tmx")
    }
    again = tmp_path / "again.tmx"
    assert main(["memory", "export", str(again)]) == 0
    assert again.read_text().replace(">tmx<", ">edited<") == tmx.read_text()


def test_a_second_import_changes_nothing_and_counts_nobody_twice(
    data: DataRoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmx = tmp_path / "llava.tmx"
    main(["memory", "export", str(tmx)])
    assert main(["memory", "import", str(tmx)]) == 0
    first = _memory(data).stat().st_mtime_ns
    assert main(["memory", "import", str(tmx)]) == 0
    assert "0 entries new, 0 gone, 6 there now" in capsys.readouterr().out
    assert first == _memory(data).stat().st_mtime_ns
    assert {choice.votes for choice in best(_memory(data)).choices.values()} == {2}


def _tmx(path: Path, *pairs: tuple[str, str], who: str = "Ana García") -> Path:
    units = "".join(
        f'<tu>\n<tuv xml:lang="en-US"><seg>{source}</seg></tuv>'
        f'<tuv xml:lang="es-ES" changeid="{who}"><seg>{target}</seg></tuv></tu>\n'
        for source, target in pairs
    )
    path.write_text(f'<tmx version="1.4"><header/><body>\n{units}</body></tmx>', encoding="utf-8")
    return path


def test_names_of_people_become_pseudonyms(data: DataRoot, tmp_path: Path) -> None:
    tmx = _tmx(tmp_path / "agency.tmx", ("A dog.", "Un perro."))
    assert main(["memory", "import", str(tmx)]) == 0
    (entry,) = (each for each in read_corrections(_memory(data)) if each.origin == "tmx:agency.tmx")
    assert entry.by == (pseudonym("Ana García"),)
    assert b"Garc" not in _memory(data).read_bytes()


def test_what_breaks_the_structure_is_named_and_not_taken_over(
    data: DataRoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmx = _tmx(tmp_path / "agency.tmx", ("A dog.", "Un perro."), ("&lt;image&gt; What is this?", "¿Qué es esto?"))
    assert main(["memory", "import", str(tmx)]) == 1
    shown = capsys.readouterr()
    assert "1 texts of" in shown.out
    assert shown.err == "1 not taken over:\n  line 4: '<image> What is this?': placeholder\n"
    assert {each.source for each in read_corrections(_memory(data)) if each.how == "tmx"} == {"A dog."}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "none.tmx"], "none.tmx cannot be read: No such file or directory."),
        (["import", "bad.tmx"], "None of the 1 texts of bad.tmx can be used; the first one: line 2: 'A dog.': empty."),
        (["import", "torn.tmx"], "torn.tmx, line 1: no element found"),
        (
            ["import", "good.tmx", "--target", "eu"],
            "good.tmx has no text in both en and eu. Languages in it: en-US, es-ES",
        ),
        (
            ["import", "good.tmx", "--target", "../es"],
            "'../es' is no language's code. Give one such as 'en' or 'pt-BR'.",
        ),
        (["export", "out.tmx", "--target", "eu"], "Memories there: en-es. Name one with --source and --target."),
    ],
)
def test_what_cannot_be_done_ends_with_2_and_changes_nothing(
    data: DataRoot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    _tmx(tmp_path / "good.tmx", ("A dog.", "Un perro."))
    _tmx(tmp_path / "bad.tmx", ("A dog.", ""))
    (tmp_path / "torn.tmx").write_text("<tmx><body>")
    before = _memory(data).read_bytes()
    assert main(["memory", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert (before, ["en-es.parquet", "lock"]) == (
        _memory(data).read_bytes(),
        sorted(path.name for path in data.memory.iterdir()),
    )
    assert not (tmp_path / "out.tmx").exists()


def test_a_damaged_memory_ends_with_1(data: DataRoot, capsys: pytest.CaptureFixture[str]) -> None:
    _memory(data).write_bytes(_memory(data).read_bytes()[:-20])
    assert main(["memory"]) == 1
    assert f"{_memory(data)} is not a whole Parquet file" in capsys.readouterr().err


def test_a_text_that_xml_cannot_carry_is_named(
    data: DataRoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bell = Correction("A bell\x07 rings.", "Suena\x07 una campana.", "edited", (ANA,), AT, "bells-es")
    add_corrections(_memory(data), [bell], "bells-es")
    assert main(["memory", "export", str(tmp_path / "out.tmx")]) == 1
    shown = capsys.readouterr()
    assert shown.out == f"3 texts: {tmp_path / 'out.tmx'}\n"
    assert shown.err == "1 not written:\n  'A bell\\x07 rings.': U+0007 cannot stand in XML\n"


@pytest.mark.parametrize("action", ["export", "import"])
def test_help_of_an_action_shows_examples(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["memory", action, "--help"])
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert "--target" in shown
