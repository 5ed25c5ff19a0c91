"""Encrypted details (formats §4): kept apart from the log, given to whoever presents the fetch token.

Deleted ones are gone from the file too: SQLite overwrites what it deletes here (`secure_delete`), and
`Store.forget_traces` afterwards empties the write-ahead log, which may still hold them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum

from ledger.core.entries import RECORD
from ledger.core.merkle import leaf_hash
from ledger.store import keys, log
from ledger.store.engine import Connection, run
from ledger.store.errors import StoreBusy
from ledger.store.statements import among

CHUNK = 500


def find_envelopes(db: Connection, fetches: Sequence[bytes]) -> list[bytes | None]:
    """For each H(fetch_token), 32 bytes, the envelope deposited under it, the first if there are several."""
    numbers = keys.find_numbers(db, keys.FETCH, fetches)
    wanted = sorted({number for several in numbers.values() for number in several})
    found: dict[bytes, bytes] = {}
    for start in range(0, len(wanted), CHUNK):
        those, params = among(db, "number", wanted[start : start + CHUNK])
        rows = run(db, f'SELECT "fetch", body FROM envelopes WHERE {those} ORDER BY number', params)
        for fetch, body in rows:
            found.setdefault(bytes(fetch), bytes(body))
    return [found.get(fetch) for fetch in fetches]


class Erased(Enum):
    """What became of one leaf that was to be erased."""

    ERASED = "erased"
    ABSENT = "absent"  # the record is known, and no envelope of it is here any more
    UNKNOWN = "unknown"  # no record of this source has this leaf hash


def erase_envelopes(
    db: Connection, source: int, leaves: Sequence[bytes], left: Mapping[int, bytes] | None = None
) -> list[Erased]:
    """Delete the envelopes of the records with these leaf hashes, in order; those of another source are unknown.

    `left`: entries by number that are no longer in the database (`missing_entries`).  Raises StoreBusy when others have
    left since.
    """
    found: list[Erased] = []
    with _overwriting(db):
        for start in range(0, len(leaves), CHUNK):
            part = leaves[start : start + CHUNK]
            numbers = _deposits(db, source, part, left or {})
            held = _held(db, list(numbers.values()))
            if held:
                those, params = among(db, "number", held)
                run(db, f"DELETE FROM envelopes WHERE {those}", params)
            found += [_became(numbers.get(leaf), held) for leaf in part]
    return found


def missing_entries(db: Connection, leaves: Sequence[bytes]) -> dict[int, int]:
    """Of entries that may have these leaf hashes and are no longer in the database: number → index."""
    numbers = keys.find_numbers(db, keys.LEAF, leaves)
    wanted = [number for several in numbers.values() for number in several]
    held = log.read_numbered(db, wanted)
    return log.index_of(db, [number for number in wanted if number not in held])


@contextmanager
def _overwriting(db: Connection) -> Iterator[None]:
    """What is deleted meanwhile is overwritten; always, it would cost too much for what settles and leaves."""
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


def _deposits(
    db: Connection, source: int, leaves: Sequence[bytes], left: Mapping[int, bytes]
) -> dict[bytes, int]:
    """The numbers under which these leaves, records of the source, were accepted: in the log, or in the inbox."""
    numbers = keys.find_numbers(db, keys.LEAF, leaves)
    wanted = [number for several in numbers.values() for number in several]
    entries = dict(left) | log.read_numbered(db, wanted)
    if log.index_of(db, [number for number in wanted if number not in entries]):
        raise StoreBusy("entries left the database just now; ask again, and they are read where they are")
    head = bytes((1, RECORD)) + source.to_bytes(4, "big")
    asked = set(leaves)
    return {
        leaf: number
        for number, raw in entries.items()
        if raw[:6] == head and (leaf := leaf_hash(raw)) in asked
    }


def _held(db: Connection, numbers: Sequence[int]) -> set[int]:
    those, params = among(db, "number", numbers)
    return set(run(db, f"SELECT number FROM envelopes WHERE {those}", params).scalars())
