"""A log file as a stream of bytes: gzip opened on the way, bombs and unreadable kinds refused.

Nothing is read whole: memory stays at one chunk, however long the file.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from ledger.core.errors import Malformed

CHUNK: Final = 1 << 18
"""Bytes read, or decompressed, at a time."""

GZIP_FREE: Final = 64 << 20
"""A gzip file may unpack to this many bytes, whatever its ratio."""

GZIP_RATIO: Final = 200
"""Beyond that it may unpack to this many times the bytes read so far: real logs pack 10 to 40 times smaller."""

_GZIP = b"\x1f\x8b"
_WBITS_GZIP = 16 + zlib.MAX_WBITS


class Source:
    """The text of one file in chunks, gzip or plain by its first two bytes, without a UTF-8 byte order mark.

    `chunks` and `peek` raise Malformed for a broken gzip stream or one that unpacks too far, OSError when the
    file cannot be read.  What was read before such an error stays good.  `taken` counts the bytes of the file read
    so far, of `size` (0 when it is no plain file).
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.taken = 0
        self._file: BinaryIO = path.open("rb")
        self.size = os.fstat(self._file.fileno()).st_size
        self._chunks = self._open()
        self._peeked = b""
        self._broken: Malformed | None = None

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def peek(self, size: int) -> bytes:
        """The first bytes still to come, at least `size` of them unless the file ends or breaks before.

        A break behind bytes that are good is told by `chunks`, when it comes to it.
        """
        while len(self._peeked) < size and self._broken is None:
            try:
                chunk = next(self._chunks, b"")
            except Malformed as error:
                if not self._peeked:
                    raise
                self._broken = error
                break
            if not chunk:
                break
            self._peeked += chunk
        return self._peeked

    def chunks(self) -> Iterator[bytes]:
        """Everything still to come."""
        peeked, self._peeked = self._peeked, b""
        if peeked:
            yield peeked
        if self._broken is not None:
            raise self._broken
        yield from self._chunks

    def _open(self) -> Iterator[bytes]:
        start = self._read()
        body = self._gunzip(start) if start.startswith(_GZIP) else self._plain(start)
        first = next(body, b"")
        # A BOM is no JSON, but Windows tools put one before logs that are otherwise right.
        yield first.removeprefix(b"\xef\xbb\xbf")
        yield from body

    def _plain(self, start: bytes) -> Iterator[bytes]:
        while start:
            yield start
            start = self._read()

    def _read(self) -> bytes:
        data = self._file.read(CHUNK)
        self.taken += len(data)
        return data

    def _gunzip(self, start: bytes) -> Iterator[bytes]:
        """Members of a gzip file (RFC 1952) one after the other."""
        packed, given = start, 0
        member = zlib.decompressobj(_WBITS_GZIP)
        while packed:
            try:
                chunk = member.decompress(packed, CHUNK)
            except zlib.error:
                raise Malformed(
                    "gzip", f"broken after {given} unpacked bytes; fetch the file again"
                ) from None
            given += len(chunk)
            if given > GZIP_FREE and given > GZIP_RATIO * self.taken:
                raise Malformed(
                    "gzip",
                    f"unpacks to more than {GZIP_RATIO} times its size, as gzip bombs do; unpack it yourself first",
                )
            if chunk:
                yield chunk
            packed = member.unconsumed_tail
            if member.eof:
                packed = member.unused_data
            if not packed:
                packed = self._read()
            if member.eof and packed:
                if not packed.strip(b"\0"):
                    return  # padding of whole blocks, as tapes and some tools leave it
                member = zlib.decompressobj(_WBITS_GZIP)
        if not member.eof:
            raise Malformed("gzip", f"ends early, after {given} unpacked bytes; fetch the file again")
