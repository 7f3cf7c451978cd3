from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from tasks.pictures.decode import BadImage, open_picture, perceptual_hash
from tests.memes.drawn import encoded, meme


def _refused(content: bytes) -> tuple[str, str]:
    with pytest.raises(BadImage) as caught:
        open_picture(content)
    return caught.value.code, str(caught.value)


def _header_only_png(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and then ends."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    ihdr = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + ihdr + b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def test_an_empty_file_is_refused() -> None:
    assert ("empty", "is empty. Download it again.") == _refused(b"")


def test_what_is_no_image_is_refused_whatever_its_ending_says() -> None:
    said = "is none of BMP, GIF, JPEG, PNG, WEBP. Convert it, or take it away."
    assert ("unknown-format", said) == _refused(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    assert ("unknown-format", said) == _refused(encoded(meme("ДА"), "TIFF"))


def test_a_cut_off_image_is_refused() -> None:
    code, message = _refused(encoded(meme("ДА"), "JPEG")[:5000])
    assert "damaged" == code
    assert message.startswith("is cut off or damaged (image file is truncated")
    assert "damaged" == _refused(encoded(meme("ДА"))[:5000])[0]


def test_an_animated_image_is_refused() -> None:
    frames = [meme("РАЗ"), meme("ДВА")]
    said = ("animated", "is animated. Save the frame that is meant as an image of its own.")
    for kind in ("GIF", "WEBP", "PNG"):
        assert said == _refused(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))


def test_one_pixel_shows_nothing() -> None:
    assert ("too-small", "has 1 x 1 pixels; 8 x 8 is the least.") == _refused(encoded(Image.new("RGB", (1, 1))))


def test_a_strip_that_a_model_would_choke_on_is_refused() -> None:
    said = ("too-narrow", "has 1601 x 8 pixels; a side may be 200 times the other at most.")
    assert said == _refused(encoded(Image.new("RGB", (1_601, 8))))
    for size in ((1_600, 8), (8, 1_600)):
        assert open_picture(encoded(Image.new("RGB", size))).image.size == size


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    said = ("too-many-pixels", "has more than 50,000,000 pixels. Make it smaller.")
    assert said == _refused(_header_only_png(30_000, 30_000))
    assert said == _refused(_header_only_png(7_100, 7_100))


def test_a_bomb_is_refused() -> None:
    # 24,000 x 2,000 black pixels are 48 million: 140 KB as a file. A text chunk of 80 MB is 80 KB.
    assert open_picture(encoded(Image.new("L", (24_000, 2_000)))).image.size == (24_000, 2_000)
    text = b"iTXt" + b"a\0\1\0\0\0" + zlib.compress(b"a" * 80_000_000)
    bomb = encoded(meme("ДА"))
    bomb = bomb[:33] + struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text)) + bomb[33:]
    assert "damaged" == _refused(bomb)[0]


@pytest.mark.parametrize(
    ("other", "name"), [("zip", "ZIP"), ("%PDF-1.7\n", "PDF"), ("<script>alert(1)</script>", "HTML or a script")]
)
def test_a_polyglot_is_refused(other: str, name: str) -> None:
    content = encoded(meme("ДА"), "JPEG", comment=b"" if other == "zip" else other.encode())
    if other == "zip":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("run.sh", "true")
        content += file.getvalue()
    said = f"is JPEG and {name} in one file. Save it anew as an image alone."
    assert ("polyglot", said) == _refused(content)


def test_an_image_on_its_side_is_turned_upright() -> None:
    image = meme("ДА", size=(400, 200))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    picture = open_picture(encoded(image.rotate(90, expand=True), "PNG", exif=exif))
    assert ((400, 200), ("rotated",)) == (picture.image.size, picture.changes)
    assert np.array_equal(np.asarray(image), np.asarray(picture.image))


@pytest.mark.parametrize("orientation", [0, 1, 9])
def test_an_exif_that_says_upright_or_nothing_known_changes_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert () == open_picture(encoded(meme("ДА"), "JPEG", exif=exif)).changes


def test_an_exif_that_cannot_be_written_again_costs_no_image() -> None:
    negative = struct.pack("<HHIi", 0x0103, 9, 1, -1)  # for a tag that has no negative values
    on_its_side = struct.pack("<HHII", 0x0112, 3, 1, 6)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + negative + on_its_side + bytes(4)
    picture = open_picture(encoded(meme("ДА", size=(400, 200)), "JPEG", exif=exif))
    assert ((200, 400), ("rotated",)) == (picture.image.size, picture.changes)


def test_cmyk_becomes_rgb() -> None:
    picture = open_picture(encoded(meme("ДА").convert("CMYK"), "JPEG"))
    assert ("RGB", "JPEG", ("cmyk",)) == (picture.image.mode, picture.format, picture.changes)


def test_what_is_transparent_is_white() -> None:
    picture = open_picture(encoded(Image.new("RGBA", (20, 20), (0, 0, 0, 0))))
    assert (("transparency",), (255, 255, 255)) == (picture.changes, picture.image.getpixel((5, 5)))


def test_sixteen_bits_of_grey_keep_their_shades() -> None:
    shades = np.linspace(0, 65_535, 400).astype(np.uint16).reshape(20, 20)
    picture = open_picture(encoded(Image.fromarray(shades)))
    assert ("16-bit",) == picture.changes
    assert np.array_equal((shades >> 8).astype(np.uint8), np.asarray(picture.image)[:, :, 0])


def test_the_first_frame_of_a_phone_s_double_picture_is_taken() -> None:
    content = encoded(meme("РАЗ"), "MPO", save_all=True, append_images=[meme("ДВА")])
    picture = open_picture(content)
    assert ("JPEG", ("first-frame",)) == (picture.format, picture.changes)


def test_the_perceptual_hash_outlives_resizing_and_saving_again() -> None:
    image = meme("ДОБРОЕ УТРО", seed=1)
    first = perceptual_hash(image)
    again = perceptual_hash(open_picture(encoded(image.resize((320, 240)), "JPEG", quality=60)).image)
    other = perceptual_hash(meme("ДОБРОЕ УТРО", seed=2))
    assert first
    assert again
    assert other
    assert (int(first, 16) ^ int(again, 16)).bit_count() <= 3
    assert (int(first, 16) ^ int(other, 16)).bit_count() > 10


def test_a_plain_area_has_no_perceptual_hash() -> None:
    assert perceptual_hash(Image.new("RGB", (100, 100), "red")) is None
