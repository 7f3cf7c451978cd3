"""The two kinds of trouble, and what goes wrong on the disk.

``TransientError`` may pass when it is tried again, so Prefect retries the chunk. ``PermanentError`` will not, so a
person has to change something first. Every error of this project is one of the two.
"""

from __future__ import annotations

import errno
from pathlib import Path


class TransientError(Exception):
    """It may pass next time: the chunk is tried again."""


class PermanentError(Exception):
    """It will not pass by itself: the message says what to change."""


class DiskFull(TransientError):
    """No room for a file. What was finished before is untouched."""


class NotWritable(PermanentError):
    """The folder does not let us write."""


class TornFile(PermanentError):
    """A file that is not whole: cut off, or damaged."""


class ForeignTable(PermanentError):
    """A whole Parquet file whose columns are not the declared ones."""


def disk_error(error: OSError, path: Path) -> Exception:
    """Put an operating system's error into words for the person at the UI.

    Args:
        error: What the system said.
        path: The file that was being written.

    Returns:
        DiskFull or NotWritable for the errors that are one, else the error itself.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(
            f"No space left on the disk while writing {path}. Free some space and retry: "
            "finished chunks and answers are kept."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        return NotWritable(
            f"{path} cannot be written: {error.strerror}. Make the folder writable, or set TRASVASE_DATA to one that is."
        )
    return error
