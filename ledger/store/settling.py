"""How what was looked up by a hash lately settles where the rest lies.

A batch of 10,000 labels lands on as many pages of a table of millions, and every page it touches is written whole, to
the write-ahead log and to the file.  So labels and keys wait in `recents`, until RECENT labels are there; then one of
SLICES ranges of them moves on, sorted: some ten fall on each page.  With it two ranges of the keys move on, which are
written beside those that are there (keyruns.py).  Whoever looks finds them in the one or the other, or in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ledger.core.index import TOP_BITS, Row
from ledger.core.indexparts import SPLIT, PartHashes, split_bucket
from ledger.core.indexproof import ROW
from ledger.core.indexrows import ROW_BYTES
from ledger.store import recents
from ledger.store.buckets import packed_buckets
from ledger.store.engine import Connection
from ledger.store.inbox import last_sequenced
from ledger.store.keyruns import KeyRun
from ledger.store.labels import bucket_of, read_bucket_range, read_buckets, write_buckets
from ledger.store.recents import SLICE_BITS, SLICES

RECENT = 65_536
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
        self._marks = [0] * SLICES
        self.parts = PartHashes(TOP_BITS)
        """What full buckets are hashed by: see `PrefixTree.insert_packed`."""
        self._warmed = 0
        self._run: KeyRun | None = None

    def load(self, db: Connection) -> None:
        """Take over the recent labels that the database holds of sequenced entries."""
        last = last_sequenced(db)
        self._marks = recents.read_marks(db)[:SLICES]
        for part in range(SLICES):  # a slice at a time, as each label takes ten times its size meanwhile
            rows = recents.unsettled(db, last, (part,))
            self._labels[part] = len(rows)
            self._recent[part] = packed_buckets(db, rows, {bucket_of(label) for label, _ in rows})

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

    def due(self, last: int) -> int | None:
        """The slice to settle next, once more than RECENT labels are recent; else None.  `last`: the highest number
        sequenced.

        It is the fullest; but one that few labels fall into settles too before rows wait for it alone.
        """
        if sum(self._labels) <= RECENT:
            return None
        behind = min(range(SLICES), key=self._marks.__getitem__)
        if last - self._marks[behind] > 3 * RECENT:
            return behind
        return max(range(SLICES), key=self._labels.__getitem__)

    def prepare(self, db: Connection, last: int) -> None:
        """Have at hand what `settle` needs; `last` is the highest number sequenced."""
        if self._run is None:
            self._run = KeyRun(db, last)

    def settle(self, db: Connection, part: int, last: int) -> None:
        """Write a slice of the labels, of all entries sequenced, numbered up to `last`; and some of the keys."""
        assert self._run is not None
        write_buckets(db, sorted(self._recent[part].items()))
        self._run.write(db)
        recents.mark(db, part, last)

    def settled(self, part: int, last: int) -> None:
        """The transaction of `settle` has committed."""
        self._recent[part].clear()
        self._labels[part] = 0
        self._marks[part] = last
        assert self._run is not None
        if self._run.written():
            self._run = None
