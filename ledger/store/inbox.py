"""Accepted and not yet sequenced: durable, in one order, each index label once in inbox and log together.

The inbox is the end of `entries`: the numbers above `state.last`.  An entry is written once, here, with all by which it
is looked up later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ledger.core.entries import RECORD, VERSION
from ledger.store import keys, schema
from ledger.store.engine import Connection, run
from ledger.store.statements import insert_rows


class Accepted(NamedTuple):
    """What is put into the inbox: the entry, its index label and leaf hash (32 bytes each), for a record its envelope
    and H(fetch_token), else None."""

    entry: bytes
    label: bytes
    leaf_hash: bytes
    envelope: bytes | None = None
    fetch: bytes | None = None


def next_number(db: Connection) -> int:
    """The number that the next accepted entry gets; whoever asks in a write transaction is alone until it ends.

    The first thing a transaction does that accepts: what it looks up afterwards stays as it is.
    """
    # An update and not a look, as an engine with many writers locks the row for it.
    return int(run(db, "UPDATE deposits SET next = next WHERE id = 1 RETURNING next").scalar_one())


def put(db: Connection, first: int, rows: Sequence[Accepted]) -> None:
    """Add entries under the numbers from `first` on, which `next_number` gave in this transaction.

    The labels must be free in inbox and log.  Raises IntegrityError when one is taken.
    """
    numbered = list(enumerate(rows, first))
    run(db, "UPDATE deposits SET next = ? WHERE id = 1", (first + len(rows),))
    insert_rows(db, schema.entries, [(n, row[0]) for n, row in numbered])
    insert_rows(db, schema.recent_labels, sorted([(row[1], n) for n, row in numbered]))
    keys.add_keys(db, keys.LEAF, [(row[2], n) for n, row in numbered])
    deposited = [(n, row[4], row[3]) for n, row in numbered if row[4] is not None]
    keys.add_keys(db, keys.FETCH, [(fetch, n) for n, fetch, _ in deposited])
    insert_rows(db, schema.envelopes, deposited)


def last_sequenced(db: Connection) -> int:
    """The highest number that was sequenced."""
    return int(run(db, "SELECT last FROM state WHERE id = 1").scalar_one())


def take_waiting(db: Connection, last: int, limit: int) -> list[tuple[int, bytes]]:
    """The oldest `limit` entries with numbers above `last`, as (number, entry), in the order of acceptance."""
    rows = run(
        db, "SELECT number, entry FROM entries WHERE number > ? ORDER BY number LIMIT ?", (last, limit)
    )
    return [(number, bytes(entry)) for number, entry in rows.all()]


def backlog(db: Connection) -> int:
    """How many entries wait."""
    row = run(db, "SELECT next, last FROM deposits, state WHERE deposits.id = 1 AND state.id = 1").one()
    return int(row[0]) - int(row[1]) - 1


def day_key(record: bytes) -> bytes:
    """u32 source ‖ u32 day of a record entry: what it is counted under."""
    return record[2:6] + record[8:12]


def waiting_day_counts(db: Connection) -> dict[bytes, int]:
    """Records that wait, by `day_key`."""
    rows = run(
        db,
        "SELECT source, day, COUNT(*) FROM (SELECT substr(entry, 3, 4) AS source, substr(entry, 9, 4) AS day"
        " FROM entries WHERE number > (SELECT last FROM state WHERE id = 1) AND substr(entry, 1, 2) = ?)"
        " AS waiting GROUP BY source, day",
        (bytes((VERSION, RECORD)),),
    )
    return {bytes(source) + bytes(day): count for source, day, count in rows}


def drop(db: Connection, number: int) -> None:
    """Forget an accepted entry that turned out unfit for the log, and all by which it would be found."""
    run(db, "DELETE FROM entries WHERE number = ?", (number,))
    run(db, "DELETE FROM recent_labels WHERE number = ?", (number,))
    keys.forget_leaf(db, number)
