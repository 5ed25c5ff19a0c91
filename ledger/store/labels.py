"""The index's labels, and the persisted hashes of its buckets.

A label is recent at first, with its entry's number, and settles later into the bucket of its first 18 bits, with its
leaf's index (settling.py).  Every row leads to an index, so the index as of any earlier size is the rows with an index
below it.  All bucket hashes are written now and then, for `State.pages_covers` leaves; what each batch changed in them
is written with the batch, so that a reader can follow from one size to the next without reading a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ledger.core.index import TOP_BITS
from ledger.core.indexproof import ROW
from ledger.store import schema
from ledger.store.engine import Connection, run
from ledger.store.statements import among, insert_rows, ranges

CHUNK = 500
RANGES = 100
ROW_BYTES = ROW.size


class Place(NamedTuple):
    """Where the entry of a label is: its number while the label is recent, then its leaf's index, `at`."""

    number: int | None
    at: int | None


def bucket_of(label: bytes) -> int:
    """The first 18 bits of a label."""
    return int.from_bytes(label[:3], "big") >> (24 - TOP_BITS)


def find_labels(db: Connection, labels: Sequence[bytes]) -> dict[bytes, Place]:
    """Which of these index labels are taken, in inbox or log."""
    found: dict[bytes, Place] = {}
    wanted = sorted(labels)
    for start in range(0, len(wanted), CHUNK):
        those, params = among(db, "label", wanted[start : start + CHUNK])
        # The recent ones first: a label that settles in between is then seen at least once.
        for label, number in run(db, f"SELECT label, number FROM recent_labels WHERE {those}", params).all():
            found[bytes(label)] = Place(number, None)
    prefixes = [bucket_of(label) for label in wanted]
    buckets = read_buckets(db, sorted(set(prefixes)))
    if buckets:
        for label, prefix in zip(wanted, prefixes, strict=True):
            data = buckets.get(prefix)
            if data is not None and label in data and label not in found:
                at = _find(data, label)
                if at >= 0:
                    found[label] = Place(None, int.from_bytes(data[at + 32 : at + ROW_BYTES], "big"))
    return found


def _find(data: bytes, label: bytes) -> int:
    """Where the row of a label begins in a bucket, or −1."""
    at = data.find(label)
    while at > 0 and at % ROW_BYTES:
        at = data.find(label, at + 1)
    return at


def read_recent(db: Connection, low: bytes, high: bytes, last: int) -> list[tuple[bytes, int]]:
    """Recent labels from `low` up to, not including, `high`, of entries numbered up to `last`: (label, number)."""
    rows = run(
        db,
        "SELECT label, number FROM recent_labels WHERE label >= ? AND label < ? AND number <= ? ORDER BY label",
        (low, high, last),
    )
    return [(bytes(label), number) for label, number in rows.all()]


def read_recent_within(
    db: Connection, bounds: Sequence[tuple[bytes, bytes]], last: int
) -> Iterator[tuple[bytes, int]]:
    """The same for many ranges (low, high) at once, in no order."""
    for start in range(0, len(bounds), RANGES):
        lows, highs = zip(*bounds[start : start + RANGES], strict=True)
        want, params = ranges(db, lows, highs)
        # CROSS JOIN: the few ranges outside, the primary key of labels inside.
        rows = run(
            db,
            f"WITH want (low, high) AS ({want}) SELECT label, number FROM want CROSS JOIN recent_labels"
            " WHERE label >= low AND label < high AND number <= ?",
            (*params, last),
        )
        for label, number in rows.all():
            yield bytes(label), number


def drop_recent(db: Connection, low: bytes, high: bytes, last: int) -> None:
    """Forget those that `read_recent` gives: they have settled in this transaction."""
    run(db, "DELETE FROM recent_labels WHERE label >= ? AND label < ? AND number <= ?", (low, high, last))


def read_buckets(db: Connection, prefixes: Sequence[int]) -> dict[int, bytes]:
    """The buckets under these prefixes, as far as they hold anything: packed rows, by prefix."""
    found: dict[int, bytes] = {}
    for start in range(0, len(prefixes), CHUNK):
        those, params = among(db, "prefix", prefixes[start : start + CHUNK])
        rows = run(db, f"SELECT prefix, data FROM label_buckets WHERE {those}", params)
        # One call for all rows is half the cost of one each.
        found.update(rows.all())
    return found


def read_bucket_range(db: Connection, low: int, high: int) -> list[bytes]:
    """The buckets under the prefixes low … high−1 that hold anything, packed."""
    rows = run(db, "SELECT data FROM label_buckets WHERE prefix >= ? AND prefix < ?", (low, high))
    return [bytes(row[0]) for row in rows.all()]


def write_buckets(db: Connection, buckets: Iterable[tuple[int, bytes]]) -> None:
    """Put buckets (prefix, packed rows), fastest in order of prefix."""
    insert_rows(
        db,
        schema.label_buckets,
        list(buckets),
        conflict="ON CONFLICT (prefix) DO UPDATE SET data = excluded.data",
    )


def count_labels(db: Connection, last: int) -> int:
    """How many index labels are stored of entries numbered up to `last`; some 0.1 s a million."""
    settled = run(db, "SELECT COALESCE(SUM(LENGTH(data)), 0) FROM label_buckets").scalar_one()
    recent = run(db, "SELECT COUNT(*) FROM recent_labels WHERE number <= ?", (last,)).scalar_one()
    return int(settled) // ROW_BYTES + int(recent)


def write_pages(db: Connection, pages: Iterable[tuple[int, bytes]]) -> None:
    """Put pages of bucket hashes; the caller sets `State.pages_covers` in the same transaction."""
    insert_rows(
        db, schema.index_pages, list(pages), conflict="ON CONFLICT (page) DO UPDATE SET data = excluded.data"
    )


def read_pages(db: Connection) -> dict[int, bytes]:
    """All pages of bucket hashes, by page; those never written are left out (all their buckets are empty)."""
    return {page: bytes(data) for page, data in run(db, "SELECT page, data FROM index_pages")}


def add_changes(db: Connection, size: int, data: bytes) -> None:
    """Note what the batch that made the log `size` leaves long changed in the buckets."""
    run(db, "INSERT INTO index_changes (size, data) VALUES (?, ?)", (size, data))


def read_changes(db: Connection, start: int, stop: int) -> list[bytes] | None:
    """What changed in the buckets while the log grew from `start` to `stop` leaves, batch by batch in order.

    Both are sizes the log had after a batch.  None when some of it was dropped: read the rows instead.
    """
    oldest = run(db, "SELECT MIN(size) FROM index_changes").scalar()
    if oldest is None or oldest > start:
        return None
    rows = run(db, "SELECT data FROM index_changes WHERE size > ? AND size <= ? ORDER BY size", (start, stop))
    return [bytes(row[0]) for row in rows]


def drop_changes(db: Connection, before: int) -> None:
    """Forget the changes of batches that made the log less than `before` leaves long."""
    run(db, "DELETE FROM index_changes WHERE size < ?", (before,))
