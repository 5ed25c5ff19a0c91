"""Recording what goes on while it goes on: for OTLP's senders, and for code that records directly.

    many threads ── record(outcomes) ──► one thread with the outbox ── one transaction ──► futures answered

SQLite has one writer at a time, and each transaction costs an fsync: so one thread writes, and what waits meanwhile
goes into the next transaction together.  A future is answered once its records are durable, or with why they are not;
then nothing of it was kept, or, of more than one transaction, it is recognised when it comes again.

The registration is the one that the outbox holds.  The running agent, or whoever else reads the register, puts it
there; when it changes, settings and keys are read anew.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, TypeVar

from ledger.core.errors import GlassbookError
from ledger.department.access import Outcome
from ledger.department.home import Home, Say
from ledger.department.importing import FindCounters, none_before, record_batch
from ledger.department.outbox import Outbox, Prepared
from ledger.department.records import RecordMaker
from ledger.department.recovery import asking, must_ask
from ledger.department.registration import KEPT, kept_registration
from ledger.department.settings import CannotGoOn

TOGETHER: Final = 1000
"""Events in one transaction."""

LOOK_AGAIN_S: Final = 10.0
"""Seconds after which settings that would not do are tried again: what they lack may be a key file's."""

WAITING: Final = 20_000
"""Events that may wait; whoever comes then is told to come later."""

Result = list[tuple[Outcome, bool]]
Within = Callable[[Outbox, Outcome, list[Prepared]], None]
"""Called inside the transaction with a newly recorded outcome and its records."""

T = TypeVar("T")


class Crowded(CannotGoOn):
    """Too much waits to be recorded already."""


class Desk:
    """What the recording thread works with: the department, opened, and its record maker as registered now."""

    def __init__(self, open_home: Callable[[], Home], say: Say, clock: Callable[[], float]) -> None:
        self._open_home, self._say, self._clock = open_home, say, clock
        self.home = open_home()
        self._maker: RecordMaker | None = None
        self._kept: bytes | None = None
        self._problem = ""
        self._look_again = 0.0

    @property
    def outbox(self) -> Outbox:
        return self.home.outbox

    @property
    def now(self) -> int:
        """Unix seconds."""
        return int(self._clock())

    def maker(self) -> RecordMaker:
        """Raises CannotGoOn while the key in place is not the one registered, and what reading keys raises."""
        look = self.outbox.get(KEPT) != self._kept or time.monotonic() >= self._look_again
        if self._maker is not None and look and self.home.has_changed():
            self._reopen()
        if self._maker is None or self.outbox.get(KEPT) != self._kept:
            self._maker = self._made(self.home)
            self._kept = self.outbox.get(KEPT)
        return self._maker

    def find(self) -> FindCounters:
        """How streams that the outbox does not know are counted."""
        if must_ask(self.outbox):
            return asking(lambda: self.home.view(self.now), self.maker())
        return none_before

    def _made(self, home: Home) -> RecordMaker:
        known = kept_registration(home.outbox, home.settings.origin)
        return home.maker(known or home.registration(self.now, self._say))

    def _reopen(self) -> None:
        """With the settings as they are now; while these will not do, it is said, and those of before go on."""
        try:
            after = self._open_home()
            try:
                maker, kept = self._made(after), after.outbox.get(KEPT)
            except BaseException:
                after.close()
                raise
        except (GlassbookError, OSError) as error:
            self._look_again = time.monotonic() + LOOK_AGAIN_S
            if str(error) != self._problem:
                self._say(f"{error}; until this is mended, accesses are recorded with the settings of before")
            self._problem = str(error)
            return
        before, self.home = self.home, after
        self._maker, self._kept = maker, kept
        before.close()
        if self._problem:
            self._say("department.toml is in order again, and used from now on.")
        self._problem, self._look_again = "", 0.0


@dataclass(slots=True)
class _Job:
    outcomes: Sequence[Outcome]
    within: Within | None
    future: Future[Result] = field(default_factory=Future)


@dataclass(slots=True)
class _Change:
    prepare: Callable[[Desk], Callable[[], None]]
    future: Future[None] = field(default_factory=Future)


@dataclass(slots=True)
class _Deed:
    act: Callable[[Desk], Any]
    future: Future[Any] = field(default_factory=Future)


