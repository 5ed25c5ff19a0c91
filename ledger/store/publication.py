"""What the log's keys have signed and what the public sees, one row under compare-and-swap."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.store.engine import Connection, run


@dataclass(frozen=True, slots=True)
class Publication:
    """Sizes in leaves; notes are signed notes as bytes, empty when the size is 0."""

    signed_size: int
    signed_note: bytes
    published_size: int
    published_note: bytes
    published_time: int  # Unix seconds, 0 when nothing is published


def read_publication(db: Connection) -> Publication:
    """The row as this transaction sees it."""
    row = run(
        db,
        "SELECT signed_size, signed_note, published_size, published_note, published_time"
        " FROM publication WHERE id = 1",
    ).one()
    return Publication(row[0], bytes(row[1]), row[2], bytes(row[3]), row[4])


def swap_signed(db: Connection, expected: Publication, size: int, note: bytes) -> bool:
    """Record that `note` over `size` leaves was signed, if what was signed before is still `expected`'s.

    False when another publisher has signed since: nothing is changed, and the caller must not use the note.
    """
    changed = run(
        db,
        "UPDATE publication SET signed_size = ?, signed_note = ?"
        " WHERE id = 1 AND signed_size = ? AND signed_note = ?",
        (size, note, expected.signed_size, expected.signed_note),
    )
    return changed.rowcount == 1


def swap_published(db: Connection, expected: Publication, size: int, note: bytes, time: int) -> bool:
    """Record that `note` over `size` leaves stands at /checkpoint, `time` being its newest cosignature.

    False when another publisher has published since, or when nothing of that size was signed.
    """
    changed = run(
        db,
        "UPDATE publication SET published_size = ?, published_note = ?, published_time = ?"
        " WHERE id = 1 AND published_size = ? AND published_note = ? AND signed_size >= ?",
        (size, note, time, expected.published_size, expected.published_note, size),
    )
    return changed.rowcount == 1
