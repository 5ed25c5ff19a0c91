"""Tiles and entries of one checkpoint, each checked up to its root before it is used.

A tile of level L and number n holds hashes 256n … 256n+255 of tree level 8L (C2SP tlog-tiles). A full
tile folds to one hash of the tile above it; the partial tiles on the right edge fold to the tree's
root, because the perfect subtrees that make up the tree are exactly the columns of their hashes. So
each tile is fetched once, folded once and compared once, however many entries below it are used.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ledger.core.errors import Malformed, ProofRefuted
from ledger.core.merkle import InclusionPaths, Node, leaf_hash, node_hash, tree_root
from ledger.core.tiles import ENTRIES, Tile, decode_bundle

FETCHES_AT_ONCE = 8


class AuthenticTiles:
    """The hashes of the tree of `size` and `root`, fetched as tiles and believed only when they fold to it.

    Calling it with nodes makes it a `HashReader` for `ledger.core.merkle`. Raises `ProofRefuted` for a
    tile that does not fold to what stands above it, of the wrong length or not: an answer that broke off on the way
    is noticed where it is fetched, so what arrives whole and is cut short was published so.
    """

    def __init__(self, fetch: Callable[[Tile], bytes], size: int, root: bytes, where: str) -> None:
        self._fetch = fetch
        self.size = size
        self._root = root
        self._where = where
        # Of each tile all the hashes that can be folded from it: 256, 128, … 1 for a full one.
        self._tiles: dict[tuple[int, int], list[list[bytes]]] = {}
        self._paths = InclusionPaths(size, self)
        self._above: dict[
            int, tuple[bytes, ...]
        ] = {}  # of full level-0 tiles, inclusion proofs of their hashes
        self._lock = threading.RLock()
        self._edge_checked = False

    def __call__(self, nodes: Sequence[Node]) -> list[bytes]:
        return [self._node(level, n) for level, n in nodes]

    def leaf_hash(self, index: int) -> bytes:
        """The hash of leaf `index`, 32 bytes."""
        return self._tile(0, index // 256)[0][index % 256]

    def inclusion(self, index: int) -> tuple[bytes, ...]:
        """The inclusion proof of leaf `index`, 32-byte hashes. Malformed when there is no such leaf."""
        n, slot = divmod(index, 256)
        above = self._above.get(n)
        if above is None:
            path = self._paths.prove(index)
            if n < self.size // 256:
                self._above[n] = path[8:]
            return path
        # In a full tile the eight siblings of a leaf stand side by side with what leads up to its hash.
        a, b, c, d, e, f, g, h, _ = self._tiles[0, n]
        return (
            a[slot ^ 1], b[slot >> 1 ^ 1], c[slot >> 2 ^ 1], d[slot >> 3 ^ 1],
            e[slot >> 4 ^ 1], f[slot >> 5 ^ 1], g[slot >> 6 ^ 1], h[slot >> 7 ^ 1],
            *above,
        )  # fmt: skip

    def check(self) -> None:
        """Fetch the right edge of the tree and compare it with the root, before anything else is asked."""
        with self._lock:
            if not self._edge_checked:
                self._check_edge()

    def _tile(self, level: int, n: int) -> list[list[bytes]]:
        found = self._tiles.get((level, n))  # what is in there was checked
        if found is not None:
            return found
        with self._lock:
            self.check()
            if (level, n) not in self._tiles:
                self._accept(level, n, self._read(level, n))
            return self._tiles[level, n]

    def take_leaves(self, n: int, leaves: list[bytes]) -> bool:
        """Whether these are the hashes of the level-0 tile n, all of it; then it need not be fetched any more."""
        self.check()
        with self._lock:
            held = self._tiles.get((0, n))
            if held is not None:
                return held[0] == leaves
            rows = _fold(b"".join(leaves))
            if rows[8][0] != self._tile(1, n // 256)[0][n % 256]:
                return False
            self._tiles[0, n] = rows
            return True

    def prefetch(self, leaf_indices: Iterable[int]) -> None:
        """Fetch the level-0 tiles over these leaves, several at a time, and none twice."""
        self.check()
        held = {n for level, n in self._tiles if level == 0}
        wanted = sorted({index // 256 for index in leaf_indices} - held)
        if len(wanted) > 1:
            with ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
                for n, data in zip(wanted, pool.map(lambda n: self._read(0, n), wanted), strict=True):
                    with self._lock:
                        if (0, n) not in self._tiles:
                            self._accept(0, n, data)

    def _width(self, level: int, n: int) -> int:
        return min(256, (self.size >> 8 * level) - 256 * n)

    def _read(self, level: int, n: int) -> bytes:
        width = self._width(level, n)
        tile = Tile(level, n, width)
        data = self._fetch(tile)
        if len(data) != 32 * width:
            raise ProofRefuted(
                f"{self._where} {tile.path}", f"{len(data)} bytes, not {32 * width}",
                size=self.size, root=self._root,
            )  # fmt: skip
        return data

    def _check_edge(self) -> None:
        edge: dict[tuple[int, int], list[list[bytes]]] = {}
        level = 0
        while self.size >> 8 * level:
            last = ((self.size >> 8 * level) - 1) // 256
            if self._width(level, last) < 256 or not self.size >> 8 * (level + 1):
                edge[level, last] = _fold(self._read(level, last))
            level += 1

        def read(nodes: Sequence[Node]) -> list[bytes]:
            # Every node of the root's decomposition lies in one of these tiles.
            rows = [edge[height // 8, _column(height, n)] for height, n in nodes]
            return [
                row[height % 8][n % (256 >> height % 8)] for row, (height, n) in zip(rows, nodes, strict=True)
            ]

        if tree_root(self.size, read) != self._root:
            raise ProofRefuted(
                f"{self._where} tiles", "do not fold to the root of the signed checkpoint",
                size=self.size, root=self._root,
            )  # fmt: skip
        self._tiles.update(edge)
        self._edge_checked = True

    def _accept(self, level: int, n: int, data: bytes) -> None:
        """Keep a full tile whose fold is the hash that stands for it in the tile above."""
        rows = _fold(data)
        if rows[8][0] != self._tile(level + 1, n // 256)[0][n % 256]:
            tile = Tile(level, n, 256)
            raise ProofRefuted(
                f"{self._where} {tile.path}", "is not the tile under the signed checkpoint",
                tile=data, size=self.size, root=self._root,
            )  # fmt: skip
        self._tiles[level, n] = rows

    def _node(self, height: int, n: int) -> bytes:
        return self._tile(height // 8, _column(height, n))[height % 8][n % (256 >> height % 8)]


class AuthenticEntries:
    """Entries of the tree behind `tiles`; bundles are fetched once.

    A bundle has all that its tile of leaf hashes says, so that one is fetched only to tell which entry is wrong.
    """

    def __init__(self, fetch: Callable[[Tile], bytes], tiles: AuthenticTiles, where: str) -> None:
        self._fetch = fetch
        self._tiles = tiles
        self._where = where
        self._bundles: dict[int, list[bytes]] = {}
        self._proven: set[int] = set()  # bundles of which every entry is the tree's

    def read(self, indices: Iterable[int]) -> dict[int, bytes]:
        """The entries at these indices. Raises `ProofRefuted` naming the first that is not the tree's."""
        wanted = sorted(set(indices))
        if wanted and wanted[-1] >= self._tiles.size:
            raise Malformed(f"entry {wanted[-1]}", f"the log has {self._tiles.size} entries")
        missing = sorted({index // 256 for index in wanted} - self._bundles.keys())
        if len(missing) > 1:
            with ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
                self._bundles.update(zip(missing, pool.map(self._bundle, missing), strict=True))
        elif missing:
            self._bundles[missing[0]] = self._bundle(missing[0])
        for n in missing:
            if self._tiles.take_leaves(n, list(map(leaf_hash, self._bundles[n]))):
                self._proven.add(n)
        self._tiles.prefetch(index for index in wanted if index // 256 not in self._proven)
        return {index: self._entry(index) for index in wanted}

    def _entry(self, index: int) -> bytes:
        n, slot = divmod(index, 256)
        raw = self._bundles[n][slot]
        if n not in self._proven and leaf_hash(raw) != self._tiles.leaf_hash(index):
            raise ProofRefuted(
                f"entry {index}", "the entry bundle holds another entry than the tree",
                entry=raw, leaf_hash=self._tiles.leaf_hash(index), index=index,
            )  # fmt: skip
        return raw

    def _bundle(self, n: int) -> list[bytes]:
        width = min(256, self._tiles.size - n * 256)
        tile = Tile(ENTRIES, n, width)
        where = f"{self._where} {tile.path}"
        try:
            return decode_bundle(self._fetch(tile), width, where)
        except Malformed as error:
            # As an altered byte would be: the file is not the one that was signed.
            raise ProofRefuted(where, error.what, first_entry=n * 256) from None


def _column(height: int, n: int) -> int:
    """Number of the tile that holds node n at this height of the tree."""
    return n >> 8 - height % 8


def _fold(data: bytes) -> list[list[bytes]]:
    """The hashes of a tile, then those of each level above them that lie wholly in it."""
    row = [data[at : at + 32] for at in range(0, len(data), 32)]
    rows = [row]
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)]
        rows.append(row)
    return rows
