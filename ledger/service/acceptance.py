"""Submissions into the inbox: checked side by side, written in one transaction for all who wait (group commit).

A transaction takes the write lock first, so what it finds free stays free until it commits.  It holds only if the
register is still the one that the checks were made against; if not, those submissions are checked again.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from ledger.core.entries import REGISTRY, Coverage
from ledger.core.keys import SigningKey
from ledger.core.policy import CLOCK_TOLERANCE_S
from ledger.core.registry import Register
from ledger.service.body import MAX_ENTRIES, Submission
from ledger.service.checks import Candidate, Checked, View, check_submissions
from ledger.service.pressure import Pressure
from ledger.service.problems import Refusal, RequestRefused, busy
from ledger.service.signatures import Signatures, ToPromise
from ledger.store import Connection, Store, StoreBusy, acceptances, envelopes, inbox, labels, log, publication

CHECKERS = max(2, min(8, os.cpu_count() or 1))
FEW = 64
"""A request of so many entries goes with the next transaction, however large that is already."""


class Accepted(NamedTuple):
    """Durable in the inbox, now or from before, since `accepted` (Unix seconds): what its promise says."""

    label: bytes
    leaf: bytes
    accepted: int


class Duplicate(NamedTuple):
    """In the log already, at index `at`; `accepted` as above, or None once it is published."""

    label: bytes
    leaf: bytes
    at: int
    accepted: int | None


Outcome = Accepted | Duplicate | Refusal


class _Member(NamedTuple):
    """A request that waits to be written."""

    checked: Checked
    now: int
    future: asyncio.Future[list[Outcome] | None]


@dataclass(slots=True)
class _Group:
    """What one transaction is about to put into the inbox, and what it must remember on the way."""

    now: int
    rows: list[tuple[int, bytes, bytes, bytes, int, int, int]] = field(default_factory=list)
    deposits: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    registrations: list[tuple[int, bytes]] = field(default_factory=list)
    taken: dict[bytes, bytes] = field(default_factory=dict)  # label → entry, in the inbox or in this group
    sequenced: dict[bytes, int] = field(default_factory=dict)  # label → index
    accepted: dict[bytes, int] = field(default_factory=dict)  # label → time, of what was accepted before
    counts: dict[tuple[int, int], int] = field(default_factory=dict)  # (source, day) → records in this group
    waiting_counts: dict[tuple[int, int], int] | None = None  # the same in the inbox, once it is asked for
    entries: dict[int, bytes] = field(default_factory=dict)  # index → entry, of the labels in `sequenced`


class Acceptance:
    """Takes submissions for one log; one instance a process."""

    def __init__(self, store: Store, origin: str, inbox_limit: int) -> None:
        self._store = store
        self._inbox_limit = inbox_limit
        self._view = View(origin, Register(origin), 0)
        self._checkers = ThreadPoolExecutor(CHECKERS, "check")
        self._signatures = Signatures()
        self._writer = ThreadPoolExecutor(1, "write")
        # No longer than requests have a turn at a time: who hands them in sees to that (intake.py).
        self._waiting: deque[_Member] = deque()
        self._pressure = Pressure(inbox_limit)
        self._writing: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Wait for the threads; what they were writing is written."""
        self._checkers.shutdown()
        self._writer.shutdown()
        self._signatures.close()

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
                self._checkers, check_submissions, self._view, submissions, now, self._signatures.verify
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
        group = _Group(now)
        found: list[list[Outcome] | None] = []
        with self._store.write() as db:
            published_size = self._check_pressure(db, now)
            registrations = log.last_registration(db)
            current = [member for member in members if member.view.registrations == registrations]
            self._look_up(db, group, [c for member in current for c in member.candidates], published_size)
            first = number = inbox.take_numbers(db, sum(len(member.candidates) for member in current))
            for member in members:
                if member.view.registrations != registrations:
                    found.append(None)
                    continue
                outcomes: dict[int, Outcome] = dict(member.refusals)
                for candidate in member.candidates:
                    outcomes[candidate.place] = self._place(db, group, candidate, number)
                    number += 1
                found.append([outcomes[place] for place in range(member.total)])
                if member.after is not member.view:
                    registrations = member.after.registrations
            if group.rows and acceptances.note_time(db, first, now):
                acceptances.drop_published(db, published_size)
            inbox.put(db, group.rows)
            envelopes.deposit_envelopes(db, group.deposits)
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

    def _look_up(
        self, db: Connection, group: _Group, candidates: list[Candidate], published_size: int
    ) -> None:
        asked = [candidate.label for candidate in candidates]
        waiting = inbox.find_in_inbox(db, asked)
        group.taken = {label: entry for label, (_, entry) in waiting.items()}
        group.sequenced = labels.find_labels(db, asked)
        group.entries = log.read_entries_at(db, list(group.sequenced.values()))
        # What was accepted before keeps its time, however often and to whomever it is promised.
        unpublished = {label: at for label, at in group.sequenced.items() if at >= published_size}
        numbers_at = log.read_numbers_at(db, list(unpublished.values()))
        numbers = {label: number for label, (number, _) in waiting.items()}
        numbers |= {label: numbers_at[at] for label, at in unpublished.items()}
        times = acceptances.times_of(db, numbers.values())
        group.accepted = {label: times[number] for label, number in numbers.items() if number in times}

    def _place(self, db: Connection, group: _Group, candidate: Candidate, number: int) -> Outcome:
        """Put one candidate into the group, or say why not."""
        place, raw, entry, label, leaf, day, envelope, fetch, registrations, refusal = candidate
        index = group.sequenced.get(label)
        if index is not None and group.entries[index] == raw:
            return Duplicate(label, leaf, index, group.accepted.get(label))
        waiting = group.taken.get(label)
        if waiting == raw:
            return Accepted(label, leaf, group.accepted.get(label, group.now))
        if refusal is not None:
            return refusal
        if isinstance(entry, Coverage):
            refusal = self._check_count(db, group, entry)
            if refusal is not None:
                return refusal
        if index is not None or waiting is not None:
            return Refusal("label-conflict", "another entry stands under this label in log or inbox")
        group.taken[label] = raw
        source = int.from_bytes(raw[2:6], "big")  # where every kind but the index root has it
        group.rows.append((number, label, leaf, raw, source, day, registrations))
        if day >= 0:
            group.counts[source, day] = group.counts.get((source, day), 0) + 1
        if envelope is not None and fetch is not None:
            group.deposits.append((number, fetch, envelope))
        if raw[1] == REGISTRY:
            group.registrations.append((registrations + 1, raw))
        return Accepted(label, leaf, group.now)

    def _check_count(self, db: Connection, group: _Group, entry: Coverage) -> Refusal | None:
        if group.waiting_counts is None:
            group.waiting_counts = inbox.waiting_day_counts(db)
        day = (entry.source, entry.day)
        counted = (
            log.read_day_count(db, entry.source, entry.day)
            + group.waiting_counts.get(day, 0)
            + group.counts.get(day, 0)
        )
        if counted == entry.records:
            return None
        return Refusal(
            "rule-broken",
            f"coverage: the ledger has {counted} records of the day, not {entry.records}",
            "count",
        )


__all__ = ["Accepted", "Acceptance", "Duplicate", "Outcome", "RequestRefused"]
