from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.memes.readers import easyocr, module_of, names
from tasks.memes.readers.hybrid import Options, open_reader, ways_to_see
from tasks.memes.readers.protocol import Line, Reader, Unread, in_order, joined
from tasks.memes.readers.tesseract import Tesseract, Word
from tasks.storage.errors import PermanentError
from tests.memes.drawn import meme, printed

LANGUAGES = ["ru", "en"]


@pytest.fixture(scope="module")
def hybrid() -> Reader:
    return open_reader(Options(), LANGUAGES)


@pytest.fixture(scope="module")
def tesseract() -> Reader:
    module = module_of("tesseract")
    reader: Reader = module.open_reader(module.Options(), LANGUAGES)
    return reader


def _texts(reader: Reader, images: Sequence[Image.Image]) -> list[str]:
    return [joined(lines) for lines in reader.read(images)]


def test_readers_are_found_by_their_file_names() -> None:
    assert ["easyocr", "hybrid", "tesseract"] == names()
    with pytest.raises(PermanentError, match=r"no reader 'eye'. Choose from: auto, easyocr, hybrid, tesseract\."):
        module_of("eye")


def test_tesseract_reads_print(tesseract: Reader) -> None:
    images = [printed("Спокойной ночи", "и доброе утро"), printed(), printed("Hello world")]
    assert ["Спокойной ночи\nи доброе утро", "", "Hello world"] == _texts(tesseract, images)


def test_hybrid_reads_captions_on_pictures(hybrid: Reader) -> None:
    images = [meme("ДОБРОЕ УТРО", "СПОКОЙНОЙ НОЧИ"), meme(), meme("ЗАВТРА ПОНЕДЕЛЬНИК", seed=3)]
    assert ["ДОБРОЕ УТРО\nСПОКОЙНОЙ НОЧИ", "", "ЗАВТРА ПОНЕДЕЛЬНИК"] == _texts(hybrid, images)


def test_tesseract_starts_twice_however_many_lines_there_are(hybrid: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []
    words = Tesseract.words

    def counted(program: Tesseract, images: Sequence[Image.Image], psm: int) -> list[list[Word]]:
        shown.append(len(images))
        return words(program, images, psm)

    monkeypatch.setattr(Tesseract, "words", counted)
    grey = Image.new("RGB", (640, 480), (128, 128, 128))
    grey.paste(meme("ПОНЕДЕЛЬНИК").point(lambda level: 40 + level // 2))  # neither white nor black letters
    assert [1, 1, 1] == [len(lines) for lines in hybrid.read([meme("ДОБРОЕ УТРО"), grey, meme("НОЧЬ")])]
    assert 2 == len(shown)


def test_letters_are_looked_for_only_where_there_are_some() -> None:
    line = np.full((48, 200, 3), 128, np.uint8)
    assert 1 == len(ways_to_see(line))
    line[12:36, 20:30] = 255
    assert 2 == len(ways_to_see(line))
    line[12:36, 60:70] = 0
    assert 3 == len(ways_to_see(line))


def test_boxes_are_where_the_letters_are(hybrid: Reader, tesseract: Reader) -> None:
    ((line,),) = hybrid.read([meme("ДОБРОЕ УТРО")])
    assert 100 < line.left < 160
    assert 25 < line.top < 45
    assert 480 < line.right < 540
    assert 75 < line.bottom < 95
    assert 60 < line.confidence <= 100
    ((line,),) = tesseract.read([printed("ДОБРОЕ УТРО", size=(4000, 2000))])  # made smaller before it is read
    assert abs(line.left - 40) < 8
    assert abs(line.top - 45) < 12


def test_very_long_and_very_small_pictures_do_no_harm(hybrid: Reader, tesseract: Reader) -> None:
    for reader in (hybrid, tesseract):
        assert [[]] * 3 == reader.read(
            [Image.new("RGB", (9000, 12)), Image.new("RGB", (8, 8)), Image.new("RGB", (8, 6000))]
        )


def test_nothing_to_read_is_nothing(hybrid: Reader, tesseract: Reader) -> None:
    assert [] == hybrid.read([])
    assert [] == tesseract.read([])


def test_a_missing_language_or_program_says_what_to_install() -> None:
    said = "Tesseract lacks the languages xyz. Debian, Ubuntu: sudo apt-get install tesseract-ocr tesseract-ocr-xyz"
    with pytest.raises(PermanentError) as caught:
        open_reader(Options(), ["xyz"])
    assert said == str(caught.value)
    with pytest.raises(PermanentError, match="Tesseract is not installed"):
        open_reader(Options(command="/nowhere/tesseract"), ["ru"])
    with pytest.raises(PermanentError, match="`languages` is empty"):
        open_reader(Options(), [])


def _program(folder: Path, last: str) -> Path:
    """A program that lists languages like Tesseract, and then does something else."""
    path = folder / "tesseract"
    (folder / "rus.traineddata").write_bytes(b"")
    path.write_text(
        "#!/bin/sh\ncase $1 in --version) echo tesseract 9.9;;\n"
        f"--list-langs) echo 'List of available languages in \"{folder}/\" (1):'; echo rus;;\n*) {last};; esac\n"
    )
    path.chmod(0o755)
    return path


def test_a_program_that_fails_or_hangs_is_an_error_that_says_so(tmp_path: Path) -> None:
    options = Options(command=str(_program(tmp_path, "echo 'Out of ideas' >&2; exit 3")))
    with pytest.raises(Unread, match="Tesseract ended with 3: Out of ideas"):
        Tesseract(options, ["ru"]).words([printed()], 3)
    slow = Options(command=str(_program(tmp_path, "exec sleep 60")), timeout_seconds=0.2)
    with pytest.raises(Unread, match=r"Tesseract took longer than 0\.2 s\."):
        Tesseract(slow, ["ru"]).words([printed()], 3)


def test_other_language_data_are_another_reader(tmp_path: Path) -> None:
    options = Options(command=str(_program(tmp_path, "true")))
    first = Tesseract(options, ["ru"]).name
    (tmp_path / "rus.traineddata").write_bytes(b"new")
    assert first.startswith("tesseract/9.9@")
    assert first != Tesseract(options, ["ru"]).name


def test_lines_are_read_from_the_top_and_from_the_left() -> None:
    low, right, left = Line("c", 0, 100, 50, 130, 9), Line("b", 60, 5, 90, 35, 9), Line("a", 0, 10, 50, 40, 9)
    assert [left, right, low] == in_order([low, right, left])
    assert "a b\nc" == joined([left, right, low])


def test_easyocr_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = easyocr.Options(weights=tmp_path)
    assert not easyocr.is_ready(options)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    (tmp_path / easyocr.DETECTOR).write_bytes(b"")  # a download that was stopped after the first file
    assert not easyocr.is_ready(options)
    (tmp_path / "cyrillic_g2.pth").write_bytes(b"")
    assert easyocr.is_ready(options)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PermanentError, match=r"EasyOCR is not installed. Install: \.venv/bin/python -m pip"):
        easyocr.open_reader(options, ["ru"])
