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
from dataclasses import dataclass, field
from itertools import repeat
from threading import Barrier, BrokenBarrierError
from typing import NamedTuple

from ledger.core.entries import RECORD, REGISTRY
from ledger.core.keys import SigningKey
from ledger.core.merkle import leaf_hash
from ledger.core.policy import CLOCK_TOLERANCE_S
from ledger.core.registry import Register
from ledger.service.body import MAX_ENTRIES, Submission
from ledger.service.checks import Candidate, Checked, View, check_submissions
from ledger.service.pressure import Pressure
from ledger.service.problems import Refusal, RequestRefused, busy
from ledger.service.signatures import Signatures, ToPromise
from ledger.store import Connection, Store, StoreBusy, acceptances, inbox, labels, log, publication, treetiles
from ledger.store.acceptances import Run
from ledger.store.errors import StoreContended
from ledger.vectors import Choice

CHECKERS = max(2, min(8, os.cpu_count() or 1))
FEW = 64
START_S = 30.0
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


class _Taken(NamedTuple):
    """What stands under a label: its leaf hash, its index `at` if it is sequenced, and when it was accepted, while that
    is known."""

    leaf: bytes
    at: int | None
    accepted: int | None


class _Member(NamedTuple):
    """A request that waits to be written."""

    checked: Checked
    now: int
    future: asyncio.Future[list[Outcome] | None]


@dataclass(slots=True)
class _Group:
    """What one transaction is about to put into the inbox, from the number `first` on, and what it must remember."""

    now: int
    first: int
    taken: dict[bytes, _Taken]  # label → what stood under it before
    new: inbox.Arrivals = field(default_factory=inbox.Arrivals)
    fresh: dict[bytes, bytes] = field(default_factory=dict)  # label → leaf hash, of `new`
    runs: list[Run] = field(default_factory=list)
    registrations: list[tuple[int, bytes]] = field(default_factory=list)
    waiting: dict[bytes, int] | None = (
        None  # u32 source ‖ u32 day → records in the inbox, once that is asked for
    )
    counted: int = 0  # how many of `new` are in `waiting`

    def records_of(self, db: Connection, source: int, day: int) -> int:
        """Records of a source and day in log, inbox and this group."""
        if self.waiting is None:
            # Until this transaction ends the sequencer moves nothing from the one count to the other.
            log.hold_state(db)
            self.waiting = inbox.waiting_day_counts(db)
        for entry in self.new.entries[self.counted :]:
            if entry[1] == RECORD:
                key = inbox.day_key(entry)
                self.waiting[key] = self.waiting.get(key, 0) + 1
        self.counted = len(self.new)
        key = source.to_bytes(4, "big") + day.to_bytes(4, "big")
        return log.read_day_count(db, source, day) + self.waiting.get(key, 0)


