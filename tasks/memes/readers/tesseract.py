"""Tesseract over the whole picture: exact on print, and cheap; blind to most captions on photographs.

One process reads many images: they go in as the pages of one TIFF, and come out as TSV ::

    5   3   1   1   2   1   48   912   310   41   96.2   дед        (page 3, line 2, box, confidence, word)
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from pydantic import BaseModel, Field

from tasks.memes.readers.protocol import TESSERACT, Line, Reader, Unread, in_order, letters
from tasks.storage.errors import PermanentError

INSTALL = "Debian, Ubuntu: sudo apt-get install"
MIN_WORD = 35.0  # confidence below which a word is noise
MAX_PIXELS = 4_000_000  # larger pictures are made smaller: print is 20 pixels high all the same
_EDGES = "|[]{}‚_`~"  # what the edge of a box is taken for


class Options(BaseModel):
    """Settings, read from ``TRASVASE_TESSERACT_…``."""

    command: str = Field("tesseract", description="The program.")
    min_confidence: float = Field(50, ge=0, le=100, description="Lines below it are left out.")
    timeout_seconds: float = Field(60, gt=0, description="The longest that one image may take.")


class Word(NamedTuple):
    """A word of Tesseract's TSV: the line it is in, its box, its confidence."""

    line: tuple[int, int, int]
    left: int
    top: int
    right: int
    bottom: int
    confidence: float
    text: str


class Tesseract:
    """The program, found once, with its version and the digest of its language data.

    Raises:
        PermanentError: It, or one of the languages, is not installed.
    """

    def __init__(self, options: Options, languages: Sequence[str]) -> None:
        if not languages:
            raise PermanentError("`languages` is empty. Name at least one, such as ru.")
        names = [TESSERACT.get(language, language) for language in languages]
        packages = " ".join(["tesseract-ocr", *(f"tesseract-ocr-{name}" for name in names)])
        command = shutil.which(options.command)
        if command is None:
            raise PermanentError(f"Tesseract is not installed (no program {options.command!r}). {INSTALL} {packages}")
        self._command, self._timeout_seconds = command, options.timeout_seconds
        version = self._run(["--version"], b"", 30)
        listed = self._run(["--list-langs"], b"", 30).splitlines()
        folder = Path(re.findall(r'"(.*)"', listed[0])[0])
        if missing := sorted(set(names) - set(listed[1:])):
            raise PermanentError(f"Tesseract lacks the languages {', '.join(missing)}. {INSTALL} {packages}")
        self._languages = "+".join(names)
        data = [hashlib.sha256((folder / f"{name}.traineddata").read_bytes()).hexdigest() for name in names]
        self.name = f"tesseract/{version.split()[1]}@{hashlib.sha256(' '.join(data).encode()).hexdigest()[:8]}"

    def words(self, images: Sequence[Image.Image], psm: int) -> list[list[Word]]:
        """The words of each image.

        Raises:
            Unread: The program ended with an error, was killed, or took too long.
        """
        if not images:
            return []
        file = io.BytesIO()
        images[0].save(file, "TIFF", save_all=True, append_images=images[1:])
        arguments = ["stdin", "stdout", "-l", self._languages, "--psm", str(psm), "tsv"]
        tsv = self._run(arguments, file.getvalue(), self._timeout_seconds * len(images))
        words: list[list[Word]] = [[] for _ in images]
        for line in tsv.splitlines()[1:]:
            level, page, *inside, left, top, width, height, confidence, text = line.split("\t")
            if level == "5" and text.strip():
                x, y = int(left), int(top)
                box = (x, y, x + int(width), y + int(height))
                block, paragraph, number = map(int, inside[:3])
                words[int(page) - 1].append(Word((block, paragraph, number), *box, float(confidence), text))
        return words

    def _run(self, arguments: Sequence[str], given: bytes, seconds: float) -> str:
        # A worker has a thread for each chunk in flight: more threads inside each only get in each other's way.
        environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}
        try:
            done = subprocess.run(
                [self._command, *arguments],
                input=given,
                capture_output=True,
                timeout=seconds,
                env=environment,
                check=True,
            )
        except subprocess.TimeoutExpired:
            raise Unread(f"Tesseract took longer than {seconds:g} s.") from None
        except subprocess.CalledProcessError as error:
            told = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise Unread(f"Tesseract ended with {error.returncode}: {' '.join(told) or 'it said nothing'}") from None
        return done.stdout.decode()


class Texts(NamedTuple):
    """Words as one text, without noise, and the mean of their confidences weighted by letters."""

    text: str
    confidence: float
    words: list[Word]


def without_noise(words: Sequence[Word]) -> Texts | None:
    """The words that are some, or None.

    A single letter or digit is what specks are read as, and never a line.
    """
    kept = [word for word in words if word.confidence >= MIN_WORD and letters(word.text)]
    text = " ".join(word.text.strip(_EDGES) for word in kept)
    if letters(text) < 2:
        return None
    weights = [letters(word.text) for word in kept]
    confidence = sum(word.confidence * n for word, n in zip(kept, weights, strict=True)) / sum(weights)
    return Texts(text, confidence, kept)


def open_reader(options: Options, languages: Sequence[str]) -> Reader:
    """Find the program.

    Raises:
        PermanentError: It, or one of the languages, is not installed.
    """
    return TesseractReader(Tesseract(options, languages), options.min_confidence)


class TesseractReader:
    """Page segmentation 3, Tesseract's own: print is found by itself."""

    def __init__(self, program: Tesseract, min_confidence: float) -> None:
        self.name = program.name
        self._program, self._min_confidence = program, min_confidence

    def read(self, images: Sequence[Image.Image]) -> list[list[Line]]:
        scales = [min(1.0, (MAX_PIXELS / (image.width * image.height)) ** 0.5) for image in images]
        pages = [
            image
            if scale == 1
            else image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
            for image, scale in zip(images, scales, strict=True)
        ]
        read = self._program.words(pages, psm=3)
        return [self._lines(words, scale) for words, scale in zip(read, scales, strict=True)]

    def _lines(self, words: Sequence[Word], scale: float) -> list[Line]:
        lines = []
        for number in dict.fromkeys(word.line for word in words):
            found = without_noise([word for word in words if word.line == number])
            if found and found.confidence >= self._min_confidence:
                box = (
                    min(word.left for word in found.words),
                    min(word.top for word in found.words),
                    max(word.right for word in found.words),
                    max(word.bottom for word in found.words),
                )
                left, top, right, bottom = (round(edge / scale) for edge in box)
                lines.append(Line(found.text, left, top, right, bottom, round(found.confidence, 1)))
        return in_order(lines)
