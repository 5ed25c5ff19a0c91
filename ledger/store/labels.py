"""The index's labels, and the persisted hashes of its buckets.

A label is recent at first, with its entry's number, and settles later into the part of its first 20 bits, with its
leaf's index (settling.py); four parts are a bucket (`ledger.core.indexparts`).  Every row leads to an index, so the
index as of any earlier size is the rows with an index below it.  All bucket hashes are written now and then, for
`State.pages_covers` leaves; what each batch changed in them is written with the batch, so that a reader can follow from
one size to the next without reading a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ledger.core.indexparts import PART_BITS, parts_of
from ledger.core.indexproof import ROW
from ledger.store import schema
from ledger.store.engine import Connection, run
from ledger.store.recents import unsettled
from ledger.store.statements import among, insert_rows

CHUNK = 500
ROW_BYTES = ROW.size


def part_of(label: bytes) -> int:
    """The first 20 bits of a label."""
    return int.from_bytes(label[:3], "big") >> (24 - PART_BITS)


def find_settled(db: Connection, labels: Sequence[bytes]) -> dict[bytes, int]:
    """The leaf indices of those of these labels that have settled."""
    found = {}
    wanted = sorted(labels)
    places = [part_of(label) for label in wanted]
    parts = read_parts(db, sorted(set(places)))
    for label, place in zip(wanted, places, strict=True) if parts else ():
        data = parts.get(place)
        if data is not None and label in data:
            at = find_row(data, label)
            if at >= 0:
                found[label] = int.from_bytes(data[at + 32 : at + ROW_BYTES], "big")
    return found


def find_row(data: bytes, label: bytes) -> int:
    """Where the row of a label begins among packed rows, or −1."""
    at = data.find(label)
    while at > 0 and at % ROW_BYTES:
        at = data.find(label, at + 1)
    return at


def read_parts(db: Connection, parts: Sequence[int]) -> dict[int, bytes]:
    """These parts, as far as they hold anything: packed rows, by part."""
    found: dict[int, bytes] = {}
    for start in range(0, len(parts), CHUNK):
        those, params = among(db, "part", parts[start : start + CHUNK])
        rows = run(db, f"SELECT part, data FROM label_parts WHERE {those}", params)
        # One call for all rows is half the cost of one each.
        found.update(rows.all())
    return found


def read_buckets(db: Connection, buckets: Sequence[int]) -> dict[int, bytes]:
    """The same of whole buckets."""
    parts = read_parts(db, [part for bucket in buckets for part in parts_of(bucket)])
    return {bucket: b"".join([parts.get(part, b"") for part in parts_of(bucket)]) for bucket in buckets}


def read_part_range(db: Connection, low: int, high: int) -> list[bytes]:
    """The parts low … high−1 that hold anything, packed."""
    rows = run(db, "SELECT data FROM label_parts WHERE part >= ? AND part < ?", (low, high))
    return [bytes(row[0]) for row in rows.all()]


def read_some_parts(db: Connection, low: int, most: int) -> list[tuple[int, bytes]]:
    """The first `most` parts that hold anything from `low` on: part and packed rows."""
    sql = "SELECT part, data FROM label_parts WHERE part >= ? ORDER BY part LIMIT ?"
    return [(part, bytes(data)) for part, data in run(db, sql, (low, most)).all()]


def write_parts(db: Connection, parts: Iterable[tuple[int, bytes]]) -> None:
    """Put parts (part, packed rows), fastest in their order."""
    insert_rows(
        db,
        schema.label_parts,
        list(parts),
        conflict="ON CONFLICT (part) DO UPDATE SET data = excluded.data",
    )


def count_labels(db: Connection, last: int) -> int:
    """How many index labels are stored of entries numbered up to `last`; some 0.1 s a million."""
    settled = run(db, "SELECT COALESCE(SUM(LENGTH(data)), 0) FROM label_parts").scalar_one()
    return int(settled) // ROW_BYTES + len(unsettled(db, last))


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
