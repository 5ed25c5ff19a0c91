"""The published tree as immutable files (C2SP tlog-tiles).

    tile/0/x001/x234/067        256 leaf hashes, of leaves 1234067·256 and on: 8,192 bytes
    tile/1/000.p/17             17 hashes so far, each of a full tile below
    tile/entries/000.p/2        an entry bundle: 2 entries, each u16 length ‖ bytes

Hash i of tile n at level l covers 256^l leaves, from leaf (n·256 + i)·256^l on. A tile that is not full yet
is partial (.p/WIDTH, 1 to 255); a larger tree has it wider, and at last full, but never with other bytes.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from ledger.core.encoding import u16
from ledger.core.errors import Malformed
from ledger.core.merkle import HASH_BYTES, Node

ENTRIES = -1
"""The level of entry bundles."""
FULL_WIDTH = 256
TILE_HEIGHT = 8
"""Levels of the tree in one tile."""
MAX_LEVEL = 63
MAX_ENTRY_BYTES = 65_535

# At most seven groups of three digits: a tree below 2^63 has fewer than 10^17 tiles.
_PATH = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII
)


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """Tile n of a level (0 to 63, or ENTRIES for bundles), width hashes or entries of it (1 to 256)."""

    level: int
    n: int
    width: int = FULL_WIDTH

    @property
    def path(self) -> str:
        """The path relative to the log's prefix, as at the top of this module."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        digits = f"{self.n % 1000:03d}"
        rest = self.n // 1000
        while rest:
            digits = f"x{rest % 1000:03d}/{digits}"
            rest //= 1000
        partial = "" if self.width == FULL_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{digits}{partial}"

    @property
    def full(self) -> "Tile":
        """The same tile once it is full."""
        return Tile(self.level, self.n)


def parse_path(path: str) -> Tile:
    """The tile of a path; Malformed for any other spelling than Tile.path gives."""
    found = _PATH.fullmatch(path)
    if not found:
        raise Malformed("tile path", "is neither tile/LEVEL/N nor tile/entries/N, with or without .p/WIDTH")
    level = ENTRIES if found[1] == "entries" else int(found[1])
    width = int(found[3] or FULL_WIDTH)
    tile = Tile(level, int(re.sub("[x/]", "", found[2])), width)
    if level > MAX_LEVEL or width > FULL_WIDTH:
        raise Malformed(
            "tile path", f"level {level} is above {MAX_LEVEL}, or width {width} above {FULL_WIDTH}"
        )
    # Also refuses .p/256 and a leading group x000.
    if tile.path != path:
        raise Malformed("tile path", f"is not the canonical {tile.path}")
    return tile


def _hashes_at(level: int, size: int) -> int:
    return size if level == ENTRIES else size >> TILE_HEIGHT * level


