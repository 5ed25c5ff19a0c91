"""How an auditor gets from one checkpoint of a log to the next: step by step, saved, and never past what it may say.

    follow(request)    Audited       every entry below this checkpoint was audited and is saved as such: cosign it
                       Answer 422    the log breaks a rule of docs/formats.md, for good; or this checkpoint and the one
                                     audited under, both signed by the log, cannot both be true
                       Answer 503    an entry is ahead of this clock, or the entries cannot be read, or are not those
                                     signed; or the log has gone on meanwhile

The witness's file holds the progress (auditfile.py), and with it the signed checkpoint that it stands under and the
time as of which it holds: `asked`, written before the progress that it vouches for. An entry ahead of time is never
in what is saved; the step is thrown away, and taken anew when the log asks again.

Only what the engine found under the signed root condemns a log. What a copy of the log says wrongly, or not at all,
is no violation, but something for the operator to look at.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from ledger.client.openlog import open_log
from ledger.client.publiclog import PublicLog
from ledger.core.errors import GlassbookError, Malformed, ProofRefuted
from ledger.core.replay import Replay, Violation
from ledger.files import FileRefused
from verifier_cli.auditfile import AuditFile
from verifier_cli.auditing import Advanced, Auditor, Stopped
from verifier_cli.cosigning import CLOCK_BACK, FORK, VIOLATION, Audited, Request
from verifier_cli.submission import Answer
from verifier_cli.witnessalarms import Alarms, say
from verifier_cli.witnessevidence import fork_between, keep_fork, keep_violations
from verifier_cli.witnessfile import Asked, WitnessFile
from verifier_cli.witnesswords import clock_words

AHEAD = "ahead"
CLOCK = "clock"
COPY = "copy"
UNREADABLE = "unreadable"
UNSAVED = "unsaved"
PASSING = (AHEAD, CLOCK, UNREADABLE, UNSAVED)
"""Kinds of alarm that end with the next checkpoint that is audited whole; `COPY` with the next files that are right."""

AHEAD_KINDS = frozenset({"day-in-future"})
"""What `ledger.core.entries.check_time` finds: it says as much of this clock as of the log."""

Finding = Audited | Answer


class _Refused(Exception):
    """No cosignature now: the answer, and the kind of alarm and the words for the operator."""

    def __init__(self, answer: Answer, kind: str, text: str) -> None:
        super().__init__(text)
        self.answer = answer
        self.kind = kind


class Follower:
    """Follows one log. All in one thread; only `size` may be looked at from others."""

    def __init__(
        self,
        file: WitnessFile,
        origin: str,
        alarms: Alarms,
        jobs: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.origin = origin
        self._file = file
        self._alarms = alarms
        self._jobs = jobs
        self._clock = clock
        self._resources = ExitStack()
        self._saved: AuditFile | None = None
        self._replay: Replay | None = None
        self._reading: tuple[list[str], PublicLog, Auditor] | None = None
        self._reader = ExitStack()
        self._warned: set[str] = set()

    @property
    def size(self) -> int:
        """Entries replayed so far; not all of them need be saved yet."""
        replay = self._replay
        return 0 if replay is None else replay.size

    def follow(self, request: Request, stop: threading.Event) -> Finding:
        """Audit up to this checkpoint. Raises Stopped once `stop` is set; what is saved is then whole."""
        try:
            finding = self._follow(request, stop)
        except Stopped:
            self._replay = None
            raise
        except _Refused as refused:
            kind, text, answer = refused.kind, str(refused), refused.answer
        except (sqlite3.Error, FileRefused) as error:
            kind, text = UNSAVED, f"what was audited cannot be saved, so nothing is cosigned: {error}"
            answer = _not_now("this witness cannot record what it audits; nothing was cosigned", 5)
        except (GlassbookError, OSError) as error:
            kind, text = UNREADABLE, f"the log cannot be read, so it is not cosigned: {error}"
            answer = _not_now("this auditor cannot read the log's entries; nothing was cosigned", 2)
        except Exception as error:  # a fault of this program must not end it, nor be taken for the log's
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
            kind, text = UNREADABLE, f"a fault in this program ({where}); please report it"
            answer = _not_now("this auditor failed; nothing was cosigned", 5)
        else:
            if isinstance(finding, Audited):
                self._alarms.end(self.origin, PASSING)
            return finding
        # In memory may be more than was saved, and what must never be; and signatures may still be under way.
        self._replay = None
        self._stop_reading()
        self._alarms.raise_(self.origin, kind, text)
        return answer

    def close(self) -> None:
        """Let go of the log, the processes and the file."""
        self._stop_reading()
        self._resources.close()

    def _follow(self, request: Request, stop: threading.Event) -> Finding:
        checkpoint = request.checkpoint
        asked = self._file.asked(self.origin)
        replay = self._replay = self._replay or self._load(asked, checkpoint.size)
        now = int(self._clock())
        if now < replay.newest:
            raise _Refused(Answer(503, CLOCK_BACK, retry_after=1), CLOCK, clock_words(replay.newest))
        if replay.violations:
            return self._condemn(request, replay.violations)
        if replay.size > checkpoint.size:
            return _older(replay.size)
        if replay.size < checkpoint.size:
            replay.newest = now
            finding = self._advance(replay, request, asked, stop)
            if finding is not None:
                return finding
        if (replay.size, replay.frontier.root()) != (checkpoint.size, checkpoint.root):
            return self._contradicted(request, asked)
        self._warn_of_roles(replay)
        return Audited(checkpoint.size, checkpoint.root, replay.newest, replay.register.charter)

    def _warn_of_roles(self, replay: Replay) -> None:
        """Keys have one role each (docs/formats.md §1); one of this witness's in the register is worth a warning."""
        for vkey in self._file.vkeys:
            role = replay.register.role_of(vkey.key)
            if role is not None and role not in self._warned:
                self._warned.add(role)
                say(f"warning: {self.origin} names this witness's key {vkey.key_id.hex()} as that of {role}")

    def _advance(
        self, replay: Replay, request: Request, asked: Asked | None, stop: threading.Event
    ) -> Finding | None:
        """Audit the entries that are new; None when they are all there and saved, and break no rule."""
        told = False

        def save(replay: Replay) -> None:
            nonlocal told
            ahead, broken = _parted(replay.violations)
            if broken:
                return  # the log is condemned for it once its root is reached, and that is kept instead
            if ahead:
                raise _ahead(ahead[0])
            if not told:
                # First: the progress in the file always stands under the checkpoint that is there with it.
                self._file.set_asked(self.origin, Asked(request.checkpoint.size, request.note, replay.newest))
                told = True
            self._file.check_in_place()
            self._audit_file().save(replay)

        try:
            found = self._auditor().advance(replay, request.checkpoint, save=save, stop=stop)
        except ProofRefuted:
            # What was audited is not how this tree begins.
            return self._contradicted(request, asked)
        ahead, broken = _parted(found.of_log)
        if broken:
            return self._condemn(request, broken)
        if ahead:
            raise _ahead(ahead[0])
        self._look_at_copy(found)
        return None

    def _condemn(self, request: Request, violations: Sequence[Violation]) -> Answer:
        """The log breaks rules: refuse it from now on, and keep what shows it."""
        first, more = violations[0], len(violations) - 1
        text = f"entry {first.index} breaks docs/formats.md {first.rule} ({first.kind}): {first.detail}"
        if more:
            text += f"; and {more} more"
        assert self._replay is not None
        path = keep_violations(self._file.path.parent, self._log(), request, violations, self._replay)
        # Before anything is answered: the refusal outlasts this process.
        self._file.put_alarm(self.origin, VIOLATION, text, int(self._clock()), path)
        self._alarms.raise_(self.origin, VIOLATION, text, path)
        self._replay = None
        return Answer(422, f"{text}\n")

    def _look_at_copy(self, found: Advanced) -> None:
        """What the copy read does not hold as it was signed: no cosignature if it is an entry, and an alarm."""
        if not found.of_copy:
            self._alarms.end(self.origin, (COPY,))
            return
        first = found.of_copy[0]
        text = f"{self._log().where} does not hold what the log signed: {first.detail} (entry {first.index})"
        if found.summary is None:
            answer = _not_now(
                "this auditor did not find the entries that were signed; nothing was cosigned", 2
            )
            raise _Refused(answer, COPY, text)
        # Every entry was there all the same: a tile that is false is not the log's word on any of them.
        self._alarms.raise_(self.origin, COPY, text)

    def _contradicted(self, request: Request, asked: Asked | None) -> Answer:
        """The tree under this checkpoint does not continue what was audited: a fork, when that can be shown."""
        fork = None if asked is None else fork_between(self._log(), asked.note, request.note)
        if fork is None:
            text = f"the tree signed for size {request.checkpoint.size} does not continue the entries audited"
            raise _Refused(_not_now(text, 2), UNREADABLE, text)
        # In memory nothing is amiss, but the engine has stopped in the middle.
        self._replay = None
        if self._alarms.due(self.origin, FORK, fork.what):
            self._alarms.raise_(self.origin, FORK, fork.what, keep_fork(self._file.path.parent, fork))
        return Answer(422, f"{fork.what}\n")

    # -- what it works with ----------------------------------------------------------------------------

    def _audit_file(self) -> AuditFile:
        if self._saved is None:
            self._saved = self._resources.enter_context(
                closing(AuditFile(self._file.open_again(), str(self._file.path)))
            )
        return self._saved

    def _load(self, asked: Asked | None, expected: int) -> Replay:
        return self._audit_file().load(self.origin, asked.at if asked else 0, expected)

    def _open(self) -> tuple[list[str], PublicLog, Auditor]:
        """The log where its operator says now that it is. Raises Unreachable when it is not there."""
        places = self._file.places(self.origin)
        if self._reading is None or self._reading[0] != places:
            self._stop_reading()
            if not places:
                raise Malformed(
                    self.origin, "this auditor was not told where to read it; its operator adds --log"
                )
            log = self._reader.enter_context(closing(open_log(places, told=say)))
            auditor = self._reader.enter_context(Auditor(log, self.origin, self._jobs))
            self._reading = (places, log, auditor)
        return self._reading

    def _stop_reading(self) -> None:
        self._reading = None
        self._reader.close()

    def _log(self) -> PublicLog:
        return self._open()[1]

    def _auditor(self) -> Auditor:
        return self._open()[2]


def _older(size: int) -> Answer:
    """A checkpoint below what is audited already is not looked at: the log has a newer one."""
    return _not_now(
        f"this auditor has audited {size} entries already; ask again with the newest checkpoint", 1
    )


def _not_now(text: str, retry_after: int) -> Answer:
    return Answer(503, f"{text}\n", retry_after=retry_after)


def _parted(violations: Iterable[Violation]) -> tuple[list[Violation], list[Violation]]:
    """Those of the clock, and those of the log."""
    ahead: list[Violation] = []
    broken: list[Violation] = []
    for violation in violations:
        (ahead if violation.kind in AHEAD_KINDS else broken).append(violation)
    return ahead, broken


def _ahead(violation: Violation) -> _Refused:
    text = f"entry {violation.index} is ahead of this clock: {violation.detail}; look at this clock and at the log's"
    return _Refused(_not_now(text, 30), AHEAD, text)
