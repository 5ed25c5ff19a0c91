"""Entries put into the inbox as the ledger's service does it, without the checks it makes before."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from ledger.core.entries import Record, decode_entry
from ledger.core.merkle import leaf_hash
from ledger.store import Store, acceptances, inbox
from ledger.store.log import last_registration


def put_entries(store: Store, entries: Sequence[bytes], now: int = 0) -> int:
    """Accept entries as they are, without envelopes; the number of the first."""
    rows = inbox.Arrivals()
    for raw in entries:
        label = decode_entry(raw).index_label
        assert label is not None
        rows.add(raw, label, leaf_hash(raw))
    with store.write() as db:
        first = inbox.next_number(db)
        inbox.put(db, first, rows)
        acceptances.note_runs(db, [acceptances.Run(first, now, last_registration(db))])
    return first


def put_records(store: Store, count: int, day: int) -> None:
    """Accept so many records of source 1 and this day under random labels; no signature is good."""
    year = time.gmtime(day * 86_400).tm_year
    records = [
        Record(1, year, day, 0, 1, os.urandom(32), os.urandom(32), os.urandom(64)) for _ in range(count)
    ]
    put_entries(store, [record.encode() for record in records])
