"""Images in, table out; then stopped, killed, changed and broken on purpose."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from tasks.chunks.manifest import CountsDiffer, read_manifest
from tasks.cli import main
from tasks.memes.catalog import BadSource
from tasks.memes.chunk import read_images
from tasks.memes.collect import collect
from tasks.memes.readers.protocol import Line, Unread
from tasks.memes.report import REJECTIONS, duplicates
from tasks.pictures.decode import ImageChanged
from tasks.settings import CHECKOUT
from tasks.storage.errors import PermanentError
from tasks.storage.root import DataRoot
from tasks.storage.schemas import MEME_FILES, MEMES, MEMES_REJECTED
from tasks.storage.tables import read_group, read_table
from tests.memes.drawn import Measuring, encoded, folder_of_memes, meme
from tests.memes.walk import planned, report, walk

REFUSED = {"Хорошо/cut.png": "damaged", "Хорошо/notes.txt": "unknown-format"}


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path / "data")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of_memes(tmp_path / "memes")


def _digests(root: DataRoot) -> dict[str, str]:
    return {
        str(path.relative_to(root.path)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.tables.iterdir())
    }


def test_images_in_tables_out(root: DataRoot, folder: Path) -> None:
    _, tables = walk(folder, root, Measuring())
    rows = read_table(tables.table, MEMES).to_pylist()
    assert ["Плохо/a.png", "Хорошо/b.png", "Хорошо/c.jpg"] == [row["path"] for row in rows]
    assert [0, 1, 2] == [row["row"] for row in rows]
    assert ["toxic", "non_toxic", "non_toxic"] == [row["label"] for row in rows]
    assert ["PNG", "PNG", "JPEG"] == [row["format"] for row in rows]
    content = (folder / "Плохо" / "a.png").read_bytes()
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (rows[0]["sha256"], rows[0]["bytes"])
    assert [("640 by 480", 90.0, "measuring/1")] * 3 == [(r["text"], r["confidence"], r["reader"]) for r in rows]
    line = {"text": "640 by 480", "left": 0, "top": 0, "right": 640, "bottom": 10, "confidence": 90.0}
    assert [line] == rows[0]["lines"]
    rejected = read_table(tables.rejected, MEMES_REJECTED).to_pylist()
    assert REFUSED == {row["path"]: row["error"] for row in rejected}
    assert (
        "Row 4, Хорошо/notes.txt is none of BMP, GIF, JPEG, PNG, WEBP. Convert it, or take it away."
        == (rejected[1]["message"])
    )


def test_second_run_does_only_what_is_missing(root: DataRoot, folder: Path) -> None:
    reader = Measuring()
    manifest, _ = walk(folder, root, reader)
    before, read = _digests(root), reader.read_images
    walk(folder, root, reader)
    assert (before, read) == (_digests(root), reader.read_images)
    manifest.path(manifest.chunks()[0]).unlink()
    walk(folder, root, reader)
    assert (before, read + 2) == (_digests(root), reader.read_images)


def test_a_folder_that_was_moved_is_the_same_job(root: DataRoot, folder: Path) -> None:
    manifest = planned(folder, root, Measuring())
    moved = folder.rename(folder.with_name("elsewhere"))
    assert planned(moved, root, Measuring()).folder == manifest.folder
    walk(moved, root, Measuring())


def test_another_image_label_or_reader_is_another_job(root: DataRoot, folder: Path) -> None:
    jobs = {planned(folder, root, Measuring()).job}
    other = Measuring()
    other.name = "measuring/2"
    jobs.add(planned(folder, root, other).job)
    (folder / "Плохо" / "a.png").rename(folder / "Хорошо" / "a.png")
    jobs.add(planned(folder, root, Measuring()).job)
    (folder / "Хорошо" / "a.png").write_bytes(encoded(meme("НЕТ")))
    jobs.add(planned(folder, root, Measuring()).job)
    assert 4 == len(jobs)


@pytest.mark.parametrize("change", ["gone", "other"])
def test_an_image_that_changes_after_the_plan_stops_the_chunk(root: DataRoot, folder: Path, change: str) -> None:
    manifest = planned(folder, root, Measuring())
    path = folder / "Плохо" / "a.png"
    path.unlink()
    if change == "other":
        path.write_bytes(encoded(meme("НЕТ")))
    what = "was there when the job was planned (No such file or directory)."
    if change == "other":
        what = "is not the image that it was when the job was planned."
    with pytest.raises(ImageChanged) as caught:
        read_images(read_group(manifest.rows_path, MEME_FILES, 0).to_pylist(), folder, Measuring())
    assert f"Row 0: {path} {what} Start the flow again: a changed folder is a new job." == str(caught.value)


def test_killed_while_it_reads_the_next_run_leaves_the_same_bytes(root: DataRoot, folder: Path, tmp_path: Path) -> None:
    for number in range(20):
        (folder / "Хорошо" / f"d{number:02}.png").write_bytes(encoded(meme(seed=number)))
    walk(folder, root, Measuring(), 1)
    other = DataRoot(tmp_path / "killed")
    command = [sys.executable, "-m", "tests.memes.walk", str(folder), str(other.path)]
    for image in (2, 7):
        died = subprocess.run([*command, str(image)], cwd=CHECKOUT, check=False)
        assert -signal.SIGKILL == died.returncode
    made = {path: path.stat().st_mtime_ns for path in other.path.glob("jobs/*/chunks/*.parquet")}
    assert 5 < len(made) < 25, "it was killed on the way"
    walk(folder, other, Measuring(), 1)
    assert made == {path: path.stat().st_mtime_ns for path in made}
    first, second = _digests(root), _digests(other)
    # Provenance names the folders of its data root.
    assert {name: first[name] for name in first if name.endswith(".parquet")} == {
        name: second[name] for name in second if name.endswith(".parquet")
    }


class Choosy(Measuring):
    """Fails when one of the images is as wide as it does not like."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self._widths = widths

    def read(self, images: Sequence[Image.Image]) -> list[list[Line]]:
        if any(image.width in self._widths for image in images):
            raise Unread("It is too wide.")
        return super().read(images)


