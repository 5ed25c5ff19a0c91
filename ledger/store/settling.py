"""How what was looked up by a hash lately settles where the rest lies.

A batch of 10,000 labels lands on as many pages of a table of millions, and every page it touches is written whole, to
the write-ahead log and to the file.  So labels and keys wait in `recents`, until RECENT labels are there; then one of
SLICES ranges of them moves on, sorted: some twenty fall on each page.  With it some ranges of the keys move on, which
are written beside those that are there (keyruns.py).  Whoever looks finds them in the one or the other, or in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ledger.core.index import Row
from ledger.core.indexparts import PART_BITS
from ledger.core.indexproof import ROW
from ledger.store import recents
from ledger.store.buckets import merge_recent
from ledger.store.engine import Connection
from ledger.store.inbox import last_sequenced
from ledger.store.keyruns import KeyRun
from ledger.store.labels import part_of, read_parts, write_parts
from ledger.store.recents import SLICE_BITS, SLICES

RECENT = 131_072

_SHIFT = PART_BITS - SLICE_BITS


class GrowingRows:
    """The index's rows for the one who adds to it, the sequencer.

    Parts with a recent label are in memory, whole: the next label in one needs no look into the database, and what
    settles is written from here.  See `ledger.core.indexrows.PackedRows`.
    """

    def __init__(self) -> None:
        self.db: Connection | None = None
        self._recent: list[dict[int, bytes]] = [{} for _ in range(SLICES)]
        self._labels = [0] * SLICES
        self._marks = [0] * SLICES
        self._run: KeyRun | None = None

    def load(self, db: Connection) -> None:
        """Take over the recent labels that the database holds of sequenced entries."""
        last = last_sequenced(db)
        self._marks = recents.read_marks(db)[:SLICES]
        for at in range(SLICES):  # one at a time, as each label takes ten times its size meanwhile
            rows = recents.unsettled(db, last, (at,))
            self._labels[at] = len(rows)
            settled = read_parts(db, sorted({part_of(label) for label, _ in rows}))
            self._recent[at] = merge_recent(db, settled, rows, PART_BITS)

    def packed(self, prefixes: Sequence[int], bits: int) -> list[bytes | None]:
        """See `PackedRows`; `bits` is PART_BITS."""
        if self.db is None or bits != PART_BITS:
            raise RuntimeError(f"set db first, and ask for rows under {PART_BITS} bits")
        recent = self._recent
        found = [recent[prefix >> _SHIFT].get(prefix) for prefix in prefixes]
        missing = [prefix for prefix, data in zip(prefixes, found, strict=True) if data is None]
        settled = read_parts(self.db, missing)
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

    def buckets(self, prefixes: Sequence[int], bits: int) -> Iterator[Sequence[Row]]:
        """See `IndexRows`."""
        split = PART_BITS - bits
        parts = [part for prefix in prefixes for part in range(prefix << split, prefix + 1 << split)]
        data = iter(self.packed(parts, PART_BITS))
        for _ in prefixes:
            yield list(ROW.iter_unpack(b"".join([next(data) or b"" for _ in range(1 << split)])))

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

    def settle(self, db: Connection, at: int, last: int) -> None:
        """Write slice `at` of the labels, of all entries sequenced, numbered up to `last`; and some of the keys."""
        assert self._run is not None
        write_parts(db, sorted(self._recent[at].items()))
        self._run.write(db)
        recents.mark(db, at, last)

    def settled(self, at: int, last: int) -> None:
        """The transaction of `settle` has committed."""
        self._recent[at].clear()
        self._labels[at] = 0
        self._marks[at] = last
        assert self._run is not None
        if self._run.written():
            self._run = None
