"""How what was looked up by a hash lately settles where the rest lies.

A batch of 10,000 labels lands on as many pages of a table of millions, and every page it touches is written whole, to
the write-ahead log and to the file.  So labels and keys wait in small tables, until RECENT are there; then one of
SLICES ranges of them moves on, sorted: some ten fall on each page.  Whoever looks finds them in the one or the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ledger.core.index import TOP_BITS, Row
from ledger.core.indexparts import SPLIT, PartHashes, split_bucket
from ledger.core.indexproof import ROW
from ledger.core.indexrows import ROW_BYTES
from ledger.store.buckets import bound, packed_buckets
from ledger.store.engine import Connection
from ledger.store.inbox import last_sequenced
from ledger.store.keys import KEY_BITS, settle_keys
from ledger.store.labels import (
    bucket_of,
    drop_recent,
    read_bucket_range,
    read_buckets,
    read_recent,
    write_buckets,
)

RECENT = 65_536
SLICE_BITS = 4
SLICES = 1 << SLICE_BITS
WARMED = 1024
"""Buckets at a time: some 20 ms."""

_SHIFT = TOP_BITS - SLICE_BITS


class GrowingRows:
    """The index's rows for the one who adds to it, the sequencer.

    Buckets with a recent label are in memory, whole: the next label in one needs no look into the database, and what
    settles is written from here.  See `ledger.core.indexrows.PackedRows`.
    """

    def __init__(self) -> None:
        self.db: Connection | None = None
        self._recent: list[dict[int, bytes]] = [{} for _ in range(SLICES)]
        self._labels = [0] * SLICES
        self.parts = PartHashes(TOP_BITS)
        """What full buckets are hashed by: see `PrefixTree.insert_packed`."""
        self._warmed = 0

    def load(self, db: Connection) -> None:
        """Take over the recent labels that the database holds of sequenced entries."""
        rows = read_recent(db, bound(0, TOP_BITS), bound(1 << TOP_BITS, TOP_BITS), last_sequenced(db))
        for label, _ in rows:
            self._labels[bucket_of(label) >> _SHIFT] += 1
        prefixes = sorted({bucket_of(label) for label, _ in rows})
        for prefix, data in zip(prefixes, packed_buckets(db, prefixes, TOP_BITS), strict=True):
            self._recent[prefix >> _SHIFT][prefix] = data

    def packed(self, prefixes: Sequence[int], bits: int) -> list[bytes | None]:
        """See `PackedRows`; `bits` is TOP_BITS."""
        if self.db is None or bits != TOP_BITS:
            raise RuntimeError(f"set db first, and ask for buckets of {TOP_BITS} bits")
        recent = self._recent
        found = [recent[prefix >> _SHIFT].get(prefix) for prefix in prefixes]
        missing = [prefix for prefix, data in zip(prefixes, found, strict=True) if data is None]
        settled = read_buckets(self.db, missing)
        return [
            data if data is not None else settled.get(prefix)
            for prefix, data in zip(prefixes, found, strict=True)
        ]

    def replace(self, prefixes: Sequence[int], buckets: Sequence[bytes], fresh: Sequence[bytes]) -> None:
        """See `PackedRows`."""
        recent, labels = self._recent, self._labels
        for prefix, data in zip(prefixes, buckets, strict=True):
            recent[prefix >> _SHIFT][prefix] = data
        for row in fresh:
            labels[row[0] >> (8 - SLICE_BITS)] += 1

    @property
    def cold(self) -> bool:
        """Whether `warm` has anything left to do."""
        return self._warmed < 1 << TOP_BITS

    def warm(self, db: Connection) -> None:
        """Make the `parts` of some full buckets that have none since the start.

        Such a bucket takes three times as long to hash otherwise; they are made in some 5 s for three million labels.
        """
        start, self._warmed = self._warmed, min(self._warmed + WARMED, 1 << TOP_BITS)
        for settled in read_bucket_range(db, start, self._warmed):
            prefix = bucket_of(settled)
            if not self.parts[prefix]:
                data = self._recent[prefix >> _SHIFT].get(prefix, settled)
                if len(data) >= SPLIT * ROW_BYTES:
                    self.parts[prefix] = split_bucket(data, TOP_BITS)[1]

    def buckets(self, prefixes: Sequence[int], bits: int) -> Iterator[Sequence[Row]]:
        """See `IndexRows`."""
        for data in self.packed(prefixes, bits):
            yield list(ROW.iter_unpack(data)) if data else ()

    def add(self, rows: Sequence[Row]) -> None:
        raise RuntimeError("labels are added packed")

    def due(self) -> int | None:
        """The slice to settle next: the fullest, once more than RECENT labels are recent; else None."""
        if sum(self._labels) <= RECENT:
            return None
        return max(range(SLICES), key=self._labels.__getitem__)

    def settle(self, db: Connection, part: int, last: int) -> None:
        """Write a slice's buckets, and its keys, of entries numbered up to `last`, all that are sequenced."""
        write_buckets(db, sorted(self._recent[part].items()))
        drop_recent(db, bound(part, SLICE_BITS), bound(part + 1, SLICE_BITS), last)
        step = 1 << (KEY_BITS - SLICE_BITS)
        settle_keys(db, part * step, (part + 1) * step, last)

    def settled(self, part: int) -> None:
        """The transaction of `settle` has committed."""
        self._recent[part].clear()
        self._labels[part] = 0
