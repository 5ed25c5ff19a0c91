"""The index's rows: labels in order, and the persisted hashes of its buckets.

A row carries its entry's index, so the index as of any earlier size is the rows with `idx < covers`.
All bucket hashes are written now and then, for `State.pages_covers` leaves; what each batch changed in them is
written with the batch, so that a reader can follow from one size to the next without reading a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ledger.store import schema
from ledger.store.engine import Connection, run
from ledger.store.statements import among, insert_rows

CHUNK = 500


def add_labels(db: Connection, rows: Iterable[tuple[bytes, int]]) -> None:
    """Add (index label, index) rows; fastest when sorted.  Raises IntegrityError when one is taken."""
    insert_rows(db, schema.labels, list(rows))


def find_labels(db: Connection, labels: Sequence[bytes]) -> dict[bytes, int]:
    """Which of these index labels are in the log, with the index of their entry."""
    found: dict[bytes, int] = {}
    for start in range(0, len(labels), CHUNK):
        those, params = among(db, "label", labels[start : start + CHUNK])
        for label, idx in run(db, f"SELECT label, idx FROM labels WHERE {those}", params):
            found[bytes(label)] = idx
    return found


def count_labels(db: Connection) -> int:
    """How many index labels are stored; reads them all, about 0.1 s a million."""
    return int(run(db, "SELECT COUNT(*) FROM labels").scalar_one())


def bucket_bounds(prefix: int, bits: int) -> tuple[bytes, bytes]:
    """The lowest and highest label, 32 bytes each, whose first `bits` bits are `prefix`."""
    low = prefix << (256 - bits)
    return low.to_bytes(32, "big"), (low | (1 << (256 - bits)) - 1).to_bytes(32, "big")


def read_bucket(db: Connection, prefix: int, bits: int, covers: int) -> list[tuple[bytes, int]]:
    """The (label, index) rows of one bucket over the first `covers` leaves, in order of label."""
    low, high = bucket_bounds(prefix, bits)
    rows = run(
        db,
        "SELECT label, idx FROM labels WHERE label BETWEEN ? AND ? AND idx < ? ORDER BY label",
        (low, high, covers),
    )
    return [(bytes(label), idx) for label, idx in rows]


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
