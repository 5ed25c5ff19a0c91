"""Encrypted details (formats §4): kept apart from the log, given to whoever presents the fetch token.

Deleted ones are gone from the file too: SQLite overwrites what it deletes here (`secure_delete`), and
`Store.forget_traces` afterwards empties the write-ahead log, which may still hold them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum

from ledger.core.entries import RECORD
from ledger.core.merkle import leaf_hash
from ledger.store import schema
from ledger.store.engine import Connection, run
from ledger.store.schema import short_key
from ledger.store.statements import among, insert_rows

CHUNK = 500


def deposit_envelopes(db: Connection, rows: Sequence[tuple[int, bytes, bytes]]) -> None:
    """Keep envelopes: (number in the inbox, H(fetch_token), body)."""
    insert_rows(
        db, schema.envelopes, [(number, short_key(fetch), fetch, body) for number, fetch, body in rows]
    )


def find_envelopes(db: Connection, fetches: Sequence[bytes]) -> list[bytes | None]:
    """For each H(fetch_token), 32 bytes, the envelope deposited under it, the first if there are several."""
    found: dict[bytes, bytes] = {}
    for start in range(0, len(fetches), CHUNK):
        keys, params = among(db, "fetch_key", [short_key(fetch) for fetch in fetches[start : start + CHUNK]])
        rows = run(db, f'SELECT "fetch", body FROM envelopes WHERE {keys} ORDER BY number', params)
        for fetch, body in rows:
            found.setdefault(bytes(fetch), bytes(body))
    return [found.get(fetch) for fetch in fetches]


class Erased(Enum):
    """What became of one leaf that was to be erased."""

    ERASED = "erased"
    ABSENT = "absent"  # the record is known, and no envelope of it is here any more
    UNKNOWN = "unknown"  # no record of this source has this leaf hash


def erase_envelopes(db: Connection, source: int, leaves: Sequence[bytes]) -> list[Erased]:
    """Delete the envelopes of the records with these leaf hashes, in order; those of another source are unknown."""
    found: list[Erased] = []
    with _overwriting(db):
        for start in range(0, len(leaves), CHUNK):
            part = leaves[start : start + CHUNK]
            numbers = _deposits(db, source, part)
            held = _held(db, list(numbers.values()))
            if held:
                numbered, params = among(db, "number", held)
                run(db, f"DELETE FROM envelopes WHERE {numbered}", params)
            found += [_became(numbers.get(leaf), held) for leaf in part]
    return found


@contextmanager
def _overwriting(db: Connection) -> Iterator[None]:
    """What is deleted meanwhile is overwritten; otherwise too costly, as the inbox deletes all that it takes."""
    if db.dialect.name != "sqlite":
        yield
        return
    run(db, "PRAGMA secure_delete=ON").fetchall()
    try:
        yield
    finally:
        run(db, "PRAGMA secure_delete=OFF").fetchall()


def _became(number: int | None, held: set[int]) -> Erased:
    if number is None:
        return Erased.UNKNOWN
    return Erased.ERASED if number in held else Erased.ABSENT


def _deposits(db: Connection, source: int, leaves: Sequence[bytes]) -> dict[bytes, int]:
    """The numbers under which these leaves, records of the source, were accepted: in the log, or in the inbox."""
    hashes, waiting = among(db, "leaf_hash", leaves)
    keys, sequenced = among(db, "leaf_key", list(map(short_key, leaves)))
    # The inbox first: what is sequenced between the two is found by the second.
    rows = [
        *run(db, f"SELECT number, entry FROM inbox WHERE {hashes}", waiting).all(),
        *run(db, f"SELECT deposit, entry FROM entries WHERE {keys}", sequenced).all(),
    ]
    head = bytes((1, RECORD)) + source.to_bytes(4, "big")
    return {leaf_hash(bytes(raw)): number for number, raw in rows if bytes(raw[:6]) == head}


def _held(db: Connection, numbers: Sequence[int]) -> set[int]:
    numbered, params = among(db, "number", numbers)
    return set(run(db, f"SELECT number FROM envelopes WHERE {numbered}", params).scalars())