def test_an_image_that_the_reader_fails_on_costs_only_itself(root: DataRoot, folder: Path) -> None:
    (folder / "Плохо" / "wide.png").write_bytes(encoded(meme(size=(900, 100))))
    _, tables = walk(folder, root, Choosy(900), 3)
    rejected = {row["path"]: row for row in read_table(tables.rejected, MEMES_REJECTED).to_pylist()}
    assert {**REFUSED, "Плохо/wide.png": "unread"} == {path: row["error"] for path, row in rejected.items()}
    assert "Row 1, Плохо/wide.png: It is too wide." == rejected["Плохо/wide.png"]["message"]
    assert 3 == tables.delivered


def test_a_reader_that_fails_on_everything_is_an_error_and_not_a_table(root: DataRoot, folder: Path) -> None:
    with pytest.raises(Unread, match=r"measuring/1 fails on all 2 images of this chunk. The first one: Row 0"):
        walk(folder, root, Choosy(640))
    assert not root.tables.exists()


def test_nothing_usable_makes_no_job(root: DataRoot, tmp_path: Path) -> None:
    folder = tmp_path / "memes"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"")
    with pytest.raises(
        BadSource, match=r"none of the 1 files can be used. The first one: Row 0, a.png: it has no label"
    ):
        planned(folder, root, Measuring())
    with pytest.raises(PermanentError, match="`chunk_size` is 0; it must be at least 1 image"):
        planned(folder, root, Measuring(), 0)
    assert not root.jobs.exists()


def test_images_none_of_which_can_be_read_are_an_error_that_leaves_the_old_table(root: DataRoot, folder: Path) -> None:
    _, tables = walk(folder, root, Measuring())
    old = tables.table.read_bytes()
    for path in folder.rglob("*.*"):
        path.write_bytes(b"" if path.name == "a.png" else b"\0\0\0\x18ftypheic")
    with pytest.raises(BadSource) as caught:
        walk(folder, root, Measuring())
    assert (
        "None of the 5 images can be read (unknown-format 4, empty 1). The first one: Row 0, Плохо/a.png is empty. "
        "Download it again."
    ) == str(caught.value)
    assert old == tables.table.read_bytes()


def test_a_chunk_with_other_rows_writes_nothing(root: DataRoot, folder: Path) -> None:
    manifest, tables = walk(folder, root, Measuring())
    first, second = (manifest.path(chunk) for chunk in manifest.chunks()[:2])
    before = tables.table.read_bytes()
    shutil.copy(first, second)
    with pytest.raises(CountsDiffer, match="chunk-00001 should hold the images 2 to 3, each once"):
        collect(manifest, root.tables, "memes")
    assert before == tables.table.read_bytes()


