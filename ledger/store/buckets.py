"""The index over the store: label rows for `ledger.core.index.PrefixTree`, and its bucket hashes persisted.

A process that starts loads the bucket hashes and applies what batches changed in them since, so that a million
labels cost neither memory nor minutes; a process that follows another's index applies the changes alone.  Both are
shortcuts: whoever takes them compares the root, and what they lack can always be computed from the rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from ledger.core.entries import decode_entry, index_label
from ledger.core.index import BUCKET, TOP_BITS, PrefixTree, Row
from ledger.core.indexparts import PART_BITS
from ledger.core.indexproof import ROW
from ledger.core.indexrows import merged
from ledger.store.engine import Connection
from ledger.store.inbox import last_sequenced
from ledger.store.labels import (
    find_row,
    read_buckets,
    read_changes,
    read_pages,
    read_part_range,
    write_pages,
)
from ledger.store.log import index_of, read_entries, read_state
from ledger.store.recentlabels import RecentLabels
from ledger.store.recents import unsettled
from ledger.store.retention import first_leaf_held

PAGES_EVERY = 131_072
"""Leaves after which all changed pages are written anew; changes are kept for as many again."""
PAGE = 1024  # buckets a page
AT_A_TIME = 4096  # parts read at once
STEP = 5_000  # entries read at once


class StoredRows:
    """The labels of the first `covers` leaves, read through the transaction `db` that its owner has open.

    For whoever reads the index and adds nothing to it: the publisher, whose index stands at the published root.
    """

    def __init__(self, covers: int) -> None:
        self.covers = covers
        self.db: Connection | None = None
        self._recent = RecentLabels()

    def catch_up(self) -> Connection:
        """Take in labels that were accepted since, so that `buckets` finds fewer to take in."""
        if self.db is None:
            raise RuntimeError("the rows are read in an open transaction: set db first")
        self._recent.catch_up(self.db)
        return self.db

    def buckets(self, prefixes: Sequence[int], bits: int) -> Iterator[Sequence[Row]]:
        """See `ledger.core.index.IndexRows`; `bits` is TOP_BITS."""
        if bits != TOP_BITS:
            raise ValueError(f"labels are stored under {TOP_BITS} bits, not {bits}")
        db = self.catch_up()
        recent = self._recent.within(prefixes, TOP_BITS)
        found = merge_recent(db, read_buckets(db, prefixes), recent, TOP_BITS)
        for prefix in prefixes:
            yield [row for row in ROW.iter_unpack(found.get(prefix, b"")) if row[1] < self.covers]

    def add(self, rows: Sequence[Row]) -> None:
        raise RuntimeError("StoredRows are only read")


def merge_recent(
    db: Connection, settled: dict[int, bytes], recent: Collection[tuple[bytes, int]], bits: int
) -> dict[int, bytes]:
    """Packed rows, by so many first bits of their labels: those that have settled, which are changed, and of the recent
    labels, with their entry's number, read before in this transaction, those that are in the log."""
    places = index_of(db, {number for _, number in recent})
    for label, number in recent:
        if number in places:
            prefix = int.from_bytes(label[:3], "big") >> 24 - bits
            data = settled.get(prefix, b"")
            if find_row(data, label) < 0:  # else it has settled
                settled[prefix] = merged(data, ROW.pack(label, places[number]))
    return settled


def write_tree(db: Connection, tree: PrefixTree, pages: Iterable[int]) -> None:
    """Write these pages of bucket hashes; the caller sets `State.pages_covers` in the same transaction."""
    write_pages(db, [(page, tree.pack_buckets(page * PAGE, (page + 1) * PAGE)) for page in sorted(pages)])


def pages_of(changes: bytes) -> set[int]:
    """The pages whose buckets `PrefixTree.take_changed_packed` names."""
    return {prefix // PAGE for prefix, _, _ in BUCKET.iter_unpack(changes)}


def follow_tree(db: Connection, tree: PrefixTree, start: int, stop: int) -> set[int]:
    """Bring a tree over the log of `start` leaves to that of `stop`, both sizes after a batch.

    Gives the pages of the buckets that were taken over; those it has to compute, `tree.take_changed` will name.
    `StoredRows.covers` is the caller's to move; so is the comparison of the root with one it trusts.
    """
    batches = read_changes(db, start, stop) if start <= stop else None
    if batches is None:
        tree.mark_dirty(labels_between(db, min(start, stop), max(start, stop)))
        return set()
    changes = b"".join(batches)
    tree.load(BUCKET.iter_unpack(changes))
    return pages_of(changes)


def labels_between(db: Connection, start: int, stop: int) -> Iterator[bytes]:
    """The index labels of entries start … stop−1, in no order; index roots have none."""
    held = min(stop, first_leaf_held(db))
    if start < held:
        yield from _stored_labels(db, start, held)
    for first in range(max(start, held), stop, STEP):
        for raw in read_entries(db, first, min(stop, first + STEP)):
            label = index_label(decode_entry(raw))
            if label is not None:
                yield label


def _stored_labels(db: Connection, start: int, stop: int) -> Iterator[bytes]:
    """The same of entries that have left: out of all label rows, some 0.3 s a million."""
    recent = unsettled(db, last_sequenced(db))
    for low in range(0, 1 << PART_BITS, AT_A_TIME):
        for data in read_part_range(db, low, low + AT_A_TIME):
            yield from (label for label, index in ROW.iter_unpack(data) if start <= index < stop)
    places = index_of(db, {number for _, number in recent})
    yield from (label for label, number in recent if start <= places[number] < stop)


def load_tree(db: Connection, tree: PrefixTree, size: int) -> set[int]:
    """Fill an empty tree with the index over the log when it was `size` leaves long after a batch; its rows are those
    of that size.

    Gives the pages that differ from the stored ones. The caller compares `tree.root` with the index root it trusts for
    that size.
    """
    tree.load_packed((page * PAGE, data) for page, data in read_pages(db).items())
    return follow_tree(db, tree, read_state(db).pages_covers, size)
