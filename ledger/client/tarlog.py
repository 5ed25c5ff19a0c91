"""A published log in one tar file, read in place.

    tar -cf log.tar -C public .            a copy of the folder as one file
    tar -czf log.tar.gz public             compressed: unpacked once, beside the temporary files

The tar is read through once and the place of each file of the log noted; then files are read from their places.
Nothing is ever unpacked under a name that stands in the tar. What a tar of a log does not hold (absolute names, `..`,
links, devices, the same file twice, files longer than any of their kind) is refused: it is no copy of a folder.
Other files, such as those of a web page, are passed over.
"""

import gzip
import os
import re
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from ledger.client.fileslog import FilesLog
from ledger.client.publiclog import MAX_CHECKPOINT, Unreachable, size_limit
from ledger.core.errors import Malformed
from ledger.core.tiles import parse_path

MAX_FILES: Final = 1_000_000
"""Files in a tar that is read in place, some 200 bytes of memory each; enough for 120 million entries."""
MAX_RATIO: Final = 20
"""How many times longer than the compressed file the unpacked one may be: hashes and signatures do not compress."""
LEAST_UNPACKED: Final = 64 << 20
"""Bytes that any tar may unpack to."""
_LONGEST_HEADER: Final = 1 << 20  # of a pax header, which tarfile reads in one piece
_OF_LOG: Final = re.compile(r"(?:(.*)/)?(checkpoint|tile/[^.].*)", re.DOTALL)
_PIECE: Final = 1 << 20


class TarLog(FilesLog):
    """The log in the tar at `path`, plain or compressed by gzip."""

    def __init__(self, path: Path, progress: Callable[[int, int], None] | None = None) -> None:
        super().__init__(str(path), progress)
        self._file = _open_plain(path)
        try:
            self._places = _index(self._file, str(path))
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def _read(self, path: str, limit: int) -> bytes | None:
        place = self._places.get(path)
        if place is None:
            return None
        start, size = place
        if size > limit:
            raise Malformed(self._name(path), f"longer than {limit} bytes; this is not the file meant")
        try:
            data = os.pread(self._file.fileno(), size, start)
        except OSError as error:
            raise Unreachable(self._name(path), f"cannot be read: {error.strerror}") from None
        if len(data) != size:
            raise Unreachable(self._name(path), "the tar breaks off here; get it again")
        return data

    def _name(self, path: str) -> str:
        return f"{self._where}: {path}"


def _open_plain(path: Path) -> IO[bytes]:
    """The tar itself, or one unpacked to a file without a name that goes when it is closed."""
    try:
        packed = open(path, "rb")  # noqa: SIM115 (kept open by the caller)
    except OSError as error:
        raise Unreachable(str(path), f"cannot be read: {error.strerror}") from None
    try:
        if packed.read(2) != b"\x1f\x8b":
            return packed
        packed.seek(0)
        limit = max(LEAST_UNPACKED, MAX_RATIO * os.fstat(packed.fileno()).st_size)
        with packed:
            return _unpacked(packed, limit, str(path))
    except OSError as error:
        packed.close()
        raise Unreachable(str(path), f"cannot be read: {error.strerror}") from None


def _unpacked(packed: IO[bytes], limit: int, where: str) -> IO[bytes]:
    plain = tempfile.TemporaryFile(prefix="glassbook-")  # noqa: SIM115
    try:
        with gzip.GzipFile(fileobj=packed) as stream:
            total = 0
            while piece := stream.read(_PIECE):
                total += len(piece)
                if total > limit:
                    raise Malformed(where, f"unpacks to more than {limit} bytes; no tar of a log does")
                try:
                    plain.write(piece)
                except OSError as error:
                    what = f"cannot be unpacked to {tempfile.gettempdir()}: {error.strerror}"
                    raise Unreachable(where, f"{what}; unpack it and give the folder") from None
        plain.flush()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        plain.close()
        raise Malformed(where, f"is damaged or breaks off ({type(error).__name__}); get it again") from None
    except BaseException:
        plain.close()
        raise
    return plain


class _Bounded:
    """The file under `tarfile`, which believes lengths that stand in headers: no long piece is ever read for it."""

    def __init__(self, file: IO[bytes], where: str) -> None:
        self._file = file
        self._where = where

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise Malformed(self._where, "has a header longer than any file's name")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _index(file: IO[bytes], where: str) -> dict[str, tuple[int, int]]:
    """Start and size of each file of the log, by its path in the log."""
    places: dict[str, tuple[int, int]] = {}
    folder: str | None = None
    count = 0
    file.seek(0)
    try:
        with tarfile.open(fileobj=_Bounded(file, where), mode="r:") as tar:  # type: ignore[call-overload]
            while (member := tar.next()) is not None:
                # Else tarfile keeps every header for itself.
                tar.members = []
                count += 1
                if count > MAX_FILES:
                    raise Malformed(where, f"has more than {MAX_FILES} files; unpack it and give the folder")
                name = _checked_name(member, where)
                found = _OF_LOG.fullmatch(name)
                if member.isdir() or found is None or not _is_of_log(found[2]):
                    continue
                if folder is None:
                    folder = found[1] or ""
                if (found[1] or "") != folder:
                    raise Malformed(where, f"holds two logs, in {folder or '.'} and {found[1] or '.'}")
                if found[2] in places:
                    raise Malformed(where, f"holds {found[2]} twice")
                limit = MAX_CHECKPOINT if found[2] == "checkpoint" else size_limit(parse_path(found[2]))
                if member.size > limit:
                    raise Malformed(f"{where}: {found[2]}", f"longer than {limit} bytes")
                places[found[2]] = (member.offset_data, member.size)
    except (tarfile.TarError, RecursionError, ValueError, OverflowError, EOFError) as error:
        said = str(error) or type(error).__name__
        raise Malformed(where, f"is neither a tar nor a folder, or is damaged ({said})") from None
    except OSError as error:
        raise Unreachable(where, f"cannot be read: {error.strerror}") from None
    if not places:
        raise Malformed(where, "holds no file of a log; it has to hold `checkpoint` and `tile`")
    return places


def _checked_name(member: tarfile.TarInfo, where: str) -> str:
    """The member's name without a leading `./`; Malformed for what no copy of a folder holds."""
    name = ascii(member.name)[1:-1]
    if member.name.startswith("/") or ".." in member.name.split("/"):
        raise Malformed(where, f"holds {name[:200]}, which leads out of its folder")
    if not (member.isfile() or member.isdir()) or member.issparse():
        kind = stat.filemode(member.mode)[0] if member.isfile() else "a link or a device"
        raise Malformed(where, f"holds {name[:200]}, {'a sparse file' if member.issparse() else kind}")
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    return "/".join(parts)


def _is_of_log(path: str) -> bool:
    if path == "checkpoint":
        return True
    try:
        parse_path(path)
    except Malformed:
        return False
    return True
