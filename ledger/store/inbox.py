"""Accepted and not yet sequenced: durable, in one order, each index label once in log and inbox together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ledger.store import schema
from ledger.store.engine import Connection, run
from ledger.store.statements import among, insert_rows

CHUNK = 500
COLUMNS = "number, label, leaf_hash, entry, source, day, registrations"


class Waiting(NamedTuple):
    """A row of the inbox.  `day` is −1 unless the entry is a record; `registrations` says against how many
    registry entries it was checked."""

    number: int
    label: bytes
    leaf_hash: bytes
    entry: bytes
    source: int
    day: int
    registrations: int


def take_numbers(db: Connection, count: int) -> int:
    """The first of `count` numbers for accepted entries, in the order of the transactions that take them.

    Whoever accepts does this before anything else in its transaction: until it ends, no other acceptance begins.
    """
    taken = run(db, "UPDATE deposits SET next = next + ? WHERE id = 1 RETURNING next", (count,))
    return int(taken.scalar_one()) - count


def put(db: Connection, rows: Sequence[tuple[int, bytes, bytes, bytes, int, int, int]]) -> None:
    """Add rows: the fields of `Waiting` in its order.  The labels must be free in log and inbox."""
    insert_rows(db, schema.inbox, rows)


def find_in_inbox(db: Connection, labels: Sequence[bytes]) -> dict[bytes, tuple[int, bytes]]:
    """Which of these index labels wait in the inbox, with number and entry of the row that has them."""
    found: dict[bytes, tuple[int, bytes]] = {}
    for start in range(0, len(labels), CHUNK):
        those, params = among(db, "label", labels[start : start + CHUNK])
        rows = run(db, f"SELECT label, number, entry FROM inbox WHERE {those}", params)
        for label, number, entry in rows:
            found[bytes(label)] = number, bytes(entry)
    return found


def waiting_entry(db: Connection, leaf_hash: bytes) -> bytes | None:
    """The entry with this leaf hash, if it waits to be sequenced.

    Reads the whole inbox, a millisecond or so: an index would cost every entry more than this rare question.
    """
    row = run(db, "SELECT entry FROM inbox WHERE leaf_hash = ?", (leaf_hash,)).first()
    return None if row is None else bytes(row[0])


def take_waiting(db: Connection, limit: int) -> list[Waiting]:
    """The oldest `limit` rows, in the order in which they were accepted."""
    rows = run(
        db,
        f"SELECT {COLUMNS} FROM inbox ORDER BY number LIMIT ?",
        (limit,),
    )
    return [Waiting._make(row) for row in rows.all()]


def clear(db: Connection, last: int) -> None:
    """Remove the rows with numbers up to `last`: they were sequenced, or found unfit, in this transaction."""
    run(db, "DELETE FROM inbox WHERE number <= ?", (last,))


def backlog(db: Connection) -> int:
    """How many rows wait, counted by the numbers given out: at most too many, never too few."""
    first, last = run(db, "SELECT MIN(number), MAX(number) FROM inbox").one()
    return 0 if first is None else int(last) - int(first) + 1
