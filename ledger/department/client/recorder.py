"""`AccessRecorder`: one for each process, used by all of its threads and tasks.

    enter      the record, its outcome "not stated", durable in the outbox and held there: only now the block runs
    exit       the same record with its outcome, in place of the first; both would have the same number, one is sent
    a crash    what was held is sent as it is, ten minutes later

So nobody is shown data without a record, and an access that ended in an exception is an access that failed.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, TypeVar

from ledger.core.errors import GlassbookError, Malformed
from ledger.department.access import Access, Fate, Outcome
from ledger.department.client.claims import AccessRefused, Claim, NotRecorded, make_accesses, went
from ledger.department.home import Home
from ledger.department.outbox import Outbox, Prepared
from ledger.department.recording import Desk, Recording, Result
from ledger.department.sealing import parse_seal
from ledger.department.settings import read_settings
from ledger.files import FileRefused
from ledger.keyfiles import read_passphrase

T = TypeVar("T")

HELD_S: Final = 600
"""Seconds after which a record is handed in although its block has not ended."""

SUCCESS: Final = "success"
FAILURE: Final = "failure"


class AccessRecorder:
    """Records accesses into a department's outbox, from which `glassbook department run` hands them in.

    `home` is the department's folder; `passphrase_file` (mode 0600) holds the passphrase of its keys.  `defaults` are
    claims for every access that does not state them itself: `actor`, `event`, `data`, `reason`, `recipient`.  `clock`
    gives Unix seconds.

    It opens the outbox at the first use, or by `open()`, and must not be opened before a fork (gunicorn's `preload`).
    Raises CannotGoOn or Malformed for a folder that is none.
    """

    def __init__(
        self,
        home: str | os.PathLike[str],
        *,
        passphrase_file: str | os.PathLike[str] | None = None,
        defaults: Mapping[str, Claim] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = Path(home)
        read_settings(self._folder)
        self._passphrase_file = passphrase_file
        self._defaults = dict(defaults or {})
        self._clock = clock
        self._lock = threading.Lock()
        self._recording: Recording | None = None
        self._process = os.getpid()

    def open(self) -> None:
        """Open the outbox now, so that what is wrong shows when the program starts.  Raises NotRecorded."""
        self._opened()

    def close(self) -> None:
        """End the recording thread; the next use opens it again."""
        with self._lock:
            recording, self._recording = self._recording, None
        if recording is not None and self._process == os.getpid():
            recording.close()

    def __enter__(self) -> AccessRecorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(
        self, *, subject: str | Iterable[str], activity: int, seal: str | None = None, **claims: Claim
    ) -> Entry:
        """An access to the data of `subject` (`scheme:value`, or several), to be entered by `with` or `async with`.

        `claims`: `actor`, `reason`, `data`, `event`, `recipient`, each as text or with its members (docs/formats.md
        §3).  `seal` is the month until which the person is not told, `2027-03`.

        Raises AccessRefused for what is unknown or of the wrong kind; entering raises AccessRefused for what the
        register does not allow, and NotRecorded when it cannot be made durable.  Then nothing is recorded.
        """
        now = datetime.fromtimestamp(self._clock(), UTC)
        accesses = make_accesses(subject, activity, self._defaults | claims, now)
        if seal is not None:
            month = _month(seal)
            accesses = tuple(replace(access, seal=month) for access in accesses)
        return Entry(self, accesses)

    def _opened(self) -> Recording:
        with self._lock:
            if self._recording is None:
                self._process = os.getpid()
                try:
                    passphrase = (
                        read_passphrase(Path(self._passphrase_file)) if self._passphrase_file else None
                    )
                    self._recording = Recording(lambda: Home(self._folder, passphrase), say, self._clock)
                except (GlassbookError, FileRefused, OSError) as error:
                    raise _not_recorded(error) from None
            elif self._process != os.getpid():
                raise NotRecorded(
                    "AccessRecorder",
                    "was opened before this process was forked, and SQLite does not survive that; open it after the "
                    "fork (gunicorn: without preload, or in post_fork)",
                )
            return self._recording


class Entry:
    """One access being recorded.  `outcome` may be set in the block; otherwise it is `success`, or `failure` when the
    block ends by an exception.  `fields` may be added to: what was touched as far as only the block knows it."""

    def __init__(self, recorder: AccessRecorder, accesses: tuple[Access, ...]) -> None:
        self._recorder, self._accesses = recorder, accesses
        self._made: list[Prepared] = []
        self._entered = False
        self.outcome: str | None = None
        self.fields: list[str] = []

    def __enter__(self) -> Entry:
        recording = self._recorder._opened()
        outcome = _recorded(_wait(self._begin(recording)))
        if outcome.fate is not Fate.RECORDED:
            raise AccessRefused(_wait(self._at_fault(recording)), outcome.reason)
        return self

    async def __aenter__(self) -> Entry:
        recording = await asyncio.to_thread(self._recorder._opened)
        try:
            outcome = _recorded(await asyncio.wrap_future(self._begin(recording)))
            if outcome.fate is not Fate.RECORDED:
                raise AccessRefused(await asyncio.wrap_future(self._at_fault(recording)), outcome.reason)
        except Exception as error:
            raise _not_recorded(error) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _finish(self._end(kind), kind)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Cancelling the task must not leave the record without its outcome.
        done = self._end(kind)
        await asyncio.shield(asyncio.to_thread(_finish, done, kind))

    def _begin(self, recording: Recording) -> Future[Result]:
        if self._entered:
            raise NotRecorded("access", "was entered before; call record() for each access")
        self._entered = True
        # By this computer's clock, as whoever hands in reads it, whatever clock tells the time of accesses.
        until = int(time.time()) + HELD_S

        def within(outbox: Outbox, outcome: Outcome, records: list[Prepared]) -> None:
            self._made = records
            for record in records:
                outbox.hold(record.leaf_hash, until)

        outcome = Outcome("client", "$", Fate.RECORDED, "", self._accesses, secrets.token_bytes(32))
        try:
            return recording.record([outcome], within)
        except GlassbookError as error:
            raise _not_recorded(error) from None

    def _at_fault(self, recording: Recording) -> Future[str]:
        """`subject` when a person's identifier is not as its scheme has it, `access` for all else."""

        def look(desk: Desk) -> str:
            try:
                for access in self._accesses:
                    desk.maker().check_subject(access.subject)
            except GlassbookError:
                return "subject"
            return "access"

        return recording.run(look)

    def _end(self, kind: type[BaseException] | None) -> Future[None]:
        outcome = self.outcome or (SUCCESS if kind is None else FAILURE)
        accesses = [went(access, outcome, map(str, self.fields)) for access in self._accesses]

        def amend(desk: Desk) -> Callable[[], None]:
            maker = desk.maker()
            pairs = [
                (old.leaf_hash, maker.prepare(access, old.n))
                for access, old in zip(accesses, self._made, strict=True)
            ]

            def keep() -> None:
                for leaf_hash, better in pairs:
                    desk.outbox.amend(leaf_hash, better, int(time.time()))

            return keep

        try:
            return self._recorder._opened().change(amend)
        except GlassbookError as error:
            failed: Future[None] = Future()
            failed.set_exception(error)
            return failed


def _month(seal: str) -> int:
    try:
        return parse_seal(seal)
    except (GlassbookError, TypeError):
        raise AccessRefused("seal", "must be a month, for instance 2027-03") from None


def _recorded(result: Result) -> Outcome:
    ((outcome, _),) = result
    return outcome


def _wait(future: Future[T]) -> T:
    try:
        return future.result()
    except Exception as error:
        raise _not_recorded(error) from None


def _finish(future: Future[None], kind: type[BaseException] | None) -> None:
    try:
        future.result()
    except Malformed as error:
        if kind is None:
            raise AccessRefused(error.where, f"{error.what}; recorded without its outcome") from None
    except Exception as error:
        # The access is recorded, which is what counts; its outcome stays unstated.
        say(f"glassbook: an access is recorded without its outcome: {_not_recorded(error)}")


def _not_recorded(error: Exception) -> NotRecorded:
    if isinstance(error, NotRecorded):
        return error
    if isinstance(error, GlassbookError):
        return NotRecorded(error.where, error.what)
    if isinstance(error, FileRefused):
        return NotRecorded("passphrase", str(error))
    if isinstance(error, OSError):
        return NotRecorded("outbox", error.strerror or "input/output error")
    return NotRecorded("recording", f"failed ({type(error).__name__}); please report this")


def say(text: str) -> None:
    """Tell the operator, who reads standard error; never anything of an access."""
    try:
        print(text, file=sys.stderr)
    except OSError:
        pass
