"""The tree of a signed checkpoint as a copy of the log publishes it: what is true in it, and which files are false.

    tree = SignedTree(log, checkpoint)
    tree.tile(1, 0)                   the hashes that the signed root calls for, whatever the copy holds
    tree.bundle(7, data, tile)        entries 1792 … 2047, compared with their hashes
    tree.false                        the files of the copy that are not the tree's, each named once

Nothing is believed unless it folds to the root. A full tile folds to one hash of the tile above it, the partial
tiles on the right edge fold to the root. Where a tile does not, it is folded again from what stands below it, down
to the entries: if that leads to the root, the tile is false and nothing else, and its true hashes are known. So one
false file is one finding, and what it says never counts against its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from math import prod

from ledger.client.publiclog import PublicLog
from ledger.core.checkpoint import Checkpoint
from ledger.core.errors import Malformed
from ledger.core.merkle import HASH_BYTES, Node, leaf_hash, root_nodes, tree_root
from ledger.core.replay import Violation
from ledger.core.tiles import ENTRIES, FULL_WIDTH, Tile, decode_bundle, perfect_root, tile_of_node

COMBINATIONS = 4096
"""Ways of taking some hashes from a tile and some from below it that are tried, when neither alone is right."""

FALSE_TOLD = 10_000
"""False files and entries of a copy that are told at most: one in which nothing is true must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Entries from `start` on with their leaf hashes, 32 bytes each; None for one that the copy does not hold.

    `hashes` is None when not even the hashes could be told. `root` is the hash over all 256 of a full bundle.
    """

    start: int
    entries: Sequence[bytes | None]
    hashes: bytes | None
    root: bytes | None


class NotTheSignedTree(Exception):
    """Neither this tile nor what stands below it leads to the signed root: `level` None for the whole tree."""

    def __init__(self, level: int | None = None, n: int = 0) -> None:
        super().__init__(level, n)
        self.level = level
        self.n = n


class SignedTree:
    """The tree of `checkpoint`, whose root the caller trusts, read from `log`. One thread at a time.

    Raises `Unreachable` for a file that is not there, `NotTheSignedTree`.
    """

    def __init__(self, log: PublicLog, checkpoint: Checkpoint) -> None:
        self._log = log
        self.size = checkpoint.size
        self._root = checkpoint.root
        self.false: list[Violation] = []
        self.untold = 0
        """False files and entries beyond the first `FALSE_TOLD`, which are only counted."""
        self._named: set[tuple[int, int]] = set()
        self._edge: dict[int, bytes] | None = None  # level → true hashes of its partial tile
        self._kept: dict[int, tuple[int, bytes]] = {}  # level → the last full tile found true

    def width(self, level: int, n: int) -> int:
        """Hashes in tile n of a level."""
        return min(FULL_WIDTH, (self.size >> 8 * level) - FULL_WIDTH * n)

    def node(self, node: Node) -> bytes:
        """The true hash of a perfect subtree."""
        tile, slot, count = tile_of_node(node, self.size)
        hashes = self.tile(tile.level, tile.n)
        return perfect_root(hashes[slot * HASH_BYTES : (slot + count) * HASH_BYTES])

    def tile(self, level: int, n: int) -> bytes:
        """The true hashes of a tile, also where the copy holds others."""
        width = self.width(level, n)
        if width < FULL_WIDTH:
            return self._true_edge()[level]
        kept = self._kept.get(level)
        if kept is None or kept[0] != n:
            kept = self._kept[level] = (n, self._true(level, n))
        return kept[1]

    def bundle(self, n: int, data: bytes | None, given: bytes | None) -> Bundle:
        """The entries of bundle n out of its file, and of the level-0 tile over it; None for a file that is none."""
        start, width = n * FULL_WIDTH, self.width(0, n)
        entries, hashes = _decoded(data, width)
        if width == FULL_WIDTH:
            root = self._expected(0, n)
            if hashes is not None and hashes == given and perfect_root(hashes) == root:
                return Bundle(start, entries, hashes, root)
            try:
                true = self._choose(0, n, root, given, _slots(given, hashes))
            except NotTheSignedTree:
                what = "neither it nor the bundle of these entries leads to the root signed"
                self._name(0, n, start, "tile", f"{Tile(0, n).path}: {what}")
                return Bundle(start, [None] * width, None, root)
        else:
            root, true = None, self._true_edge()[0]
        if hashes == true:
            return Bundle(start, entries, true, root)
        return Bundle(start, self._salvaged(n, data, true), true, root)

    def _expected(self, level: int, n: int) -> bytes:
        """The hash that a full tile folds to, as the tile above it has it."""
        slot = n % FULL_WIDTH
        return self.tile(level + 1, n // FULL_WIDTH)[slot * HASH_BYTES : (slot + 1) * HASH_BYTES]

    def _true(self, level: int, n: int) -> bytes:
        expected, given = self._expected(level, n), self._given(level, n)
        if given is not None and perfect_root(given) == expected:
            return given
        return self._choose(level, n, expected, given, self._alternatives(level, n, given))

    def _given(self, level: int, n: int) -> bytes | None:
        """The tile as the copy has it; None when it is none of its size."""
        width = self.width(level, n)
        try:
            data = self._log.tile(Tile(level, n, width))
        except Malformed:
            return None
        return data if len(data) == width * HASH_BYTES else None

    def _data(self, n: int) -> bytes | None:
        try:
            return self._log.tile(Tile(ENTRIES, n, self.width(0, n)))
        except Malformed:
            return None

    def _alternatives(self, level: int, n: int, given: bytes | None) -> list[list[bytes]]:
        """For each hash of a tile what it may be: as given, and folded from what stands below, deepest last."""
        width = self.width(level, n)
        if level == 0:
            return _slots(given, _decoded(self._data(n), width)[1])
        claimed = [None] * width if given is None else _cut(given)
        return [self._roots(level - 1, n * FULL_WIDTH + slot, hash_) for slot, hash_ in enumerate(claimed)]

    def _roots(self, level: int, n: int, claimed: bytes | None) -> list[bytes]:
        """What a full tile may fold to: what the tile above it claims, then the tile itself, then what is below."""
        given = self._given(level, n)
        root = None if given is None else perfect_root(given)
        if root is not None and (claimed is None or root == claimed):
            return [root]
        found = [hash_ for hash_ in (claimed, root) if hash_ is not None]
        below = self._alternatives(level, n, given)
        if below:
            found.append(perfect_root(b"".join([hashes[-1] for hashes in below])))
        return list(dict.fromkeys(reversed(found)))[::-1]

    def _choose(
        self, level: int, n: int, expected: bytes, given: bytes | None, alternatives: list[list[bytes]]
    ) -> bytes:
        """Of the hashes that a tile may have, those that fold to `expected`; the tile is named if it is false."""
        if given is not None and perfect_root(given) == expected:
            return given
        for true in _rows(alternatives):
            if perfect_root(true) == expected:
                self._differs(level, n, true, given)
                return true
        raise NotTheSignedTree(level, n)

    def _true_edge(self) -> dict[int, bytes]:
        if self._edge is None:
            self._edge = self._find_edge()
        return self._edge

    def _find_edge(self) -> dict[int, bytes]:
        """The partial tiles on the right edge: as given, or from below where only that leads to the root."""
        partial = {}
        level = 0
        while self.size >> 8 * level:
            last = ((self.size >> 8 * level) - 1) // FULL_WIDTH
            if self.width(level, last) < FULL_WIDTH:
                partial[level] = last
            level += 1
        given = {level: self._given(level, n) for level, n in partial.items()}
        edge = {level: data for level, data in given.items() if data is not None}
        if len(edge) == len(given) and self._leads(edge):
            return edge
        alternatives = [self._alternatives(level, n, given[level]) for level, n in partial.items()]
        if not all(alternatives):
            raise NotTheSignedTree
        for row in _rows([hashes for hashes_of_tile in alternatives for hashes in hashes_of_tile]):
            at = 0
            for level, n in partial.items():
                end = at + self.width(level, n) * HASH_BYTES
                edge[level] = row[at:end]
                at = end
            if self._leads(edge):
                for level, n in partial.items():
                    if edge[level] != given[level]:
                        self._differs(level, n, edge[level], given[level])
                return edge
        raise NotTheSignedTree

    def _leads(self, edge: Mapping[int, bytes]) -> bool:
        """Whether these partial tiles fold to the root: every node of its row lies in one of them."""
        if None in edge.values():
            return False

        def read(nodes: Sequence[Node]) -> list[bytes]:
            found = []
            for node in nodes:
                tile, slot, count = tile_of_node(node, self.size)
                hashes = edge[tile.level]
                found.append(perfect_root(hashes[slot * HASH_BYTES : (slot + count) * HASH_BYTES]))
            return found

        return tree_root(self.size, read) == self._root

    def _differs(self, level: int, n: int, true: bytes, given: bytes | None) -> None:
        path = Tile(level, n, self.width(level, n)).path
        slot = 0
        if given is None or len(given) != len(true):
            what = f"{path} is not of the {len(true)} bytes that a tile of its width has"
        else:
            slot = next(at for at in range(len(true)) if given[at] != true[at]) // HASH_BYTES
            what = f"{path} does not hold the hashes of the tree signed, from its hash {slot} on"
        self._name(level, n, (n * FULL_WIDTH + slot) << 8 * level, "tile", what)

    def _name(self, level: int, n: int, index: int, kind: str, what: str) -> None:
        if (level, n) not in self._named:
            self._named.add((level, n))
            self._tell(index, kind, what)

    def _tell(self, index: int, kind: str, what: str) -> None:
        if len(self.false) < FALSE_TOLD:
            self.false.append(Violation(index, kind, "§6", what))
        else:
            self.untold += 1

    def _salvaged(self, n: int, data: bytes | None, true: bytes) -> list[bytes | None]:
        """The entries of a bundle that is not the tree's, as far as they are; names those that are not."""
        width, start = self.width(0, n), n * FULL_WIDTH
        path = Tile(ENTRIES, n, width).path
        if data is None:
            self._name(ENTRIES, n, start, "bundle", f"{path} is no entry bundle")
            return [None] * width
        try:
            entries = decode_bundle(data, width, path)
        except Malformed:
            return self._read_on(n, data, true)
        found: list[bytes | None] = []
        for slot, raw in enumerate(entries):
            if leaf_hash(raw) == true[slot * HASH_BYTES : (slot + 1) * HASH_BYTES]:
                found.append(raw)
            else:
                found.append(None)
                what = f"{path} holds another entry here than the tree signed"
                self._tell(start + slot, "bundle", what)
        return found

    def _read_on(self, n: int, data: bytes, true: bytes) -> list[bytes | None]:
        """A bundle whose lengths are wrong: the entries that are there nevertheless, told by their hashes."""
        width, start = self.width(0, n), n * FULL_WIDTH
        path = Tile(ENTRIES, n, width).path
        found: list[bytes | None] = []
        at = 0
        for slot in range(width):
            wanted = true[slot * HASH_BYTES : (slot + 1) * HASH_BYTES]
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            if at + 2 > len(data) or end > len(data) or leaf_hash(data[at + 2 : end]) != wanted:
                what = f"{path} cannot be read as a bundle from this entry on"
                self._name(ENTRIES, n, start + slot, "bundle", what)
                length = _length_of(data[at + 2 :], wanted)
                if length is None:
                    return found + [None] * (width - slot)
                end = at + 2 + length
            found.append(data[at + 2 : end])
            at = end
        if at < len(data):
            self._name(ENTRIES, n, start, "bundle", f"{path} goes on after its last entry")
        return found


