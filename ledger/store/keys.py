"""Numbers of entries by a hash: by leaf hash, and by hash of fetch token.

A hash is looked up by its first six bytes: two entries can have them in common, so that whoever looks compares the
whole hash with what he finds.  New keys are recent at first and settle later (settling.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ledger.store import schema
from ledger.store.engine import Connection, run
from ledger.store.statements import among, insert_rows

LEAF, FETCH = 0, 1
KEY_BITS = 48
CHUNK = 500


def short_key(hash32: bytes) -> int:
    """The first six bytes of a hash as a number: what fits one index entry, small and dense."""
    return int.from_bytes(hash32[:6], "big")


def add_keys(db: Connection, kind: int, rows: Iterable[tuple[bytes, int]]) -> None:
    """Note (hash, number) rows of a kind."""
    insert_rows(
        db,
        schema.recent_keys,
        sorted([(kind, int.from_bytes(digest[:6], "big"), number) for digest, number in rows]),
    )


def find_numbers(db: Connection, kind: int, hashes: Sequence[bytes]) -> dict[int, list[int]]:
    """By short key, the numbers that may have these hashes, ascending."""
    found: dict[int, list[int]] = {}
    wanted = sorted({short_key(digest) for digest in hashes})
    for start in range(0, len(wanted), CHUNK):
        those, params = among(db, "key", wanted[start : start + CHUNK])
        # One statement: what settles meanwhile is seen once, in one of the two.
        rows = run(
            db,
            f"SELECT key, number FROM recent_keys WHERE kind = ? AND {those}"
            f" UNION ALL SELECT key, number FROM keys WHERE kind = ? AND {those}",
            (kind, *params, kind, *params),
        )
        for key, number in rows:
            found.setdefault(key, []).append(number)
    for numbers in found.values():
        numbers.sort()
    return found


def settle_keys(db: Connection, low: int, high: int, last: int) -> None:
    """Move recent keys low … high−1 of entries numbered up to `last`."""
    bounds = (low, high, last)
    for kind in (LEAF, FETCH):
        run(
            db,
            "INSERT INTO keys (kind, key, number) SELECT kind, key, number FROM recent_keys"
            " WHERE kind = ? AND key >= ? AND key < ? AND number <= ? ORDER BY key, number",
            (kind, *bounds),
        )
        run(
            db,
            "DELETE FROM recent_keys WHERE kind = ? AND key >= ? AND key < ? AND number <= ?",
            (kind, *bounds),
        )
