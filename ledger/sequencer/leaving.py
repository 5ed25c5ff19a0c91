"""Entries leave the database while the sequencer works: a slice at a time, each in a transaction of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from ledger.store import Store, Writer
from ledger.store.retention import drop_entries, may_leave

LOOK_S = 5.0
"""How often it is asked whether more may leave."""

SLICE = 20_000
"""Numbers a transaction: some hundredths of a second, and more than a batch has, so that leaving keeps up."""

_log = structlog.get_logger("ledger.sequencer")


class Leaving:
    """Lets those entries leave that were sequenced `keep_s` seconds ago and are in full published bundles.

    Whatever is interrupted is gone on with: what may leave is learned from the database alone.
    """

    def __init__(
        self, store: Store, writer: Writer, keep_s: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._writer = writer
        self._keep_s = keep_s
        self._clock = clock
        self._next = 0  # the numbers below have left
        self._stop = 0  # those below may
        self._left = 0  # since it was last looked
        self._looked = float("-inf")

    def step(self) -> bool:
        """Let one slice leave, if it is time; whether more may at once.

        Raises StoreBusy, LeadershipLost; nothing was changed then, or, when the commit was not answered, all of it.
        """
        if self._next >= self._stop and not self._look():
            return False
        stop = min(self._next + SLICE, self._stop)
        first = self._next
        self._left += self._writer.change(lambda db: drop_entries(db, first, stop))
        self._next = stop
        if stop < self._stop:
            return True
        _log.info("entries have left the database", entries=self._left)
        return False

    def _look(self) -> bool:
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return False
        self._looked = now
        self._left = 0
        with self._store.read() as db:
            self._next, self._stop = may_leave(db, int(self._clock()) - self._keep_s, self._next)
        return self._next < self._stop