def new_tiles(old_size: int, new_size: int) -> Iterator[Tile]:
    """The files that a log of new_size has and one of old_size has not: bundles, then level by level."""
    for level in range(ENTRIES, MAX_LEVEL + 1):
        old, new = _hashes_at(level, old_size), _hashes_at(level, new_size)
        if new == 0:
            return
        if old == new:
            continue
        for n in range(old // FULL_WIDTH, new // FULL_WIDTH):
            yield Tile(level, n)
        if new % FULL_WIDTH:
            yield Tile(level, new // FULL_WIDTH, new % FULL_WIDTH)


def tiles_of(size: int) -> Iterator[Tile]:
    """Every file of a log of this size, bundles first, then level by level."""
    return new_tiles(0, size)


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """u16 length ‖ entry, for 1 to 256 entries of at most 65,535 bytes."""
    if not 1 <= len(entries) <= FULL_WIDTH:
        raise Malformed("entry bundle", f"{len(entries)} entries, not 1 to {FULL_WIDTH}")
    for number, entry in enumerate(entries):
        if len(entry) > MAX_ENTRY_BYTES:
            raise Malformed("entry bundle", f"entry {number} has more than {MAX_ENTRY_BYTES} bytes")
    return b"".join([u16(len(entry)) + entry for entry in entries])


def decode_bundle(data: bytes, width: int, where: str) -> list[bytes]:
    """The entries of a bundle that must hold exactly width of them."""
    # Plain arithmetic instead of a Reader: an audit does this for every entry.
    entries: list[bytes] = []
    start, end = 0, len(data)
    while start < end:
        stop = start + 2 + int.from_bytes(data[start : start + 2], "big")
        if stop > end or start + 2 > end:
            raise Malformed(where, f"entry {len(entries)} of the bundle is cut short")
        entries.append(data[start + 2 : stop])
        start = stop
    if len(entries) != width:
        raise Malformed(where, f"{len(entries)} entries in the bundle, not {width}")
    return entries


def tile_of_node(node: Node, size: int) -> tuple[Tile, int, int]:
    """Where a node's hash comes from in a log of this size: tile, first hash in it, number of hashes.

    The node is the fold of that many hashes side by side, 1 to 128, a power of two.
    """
    level, above = divmod(node.level, TILE_HEIGHT)
    first = node.n << above
    n, slot = divmod(first, FULL_WIDTH)
    width = min(FULL_WIDTH, _hashes_at(level, size) - n * FULL_WIDTH)
    if first < 0 or slot + (1 << above) > width:
        raise Malformed("tile", f"no node {node.n} at level {node.level} in a tree of size {size}")
    return Tile(level, n, width), slot, 1 << above


def perfect_root(hashes: bytes) -> bytes:
    """The root over 1, 2, 4 … hashes of 32 bytes written one after another."""
    while len(hashes) > HASH_BYTES:
        hashes = b"".join(
            [sha256(b"\x01" + hashes[at : at + 64]).digest() for at in range(0, len(hashes), 2 * HASH_BYTES)]
        )
    return hashes


def grow_tiles(
    old_size: int, edge: Mapping[int, bytes], leaf_hashes: Sequence[bytes]
) -> Iterator[tuple[Tile, bytes]]:
    """The hash tiles, with contents, that appending leaf_hashes to a tree of old_size makes or widens.

    `edge` has, by level, the contents of each partial tile of the old tree (a level whose last tile is full
    is left out). The edge of the new tree is among what is given.
    """
    new, level = b"".join(leaf_hashes), 0
    while new:
        held = edge.get(level, b"")
        old = _hashes_at(level, old_size)
        if len(held) != old % FULL_WIDTH * HASH_BYTES:
            raise Malformed("right edge", f"{len(held)} bytes at level {level} do not fit size {old_size}")
        row, n, above = held + new, old // FULL_WIDTH, []
        for start in range(0, len(row), FULL_WIDTH * HASH_BYTES):
            content = row[start : start + FULL_WIDTH * HASH_BYTES]
            tile = Tile(level, n, len(content) // HASH_BYTES)
            yield tile, content
            if tile.width == FULL_WIDTH:
                above.append(perfect_root(content))
            n += 1
        new, level = b"".join(above), level + 1


class TileHashes:
    """A HashReader over the tiles of a log of one size, each fetched once and kept.

    `fetch` returns the bytes of exactly the tile asked for. Nothing here authenticates them: what is proved
    with these hashes is checked against a trusted root by whoever asked.
    """

    def __init__(self, fetch: Callable[[Tile], bytes], size: int) -> None:
        self.size = size
        self._fetch = fetch
        self._kept: dict[Tile, bytes] = {}

    def __call__(self, nodes: Sequence[Node]) -> list[bytes]:
        return [self._hash(node) for node in nodes]

    def _hash(self, node: Node) -> bytes:
        tile, slot, count = tile_of_node(node, self.size)
        return perfect_root(self.tile(tile)[slot * HASH_BYTES : (slot + count) * HASH_BYTES])

    def tile(self, tile: Tile) -> bytes:
        """The bytes of one tile, 32 for each of its hashes."""
        content = self._kept.get(tile)
        if content is None:
            content = self._fetch(tile)
            if len(content) != tile.width * HASH_BYTES:
                raise Malformed(tile.path, f"has {len(content)} bytes, not {tile.width * HASH_BYTES}")
            self._kept[tile] = content
        return content
