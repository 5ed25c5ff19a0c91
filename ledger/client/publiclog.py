"""The seam between a reader and a published log.

Whoever implements `PublicLog` moves bytes and nothing else: every answer is checked by the reader
(`ledger.client.view`), so an implementation can at worst fail to answer, never make one believe.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger.core.errors import GlassbookError
from ledger.core.merkle import HASH_BYTES
from ledger.core.tiles import (
    ENTRIES,
    FULL_WIDTH,
    MAX_ENTRY_BYTES,
    Tile,
    decode_bundle,
    encode_bundle,
)


class Unreachable(GlassbookError):
    """The log did not answer, or not in time: nothing was shown either way (CLI exit 3)."""


class Moved(GlassbookError):
    """An answer stands under another checkpoint than the one in use: begin again under the new one.

    Not a fault: a log grows while it is read. Whoever still sees it after several attempts could not check.
    """


@dataclass(frozen=True, slots=True)
class IndexAnswer:
    """Index proofs and the index root leaf they stand under, all of one checkpoint (`POST /index/proofs`)."""

    checkpoint: bytes  # signed note
    index_root_entry: bytes  # 82 bytes, the last leaf of the checkpoint
    index_root_proof: list[bytes]  # its path, 32 bytes each
    proofs: list[bytes]  # in the order of the labels asked for


class PublicLog(Protocol):
    """What can be asked of a published log. All methods raise `Unreachable`, or `Malformed` for what
    cannot be an answer; none of them checks what it returns beyond its form and size."""

    @property
    def where(self) -> str:
        """URL, folder or tar, for messages."""

    def checkpoint(self) -> bytes:
        """The newest published checkpoint, a signed note of at most 1 MiB."""

    def tile(self, tile: Tile) -> bytes:
        """One tile or entry bundle of exactly `tile.width` hashes or entries.

        Where a partial one is gone because the full one exists, that one is fetched and cut.
        """

    def index_proofs(self, labels: Sequence[bytes]) -> IndexAnswer:
        """Proofs for these index labels (32 bytes each) in order. The order in which they are asked is
        the caller's to shuffle. At most `MAX_LABELS` at once."""

    def envelopes(self, tokens: Sequence[bytes]) -> list[bytes | None] | None:
        """The envelopes for these fetch tokens (32 bytes each) in order, None for a missing one;
        None for all where the log holds no envelopes (a folder)."""


class ClosableLog(PublicLog, Protocol):
    """A log that holds connections or files; `contextlib.closing` fits it."""

    def close(self) -> None:
        """Let go of them; nothing may be asked afterwards."""


MAX_LABELS = 10_000  # of one request
MAX_CHECKPOINT = 1 << 20  # bytes, formats §6

MAX_BUNDLE = FULL_WIDTH * (2 + MAX_ENTRY_BYTES)
"""Bytes of an entry bundle."""
MAX_TILE = FULL_WIDTH * HASH_BYTES


def size_limit(tile: Tile) -> int:
    """The most bytes that the file of this tile or bundle may have."""
    return MAX_BUNDLE if tile.level == ENTRIES else MAX_TILE


def cut(tile: Tile, full: bytes, where: str) -> bytes:
    """The partial `tile` out of the full one (C2SP tlog-tiles: a partial one may go once the full one exists).

    Raises `Malformed` for a bundle that is none.
    """
    if tile.level == ENTRIES:
        return encode_bundle(decode_bundle(full, FULL_WIDTH, where)[: tile.width])
    return full[: tile.width * HASH_BYTES]
