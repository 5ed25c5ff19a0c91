"""Files written so that a crash leaves the old content or the new, and private files kept private.

`write_atomic` writes a temporary file in the same folder, syncs it, renames it over the old one and
syncs the folder: after it returns the content survives a power cut, and at no moment does a reader see
half of it.  Private keys are files of mode 0600 or stricter; `read_private` refuses any other.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path


class FileRefused(Exception):
    """A file cannot be used as it is; the message names the file, what is wrong and what to do next."""


def write_atomic(path: str | os.PathLike[str], data: bytes, mode: int = 0o644) -> None:
    """Replace the file at `path` by `data`, durably and in one step.

    The folder must exist.  `mode` is the new file's mode, whatever the umask says.
    Raises OSError (a full disk, for one); the old file is then untouched and nothing is left behind.
    """
    target = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix=".", suffix=".part", dir=target.parent)
    except OSError as error:
        raise _named(error, target) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass
        if isinstance(error, OSError):
            raise _named(error, target) from None
        raise
    sync_folder(target.parent)


def _named(error: OSError, target: Path) -> OSError:
    """The same error of the file meant: nobody knows the temporary one."""
    return OSError(error.errno, error.strerror, str(target))


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Make the names in a folder durable: without it a rename may be lost in a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_limited(path: str | os.PathLike[str], limit: int) -> bytes:
    """The whole file, at most `limit` bytes.

    Raises FileRefused when it is longer, OSError when it cannot be read.
    """
    with open(path, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise FileRefused(f"{os.fspath(path)}: longer than {limit} bytes; this is not the file meant")
    return data


def read_private(path: str | os.PathLike[str], limit: int = 1 << 20) -> bytes:
    """A file only its owner may touch, such as a private key.

    Raises FileRefused when group or others have any right on it, or when it is longer than `limit`
    bytes; OSError when it cannot be read.
    """
    with open(path, "rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise FileRefused(
                f"{os.fspath(path)}: mode {mode:04o} lets others at a private file; run: chmod 600 {os.fspath(path)}"
            )
        data = file.read(limit + 1)
    if len(data) > limit:
        raise FileRefused(f"{os.fspath(path)}: longer than {limit} bytes; this is not the file meant")
    return data
