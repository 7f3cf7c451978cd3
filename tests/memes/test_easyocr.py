"""EasyOCR's own code from end to end, on networks of the real classes with random numbers in them.

They read nonsense; that paths, checksums, batches and boxes fit together is what is held here. Skipped where the extra
``easyocr`` is not installed.
"""

from __future__ import annotations

import hashlib
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from prefect.logging import disable_run_logger

from tasks.memes.readers import easyocr
from tasks.memes.readers.protocol import Reader
from tasks.read_memes import chosen, open_reader
from tasks.storage.errors import PermanentError
from tests.memes.drawn import meme

pytestmark = pytest.mark.skipif(find_spec("easyocr") is None, reason="the extra easyocr is not installed")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the names of the real ones."""
    import torch

    from tasks.models.torchvision import let_torchvision_load

    let_torchvision_load()
    from easyocr.config import recognition_models
    from easyocr.craft import CRAFT
    from easyocr.model.vgg_model import Model

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(1)
    letters = len(recognition_models["gen2"]["cyrillic_g2"]["characters"])
    networks = {
        easyocr.DETECTOR: CRAFT(),
        "cyrillic_g2.pth": Model(input_channel=1, output_channel=256, hidden_size=256, num_class=letters + 1),
    }
    for name, network in networks.items():
        torch.save({f"module.{key}": value for key, value in network.state_dict().items()}, folder / name)
    return folder


@pytest.fixture
def known(weights: Path, monkeypatch: pytest.MonkeyPatch) -> easyocr.Options:
    """Options for them, and their checksums in place of the published ones."""
    from easyocr.config import detection_models, recognition_models

    models: dict[str, dict[str, Any]] = {
        easyocr.DETECTOR: detection_models["craft"],
        "cyrillic_g2.pth": recognition_models["gen2"]["cyrillic_g2"],
    }
    for name, model in models.items():
        monkeypatch.setitem(model, "md5sum", hashlib.md5((weights / name).read_bytes()).hexdigest())
    return easyocr.Options(weights=weights, min_confidence=0)


def test_images_of_all_sizes_go_through(known: easyocr.Options) -> None:
    reader: Reader = easyocr.open_reader(known, ["ru", "en"])
    images = [meme("ДА", size=(160, 96)), meme("НЕТ", size=(96, 160)), meme(size=(160, 96))]
    read = reader.read(images)
    assert 3 == len(read)
    for image, lines in zip(images, read, strict=True):
        assert all(0 <= line.left <= line.right <= image.width + 32 for line in lines)
    assert read == reader.read(images)
    assert reader.name.startswith("easyocr/1.7.2@")
    assert easyocr.is_ready(known)


def test_weights_that_are_missing_or_others_are_refused_and_left_alone(known: easyocr.Options, tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        easyocr.open_reader(easyocr.Options(weights=tmp_path), ["ru"])
    assert f"EasyOCR's weights are not in {tmp_path} as they should be (Missing" in str(caught.value)
    assert "TRASVASE_EASYOCR_WEIGHTS" in str(caught.value)
    (tmp_path / easyocr.DETECTOR).write_bytes(b"others")
    with pytest.raises(PermanentError, match="MD5 mismatch"):
        easyocr.open_reader(easyocr.Options(weights=tmp_path), ["ru"])
    assert b"others" == (tmp_path / easyocr.DETECTOR).read_bytes()


def test_auto_takes_it_only_where_the_weights_of_these_languages_are(
    known: easyocr.Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(known.weights / easyocr.DETECTOR, tmp_path)
    (tmp_path / "english_g2.pth").write_bytes(b"of another language")
    with disable_run_logger():
        for folder, expected in ((known.weights, "easyocr"), (tmp_path, "hybrid")):
            monkeypatch.setenv("TRASVASE_EASYOCR_WEIGHTS", str(folder))
            assert expected == chosen("auto", ("ru", "en"))
            open_reader.close()


def test_a_language_that_easyocr_has_not_is_named(known: easyocr.Options) -> None:
    with pytest.raises(PermanentError, match="EasyOCR cannot read xx"):
        easyocr.open_reader(known, ["xx"])