class Recording:
    """The thread.  Close it, or use it in a `with`: what was taken is recorded before it ends.

    `open_home` opens the department inside the thread.  Making one raises what opening raises: CannotGoOn,
    Malformed, Unreachable without any registration known.
    """

    def __init__(
        self, open_home: Callable[[], Home], say: Say, clock: Callable[[], float] = time.time
    ) -> None:
        self._jobs: deque[_Job | _Change | _Deed] = deque()
        self._doing: Sequence[_Job | _Change | _Deed] = ()
        self._waiting = 0
        self._closing = False
        self._changed = threading.Condition()
        opened: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(opened, open_home, say, clock), name="glassbook-recording", daemon=True
        )
        self._thread.start()
        opened.result()

    @property
    def goes_on(self) -> bool:
        """Its thread is there: only a fault of this program, or too little memory, can end that before `close`."""
        return self._thread.is_alive()

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(self, outcomes: Sequence[Outcome], within: Within | None = None) -> Future[Result]:
        """The outcomes with whether each was recorded before, once they are durable; refused ones are rejected.

        Raises Crowded.  The future raises CannotGoOn, Unreachable and the like.
        """
        job = _Job(outcomes, within)
        self._put(job, len(outcomes))
        return job.future

    def change(self, prepare: Callable[[Desk], Callable[[], None]]) -> Future[None]:
        """Call `prepare`, and what it returns inside a transaction that other changes share.  Raises Crowded."""
        change = _Change(prepare)
        self._put(change, 1)
        return change.future

    def run(self, act: Callable[[Desk], T]) -> Future[T]:
        """What `act` returns, called in the thread after all that was asked for before.  Raises Crowded."""
        deed = _Deed(act)
        self._put(deed, 1)
        return deed.future

    def _put(self, job: _Job | _Change | _Deed, size: int) -> None:
        with self._changed:
            if self._closing:
                raise CannotGoOn("recording", "has ended; nothing of this was recorded")
            if self._waiting and self._waiting + size > WAITING:
                raise Crowded("outbox", f"{self._waiting} events wait to be recorded; send this again later")
            self._waiting += size
            self._jobs.append(job)
            self._changed.notify()

    # Inside the thread

    def _run(
        self, opened: Future[None], open_home: Callable[[], Home], say: Say, clock: Callable[[], float]
    ) -> None:
        desk = None
        try:
            desk = Desk(open_home, say, clock)
            desk.maker()
        except BaseException as error:
            if desk is not None:
                desk.home.close()
            opened.set_exception(error)
            return
        opened.set_result(None)
        try:
            while jobs := self._next():
                self._doing = [jobs] if isinstance(jobs, _Deed) else jobs
                if isinstance(jobs, _Deed):
                    _do(desk, jobs)
                    continue
                _change(desk, [job for job in jobs if isinstance(job, _Change)])
                _record(desk, [job for job in jobs if isinstance(job, _Job)])
        finally:
            self._give_up()
            desk.home.close()

    def _give_up(self) -> None:
        """Nobody is to wait for an answer of a thread that is gone."""
        with self._changed:
            self._closing = True
            left = [*self._doing, *self._jobs]
            self._jobs.clear()
        for job in left:
            if not job.future.done():
                job.future.set_exception(CannotGoOn("recording", "has ended; send this again"))

    def _next(self) -> list[_Job | _Change] | _Deed | None:
        """A deed, or what fits into one transaction, or one large job; None at the end."""
        with self._changed:
            while not self._jobs:
                if self._closing:
                    return None
                self._changed.wait()
            first = self._jobs.popleft()
            size = _size(first)
            self._waiting -= size
            if isinstance(first, _Deed):
                return first
            jobs: list[_Job | _Change] = [first]
            while self._jobs:
                other = self._jobs[0]
                if isinstance(other, _Deed) or size + _size(other) > TOGETHER:
                    break
                jobs.append(other)
                self._jobs.popleft()
                size += _size(other)
                self._waiting -= _size(other)
            return jobs


def _size(job: _Job | _Change | _Deed) -> int:
    return len(job.outcomes) if isinstance(job, _Job) else 1


def _change(desk: Desk, changes: list[_Change]) -> None:
    prepared: list[tuple[_Change, Callable[[], None]]] = []
    for change in changes:
        try:
            prepared.append((change, change.prepare(desk)))
        except Exception as error:
            change.future.set_exception(error)
    if not prepared:
        return
    try:
        with desk.outbox.transaction():
            for _, keep in prepared:
                keep()
    except Exception as error:
        for change, _ in prepared:
            change.future.set_exception(error)
        return
    for change, _ in prepared:
        change.future.set_result(None)


def _do(desk: Desk, deed: _Deed) -> None:
    try:
        result = deed.act(desk)
    except Exception as error:
        deed.future.set_exception(error)
    else:
        deed.future.set_result(result)


def _record(desk: Desk, jobs: list[_Job]) -> None:
    if not jobs:
        return
    outcomes = iter([outcome for job in jobs for outcome in job.outcomes])
    withins = {outcome.identity: job.within for job in jobs if job.within for outcome in job.outcomes}

    def within(outcome: Outcome, records: list[Prepared]) -> None:
        if own := withins.get(outcome.identity):
            own(desk.outbox, outcome, records)

    done: Result = []
    try:
        maker, find = desk.maker(), desk.find()
        while some := list(islice(outcomes, TOGETHER)):
            done += record_batch(some, maker, desk.outbox, desk.now, find, within if withins else None)
    except Exception as error:
        # All of them are asked to come again: those that were recorded are recognised then.
        for job in jobs:
            job.future.set_exception(error)
        return
    answers = iter(done)
    for job in jobs:
        job.future.set_result(list(islice(answers, len(job.outcomes))))
