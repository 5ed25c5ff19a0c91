"""The tree's right edge, from which every further tile and bundle is made (C2SP tlog-tiles).

Where the files lie is the matter of `ledger.publicfiles`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger.core.errors import Malformed
from ledger.core.merkle import leaf_hash, tree_root
from ledger.core.tiles import (
    ENTRIES,
    FULL_WIDTH,
    Tile,
    TileHashes,
    decode_bundle,
    encode_bundle,
    grow_tiles,
)
from ledger.publicfiles import File, TileReader


class Edge:
    """The right edge of the tree at some size: the partial tile of each level and the partial entry bundle.

    That is all it takes to make every further tile, so publishing n entries costs n and not the size of the
    log.
    """

    def __init__(self) -> None:
        self.size = 0
        self._tiles: dict[int, bytes] = {}  # contents of the partial hash tile, by level
        self._bundle = b""  # the partial entry bundle, as it is written

    @classmethod
    def load(cls, size: int, read: TileReader) -> Edge:
        """The edge of a tree of this size from its partial tiles; the caller compares its root.

        Raises LookupError when a tile is missing, Malformed when the bundle is not that of the hashes.
        """
        edge = cls()
        edge.size = size
        for tile in partial_tiles(size):
            data = read(tile)
            if tile.level == ENTRIES:
                edge._bundle = data
            else:
                edge._tiles[tile.level] = data
        entries = decode_bundle(edge._bundle, size % FULL_WIDTH, "partial entry bundle")
        if b"".join(map(leaf_hash, entries)) != edge._tiles.get(0, b""):
            raise Malformed("partial entry bundle", "its entries are not those of the hash tile")
        return edge

    def copy(self) -> Edge:
        """An edge that can go its own way."""
        other = Edge()
        other.size, other._tiles, other._bundle = self.size, dict(self._tiles), self._bundle
        return other

    def extend(self, entries: Sequence[bytes]) -> list[File]:
        """Append entries; returns the tiles and bundles that became full, to be written before
        `partials()`."""
        files: list[File] = []
        n, room = self.size // FULL_WIDTH, FULL_WIDTH - self.size % FULL_WIDTH
        at = 0
        while len(entries) - at >= room:
            files.append((Tile(ENTRIES, n).path, self._bundle + encode_bundle(entries[at : at + room])))
            self._bundle = b""
            n, at, room = n + 1, at + room, FULL_WIDTH
        if at < len(entries):
            self._bundle += encode_bundle(entries[at:])
        leaf_hashes = [leaf_hash(entry) for entry in entries]
        edge = dict(self._tiles)
        for tile, data in grow_tiles(self.size, self._tiles, leaf_hashes):
            if tile.width == FULL_WIDTH:
                files.append((tile.path, data))
                edge.pop(tile.level, None)
            else:
                edge[tile.level] = data
        self._tiles = edge
        self.size += len(entries)
        return files

    def partials(self) -> list[File]:
        """The partial tiles and the partial bundle of a tree of exactly this size."""
        return [(tile.path, self._read(tile)) for tile in partial_tiles(self.size)]

    def root(self) -> bytes:
        """The root hash at this size (RFC 6962 §2.1). Its perfect subtrees all lie in partial tiles."""
        return tree_root(self.size, TileHashes(self._read, self.size))

    def _read(self, tile: Tile) -> bytes:
        return self._bundle if tile.level == ENTRIES else self._tiles[tile.level]


def partial_tiles(size: int) -> list[Tile]:
    """The partial tiles and the partial bundle of a tree of this size, the bundle first."""
    tiles = [Tile(ENTRIES, size // FULL_WIDTH, size % FULL_WIDTH)] if size % FULL_WIDTH else []
    level, count = 0, size
    while count:
        if count % FULL_WIDTH:
            tiles.append(Tile(level, count // FULL_WIDTH, count % FULL_WIDTH))
        level, count = level + 1, count // FULL_WIDTH
    return tiles
