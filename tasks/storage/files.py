"""The one place that opens files of the data root: whole files or none.

A file is written aside in its own folder, flushed to the disk, renamed into place, and the folder is flushed::

    tables/.llava-es.json.worker-1.4711-2.part   ->   tables/llava-es.json

After ``kill -9`` there is the old file or the new one, and perhaps a ``.part``, which goes when the file is written the
next time. An object store would enter here, as a pyarrow or fsspec file system, and nowhere else.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tasks.storage.errors import disk_error


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only when the block ends without an error.

    Args:
        path: The final name; its folder is made if it is missing.

    Raises:
        DiskFull: No room; the old file, if any, is untouched.
        NotWritable: The folder does not let us write.
    """
    with _aside(path) as aside, open(aside, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder that appears under its name only when the block ends without an error; never in place of another.

    The block fills the folder that it is given, through ``whole_file``.

    Args:
        path: The final name, which must not be taken.

    Raises:
        FileExistsError: The name was taken meanwhile.
        DiskFull: No room; nothing is left behind.
        NotWritable: The folder above does not let us write.
    """
    with _aside(path) as aside:
        aside.mkdir()
        yield aside
        for folder in (aside, *(inner for inner in aside.rglob("*") if inner.is_dir())):
            flush_folder(folder)
        if path.exists():  # an empty folder would be replaced
            raise FileExistsError(f"{path} is there already, and is never overwritten.")


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a small file whole."""
    with whole_file(path) as file:
        file.write(content)
    return path


def move(old: Path, new: Path) -> None:
    """Rename within the data root, durably."""
    os.replace(old, new)
    flush_folder(new.parent)


def point(link: Path, target: Path) -> None:
    """Let a symbolic link lead to something in its own folder; it leads to the old or to the new one at any time.

    Raises:
        FileExistsError: Something else than a link has that name.
    """
    if link.exists() and not link.is_symlink():
        raise FileExistsError(f"{link} is no link. Move it away.")
    aside = link.with_name(f".{link.name}.{socket.gethostname()}.{os.getpid()}-{threading.get_ident()}.part")
    _remove(aside)
    os.symlink(target.name, aside)
    move(aside, link)


def flush_folder(folder: Path) -> None:
    """Make renames in this folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(path: Path) -> dict[str, int | str]:
    """Size and SHA-256 of a file, as provenance, certificates and seals have them."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def fingerprints(folder: Path) -> dict[str, dict[str, int | str]]:
    """Those of every file below a folder, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): fingerprint(path) for path in files}


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """A name beside ``path``: what the block makes there is renamed into place, or is gone after an error.

    Raises:
        DiskFull: No room.
        NotWritable: The folder does not let us write.
    """
    aside = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        yield aside
        move(aside, path)
    except BaseException as error:
        _remove(aside)
        if isinstance(error, OSError) and (told := disk_error(error, path)) is not error:
            raise told from error
        raise


def _sweep(path: Path) -> None:
    """Remove what processes of this host left half-written of this file before they died."""
    start = f".{path.name}.{socket.gethostname()}."
    for left in path.parent.glob(f"{glob.escape(start)}*.part"):
        process = left.name.removeprefix(start).split("-")[0]
        if process.isdigit() and not _lives(int(process)):
            _remove(left)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError, NotADirectoryError):  # a file where a folder should be: nothing was made
            path.unlink()
