"""Submissions into the inbox: checked side by side, written in one transaction for all who wait (group commit).

A transaction takes its first number first, and with it the lock that puts acceptances of all processes into one order:
what it finds free stays free until it commits.  It holds only if the register is still the one that the checks were
made against; if not, those submissions are checked again.

The sequencer takes no part in that order, and may commit between two statements here; it moves nothing but the mark up
to which entries are in the log.  The whole may be done twice, and its commit may have happened although an error came:
the same bytes handed in again are answered as accepted, once they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError
from typing import NamedTuple

from ledger.core.keys import SigningKey
from ledger.core.policy import CLOCK_TOLERANCE_S
from ledger.core.registry import Register
from ledger.service.body import MAX_ENTRIES, Submission
from ledger.service.checks import Checked, View, check_submissions
from ledger.service.placing import Accepted, Duplicate, Group, Outcome, look_up, place_all
from ledger.service.pressure import Pressure
from ledger.service.problems import Refusal, RequestRefused, busy
from ledger.service.signatures import Signatures, ToPromise
from ledger.store import Connection, Store, StoreBusy, acceptances, inbox, log, publication
from ledger.store.knownlabels import KnownLabels
from ledger.vectors import Choice

CHECKERS = max(2, min(8, os.cpu_count() or 1))
FEW = 64
"""A request of so many entries goes with the next transaction, however large that is already."""

FILL_S, CATCH_UP_S = 0.005, 1.0
"""Between two steps of `keep_filled`, as long as there is something to fill, and then."""

START_S = 30.0
"""For the threads that check, and their children, to be there."""


class _Member(NamedTuple):
    """A request that waits to be written."""

    checked: Checked
    now: int
    future: asyncio.Future[list[Outcome] | None]


class Acceptance:
    """Takes submissions for one log; one instance a process."""

    def __init__(self, store: Store, origin: str, inbox_limit: int, vectors: str = "off") -> None:
        self._store = store
        self._inbox_limit = inbox_limit
        self._view = View(origin, Register(origin), 0)
        self._checkers = ThreadPoolExecutor(CHECKERS, "check")
        self._signatures = Signatures(vectors)
        self._writer = ThreadPoolExecutor(1, "write")
        self._known = KnownLabels()  # the writer's
        # No longer than requests have a turn at a time: who hands them in sees to that (intake.py).
        self._waiting: deque[_Member] = deque()
        self._pressure = Pressure(inbox_limit)
        self._writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the threads that check, and the child of each, and learn the labels of what was accepted lately: else
        the first requests wait for these."""
        all_of_them = Barrier(CHECKERS)

        def begin() -> None:
            self._signatures.start()
            with contextlib.suppress(BrokenBarrierError):
                all_of_them.wait(START_S)  # so that each of the threads does this once

        try:
            begun = [self._checkers.submit(begin) for _ in range(CHECKERS)]
        except BaseException:  # no more threads are to be had: let those go that wait for them
            all_of_them.abort()
            raise
        for one in begun:
            one.result()
        self._writer.submit(self._fill).result()

    async def keep_filled(self) -> None:
        """Learn which labels are taken, a little at a time beside all else; runs until it is cancelled."""
        loop, filled = asyncio.get_running_loop(), True
        while True:
            await asyncio.sleep(FILL_S if filled and self._known.lacking else CATCH_UP_S)
            filled = await loop.run_in_executor(self._writer, self._fill)

    def _fill(self) -> bool:
        try:
            with self._store.read() as db:
                self._known.fill(db)
        except Exception:  # whoever hands entries in meets a store that is busy, or worse, and is told
            return False
        return True

    def close(self) -> None:
        """Wait for the threads; what they were writing is written."""
        self._checkers.shutdown()
        self._writer.shutdown()
        self._signatures.close()

    @property
    def choice(self) -> Choice:
        """What checks and makes signatures."""
        return self._signatures.choice

    def refresh(self) -> None:
        """Read registry entries that were accepted since, by this process or another."""
        view = self._view
        with self._store.read() as db:
            rows = log.read_registrations(db, view.registrations)
            last = log.last_registration(db)
            if last < view.registrations:  # one was left out by the sequencer: begin again
                view = View(view.origin, Register(view.origin), 0)
                rows = log.read_registrations(db)
        if last == self._view.registrations:
            return
        register = view.register.copy()
        for number, _, entry in rows:
            register.add(number - 1, entry)
        self._view = View(view.origin, register, last)

    def register(self) -> Register:
        """The register as log and inbox make it together, this moment.  Raises StoreBusy."""
        self.refresh()
        return self._view.register

    def check_room(self) -> None:
        """Raises RequestRefused when the inbox was full a moment ago: then nothing need be read to know the answer."""
        self._pressure.check()

    @property
    def to_write(self) -> int:
        """Entries that wait for their transaction."""
        return sum(len(member.checked.candidates) for member in self._waiting)

    async def accept(self, submissions: Sequence[Submission | Refusal], now: int) -> list[Outcome]:
        """What becomes of each submission, in order.  `now` is the ledger's clock, Unix seconds.

        Raises RequestRefused (busy) when the store cannot take them now: then nothing of the group was written.
        """
        loop = asyncio.get_running_loop()
        while True:
            checked = await loop.run_in_executor(
                self._checkers, check_submissions, self._view, submissions, now, self._signatures
            )
            if not checked.candidates:
                # Nothing to write, so no transaction will notice a register that another process added to.
                await loop.run_in_executor(self._checkers, self.refresh)
                if self._view is not checked.view:
                    continue
                return [checked.refusals[place] for place in range(checked.total)]
            future: asyncio.Future[list[Outcome] | None] = loop.create_future()
            self._waiting.append(_Member(checked, now, future))
            if self._writing is None:
                self._writing = loop.create_task(self._write_all())
            outcomes = await future
            if outcomes is not None:
                return outcomes
            await loop.run_in_executor(self._checkers, self.refresh)

    async def promise(self, key: SigningKey, asked: Sequence[ToPromise]) -> list[bytes]:
        """The promises of entries that are accepted, in order."""
        return await asyncio.get_running_loop().run_in_executor(
            self._checkers, self._signatures.promise, self._view.origin, key, asked
        )

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                group = self._take_group()
                try:
                    found = await loop.run_in_executor(
                        self._writer,
                        self._commit,
                        [member.checked for member in group],
                        max(member.now for member in group),
                    )
                except BaseException as error:
                    refused = busy(str(error)) if isinstance(error, StoreBusy) else error
                    for member in group:
                        if not member.future.done():
                            member.future.set_exception(refused)
                    if not isinstance(error, Exception):
                        raise
                else:
                    for member, outcomes in zip(group, found, strict=True):
                        if not member.future.done():
                            member.future.set_result(outcomes)
        finally:
            self._writing = None

    def _take_group(self) -> list[_Member]:
        """Who is written next: the first that waits, and of the others all that fit, or have few entries."""
        group = [self._waiting.popleft()]
        count = len(group[0].checked.candidates)
        left: deque[_Member] = deque()
        for member in self._waiting:
            size = len(member.checked.candidates)
            if count + size <= MAX_ENTRIES or size <= FEW:
                group.append(member)
                count += size
            else:
                left.append(member)
        self._waiting = left
        return group

    def _commit(self, members: list[Checked], now: int) -> list[list[Outcome] | None]:
        """Write a group; for each member its outcomes, or None when the register has changed since its checks."""
        return self._store.change(lambda db: self._take(db, members, now))

    def _take(self, db: Connection, members: list[Checked], now: int) -> list[list[Outcome] | None]:
        found: list[list[Outcome] | None] = []
        first = inbox.next_number(db)
        self._known.catch_up(db, first - 1)
        published_size = self._check_pressure(db, now)
        registrations = log.last_registration(db)
        asked = [
            candidate.label
            for member in members
            if member.view.registrations == registrations
            for candidate in member.candidates
        ]
        group = Group(now, first, look_up(db, self._known, asked, published_size))
        for member in members:
            if member.view.registrations != registrations:
                found.append(None)
                continue
            found.append(place_all(db, group, member))
            if member.after is not member.view:
                registrations = member.after.registrations
        if len(group.new):
            inbox.put(db, group.first, group.new)
            if acceptances.note_runs(db, group.runs):
                acceptances.drop_published(db, published_size)
        for count, entry in group.registrations:
            log.add_registration(db, count, None, entry)
        return found

    def _check_pressure(self, db: Connection, now: int) -> int:
        """The published size, unless entries cannot be taken now."""
        published = publication.read_publication(db)
        if now + CLOCK_TOLERANCE_S < published.published_time:
            raise busy(
                "the ledger's clock is behind the time of its last checkpoint; its operator has to set it", 60
            )
        waiting = inbox.backlog(db)
        if waiting >= self._inbox_limit:
            self._pressure.note(waiting, log.read_size(db))
            raise self._pressure.refusal()
        return published.published_size


__all__ = ["Accepted", "Acceptance", "Duplicate", "Outcome", "RequestRefused"]
