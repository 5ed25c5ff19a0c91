"""The labels that have not settled, in the memory of a process that looks them up: some 60 bytes each.

What is in here may have settled meanwhile, or may have been left out of the log: whoever finds a number looks what
became of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct

from ledger.core.indexproof import ROW
from ledger.core.indexrows import ROW_BYTES
from ledger.store import recents
from ledger.store.engine import Connection
from ledger.store.recents import LABEL_BYTES

_LABEL = Struct(f"{LABEL_BYTES}s")

STALE = 65_536
"""Labels taken in before those that have settled are let go of."""


class RecentLabels:
    """Follows `recents`. For one thread at a time, whose transactions see the store no older than the one before."""

    def __init__(self) -> None:
        self.gaps = 0
        """Counts up when labels were missed: all of them have settled then."""
        self._through = 0  # all that have not settled of the numbers up to here are in memory
        # By the first 16 bits, packed: label ‖ u64 number, in the order of the numbers.
        self._groups = [b""] * (1 << 16)
        self._stale = 0

    def catch_up(self, db: Connection, newest: int | None = None) -> list[bytes]:
        """Take in what was accepted since, and give these labels, packed.

        `newest` is the last number given, which who accepts knows, and another need not.
        """
        # All questions to the database come before anything changes.
        back = newest is not None and newest < self._through  # the database was taken back to an older state
        packs = recents.read_after(db, 0 if back else self._through)
        fresh = sum(len(data) for _, data in packs) // LABEL_BYTES
        oldest = recents.oldest(db) if self._stale + fresh >= STALE else None
        first = packs[0][0] if packs else 1 + max(newest or 0, 0 if back else self._through)
        if back or first > self._through + 1:
            self._miss(first - 1)
        try:
            for first, data in packs:
                self._take(first, data)
        except BaseException:  # memory is short, or the process ends
            self._miss(0)
            raise
        if oldest is not None:
            self._stale = 0
            self._let_go(oldest)
        return [data for _, data in packs]

    def _take(self, first: int, data: bytes) -> None:
        groups, number = self._groups, first
        # Zeros in place of an entry that was left out are taken in as well: nobody asks for them.
        for (label,) in _LABEL.iter_unpack(data):
            groups[label[0] << 8 | label[1]] += label + number.to_bytes(8, "big")
            number += 1
        self._stale += number - first
        self._through = number - 1

    def _miss(self, through: int) -> None:
        """Begin again behind this number.  What is in memory goes, as it may not be all that there was of a label."""
        self.gaps += 1
        self._through = through
        self._groups = [b""] * (1 << 16)
        self._stale = 0

    def _let_go(self, oldest: int) -> None:
        bound = oldest.to_bytes(8, "big")
        groups = self._groups
        for at, data in enumerate(groups):
            if data[LABEL_BYTES:ROW_BYTES] >= bound or not data:
                continue
            keep = ROW_BYTES
            while keep < len(data) and data[keep + 32 : keep + ROW_BYTES] < bound:
                keep += ROW_BYTES
            groups[at] = data[keep:]

    def find(self, labels: Sequence[bytes]) -> dict[bytes, int]:
        """The numbers of those of these labels that are in here."""
        groups = self._groups
        found = {}
        for label in labels:
            data = groups[label[0] << 8 | label[1]]
            if label in data:
                # The newest: one that was left out may have come again.
                at = data.rfind(label)
                while at > 0 and at % ROW_BYTES:
                    at = data.rfind(label, 0, at + 31)
                if at >= 0:
                    found[label] = int.from_bytes(data[at + 32 : at + ROW_BYTES], "big")
        return found

    def within(self, prefixes: Iterable[int], bits: int) -> list[tuple[bytes, int]]:
        """Label and number of those that begin with one of these, of so many bits: 16 at least."""
        groups, spare, shift = self._groups, bits - 16, 32 - bits
        return [
            (label, number)
            for prefix in prefixes
            for label, number in ROW.iter_unpack(groups[prefix >> spare])
            if int.from_bytes(label[:4], "big") >> shift == prefix
        ]