def test_duplicates_are_found_by_bytes_and_by_looks(root: DataRoot, folder: Path) -> None:
    image = meme("ДОБРОЕ УТРО", seed=9)
    (folder / "Плохо" / "d1.png").write_bytes(encoded(image))
    shutil.copy(folder / "Плохо" / "d1.png", folder / "Хорошо" / "d2.png")
    shutil.copy(folder / "Плохо" / "d1.png", folder / "Хорошо" / "d4.png")
    (folder / "Хорошо" / "d3.jpg").write_bytes(encoded(image.resize((320, 240)), "JPEG"))
    manifest, tables = walk(folder, root, Measuring())
    rows = read_table(tables.table, MEMES)
    same, near = duplicates(rows)
    assert [["Плохо/d1.png", "Хорошо/d2.png", "Хорошо/d4.png"]] == [
        rows["path"].take(some).to_pylist() for some in same
    ]
    assert [["Плохо/d1.png", "Хорошо/d3.jpg"]] == [rows["path"].take(some).to_pylist() for some in near]
    page = report(root, manifest, tables)
    assert "3 images in 1 sets have the same bytes, and 2 images in 1 sets look the same" in page
    assert "2 of these sets have different labels, such as Плохо/d1.png and Хорошо/d2.png and Хорошо/d4.png." in page
    assert 7 == page.count('src="data:image/jpeg;base64,')


def test_ten_thousand_images_of_one_look_are_one_set(tmp_path: Path) -> None:
    digests = [hashlib.sha256(f"{n}".encode()).hexdigest() for n in range(20_000)]
    hashes: list[str | None] = [
        "8000000000000000",
        *("8000000000000001" if n % 2 else "8000000000000003" for n in range(9_999)),
    ]
    # And as many that look like nothing else; some of one colour have no hash.
    hashes += [digest[:16] if n > 10 else None for n, digest in enumerate(digests[:10_000])]
    same, near = duplicates(pa.table({"sha256": digests, "phash": hashes}))
    assert ([], [list(range(10_000))]) == (same, near)


def test_the_report_has_no_byte_of_a_file_but_its_pixels(root: DataRoot, folder: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    (folder / "Плохо" / "a.png").write_bytes(encoded(meme("НЕТ"), exif=exif))
    assert "taken at home" not in report(root, *walk(folder, root, Measuring()))
    assert set(REFUSED.values()) <= REJECTIONS.keys()


class Padding(Measuring):
    """Finds its line in the padding too, as EasyOCR does."""

    def read(self, images: Sequence[Image.Image]) -> list[list[Line]]:
        return [[Line("ДА", -3, 10, image.width + 20, image.height + 4, 90.0)] for image in images]


def test_boxes_end_where_the_image_ends(
    root: DataRoot, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, tables = walk(folder, root, Padding())
    (line,) = read_table(tables.table, MEMES).to_pylist()[0]["lines"]
    assert (0, 10, 640, 480) == (line["left"], line["top"], line["right"], line["bottom"])
    monkeypatch.setenv("TRASVASE_DATA", str(root.path))
    assert 0 == main(["verify", str(root.tables)]), capsys.readouterr().out


def test_verify_and_status_know_these_jobs_and_tables(
    root: DataRoot, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, tables = walk(folder, root, Measuring())
    monkeypatch.setenv("TRASVASE_DATA", str(root.path))
    assert 0 == main(["verify", str(root.path)])
    assert "No findings." in capsys.readouterr().out
    assert 0 == main(["status", manifest.job])
    assert "5, 2 of them rejected so far" in capsys.readouterr().out
    assert read_manifest(manifest.folder) == manifest
    content = bytearray(tables.table.read_bytes())
    content[len(content) // 2] ^= 1
    tables.table.write_bytes(content)
    assert 1 == main(["verify", str(root.tables)])
    assert "has another SHA-256: it was changed after it had been written" in capsys.readouterr().out


def test_the_job_does_not_depend_on_the_environment_s_order_of_files(root: DataRoot, folder: Path) -> None:
    job = planned(folder, root, Measuring()).job
    copy = folder.with_name("copy")
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file():
            (copy / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            os.link(path, copy / path.relative_to(folder))
    assert job == planned(copy, root, Measuring()).job
