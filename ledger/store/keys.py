"""Numbers of entries by a hash: by leaf hash, and by hash of fetch token.

A hash is looked up by its first six bytes: two entries can have them in common, so that whoever looks compares the
whole hash with what he finds.  New keys are recent at first and settle later (settling.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import NamedTuple

from sqlalchemy import Table

from ledger.store import schema
from ledger.store.engine import Connection, run
from ledger.store.statements import among, insert_rows

KEY_BITS = 48
CHUNK = 500
_HASH = Struct(">Q24x")


class Kind(NamedTuple):
    """What the hashes are of; where they are at first, and where they settle."""

    recent: Table
    settled: Table


LEAF = Kind(schema.recent_leaf_keys, schema.leaf_keys)
FETCH = Kind(schema.recent_fetch_keys, schema.fetch_keys)


def short_key(hash32: bytes) -> int:
    """The first six bytes of a hash as a number: what fits one index entry, small and dense."""
    return int.from_bytes(hash32[: KEY_BITS // 8], "big")


def add_keys(db: Connection, kind: Kind, hashes: Sequence[bytes], numbers: Iterable[int]) -> None:
    """Note these hashes (32 bytes), each with the number of its entry."""
    found = [key >> 64 - KEY_BITS for (key,) in _HASH.iter_unpack(b"".join(hashes))]
    insert_rows(db, kind.recent, list(zip(found, numbers, strict=True)))


def find_numbers(db: Connection, kind: Kind, hashes: Sequence[bytes]) -> dict[int, list[int]]:
    """By short key, the numbers that may have these hashes, ascending."""
    found: dict[int, list[int]] = {}
    wanted = sorted({short_key(digest) for digest in hashes})
    for start in range(0, len(wanted), CHUNK):
        those, params = among(db, "key", wanted[start : start + CHUNK])
        # One statement: what settles meanwhile is seen once, in one of the two.
        rows = run(
            db,
            f"SELECT key, number FROM {kind.recent.name} WHERE {those}"
            f" UNION ALL SELECT key, number FROM {kind.settled.name} WHERE {those}",
            (*params, *params),
        )
        for key, number in rows:
            found.setdefault(key, []).append(number)
    for numbers in found.values():
        numbers.sort()
    return found


def forget_leaf(db: Connection, number: int) -> None:
    """Forget the leaf hash of an entry that waits."""
    run(db, f"DELETE FROM {LEAF.recent.name} WHERE number = ?", (number,))


def settle_keys(db: Connection, low: int, high: int, last: int) -> None:
    """Move recent keys low … high−1 of entries numbered up to `last`."""
    for kind in (LEAF, FETCH):
        which = f"FROM {kind.recent.name} WHERE key >= ? AND key < ? AND number <= ?"
        run(
            db,
            f"INSERT INTO {kind.settled.name} (key, number) SELECT key, number {which} ORDER BY key, number",
            (low, high, last),
        )
        run(db, f"DELETE {which}", (low, high, last))
