"""EasyOCR: CRAFT finds the text, a recogniser per script reads it. Slow on a CPU, at home on a GPU.

Its weights lie in one folder; nothing is downloaded unless a setting says so, because a download that finds a file with
another checksum deletes it::

    craft_mlt_25k.pth    83 MB, finds text
    cyrillic_g2.pth      15 MB, reads ru, uk, be, bg and English
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import threading
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, Field

from tasks.memes.readers.protocol import Line, Reader, in_order, letters
from tasks.storage.errors import PermanentError

DETECTOR = "craft_mlt_25k.pth"
_STANDARD = "standard"  # EasyOCR chooses the recogniser by the languages


def _folder() -> Path:
    """Where EasyOCR itself keeps its weights."""
    home = os.environ.get("EASYOCR_MODULE_PATH") or os.environ.get("MODULE_PATH") or "~/.EasyOCR"
    return Path(home).expanduser() / "model"


class Options(BaseModel):
    """Settings, read from ``TRASVASE_EASYOCR_…``."""

    weights: Path = Field(default_factory=_folder, description="The folder of the weights.")
    network: str = Field(_STANDARD, description="The recogniser: standard, or the name of one of your own.")
    networks: Path | None = Field(None, description="The folder of your own recognisers' NAME.yaml and NAME.py.")
    download: bool = Field(False, description="Fetch weights that are missing; replaces files with another checksum.")
    gpu: bool = Field(False, description="Compute on the GPU.")
    batch: int = Field(8, ge=1, le=256, description="Images of one size, and lines, that are computed together.")
    min_confidence: float = Field(30, ge=0, le=100, description="Lines below it are left out.")


def is_ready(options: Options) -> bool:
    """Whether the package, and the weights of the detector and of a recogniser, are there."""
    weights = {path.name for path in options.weights.glob("*.pth")}
    return importlib.util.find_spec("easyocr") is not None and weights > {DETECTOR}


def open_reader(options: Options, languages: Sequence[str]) -> Reader:
    """Load the networks.

    Raises:
        PermanentError: The package or the weights are missing, or a language is none of EasyOCR's.
    """
    if importlib.util.find_spec("easyocr") is None:
        raise PermanentError("EasyOCR is not installed. Install: .venv/bin/python -m pip install -e '.[easyocr]'")
    from tasks.models.torchvision import let_torchvision_load

    let_torchvision_load()
    import easyocr

    if options.networks:
        options.networks.mkdir(parents=True, exist_ok=True)
    try:
        engine = easyocr.Reader(
            list(languages),
            gpu=options.gpu,
            model_storage_directory=str(options.weights),
            user_network_directory=str(options.networks) if options.networks else None,
            recog_network=options.network,
            download_enabled=options.download,
            verbose=False,
        )
    except FileNotFoundError as error:
        raise PermanentError(
            f"EasyOCR's weights are not in {options.weights} as they should be ({error}). Put them there, name their "
            "folder in TRASVASE_EASYOCR_WEIGHTS, let EasyOCR fetch them with TRASVASE_EASYOCR_DOWNLOAD=true, or give "
            "reader=hybrid."
        ) from error
    except ValueError as error:
        raise PermanentError(f"EasyOCR cannot read {', '.join(languages)}: {error}") from error
    return EasyOcrReader(engine, options)


class EasyOcrReader:
    """One engine for all threads, one at a time: it computes on as many as torch has."""

    def __init__(self, engine: Any, options: Options) -> None:
        self._engine, self._options = engine, options
        self._reading = threading.Lock()
        # All of the folder: EasyOCR does not say which it took. On a CPU it rounds the weights, so that is another reader.
        weights = hashlib.sha256()
        for path in sorted(options.weights.glob("*.pth")):
            weights.update(hashlib.sha256(path.read_bytes()).digest())
        device = "gpu" if options.gpu else "cpu"
        self.name = f"easyocr/{metadata.version('easyocr')}@{weights.hexdigest()[:8]}-{device}"

    def read(self, images: Sequence[Image.Image]) -> list[list[Line]]:
        by_size: dict[tuple[int, int], list[int]] = {}
        for number, image in enumerate(images):
            by_size.setdefault(image.size, []).append(number)
        lines: list[list[Line]] = [[] for _ in images]
        for same in by_size.values():
            for start in range(0, len(same), self._options.batch):
                batch = same[start : start + self._options.batch]
                pixels = [np.asarray(images[number])[:, :, ::-1] for number in batch]
                with self._reading:
                    # No workers: on a CPU each would be started anew for every box (docs/decisions.md, "EasyOCR").
                    found = self._engine.readtext_batched(pixels, batch_size=self._options.batch, workers=0)
                for number, boxes in zip(batch, found, strict=True):
                    lines[number] = in_order(self._lines(boxes))
        return lines

    def _lines(self, boxes: Sequence[Any]) -> list[Line]:
        lines = []
        for corners, text, share in boxes:
            confidence = round(100 * float(share), 1)
            if confidence >= self._options.min_confidence and letters(text):
                low, high = np.min(corners, axis=0).round(), np.max(corners, axis=0).round()
                left, top, right, bottom = (max(0, int(edge)) for edge in (*low, *high))
                lines.append(Line(text, left, top, right, bottom, confidence))
        return lines
