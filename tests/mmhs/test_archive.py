"""What a hostile or damaged archive may try."""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tasks.mmhs import archive as module
from tasks.mmhs.archive import Archive, BadArchive
from tests.mmhs.sample import as_folder, as_zip

NEXT = "Nothing was read. Download it again from where the data set is published, or pack anew what you trust of it."


def _refusal(path: Path) -> str:
    with pytest.raises(BadArchive) as refused:
        Archive(path)
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../../etc/cron.d/evil", "leads out of the archive"),
        ("img_resized/../../x.jpg", "leads out of the archive"),
        ("..\\windows\\x.jpg", "leads out of the archive"),
        ("/etc/passwd", "has an absolute name"),
        ("C:\\x.jpg", "has an absolute name"),
        ("a\\b.jpg", "has a backslash or a zero byte in its name, as some programs of Windows write them"),
    ],
)
def test_a_name_that_leads_out_of_the_archive_is_refused(tmp_path: Path, name: str, why: str) -> None:
    path = as_zip(tmp_path / "evil.zip", {"MMHS150K_GT.json": b"{}", name: b"x"})
    assert f"{path}: the member {name!r} {why}: refused. {NEXT}" == _refusal(path)


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "links.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("img_resized/1.jpg")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert f"{path}: the member 'img_resized/1.jpg' is a link: refused. {NEXT}" == _refusal(path)


def test_a_link_in_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "img_resized").mkdir()
    (tmp_path / "img_resized" / "1.jpg").symlink_to("/etc/passwd")
    told = f"{tmp_path}: img_resized/1.jpg is a link, which may lead anywhere: refused. Put the file itself there."
    assert told == _refusal(tmp_path)


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "bomb.zip", {"MMHS150K_GT.json": b" " * 30_000_000})
    refused = _refusal(path)
    assert "the member 'MMHS150K_GT.json' unpacks to 1,0" in refused
    assert "times its size, like a bomb (at most 200 times is taken): refused. Nothing was read." in refused


def test_many_small_members_that_are_a_bomb_together_are_refused(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "bomb.zip", {f"{n}.json": b" " * 900_000 for n in range(40)})
    assert "unpacks from" in _refusal(path)
    assert "to 36,000,000 bytes, like a bomb" in _refusal(path)


def test_an_archive_that_is_too_large_unpacked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1 << 30)
    monkeypatch.setattr(module, "MAX_MEMBERS", 3)
    path = as_zip(tmp_path / "many.zip", {f"{n}.txt": b"x" for n in range(4)})
    assert f"{path} has 4 members; at most 3 are taken." == _refusal(path)


def test_a_member_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.json", "{}")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.json", "[]")
    assert f"{path}: the member 'a.json' stands there twice: refused. {NEXT}" == _refusal(path)


def test_what_is_no_zip_and_what_is_not_there_are_named(tmp_path: Path) -> None:
    torn = tmp_path / "torn.zip"
    torn.write_bytes(b"PK\x03\x04 and no more")
    assert f"{torn} is no whole zip (File is not a zip file). Download it again." == _refusal(torn)
    nothing = tmp_path / "nothing.zip"
    assert f"The source {nothing} does not exist. Give the downloaded zip, its folder or a file of it." == _refusal(
        nothing
    )


def test_a_member_that_is_damaged_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "a.zip", {"a.json": bytes(range(256)) * 40})
    content = bytearray(path.read_bytes())
    content[40:60] = bytes(20)
    path.write_bytes(content)
    with Archive(path) as archive, pytest.raises(BadArchive, match=r"a\.zip: a\.json is damaged .*Download it again\."):
        archive.open("a.json").read()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied"),
            "may not be read (Permission denied). Let the user that the worker runs as read it.",
        ),
        (
            OSError(errno.EIO, "Input/output error"),
            "cannot be read ([Errno 5] Input/output error). Look after the disk that it is on, then run the flow again.",
        ),
    ],
)
def test_what_the_system_does_not_let_us_read_is_not_to_be_downloaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, told: str
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise error

    folder = as_folder(tmp_path / "folder", {"a.json": b"{}"})
    zipped = as_zip(tmp_path / "z.zip", {"a.json": b"{}"})
    with Archive(folder) as opened, Archive(zipped) as packed, monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        patched.setattr(zipfile.ZipFile, "open", refuse)
        for archive, path in ((opened, folder), (packed, zipped)):
            with pytest.raises(BadArchive) as refused:
                archive.open("a.json")
            assert f"{path}: a.json {told}" == str(refused.value)
        assert f"{zipped} {told}" == _refusal(zipped)
    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    assert f"{zipped} {told}" == _refusal(zipped)


def test_a_folder_that_may_not_be_listed_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = as_folder(tmp_path / "folder", {"a.json": b"{}", "img_resized/1.jpg": b""})
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if Path(path).name == "img_resized":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refuse)
        told = _refusal(folder)
    inner = folder / "img_resized"
    assert f"{inner} may not be read (Permission denied). Let the user that the worker runs as read it." == told


def test_a_member_packed_in_a_way_that_is_not_known_is_to_be_packed_anew(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "a.zip", {"a.json": b"{}"})
    content = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = content.index(signature) + place
        content[at : at + 2] = (9).to_bytes(2, "little")  # Deflate64, as Windows packs what is large
    path.write_bytes(content)
    with Archive(path) as archive, pytest.raises(BadArchive) as refused:
        archive.open("a.json")
    assert (
        f"{path}: a.json cannot be unpacked (That compression method is not supported). Pack it anew with Deflate, or give "
        "the unpacked folder."
    ) == str(refused.value)


def test_what_macos_and_others_hide_beside_the_files_is_not_listed(tmp_path: Path) -> None:
    content = dict.fromkeys(("._b.txt", ".DS_Store", ".git/x.txt", "__MACOSX/._b.txt", "a/._b.txt", "a/b.txt"), b"\x00")
    with (
        Archive(as_folder(tmp_path / "folder", content)) as folder,
        Archive(as_zip(tmp_path / "z.zip", content)) as zipped,
    ):
        assert ["a/b.txt"] == list(folder.names()) == list(zipped.names())


def test_a_folder_and_a_zip_hold_the_same_names(tmp_path: Path) -> None:
    content = {"a/b.txt": b"1", "c.txt": b"2"}
    with (
        Archive(as_folder(tmp_path / "folder", content)) as folder,
        Archive(as_zip(tmp_path / "z.zip", content)) as zipped,
    ):
        assert ["a/b.txt", "c.txt"] == list(folder.names()) == list(zipped.names())
        assert b"1" == folder.open("a/b.txt").read() == zipped.open("a/b.txt").read()
