"""Whether a label may have settled, out of memory: for nearly every new label the answer is no, and nothing is read.

In a log of millions each label's part is on another page of the database.  This is a Bloom filter of 4 MiB with two
bits for each label, as it is memory that costs: it lets 3 of 100 new labels be looked up at three million labels, and
15 at MOST, where it is given up.  Nearly all that are new are known by the first bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct

from ledger.core.indexparts import PART_BITS
from ledger.core.indexrows import ROW_BYTES
from ledger.store.engine import Connection
from ledger.store.labels import read_some_parts

BITS = 25
MOST = 1 << BITS - 2
"""Labels."""

AT_A_TIME = 2048
"""Parts that are read: ten milliseconds at MOST labels."""

# Two parts of a label, which is a hash, behind the bits that it is sorted by.
_LABEL = Struct(">8xII16x")
_ROW = Struct(">8xII24x")
_BYTE = (1 << BITS - 3) - 1


class LabelFilter:
    """For one thread at a time.  Until it is filled from the database any label may have settled."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin again: labels may have settled that were not `add`ed."""
        self._bits = bytearray(1 << BITS - 3)
        self._filled = 0  # parts
        self._labels = 0

    @property
    def useful(self) -> bool:
        """Whether there are few enough labels."""
        return self._labels <= MOST

    @property
    def full(self) -> bool:
        """Whether all that had settled before is in here."""
        return self._filled == 1 << PART_BITS

    def fill(self, db: Connection) -> None:
        """Take in some of the labels that have settled.  What settles from now on is `add`ed, before or later."""
        if self.full or not self.useful:
            return
        some = read_some_parts(db, self._filled, AT_A_TIME)
        for _, data in some:
            self._labels += len(data) // ROW_BYTES
            self._set(_ROW.iter_unpack(data))
        self._filled = some[-1][0] + 1 if len(some) == AT_A_TIME else 1 << PART_BITS

    def add(self, labels: bytes) -> None:
        """Take in labels, of 32 bytes each, one after another."""
        self._labels += len(labels) // _LABEL.size
        if self.useful:
            self._set(_LABEL.iter_unpack(labels))

    def _set(self, places: Iterable[tuple[int, int]]) -> None:
        bits = self._bits
        for one, other in places:
            bits[one >> 3 & _BYTE] |= 1 << (one & 7)
            bits[other >> 3 & _BYTE] |= 1 << (other & 7)

    def maybe(self, labels: Sequence[bytes]) -> Sequence[bytes]:
        """Those of these labels that may have settled; the others have not."""
        if not (self.full and self.useful):
            return labels
        bits, places = self._bits, _LABEL.iter_unpack(b"".join(labels))
        return [
            label
            for label, (one, other) in zip(labels, places, strict=True)
            if bits[one >> 3 & _BYTE] >> (one & 7) & 1 and bits[other >> 3 & _BYTE] >> (other & 7) & 1
        ]