def begins_with(tree: SignedTree, size: int, hashes: Sequence[bytes]) -> bool:
    """Whether the first `size` entries of the tree are those whose row of perfect subtrees is `hashes`."""
    return all(tree.node(node) == hash_ for node, hash_ in zip(root_nodes(size), hashes, strict=True))


def _decoded(data: bytes | None, width: int) -> tuple[list[bytes], bytes | None]:
    """Entries and their leaf hashes one after another; no hashes when the bundle is none of this width."""
    if data is None:
        return [], None
    try:
        entries = decode_bundle(data, width, "entry bundle")
    except Malformed:
        return [], None
    return entries, b"".join([sha256(b"\x00" + raw).digest() for raw in entries])


def _cut(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


def _slots(*rows: bytes | None) -> list[list[bytes]]:
    """For each place the different hashes that these rows have there; empty when there is no row."""
    there = [_cut(row) for row in rows if row is not None]
    return [list(dict.fromkeys(hashes)) for hashes in zip(*there, strict=True)]


def _rows(alternatives: list[list[bytes]]) -> Iterator[bytes]:
    """Rows with one of the alternatives in each place: all from below first, then, unless too many, all others."""
    if alternatives:
        yield b"".join([hashes[-1] for hashes in alternatives])
    if prod(len(hashes) for hashes in alternatives) <= COMBINATIONS:
        for row in product(*alternatives):
            yield b"".join(row)


def _length_of(data: bytes, wanted: bytes) -> int | None:
    """How long an entry at the start of `data` is, told by its leaf hash; at most some 65 ms."""
    digest = sha256(b"\x00")
    for length in range(min(len(data), 65_535) + 1):
        if digest.digest() == wanted:
            return length
        digest.update(data[length : length + 1])
    return None
