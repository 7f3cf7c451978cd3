"""PP-OCR's detector finds the lines, Tesseract reads each: the offline default.

The reader of rapidocr-onnxruntime, which the detector comes from, knows no Cyrillic. A line is cut out upright, 48 pixels
high, and read in three ways, the surest of which counts (docs/decisions.md, "Reading memes")::

    white   bright letters alone: what touches the border for long is background and goes
    black   dark letters alone, likewise
    grey    as it is; Tesseract also tries the inverse of what it is not sure of
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib import metadata

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks.memes.detector import open_detector
from tasks.memes.readers import tesseract
from tasks.memes.readers.protocol import Line, Reader, in_order, letters
from tasks.memes.readers.tesseract import Tesseract, Texts, without_noise

VERSION = "3"
HEIGHT, MARGIN = 48, 10  # pixels of a line that is read, and around it
GROW_WIDTH, GROW_HEIGHT = 1.06, 1.30  # the detector's boxes cut off the ends of letters
WHITE, BLACK = 190, 80  # the darkest channel of white letters, the brightest of black ones
SURE = 88.0  # no other way is tried
MAX_SHAPE = 4.0  # longer pictures get a border, for that reason
MAX_PIXELS = 2_200_000
MAX_LINE = 40  # width of a line in heights; longer ones are no text

Pixels = NDArray[np.uint8]
Box = NDArray[np.float32]  # four corners, from the top left clockwise


class Options(tesseract.Options):
    """Settings, read from ``TRASVASE_HYBRID_…``."""


def open_reader(options: Options, languages: Sequence[str]) -> Reader:
    """Load the detector and find Tesseract.

    Raises:
        PermanentError: Tesseract, or one of the languages, is not installed.
    """
    return HybridReader(Tesseract(options, languages), options.min_confidence)


class HybridReader:
    """One detector for all threads, one at a time; Tesseract runs beside it."""

    def __init__(self, program: Tesseract, min_confidence: float) -> None:
        self._program, self._min_confidence = program, min_confidence
        self._detect, weights = open_detector()
        self._detecting = threading.Lock()
        self.name = f"hybrid/{VERSION} rapidocr/{metadata.version('rapidocr-onnxruntime')}@{weights} {program.name}"

    def read(self, images: Sequence[Image.Image]) -> list[list[Line]]:
        found = [(number, box) for number, image in enumerate(images) for box in self._boxes(image)]
        cut = [cut_out(np.asarray(images[number]), box) for number, box in found]
        lines: list[list[Line]] = [[] for _ in images]
        for (number, box), read in zip(found, self._read(cut), strict=True):
            if read and read.confidence >= self._min_confidence:
                width, height = images[number].size
                low = np.maximum(box.min(axis=0).round(), 0)
                high = np.minimum(box.max(axis=0).round(), (width, height))
                left, top, right, bottom = (int(edge) for edge in (*low, *high))
                lines[number].append(Line(read.text, left, top, right, bottom, round(read.confidence, 1)))
        return [in_order(some) for some in lines]

    def _boxes(self, image: Image.Image) -> list[Box]:
        """Where lines of text are, in the image's own pixels."""
        width, height = image.size
        with_border = max(width, height / MAX_SHAPE) * max(height, width / MAX_SHAPE)
        scale = min(1.0, (MAX_PIXELS / with_border) ** 0.5)
        pixels = np.asarray(image)
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        high, wide = pixels.shape[:2]
        more = (max(0, round(wide / MAX_SHAPE) - high), max(0, round(high / MAX_SHAPE) - wide))
        if any(more):
            pixels = cv2.copyMakeBorder(pixels, 0, more[0], 0, more[1], cv2.BORDER_REPLICATE)
        with self._detecting:
            boxes, _ = self._detect(pixels)
        found = [np.asarray(box, np.float32) / scale for box in (() if boxes is None else boxes)]
        return [box for box in found if box[:, 0].min() < width and box[:, 1].min() < height]

    def _read(self, cut: Sequence[Pixels]) -> list[Texts | None]:
        ways = [ways_to_see(pixels) for pixels in cut]
        best: list[Texts | None] = [None] * len(cut)
        # The first way alone, then the others together: a start of Tesseract takes as long as ten lines.
        for some in (slice(0, 1), slice(1, None)):
            left = [number for number, read in enumerate(best) if read is None or read.confidence < SURE]
            shown = [(number, way) for number in left for way in ways[number][some]]
            words = self._program.words([way for _, way in shown], psm=7)
            for (number, _), found in zip(shown, words, strict=True):
                read = without_noise(found)
                if read is None:
                    continue
                # A short text is sure of itself by chance: 12 points off for one letter, 1 for twelve.
                read = read._replace(confidence=max(0.0, read.confidence - 12 / letters(read.text)))
                known = best[number]
                if known is None or read.confidence > known.confidence:
                    best[number] = read
        return best


def cut_out(image: Pixels, box: Box) -> Pixels:
    """A line turned upright, ``HEIGHT`` pixels high."""
    across = (box[1] - box[0] + box[2] - box[3]) / 2
    wide = float(np.linalg.norm(across))
    high = float(np.linalg.norm(box[3] - box[0]) + np.linalg.norm(box[2] - box[1])) / 2
    right = across / max(wide, 1e-6)
    down = np.array([-right[1], right[0]])
    centre, half_width, half_height = box.mean(axis=0), wide * GROW_WIDTH / 2, max(high, 1.0) * GROW_HEIGHT / 2
    x, y = right * half_width, down * half_height
    corners = np.array([centre - x - y, centre + x - y, centre + x + y, centre - x + y], np.float32)
    width = round(min(max(HEIGHT * half_width / half_height, 8), MAX_LINE * HEIGHT))
    target = np.array([[0, 0], [width, 0], [width, HEIGHT], [0, HEIGHT]], np.float32)
    turn = cv2.getPerspectiveTransform(corners, target)
    return np.asarray(
        cv2.warpPerspective(image, turn, (width, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE),
        np.uint8,
    )


def ways_to_see(line: Pixels) -> list[Image.Image]:
    """Up to three pictures of one line, those that are most often right first; none without any ink."""
    grey = np.asarray(cv2.cvtColor(line, cv2.COLOR_RGB2GRAY), np.uint8)
    white, black = _without_background(line.min(axis=2) > WHITE), _without_background(line.max(axis=2) < BLACK)
    seen = [*(np.where(ink, 0, 255).astype(np.uint8) for ink in (white, black) if ink.any()), grey]
    return [Image.fromarray(np.pad(way, MARGIN, constant_values=255)) for way in seen]


def _without_background(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Take out connected areas that touch the border for long, and specks."""
    count, areas, stats, _ = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=4)
    border = np.concatenate([areas[0], areas[-1], areas[:, 0], areas[:, -1]])
    kept = (np.bincount(border, minlength=count) <= 0.3 * len(ink)) & (stats[:, cv2.CC_STAT_AREA] >= 6)
    kept[0] = False
    return np.asarray(kept[areas], np.bool_)
