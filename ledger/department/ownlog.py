"""This source's own entries in the log, read from the log itself: for counts that an outbox cannot know.

An outbox that is new, or was put back from a backup, has no receipts for what another one had logged.  The entries
from the registration of the source up to the newest checkpoint tell; each is authenticated.  How far they were read
is kept, so that this is done once, and goes on where it was stopped.
"""

from __future__ import annotations

from typing import Final

from ledger.client.view import View
from ledger.core.entries import Coverage, Record, decode_entry
from ledger.core.errors import GlassbookError, Malformed
from ledger.core.merkle import leaf_hash
from ledger.department.coveragetable import note_found
from ledger.department.outbox import Outbox
from ledger.department.registration import Registration

AT_ONCE: Final = 4096
"""Entries in one transaction, and in memory."""

READ: Final = "own entries are read up to"
"""Where the outbox keeps the first index not read; nothing there: none was read."""

WANTED: Final = "own entries are to be read on"


def want(outbox: Outbox) -> None:
    """What was logged since may not be known here: read on before anything is counted."""
    outbox.put(WANTED, b"yes")


def is_read(outbox: Outbox) -> bool:
    """Nothing is known to be missing."""
    return outbox.get(READ) is not None and outbox.get(WANTED) is None


def read_own(outbox: Outbox, view: View, registration: Registration, now: int, limit: int) -> bool:
    """Read on, at most so many entries; whether the end of the view was reached.

    Raises what `view.entries` raises; what was read before stays known.
    """
    kept = outbox.get(READ)
    if kept is not None and not kept.isdigit():
        raise Malformed("outbox", "does not know how far the log was read")
    # No record of a source stands before its first version.
    at = int(kept) if kept is not None else registration.versions[0].index + 1
    until = min(view.size, at + limit)
    while at < until:
        end = min(at + AT_ONCE, until)
        records, covered = _own(view, registration.source, at, end)
        with outbox.transaction():
            note_found(outbox, records, covered, now)
            outbox.put(READ, str(end).encode())
        at = end
    if at < view.size:
        return False
    with outbox.transaction():
        outbox.put(READ, str(at).encode())
        outbox.put(WANTED, None)
    return True


def _own(
    view: View, source: int, start: int, end: int
) -> tuple[list[tuple[bytes, int]], list[tuple[int, bytes]]]:
    """(leaf hash, day) of the source's records in a range of the log, and (day, entry) of its coverages."""
    records, covered = [], []
    for raw in view.entries(range(start, end)).values():
        try:
            entry = decode_entry(raw)
        except GlassbookError:
            continue  # for an audit to tell; a reader only passes it by
        if isinstance(entry, Record) and entry.source == source:
            records.append((leaf_hash(raw), entry.day))
        elif isinstance(entry, Coverage) and entry.source == source:
            covered.append((entry.day, raw))
    return records, covered
