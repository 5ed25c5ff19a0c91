"""Leading a role that one process at a time may have, however many stand by.

    with lead(store, "sequencer") as leadership:
        if leadership is None:
            …                                       another process leads
        while not leadership.lost:
            leadership.change(lambda db: …)         checked in the transaction that writes

On SQLite it is the lock of a file, which only the end of a process takes from it: all are on one machine, and no
other machine can take over from one that stands still.  Elsewhere it is a lease (leases.py).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from ledger.store import leases
from ledger.store.errors import LeadershipLost, StoreBusy
from ledger.store.sqlite import hold_lock

T = TypeVar("T")
AGAIN_S = 0.5


class Writer(Protocol):
    """Whoever may write: a `Store`, or a `Leadership` over it that checks itself first."""

    def change(self, work: Callable[[Connection], T]) -> T:
        """See `Store.change`."""


class Leadership:
    """That this process leads; safe to share between threads."""

    def __init__(self, writer: Writer, role: str, holder: str = "", term: int | None = None) -> None:
        self._writer, self._role, self._holder, self._term = writer, role, holder, term
        self._gone = threading.Event()
        self.is_of_use: Callable[[], bool] = lambda: True
        """Asked twice a second, also while this process is held up.  Once it is not, the lease is given up for
        another process that may do better; what nobody takes over meanwhile may still be written."""

    @property
    def lost(self) -> bool:
        """Whether it is known here that another process leads.  That it is not proves nothing: `check` does."""
        return self._gone.is_set()

    def check(self, db: Connection) -> None:
        """Nobody else leads until this write transaction ends.  Raises LeadershipLost; then it must not commit."""
        if self._term is None:
            return
        try:
            leases.check_lease(db, self._role, self._holder, self._term)
        except LeadershipLost:
            self._gone.set()
            raise

    def change(self, work: Callable[[Connection], T]) -> T:
        """`Store.change`, by this leader only.  Raises LeadershipLost: then nothing was written."""

        def checked(db: Connection) -> T:
            self.check(db)
            return work(db)

        return self._writer.change(checked)

    def confirm(self) -> None:
        """This process leads at this moment.  Raises LeadershipLost, StoreBusy."""
        if self._term is not None:
            self.change(lambda db: None)

    def renew(self) -> bool:
        """Let the lease run on; False when another process has it."""
        term = self._term
        if term is None:
            return True
        held = self._writer.change(lambda db: leases.renew_lease(db, self._role, self._holder, term))
        if not held:
            self._gone.set()
        return held

    def give_up(self) -> None:
        """Let another process lead, for this one gets nothing done."""
        self.end()
        self._gone.set()

    def end(self) -> None:
        """Give it up, so that the next need not wait; nothing can be done when the database does not answer."""
        term = self._term
        if term is not None and not self.lost:
            with contextlib.suppress(StoreBusy):
                self._writer.change(lambda db: leases.end_lease(db, self._role, self._holder, term))


@contextlib.contextmanager
def lead_by_file(writer: Writer, role: str, path: str) -> Iterator[Leadership | None]:
    """See `Store.lead`."""
    with hold_lock(path) as held:
        yield Leadership(writer, role) if held else None


@contextlib.contextmanager
def lead_by_lease(
    writer: Writer, role: str, look: Callable[[], leases.Lease | None]
) -> Iterator[Leadership | None]:
    """See `Store.lead`; `look` reads the lease without locking it."""
    found = look()
    holder = leases.new_holder()
    term = None
    if found is None or found.left_ms <= 0:
        term = writer.change(lambda db: leases.take_lease(db, role, holder))
    if term is None:
        yield None
        return
    leadership = Leadership(writer, role, holder, term)
    ended = threading.Event()
    renewing = threading.Thread(
        target=_renew_until, args=(leadership, ended), name=f"lease-{role}", daemon=True
    )
    renewing.start()
    try:
        yield leadership
    finally:
        ended.set()
        renewing.join()
        leadership.end()


def _renew_until(leadership: Leadership, ended: threading.Event) -> None:
    due = time.monotonic() + leases.RENEW_S
    while not ended.wait(min(AGAIN_S, max(0.0, due - time.monotonic()))):
        begun = time.monotonic()
        try:
            if not leadership.is_of_use():
                leadership.give_up()
                return
            if begun >= due:
                if not leadership.renew():
                    return
                due = begun + leases.RENEW_S
        except StoreBusy:
            due = time.monotonic() + AGAIN_S  # whether it is lost then, the next write that gets through says
