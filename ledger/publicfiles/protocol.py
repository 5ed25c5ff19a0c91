"""What a place for public files owes its publisher and its readers.

    checkpoint                        the published checkpoint, replaced in one step
    tile/0/x001/234                   full tile: 256 hashes, 8,192 bytes
    tile/0/x001/235.p/17              partial tile of 17 hashes
    tile/entries/x001/235.p/17        the 17 entries: u16 length ‖ entry, each

Tiles never change, so they are written first; only when every file of a tree is durable may its checkpoint
be signed. A partial tile has its width in its name and never changes either.

A place that cannot be reached, refuses, is slow or full raises OSError, whose `filename` says where and whose
`strerror` says what; nothing is then half done: each file is there whole or not at all, and the same call may
be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from ledger.core.merkle import HASH_BYTES
from ledger.core.tiles import ENTRIES, FULL_WIDTH, MAX_ENTRY_BYTES, Tile

MAX_BUNDLE = FULL_WIDTH * (2 + MAX_ENTRY_BYTES)
MAX_CHECKPOINT = 1 << 20

File = tuple[str, bytes]
"""A path relative to the place, and the content."""

TileReader = Callable[[Tile], bytes]
"""Gives the bytes of a tile; raises LookupError when it has them not."""


class ContentDiffers(Exception):
    """A file that never changes is there with another content; the message names it. Nothing was overwritten."""


class CheckpointReplaced(Exception):
    """The checkpoint is not the one expected: somebody else has replaced it since it was read."""


class PlaceRefused(Exception):
    """This place cannot be published to, now or later, as it is set up; the message says what to do."""


class StoredNote(NamedTuple):
    """The published checkpoint as it stands, and what names this state of it (in a bucket: its ETag)."""

    note: bytes
    version: str


class PublicFiles(Protocol):
    """One place. Safe for several threads; several processes may use it at once."""

    @property
    def where(self) -> str:
        """The place, as people know it: a path or an s3:// URL. No secret is in it."""

    def probe(self) -> None:
        """See that the place keeps what is said here, by trying it.

        Raises PlaceRefused when it does not, or when it refuses these credentials; OSError when it cannot be
        told now.
        """

    def prepare(self) -> None:
        """Ready the place for writing, remove what a crash left half-written, and forget what was only remembered.

        Raises OSError, PlaceRefused.
        """

    def __call__(self, tile: Tile) -> bytes:
        """A tile or bundle of exactly its width, cut from the full one where the partial one is gone.

        Raises LookupError when neither is there, OSError.
        """

    def file(self, tile: Tile) -> bytes:
        """The file of exactly this name. Raises LookupError when it is not there, OSError."""

    def checkpoint(self) -> StoredNote | None:
        """The published checkpoint as it stands now, never from a memory; None when there is none yet.

        Raises OSError.
        """

    def wrong_headers(self, name: str) -> list[str]:
        """What the place itself would tell caches of a file and should not, as "Header: value". A folder tells nothing.

        Raises LookupError when it is not there, OSError.
        """

    def write(self, files: Iterable[File]) -> None:
        """Put files in place that never change; durable when it returns, and readable by everybody.

        What is there already with this content is left alone. Raises ContentDiffers when another content has
        the name, OSError; then some of the files may be in place, each of them whole.
        """

    def mend(self, files: Iterable[File]) -> None:
        """The same, replacing what has another content.

        Only for files that the published root proves right: a damaged place is brought back to what was signed.
        """

    def replace_checkpoint(self, note: bytes, expected: str | None) -> str:
        """Publish: from here on readers see this note; returns its version.

        `expected` is the version of the note that it replaces, None for none at all. Raises CheckpointReplaced when
        another one stands there; OSError, and then readers see either the old one or this one.
        """

    def prune(self, start: int, stop: int) -> None:
        """Remove partial tiles next to tiles that became full between these two sizes of the tree.

        Only for sizes published long enough ago that nobody still reads a checkpoint from before. Not worth an
        error: what cannot be removed stays.
        """


def limit_of(tile: Tile) -> int:
    """The most bytes a file of this name may have."""
    return MAX_BUNDLE if tile.level == ENTRIES else HASH_BYTES * FULL_WIDTH


def exactly(tile: Tile, read: TileReader) -> bytes:
    """The tile from its own file, or cut from the full one; `read` gives one file. Raises LookupError."""
    try:
        return cut(read(tile), tile)
    except LookupError:
        if tile.width == FULL_WIDTH:
            raise
    return cut(read(tile.full), tile)


def cut(data: bytes, tile: Tile) -> bytes:
    """The first `tile.width` entries of a bundle, or hashes of a tile."""
    if tile.level != ENTRIES:
        return data[: HASH_BYTES * tile.width]
    at = 0
    for _ in range(tile.width):
        at += 2 + int.from_bytes(data[at : at + 2], "big")
    if at > len(data):
        raise LookupError(f"{tile.path}: the entry bundle is cut short")
    return data[:at]


def full_between(start: int, stop: int) -> Iterable[tuple[int, int, int]]:
    """(level, first, last): the tiles first to last - 1 of a level became full between these sizes."""
    level, first, last = 0, start // FULL_WIDTH, stop // FULL_WIDTH
    while last:
        for kind in (ENTRIES, 0) if level == 0 else (level,):
            yield kind, first, last
        level, first, last = level + 1, first // FULL_WIDTH, last // FULL_WIDTH
