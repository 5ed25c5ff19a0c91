"""Entries for the public files: out of the database, or, when they have left it, out of the public files themselves.

What is published is written once and needs no entry again, so this is for a place that is damaged, or new, or was taken
back to an older state.  An entry that has left counts only if it has the leaf hash that the database keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from ledger.core.errors import GlassbookError
from ledger.core.merkle import leaf_hash
from ledger.core.tiles import ENTRIES, FULL_WIDTH, Tile, decode_bundle
from ledger.publicfiles import PublicFiles
from ledger.store import Store, log, treetiles
from ledger.store.retention import first_leaf_held
from publisher.signing import SigningRefused

AT_ONCE = 16
"""Bundles read side by side: in a bucket each is a request."""


def read_entries(store: Store, files: PublicFiles, start: int, stop: int) -> list[bytes]:
    """Entries start … stop−1 of the log in the database.

    Raises SigningRefused when a bundle of entries that have left is missing or wrong; LookupError, StoreBusy, OSError.
    """
    with store.read() as db:
        try:
            return log.read_entries(db, start, stop)
        except LookupError:
            held = min(stop, first_leaf_held(db))
            if held <= start:
                raise
            rest = log.read_entries(db, held, stop)
            leaves = treetiles.read_leaf_hashes(db, range(start, held))
    numbers = range(start // FULL_WIDTH, -(-held // FULL_WIDTH))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        bundles = list(pool.map(lambda n: _read_bundle(files, n, leaves), numbers))
    first = numbers.start * FULL_WIDTH
    return [entry for bundle in bundles for entry in bundle][start - first : held - first] + rest


def _read_bundle(files: PublicFiles, n: int, leaves: Mapping[int, bytes]) -> list[bytes]:
    """The entries of a full bundle, once those in `leaves` are seen to have these hashes."""
    tile = Tile(ENTRIES, n)
    try:
        entries = decode_bundle(files.file(tile), FULL_WIDTH, tile.path)
    except LookupError:
        raise _lost(files, tile, "is not there") from None
    except GlassbookError:
        raise _lost(files, tile, "is damaged") from None
    for slot, entry in enumerate(entries):
        index = n * FULL_WIDTH + slot
        if index in leaves and leaf_hash(entry) != leaves[index]:
            raise _lost(files, tile, f"has another entry {index} than the database's tree")
    return entries


def _lost(files: PublicFiles, tile: Tile, what: str) -> SigningRefused:
    return SigningRefused(
        f"{files.where}/{tile.path}: {what}, and its entries have left the database (keep_days), so it cannot be"
        " written anew. Bring this file back from a copy of the public files, of an auditor or a mirror; into a new"
        " place copy all of tile/ first. Nothing is signed until then, and nothing else is lost"
    )
