"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from tasks.storage.errors import DiskFull, NotWritable
from tasks.storage.files import point, sha256, whole_file, whole_folder, write_bytes


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with whole_file(path) as file:
        file.write(b"whole")
        assert not path.exists()

    assert b"whole" == path.read_bytes()
    assert [path] == list(path.parent.iterdir())


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "file", b"old")

    def fail_half_way() -> None:
        with whole_file(path) as file:
            file.write(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()

    assert b"old" == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_kill_9_leaves_the_old_file_and_a_part_that_goes_with_the_next_write(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "file", b"old")
    child = os.fork()
    if child == 0:
        with whole_file(path) as file:
            file.write(b"new")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)

    assert b"old" == path.read_bytes()
    assert 2 == len(list(tmp_path.iterdir()))
    write_bytes(path, b"new")
    assert [path] == list(tmp_path.iterdir())


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "file"

    with pytest.raises(DiskFull) as error:
        write_bytes(path, b"content")

    assert str(error.value) == (
        f"No space left on the disk while writing {path}. Free some space and retry: "
        "finished chunks and answers are kept."
    )
    assert [] == list(tmp_path.iterdir())


def test_a_read_only_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("builtins.open", read_only)

    with pytest.raises(NotWritable) as error:
        write_bytes(tmp_path / "file", b"content")

    assert str(error.value) == (
        f"{tmp_path}/file cannot be written: Read-only file system. Make the folder writable, or set TRASVASE_DATA to "
        "one that is."
    )


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    write_bytes(tmp_path / "tables", b"")

    with pytest.raises(NotWritable) as error:
        write_bytes(tmp_path / "tables" / "inner" / "file", b"content")

    assert str(error.value) == (
        f"{tmp_path}/tables/inner/file cannot be written: Not a directory. Make the folder writable, or set "
        "TRASVASE_DATA to one that is."
    )


def test_sha256_is_the_known_one(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "file", b"abc")
    assert "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" == sha256(path)


def test_a_folder_appears_when_the_block_ends_and_never_in_place_of_another(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder"
    with whole_folder(path) as aside:
        write_bytes(aside / "inner" / "file", b"whole")
        assert not path.exists()
    assert b"whole" == (path / "inner" / "file").read_bytes()

    with (
        pytest.raises(FileExistsError, match="is there already, and is never overwritten"),
        whole_folder(path) as aside,
    ):
        write_bytes(aside / "file", b"other")
    assert [path] == list(path.parent.iterdir())
    assert [path / "inner"] == list(path.iterdir())


def test_an_error_in_a_folder_leaves_nothing(tmp_path: Path) -> None:
    def fail_half_way() -> None:
        with whole_folder(tmp_path / "folder") as aside:
            write_bytes(aside / "file", b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert [] == list(tmp_path.iterdir())


def test_a_link_leads_to_the_old_or_to_the_new_one(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        point(tmp_path / "latest", tmp_path / name)
        assert name == (tmp_path / "latest").readlink().name
    assert {"one", "two", "latest"} == {path.name for path in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match="is no link"):
        point(tmp_path / "one", tmp_path / "two")
