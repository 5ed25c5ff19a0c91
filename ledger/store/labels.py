"""The index's rows: labels in order, and the persisted hashes of its buckets.

A row carries its entry's index, so the index as of any earlier size is the rows with `idx < covers`.
The bucket hashes are written now and then, for `State.pages_covers` leaves; who needs them for another size
recomputes the buckets of the labels that lie between the two sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ledger.store.engine import Connection, run, run_many

CHUNK = 500


def add_labels(db: Connection, rows: Iterable[tuple[bytes, int]]) -> None:
    """Add (index label, index) rows; fastest when sorted.  Raises IntegrityError when one is taken."""
    run_many(db, "INSERT INTO labels (label, idx) VALUES (?, ?)", list(rows))


def find_labels(db: Connection, labels: Sequence[bytes]) -> dict[bytes, int]:
    """Which of these index labels are in the log, with the index of their entry."""
    found: dict[bytes, int] = {}
    for start in range(0, len(labels), CHUNK):
        part = labels[start : start + CHUNK]
        marks = ",".join("?" * len(part))
        for label, idx in run(db, f"SELECT label, idx FROM labels WHERE label IN ({marks})", part):
            found[bytes(label)] = idx
    return found


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
    run_many(
        db,
        "INSERT INTO index_pages (page, data) VALUES (?, ?)"
        " ON CONFLICT (page) DO UPDATE SET data = excluded.data",
        list(pages),
    )


def read_pages(db: Connection) -> dict[int, bytes]:
    """All pages of bucket hashes, by page; those never written are left out (all their buckets are empty)."""
    return {page: bytes(data) for page, data in run(db, "SELECT page, data FROM index_pages")}
