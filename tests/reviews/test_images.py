from __future__ import annotations

import base64
import io
import os
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tasks.reviews.images import Images
from tasks.storage.errors import PermanentError


def seen(shown: str | None) -> Image.Image:
    assert shown is not None
    kind, _, data = shown.partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def empty_png(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds nothing."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def test_without_a_place_no_image_is_shown_and_nothing_is_wrong() -> None:
    images = Images("")
    assert images.shown("000000033471.jpg") is None
    assert images.problems == {}


def test_an_image_becomes_a_thumbnail(tmp_path: Path) -> None:
    Image.new("RGB", (2000, 1000), "red").save(tmp_path / "bus.jpg")
    thumbnail = seen(Images(str(tmp_path)).shown("bus.jpg"))
    assert thumbnail.size == (512, 256)
    assert thumbnail.convert("RGB").getpixel((0, 0)) == (254, 0, 0)


def test_a_small_image_keeps_its_size(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "bus.png")
    assert seen(Images(str(tmp_path)).shown("bus.png")).size == (40, 30)


def test_an_image_taken_sideways_is_shown_upright_and_without_the_cameras_notes(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    exif[0x010F] = "A camera"
    Image.new("RGB", (1000, 500), "red").save(tmp_path / "bus.jpg", exif=exif)
    thumbnail = seen(Images(str(tmp_path)).shown("bus.jpg"))
    assert thumbnail.size == (256, 512)
    assert dict(thumbnail.getexif()) == {}


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_pixel_is_shown(tmp_path: Path, mode: str) -> None:
    ending = "tif" if mode == "CMYK" else "png"
    Image.new(mode, (40, 30)).save(tmp_path / f"bus.{ending}")
    images = Images(str(tmp_path))
    assert seen(images.shown(f"bus.{ending}")).mode == "RGB"
    assert images.problems == {}


def test_what_is_transparent_is_shown_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "bus.png")
    assert seen(Images(str(tmp_path)).shown("bus.png")).getpixel((4, 4)) == (255, 255, 255)


def test_an_image_of_five_megabytes_is_shown_small(tmp_path: Path) -> None:
    noise = Image.frombytes("RGB", (1400, 1250), os.urandom(1400 * 1250 * 3))
    noise.save(tmp_path / "noise.png")
    assert (tmp_path / "noise.png").stat().st_size > 5_000_000
    shown = Images(str(tmp_path)).shown("noise.png")
    assert shown is not None
    assert len(shown) < 1_000_000


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_named_and_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(empty_png(60_000, 60_000))
    (tmp_path / "smaller.png").write_bytes(empty_png(12_000, 8_000))
    images = Images(str(tmp_path))
    assert (images.shown("bomb.png"), images.shown("smaller.png")) == (None, None)
    assert images.problems["smaller.png"] == "has 96000000 pixels, 89478485 is the limit"
    assert "3600000000 pixels" in images.problems["bomb.png"]


def test_what_cannot_be_shown_is_named_with_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (folder / "dir.jpg").mkdir(parents=True)
    Image.new("RGB", (800, 800), "red").save(tmp_path / "secret.jpg")
    Image.frombytes("L", (300, 300), os.urandom(90_000)).save(tmp_path / "whole.jpg")
    (folder / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:40_000])
    (folder / "text.jpg").write_text("no image")
    (folder / "run.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    images = Images(str(folder))
    names = ["gone.jpg", "cut.jpg", "text.jpg", "run.eps", "dir.jpg", "../secret.jpg", "..\\secret.jpg", "a\0b.jpg"]
    for name in [*names, str(tmp_path / "secret.jpg")]:
        assert images.shown(name) is None, name
    assert images.problems["gone.jpg"] == "is not there"
    assert images.problems["../secret.jpg"] == "its name leads out of the folder"
    assert images.problems[str(tmp_path / "secret.jpg")] == "its name leads out of the folder"
    assert "truncated" in images.problems["cut.jpg"]
    assert "cannot identify image file" in images.problems["text.jpg"]
    assert "cannot identify image file" in images.problems["run.eps"]
    assert len(images.problems) == 9


def test_an_image_is_found_through_the_users_own_link(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "store" / "bus.jpg")
    (tmp_path / "images" / "bus.jpg").symlink_to(tmp_path / "store" / "bus.jpg")
    assert seen(Images(str(tmp_path / "images")).shown("bus.jpg")).size == (8, 8)


def test_an_address_is_made_of_a_quoted_name() -> None:
    images = Images("http://images.example/train2017/{image}?size=small")
    assert images.shown("coco/a b?#ñ.jpg") == "http://images.example/train2017/coco/a%20b%3F%23%C3%B1.jpg?size=small"
    assert images.shown("../b.jpg") is None
    assert images.shown(None) is None
    assert images.shown("x" * 2_100) is None
    assert images.problems == {
        "../b.jpg": "its name leads out of the folder",
        "x" * 2_100: "its address has 2143 characters, 2038 is the limit",
    }


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "no/such/folder",
            "images='no/such/folder' is no folder on this machine. Give their folder, or an address with {image} in it.",
        ),
        ("ftp://x/{image}", "images='ftp://x/{image}' is no address. It has to begin with http:// or https://."),
    ],
)
def test_a_place_that_is_none_is_refused(spec: str, message: str) -> None:
    with pytest.raises(PermanentError) as caught:
        Images(spec)
    assert message == str(caught.value)
