"""Hash tiles of the sequenced log's tree (C2SP tlog-tiles), and the leaf hashes in them.

Of every leaf the database has the entry, or its hash, or both (docs/adr/0030): a full tile of leaf hashes is dropped
behind the log's end, where the entries are, and stored again before they leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ledger.core.merkle import HASH_BYTES, Frontier, leaf_hash
from ledger.core.tiles import FULL_WIDTH
from ledger.store import schema
from ledger.store.engine import Connection, run
from ledger.store.errors import StoreUnusable
from ledger.store.log import index_of, read_entries, read_entries_at, read_numbered, read_numbers_at
from ledger.store.statements import insert_rows

TILES_KEPT = 65_536
"""Leaves whose hashes are stored beside their entries, at the log's end: receipts are mostly made there."""


def read_leaf_hashes(db: Connection, indices: Sequence[int]) -> dict[int, bytes]:
    """The leaf hashes at these indices, also of entries that have left."""
    found: dict[int, bytes] = {}
    tiles: dict[int, bytes] = {}
    for index in indices:
        n, slot = divmod(index, FULL_WIDTH)
        if n not in tiles:
            tiles[n] = _stored_tile(db, 0, n)
        digest = tiles[n][HASH_BYTES * slot : HASH_BYTES * (slot + 1)]
        if len(digest) == HASH_BYTES:
            found[index] = digest
    others = [index for index in indices if index not in found]
    return found | {index: leaf_hash(entry) for index, entry in read_entries_at(db, others).items()}


def write_tiles(db: Connection, tiles: Iterable[tuple[int, int, bytes]]) -> None:
    """Put hash tiles (level, n, hashes), replacing the partial ones that stood there."""
    insert_rows(
        db,
        schema.tree_tiles,
        list(tiles),
        conflict="ON CONFLICT (level, n) DO UPDATE SET data = excluded.data",
    )


def read_tile(db: Connection, level: int, n: int, width: int) -> bytes:
    """The first `width` hashes of a hash tile: 32·width bytes.

    A tile never changes but by growing, so this is the tile of every tree large enough.
    Raises LookupError when the log is not.
    """
    data = _stored_tile(db, level, n)
    if not data and level == 0:
        start = n * FULL_WIDTH
        data = b"".join(map(leaf_hash, read_entries(db, start, start + width)))
    if len(data) < HASH_BYTES * width:
        raise LookupError(f"tile {level}/{n}: the store does not hold {width} hashes of it")
    return data[: HASH_BYTES * width]


def _stored_tile(db: Connection, level: int, n: int) -> bytes:
    """What is stored of a hash tile; nothing when it is not there."""
    data = run(db, "SELECT data FROM tree_tiles WHERE level = ? AND n = ?", (level, n)).scalar()
    return bytes(data or b"")


def drop_leaf_tiles(db: Connection, before: int, size: int) -> None:
    """The log has grown from `before` to `size` leaves: let go of the tiles of leaf hashes that are TILES_KEPT behind.

    The entries say the same. Where those have left, the tiles stay (`keep_leaf_tiles`).
    """
    start, stop = ((at - TILES_KEPT) // FULL_WIDTH for at in (before, size))
    start = max(0, start)
    if start >= stop:
        return
    # Entries leave in order, so the first tells. An index root has no number; then the next leaf has one.
    numbers = sorted(read_numbers_at(db, [start * FULL_WIDTH, start * FULL_WIDTH + 1]).values())
    if read_numbered(db, numbers[:1]):
        run(db, "DELETE FROM tree_tiles WHERE level = 0 AND n >= ? AND n < ?", (start, stop))


def keep_leaf_tiles(db: Connection, first: int, stop: int) -> None:
    """Entries numbered first … stop−1 are about to leave, and full tiles are over them: store those that are not there.

    Raises StoreUnusable when the entries do not hash to the tree, and LookupError when some of a tile's have left.
    """
    row = run(
        db, "SELECT MIN(number), MAX(number) FROM entries WHERE number >= ? AND number < ?", (first, stop)
    ).one()
    places = index_of(db, [number for number in row if number is not None]).values()
    if not places:
        return
    tiles = range(min(places) // FULL_WIDTH, max(places) // FULL_WIDTH + 1)
    rows = run(db, "SELECT n FROM tree_tiles WHERE level = 0 AND n >= ? AND n < ?", (tiles.start, tiles.stop))
    there = {n for (n,) in rows.all()}
    write_tiles(db, [(0, n, _made_tile(db, n)) for n in tiles if n not in there])


def _made_tile(db: Connection, n: int) -> bytes:
    """A full tile of leaf hashes made of its entries, once they are seen to be what the tree was made of."""
    data = read_tile(db, 0, n, FULL_WIDTH)
    whole = Frontier()
    whole.extend(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))
    above, slot = divmod(n, FULL_WIDTH)
    if _stored_tile(db, 1, above)[HASH_BYTES * slot : HASH_BYTES * (slot + 1)] != whole.root():
        raise StoreUnusable(
            f"entries {n * FULL_WIDTH} to {(n + 1) * FULL_WIDTH - 1} do not hash to the stored tree: restore a backup"
        )
    return data
