"""Which entries may leave the database, and their leaving.

An entry is needed here until it is published; from then on everybody reads it in the public files. So those may go that
lie in full published bundles, which never change again, and in batches closed long enough ago. They go in the order
of their numbers, so what is left is the end of the log, and the lowest number says where it begins. Batches, index
roots, leaf hashes, labels, keys and registry entries stay: who knows that an entry was here finds its leaf by them.
"""

from __future__ import annotations

from ledger.core.tiles import FULL_WIDTH
from ledger.store.engine import Connection, run
from ledger.store.log import index_of, read_size
from ledger.store.publication import read_publication
from ledger.store.treetiles import keep_leaf_tiles


def may_leave(db: Connection, closed_by: int, low: int = 0) -> tuple[int, int]:
    """The numbers first … stop−1 whose entries may leave: of batches closed at `closed_by` (Unix seconds) or before.

    Of the numbers below `low` it is known that they have left: looking for the first one again from the beginning
    would, on PostgreSQL, pass all that VACUUM has not cleaned away yet.
    """
    first = run(db, "SELECT MIN(number) FROM entries WHERE number >= ?", (low,)).scalar()
    if first is None:
        return low, low
    # From the batch of that number on, the first one closed too late.
    late = run(
        db,
        "SELECT start FROM batches WHERE closed > ? AND start >= COALESCE((SELECT start FROM batches"
        " WHERE first <= ? ORDER BY first DESC, start DESC LIMIT 1), 0) ORDER BY start LIMIT 1",
        (closed_by, first),
    ).scalar()
    leaf = read_publication(db).published_size // FULL_WIDTH * FULL_WIDTH
    leaf = leaf if late is None else min(leaf, late)
    row = run(
        db, "SELECT start, first, width FROM batches WHERE start < ? ORDER BY start DESC LIMIT 1", (leaf,)
    ).first()
    stop = first if row is None else row[1] + min(row[2], leaf - row[0])
    return first, max(first, stop)


def drop_entries(db: Connection, first: int, stop: int) -> int:
    """Let the entries numbered first … stop−1 leave; how many there were. `may_leave` said that they may.

    Their leaf hashes stay, in tiles.
    """
    keep_leaf_tiles(db, first, stop)
    return run(db, "DELETE FROM entries WHERE number >= ? AND number < ?", (first, stop)).rowcount


def first_leaf_held(db: Connection) -> int:
    """The leaf from which on every entry is in the database; the log's size when only what waits is."""
    number = run(db, "SELECT MIN(number) FROM entries").scalar()
    index = None if number is None else index_of(db, [number]).get(number)
    return read_size(db) if index is None else index
