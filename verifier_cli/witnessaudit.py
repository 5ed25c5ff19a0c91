"""The audits of a witness that is an auditor: one thread for each log, and requests that wait for it, or do not.

A small step, the entries of a second or so, is audited while the log waits for its answer. With more it is told when
to ask again, and the work goes on to the newest checkpoint it asked for, whether anybody waits or not.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from verifier_cli.auditing import Stopped
from verifier_cli.cosigning import Audited, Request, condemned
from verifier_cli.following import Finding, Follower
from verifier_cli.submission import Answer
from verifier_cli.witnessalarms import Alarms
from verifier_cli.witnessfile import WitnessFile

MOST_WAITING = 16
"""Requests of one log that may wait for its audit at once."""
LONGEST_RETRY_S = 30
OVERTAKEN = Answer(
    503, "a newer checkpoint of this log was looked at meanwhile; ask again with the newest\n", retry_after=1
)
STOPPING = Answer(503, "this witness is stopping\n", retry_after=1)


class Audits:
    """The audits of all logs of a witness. Safe for several threads."""

    def __init__(
        self, file: WitnessFile, alarms: Alarms, jobs: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._with = (file, alarms, jobs, clock)
        self._logs: dict[str, LogAudit] = {}
        self._lock = threading.Lock()

    def of(self, origin: str) -> LogAudit:
        """The audit of one log that this witness serves."""
        with self._lock:
            if origin not in self._logs:
                file, alarms, jobs, clock = self._with
                self._logs[origin] = LogAudit(Follower(file, origin, alarms, jobs, clock))
            return self._logs[origin]

    def resume(self) -> None:
        """Go on with what a log was told to come again for, before anybody asks."""
        file = self._with[0]
        for origin in file.origins():
            note = file.wanted(origin)
            if note is None or condemned(file, origin) is not None:
                continue
            request = Request.kept(note)
            if request.checkpoint.size > file.seen(origin).size:
                self.of(origin).ask(request)

    def stop(self, seconds: float) -> bool:
        """Have all of them save what they have and end; whether they did in that time.

        One that has not hangs in reading its log; what it saved is whole.
        """
        with self._lock:
            logs = list(self._logs.values())
        for log in logs:
            log.stop()
        end = time.monotonic() + seconds
        ended = [log.join(max(0.0, end - time.monotonic())) for log in logs]
        return all(ended)


class LogAudit:
    """The audit of one log. Safe for several threads."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._waiting: list[tuple[Request, Future[Finding]]] = []
        self._newest: Request | None = None  # to be looked at, or being looked at
        self._done: Audited | None = None
        self._began = (0, 0.0)  # how many entries were there when this step began, and when that was
        self._worker: threading.Thread | None = None

    def ask(self, request: Request) -> Future[Finding]:
        """Have the log audited up to this checkpoint."""
        future: Future[Finding] = Future()
        checkpoint = request.checkpoint
        with self._changed:
            done = self._done
            if self._stop.is_set():
                future.set_result(STOPPING)
            elif done is not None and (done.size, done.root) == (checkpoint.size, checkpoint.root):
                future.set_result(done)
            elif len(self._waiting) >= MOST_WAITING:
                text = "too many requests wait for the audit of this log; ask again\n"
                future.set_result(Answer(429, text, retry_after=1))
            else:
                self._waiting.append((request, future))
                if self._newest is None or self._newest.checkpoint.size < checkpoint.size:
                    self._newest = request
                if self._worker is None:
                    self._worker = threading.Thread(target=self._run, name="audit", daemon=True)
                    self._worker.start()
                self._changed.notify()
        return future

    def leave(self, future: Future[Finding]) -> Answer:
        """What to answer who does not wait any longer; the work goes on."""
        with self._changed:
            self._waiting = [one for one in self._waiting if one[1] is not future]
            newest = self._newest
        size = self._follower.size
        first, since = self._began
        aim = max(size, newest.checkpoint.size if newest else 0)
        wait = 1
        if size > first:
            wait = math.ceil((aim - size) * (time.monotonic() - since) / (size - first))
        text = f"this auditor is at entry {size} of {aim} and goes on; ask again with the newest checkpoint\n"
        return Answer(503, text, retry_after=min(max(1, wait), LONGEST_RETRY_S))

    def stop(self) -> None:
        """Have the work end at the next place where it can be saved."""
        with self._changed:
            self._stop.set()
            self._changed.notify()

    def join(self, seconds: float) -> bool:
        """Whether the work ended within this time."""
        if self._worker is None:
            return True
        self._worker.join(seconds)
        return not self._worker.is_alive()

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._stop.is_set() or self._newest is not None)
                    target = self._newest
                if target is None or self._stop.is_set():
                    break
                self._began = (self._follower.size, time.monotonic())
                self._settle(target, self._follower.follow(target, self._stop))
        except Stopped:
            pass
        finally:
            with self._changed:
                self._stop.set()
                left, self._waiting = self._waiting, []
            _answer(left, lambda _: STOPPING)
            self._follower.close()

    def _settle(self, target: Request, finding: Finding) -> None:
        """Answer all who asked for no larger a checkpoint than was looked at."""
        size = target.checkpoint.size
        with self._changed:
            self._done = finding if isinstance(finding, Audited) else None
            if self._newest is target:
                self._newest = None
            settled = [one for one in self._waiting if one[0].checkpoint.size <= size]
            self._waiting = [one for one in self._waiting if one[0].checkpoint.size > size]

        def answer(request: Request) -> Finding:
            same = request.checkpoint == target.checkpoint
            # Another checkpoint than was looked at, no larger: it is looked at itself when it is asked for again.
            return finding if same else OVERTAKEN

        _answer(settled, answer)


def _answer(waiting: list[tuple[Request, Future[Finding]]], answer: Callable[[Request], Finding]) -> None:
    for request, future in waiting:
        with suppress(InvalidStateError):  # whoever asked has gone away
            future.set_result(answer(request))
