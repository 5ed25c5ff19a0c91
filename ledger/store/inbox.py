"""Accepted and not yet sequenced: durable, in one order, each index label once in inbox and log together.

The inbox is the end of `entries`: the numbers above `state.last`.  An entry is written once, here, with all by which it
is looked up later.
"""

from __future__ import annotations

from ledger.core.entries import RECORD, VERSION
from ledger.store import recents, schema
from ledger.store.engine import Connection, run
from ledger.store.statements import insert_numbered, insert_rows


class Arrivals:
    """What is put into the inbox, column by column: entries with index label and leaf hash (32 bytes each), and of
    those that are records the envelope and H(fetch_token), else None."""

    __slots__ = ("entries", "envelopes", "fetches", "labels", "leaves")

    def __init__(self, *rows: tuple[bytes, bytes, bytes, bytes | None, bytes | None]) -> None:
        """`rows`: what `add` takes."""
        self.entries: list[bytes] = []
        self.labels: list[bytes] = []
        self.leaves: list[bytes] = []
        self.envelopes: list[bytes | None] = []
        self.fetches: list[bytes | None] = []
        for row in rows:
            self.add(*row)

    def __len__(self) -> int:
        return len(self.entries)

    def add(
        self,
        entry: bytes,
        label: bytes,
        leaf: bytes,
        envelope: bytes | None = None,
        fetch: bytes | None = None,
    ) -> None:
        """One more entry; with its envelope there is the hash of its fetch token."""
        self.entries.append(entry)
        self.labels.append(label)
        self.leaves.append(leaf)
        self.envelopes.append(envelope)
        self.fetches.append(fetch)


def next_number(db: Connection) -> int:
    """The number that the next accepted entry gets; whoever asks in a write transaction is alone until it ends.

    The first thing a transaction does that accepts: what it looks up afterwards stays as it is.
    """
    # An update and not a look, as an engine with many writers locks the row for it.
    return int(run(db, "UPDATE deposits SET next = next WHERE id = 1 RETURNING next").scalar_one())


def put(db: Connection, first: int, new: Arrivals) -> None:
    """Add entries under the numbers from `first` on, which `next_number` gave in this transaction.

    The labels must be free in inbox and log, and differ from each other: the caller has looked.
    """
    if not len(new):
        return
    run(db, "UPDATE deposits SET next = ? WHERE id = 1", (first + len(new),))
    insert_numbered(db, schema.entries, first, [new.entries])
    recents.add(db, first, new.labels, new.leaves, new.fetches)
    if None not in new.fetches:
        insert_numbered(db, schema.envelopes, first, [new.fetches, new.envelopes])  # type: ignore[list-item]
    else:
        deposited = zip(range(first, first + len(new)), new.fetches, new.envelopes, strict=True)
        insert_rows(db, schema.envelopes, [row for row in deposited if row[1] is not None])


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
    """Forget an accepted entry that turned out unfit for the log, with its label.

    Its envelope stays, for whoever has the fetch token.
    """
    run(db, "DELETE FROM entries WHERE number = ?", (number,))
    recents.forget(db, number)
