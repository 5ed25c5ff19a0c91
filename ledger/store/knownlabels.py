"""Which labels are taken, for a process that accepts entries: it looks up each label once, and nearly all are free.

recent ones     in memory, with their numbers                      recentlabels.py
settled ones    in the database; a filter tells which may be there  labelfilter.py
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ledger.store.engine import Connection
from ledger.store.labelfilter import LabelFilter
from ledger.store.labels import find_settled
from ledger.store.recentlabels import RecentLabels


class Place(NamedTuple):
    """Where the entry of a label is: its number while the label is recent, then its leaf's index, `at`."""

    number: int | None
    at: int | None


class KnownLabels:
    """For one thread at a time, whose transactions see the store no older than the one before."""

    def __init__(self) -> None:
        self._recent = RecentLabels()
        self._filter = LabelFilter()
        self._gaps = 0

    def catch_up(self, db: Connection, newest: int | None = None) -> None:
        """Take in what was accepted since; `newest` is the last number given, which who accepts knows."""
        taken = self._recent.catch_up(db, newest)
        if self._recent.gaps != self._gaps:
            self._gaps = self._recent.gaps
            self._filter.forget()  # before these are added: they may settle after their part was read
        for packed in taken:
            self._filter.add(packed)

    def find(self, db: Connection, labels: Sequence[bytes]) -> dict[bytes, Place]:
        """Which of these index labels are taken, in inbox or log, after `catch_up` in this transaction.

        One of an entry that was left out may be among them, with a number that is nobody's.
        """
        found = {label: Place(number, None) for label, number in self._recent.find(labels).items()}
        others = [label for label in labels if label not in found] if found else labels
        settled = find_settled(db, self._filter.maybe(others))
        return found | {label: Place(None, at) for label, at in settled.items()}

    @property
    def lacking(self) -> bool:
        """Whether `fill` has something left to do but to catch up."""
        return self._filter.useful and not self._filter.full

    def fill(self, db: Connection) -> None:
        """Catch up, and take in, a little at a time, what had settled before: less is to be looked up then."""
        self.catch_up(db)
        self._filter.fill(db)
