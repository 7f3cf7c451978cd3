"""A data set as it was downloaded, a zip or a folder, read member by member and never unpacked.

What a hostile archive may try is refused when it is opened, before anything is read: names that lead out of it, absolute
names, links, two members of one name, encrypted ones, and bombs. Names are as in the archive, below the folder that holds
the whole data set, so that ``MMHS150K.zip`` and ``MMHS150K/`` read alike::

    MMHS150K_GT.json   splits/val_ids.txt   img_txt/1114679353714016256.json   img_resized/1114679353714016256.jpg
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, NoReturn, Self

from tasks.storage.errors import PermanentError

MAX_MEMBERS = 2_000_000  # MMHS150K has some 210,000
MAX_BYTES = 200 << 30  # unpacked; MMHS150K has some 6 GB
# Text packs 3 to 10 times. Deflate reaches 1,030 at most, and only with one byte repeated.
MAX_RATIO = 200
_SMALL = 1 << 20  # a member below this may pack as well as it likes


class BadArchive(PermanentError):
    """The archive cannot be read, or tries something that a data set does not need."""


class Archive:
    """A zip or a folder with the members that it holds. Use it in a ``with`` block.

    Args:
        path: The zip or the folder; or a single file, which is then all that it holds.

    Raises:
        BadArchive: It is neither, it is damaged, or a member is refused; the message names it.
    """

    def __init__(self, path: Path) -> None:
        self.source = self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_dir():
            self._members = dict.fromkeys(_walk(path), 0)
        elif path.is_file() and _is_zip(path):
            self._zip = _opened(path)
            self._members = _checked(path, self._zip)
        elif path.is_file():
            self.path, self._members = path.parent, {path.name: 0}
        else:
            raise BadArchive(f"The source {path} does not exist. Give the downloaded zip, its folder or a file of it.")
        self._root = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._zip:
            self._zip.close()

    def enter(self, folder: str) -> None:
        """Take names below this folder from now on."""
        self._root = f"{folder}/" if folder else ""

    @property
    def place(self) -> Path:
        """The folder that names are below; the zip itself where it is one."""
        return self.path.absolute() if self._zip else (self.path / self._root).absolute()

    def __contains__(self, name: str) -> bool:
        return self._root + name in self._members

    def names(self, under: str = "") -> Iterator[str]:
        """Every file below a folder, in order of names; without hidden ones, and what macOS puts beside each file."""
        start = self._root + under
        return (
            name[len(self._root) :]
            for name in sorted(self._members)
            if name.startswith(start) and not name.startswith("__MACOSX/") and "/." not in f"/{name}"
        )

    def open(self, name: str) -> IO[bytes]:
        """Open a member for reading.

        Raises:
            BadArchive: It is not there, or damaged.
        """
        whole = self._root + name
        try:
            if self._zip is None:
                return (self.path / whole).open("rb")
            # Never more than the directory says: _checked has counted on it.
            return io.BufferedReader(_Limited(self._zip.open(whole), self._members[whole], f"{self.path}: {whole}"))
        except (KeyError, FileNotFoundError) as error:
            raise BadArchive(f"{self.path} has no member {whole}. Download it again.") from error
        except (OSError, zipfile.BadZipFile, RuntimeError) as error:
            raise _unreadable(f"{self.path}: {whole}", error) from error

    def sha256(self, name: str) -> str:
        """Of a member's bytes.

        Raises:
            BadArchive: It is not there, or damaged.
        """
        digest = hashlib.sha256()
        with self.open(name) as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def text(self, name: str) -> io.TextIOWrapper:
        """Open a member as UTF-8; a byte that is not becomes half a surrogate, and costs its own row."""
        return io.TextIOWrapper(self.open(name), encoding="utf-8-sig", errors="surrogateescape", newline="")


class _Limited(io.RawIOBase):
    """A member that ends in an error where it is longer than it said, or where its CRC does not fit."""

    def __init__(self, file: IO[bytes], size: int, name: str) -> None:
        self._file, self._left, self._name = file, size, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            content = self._file.read(len(buffer))
        except Exception as error:  # zlib.error, BadZipFile, EOFError: whatever it is, the member is not whole
            raise _unreadable(self._name, error) from error
        self._left -= len(content)
        if self._left < 0:
            raise BadArchive(f"{self._name} is longer than the archive says: refused as a bomb.")
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()


def _unreadable(what: str, error: Exception) -> BadArchive:
    """What cannot be read, with the next step by its cause."""
    if isinstance(error, PermissionError):
        return BadArchive(f"{what} may not be read ({error.strerror}). Let the user that the worker runs as read it.")
    if isinstance(error, OSError):
        return BadArchive(
            f"{what} cannot be read ({error}). Look after the disk that it is on, then run the flow again."
        )
    if isinstance(
        error, RuntimeError
    ):  # packed in a way that zipfile does not know, or that this Python was built without
        return BadArchive(
            f"{what} cannot be unpacked ({error}). Pack it anew with Deflate, or give the unpacked folder."
        )
    return BadArchive(f"{what} is damaged ({error}). Download it again.")


def _walk(folder: Path) -> Iterator[str]:
    """Every file below a folder by its name; links are refused."""

    def refuse(error: OSError) -> NoReturn:  # else a folder that may not be listed would be an empty one
        raise _unreadable(str(error.filename), error) from error

    for place, folders, files in os.walk(folder, onerror=refuse):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(place, name)):  # noqa: PTH114, PTH118  # 150,000 Path objects cost seconds
                raise BadArchive(
                    f"{folder}: {os.path.relpath(os.path.join(place, name), folder)} is a link, which may lead anywhere: "  # noqa: PTH118
                    "refused. Put the file itself there."
                )
        inner = os.path.relpath(place, folder)
        yield from (name if inner == "." else f"{inner}/{name}" for name in files)


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == b"PK" or path.suffix.lower() == ".zip"
    except OSError as error:
        raise _unreadable(str(path), error) from error


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise BadArchive(f"{path} is no whole zip ({error}). Download it again.") from error
    except (OSError, RuntimeError) as error:
        raise _unreadable(str(path), error) from error


def _checked(path: Path, archive: zipfile.ZipFile) -> dict[str, int]:
    """The members by name, with their sizes; or the first reason to refuse the archive."""

    def refuse(name: str, why: str) -> BadArchive:
        return BadArchive(
            f"{path}: the member {name!r} {why}: refused. Nothing was read. Download it again from where the data set is "
            "published, or pack anew what you trust of it."
        )

    members: dict[str, int] = {}
    total = 0
    if len(archive.infolist()) > MAX_MEMBERS:
        raise BadArchive(f"{path} has {len(archive.infolist()):,} members; at most {MAX_MEMBERS:,} are taken.")
    for info in archive.infolist():
        # `filename` has been cut at a zero byte and its separators changed; what stands in the archive counts.
        name = info.orig_filename
        if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
            raise refuse(name, "has an absolute name")
        if ".." in re.split(r"[/\\]", name):
            raise refuse(name, "leads out of the archive")
        if "\\" in name or "\0" in name:
            raise refuse(name, "has a backslash or a zero byte in its name, as some programs of Windows write them")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise refuse(name, "is a link")
        if info.is_dir():
            continue
        if info.flag_bits & 1:
            raise refuse(name, "is encrypted")
        if name in members:
            raise refuse(name, "stands there twice")
        if info.file_size > _SMALL and info.file_size > MAX_RATIO * max(info.compress_size, 1):
            ratio = info.file_size / max(info.compress_size, 1)
            raise refuse(
                name, f"unpacks to {ratio:,.0f} times its size, like a bomb (at most {MAX_RATIO} times is taken)"
            )
        total += info.file_size
        if total > MAX_BYTES:
            raise refuse(name, f"takes the archive over {MAX_BYTES >> 30} GiB unpacked")
        members[name] = info.file_size
    packed = path.stat().st_size
    if total > _SMALL and total > MAX_RATIO * packed:  # members that share their bytes
        raise BadArchive(
            f"{path} unpacks from {packed:,} to {total:,} bytes, like a bomb (at most {MAX_RATIO} times is taken): "
            "refused. Nothing was read."
        )
    return members