class Acceptance:
    """Takes submissions for one log; one instance a process."""

    def __init__(self, store: Store, origin: str, inbox_limit: int, vectors: str = "off") -> None:
        self._store = store
        self._inbox_limit = inbox_limit
        self._view = View(origin, Register(origin), 0)
        self._checkers = ThreadPoolExecutor(CHECKERS, "check")
        self._signatures = Signatures(vectors)
        self._writer = ThreadPoolExecutor(1, "write")
        # No longer than requests have a turn at a time: who hands them in sees to that (intake.py).
        self._waiting: deque[_Member] = deque()
        self._pressure = Pressure(inbox_limit)
        self._writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the threads that check, and the child of each: else the first requests wait for these."""
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
        published_size = self._check_pressure(db, now)
        registrations = log.last_registration(db)
        asked = [
            candidate.label
            for member in members
            if member.view.registrations == registrations
            for candidate in member.candidates
        ]
        group = _Group(now, first, _look_up(db, asked, published_size))
        for member in members:
            if member.view.registrations != registrations:
                found.append(None)
                continue
            found.append(_place_all(db, group, member))
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


def _look_up(db: Connection, asked: list[bytes], published_size: int) -> dict[bytes, _Taken]:
    """Which of these labels are taken, and by what.

    What was accepted before keeps its time, however often and to whomever it is promised, until it is published.
    """
    places = labels.find_labels(db, asked)
    if not places:
        return {}
    numbers = {label: place.number for label, place in places.items() if place.number is not None}
    index_of = log.index_of(db, numbers.values())
    indices = {label: index_of[number] for label, number in numbers.items() if number in index_of}
    indices |= {label: place.at for label, place in places.items() if place.at is not None}
    unpublished = [index for index in indices.values() if index >= published_size]
    numbers_at = log.read_numbers_at(db, unpublished)
    numbers |= {label: numbers_at[index] for label, index in indices.items() if index in numbers_at}
    owed = {
        label: number
        for label, number in numbers.items()
        if indices.get(label, published_size) >= published_size
    }
    times = acceptances.times_of(db, owed.values())
    # The leaf hash tells whether it is the very same entry, also when that has left the database.
    leaves = treetiles.read_leaf_hashes(db, list(indices.values()))
    if len(leaves) < len(set(indices.values())):
        raise StoreContended("entries left the database while they were looked up")
    waiting = log.read_numbered(db, [number for label, number in numbers.items() if label not in indices])
    if len(waiting) < len(places) - len(indices):
        raise StoreContended("entries were sequenced and left the database while they were looked up")
    found = {}
    for label in places:
        index = indices.get(label)
        leaf = leaves[index] if index is not None else leaf_hash(waiting[numbers[label]])
        found[label] = _Taken(leaf, index, times.get(owed.get(label, 0)))
    return found


def _place_all(db: Connection, group: _Group, member: Checked) -> list[Outcome]:
    """Put a member's candidates into the group; its outcomes, in order."""
    if member.plain and not group.taken:
        free = _place_plain(group, member.candidates)
        if free is not None:
            return free
    outcomes: dict[int, Outcome] = dict(member.refusals)
    for candidate in member.candidates:
        label, leaf = candidate.label, candidate.leaf
        if label in group.taken or label in group.fresh or candidate.refusal or candidate.coverage:
            outcome = _decide(db, group, candidate)
            if outcome is not None:
                outcomes[candidate.place] = outcome
                continue
        _note_run(group, candidate.registrations)
        if candidate.raw[1] == REGISTRY:
            group.registrations.append((candidate.registrations + 1, candidate.raw))
        group.fresh[label] = leaf
        group.new.add(candidate.raw, label, leaf, candidate.envelope, candidate.fetch)
        outcomes[candidate.place] = Accepted(label, leaf, group.now)
    return [outcomes[place] for place in range(member.total)]


def _place_plain(group: _Group, candidates: list[Candidate]) -> list[Outcome] | None:
    """The same for records that no rule forbids, when all their labels are free; None when one is not."""
    _, raws, labels, leaves, envelopes, fetches, registrations, _, _ = zip(*candidates, strict=True)
    fresh = dict(zip(labels, leaves, strict=True))
    if len(fresh) < len(candidates) or not group.fresh.keys().isdisjoint(fresh):
        return None
    _note_run(group, registrations[0])
    group.fresh.update(fresh)
    new = group.new
    new.entries += raws
    new.labels += labels
    new.leaves += leaves
    new.envelopes += envelopes
    new.fetches += fetches
    return list(map(Accepted, labels, leaves, repeat(group.now)))


def _note_run(group: _Group, registrations: int) -> None:
    """The next entries of the group were checked against so many registry entries."""
    if not group.runs or group.runs[-1].registrations != registrations:
        group.runs.append(Run(group.first + len(group.new), group.now, registrations))


def _decide(db: Connection, group: _Group, candidate: Candidate) -> Outcome | None:
    """What becomes of a candidate whose label is not free, or to which a rule has something to say; None: it may
    enter."""
    label, leaf = candidate.label, candidate.leaf
    known = group.taken.get(label)
    if known is None and label in group.fresh:
        known = _Taken(group.fresh[label], None, group.now)
    if known is not None and known.leaf == leaf:
        if known.at is not None:
            return Duplicate(label, leaf, known.at, known.accepted)
        return Accepted(label, leaf, group.now if known.accepted is None else known.accepted)
    if candidate.refusal is not None:
        return candidate.refusal
    if candidate.coverage is not None:
        source, day = candidate.coverage.source, candidate.coverage.day
        counted = group.records_of(db, source, day)
        if counted != candidate.coverage.records:
            return Refusal(
                "rule-broken",
                f"coverage: the ledger has {counted} records of the day, not {candidate.coverage.records}",
                "count",
            )
    if known is not None:
        return Refusal("label-conflict", "another entry stands under this label in log or inbox")
    return None


__all__ = ["Accepted", "Acceptance", "Duplicate", "Outcome", "RequestRefused"]
