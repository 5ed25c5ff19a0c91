"""The first entries of a published log, as if it had been published at that size."""

from collections.abc import Sequence

from ledger.client.publiclog import IndexAnswer, PublicLog
from ledger.core.encoding import u16
from ledger.core.errors import Malformed
from ledger.core.merkle import HASH_BYTES
from ledger.core.tiles import ENTRIES, FULL_WIDTH, Tile, decode_bundle


class PrefixLog:
    """The tiles of a tree that is the beginning of the one of `size` entries that `log` publishes.

    A partial tile of the smaller tree need not be published: it is cut from the one of the larger tree.
    """

    def __init__(self, log: PublicLog, size: int) -> None:
        self._log = log
        self._size = size

    @property
    def where(self) -> str:
        return self._log.where

    def checkpoint(self) -> bytes:
        return self._log.checkpoint()

    def tile(self, tile: Tile) -> bytes:
        width = min(FULL_WIDTH, (self._size >> 8 * max(0, tile.level)) - FULL_WIDTH * tile.n)
        if width <= tile.width:
            return self._log.tile(tile)
        wider = Tile(tile.level, tile.n, width)
        data = self._log.tile(wider)
        if tile.level != ENTRIES:
            if len(data) != width * HASH_BYTES:
                raise Malformed(f"{self.where} {wider.path}", f"{len(data)} bytes, not {width * HASH_BYTES}")
            return data[: tile.width * HASH_BYTES]
        entries = decode_bundle(data, width, f"{self.where} {wider.path}")[: tile.width]
        return b"".join([u16(len(raw)) + raw for raw in entries])

    def index_proofs(self, labels: Sequence[bytes]) -> IndexAnswer:
        return self._log.index_proofs(labels)

    def envelopes(self, tokens: Sequence[bytes]) -> list[bytes | None] | None:
        return self._log.envelopes(tokens)
