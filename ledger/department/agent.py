"""The agent, `glassbook department run`: its parts one after another, each at its own pace, until it is stopped.

    register    what the log says about this source, and the settings, read anew when they change
    signing     records that an older key signed, signed anew
    sending     what waits, handed in
    receipts    what is published, collected
    coverage    the daily counts
    …           what else is to be done now and then

A part that fails is said, and tried again after a while that grows and has chance in it; the others go on.  Only a log
that is not what it was (Refuted) ends the agent: that is for people to look at.  Whatever a part has reached is in the
outbox, so the agent may be killed at any moment.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import tenacity

from ledger.client.publiclog import Moved
from ledger.core.entries import registry_index_label
from ledger.core.errors import GlassbookError, Refuted
from ledger.department.coverage import collect_coverages, hand_in_coverages, make_due
from ledger.department.handin import Busy
from ledger.department.home import Home
from ledger.department.ownlog import is_read, read_own
from ledger.department.recovery import is_recovering
from ledger.department.resigning import is_needed, sign_anew
from ledger.department.sending import Sender

LONGEST_PAUSE: Final = 300.0
"""Seconds between two tries of a part that fails, at most, and half as much again by chance."""

LONGEST_BUSY: Final = 30.0
"""The same while the ledger says that it is busy, unless it asks for more: it is there, and shared out among those who
ask."""

READ_AT_ONCE: Final = 1 << 18
"""Entries of the log read for own ones before other parts have their turn."""

STATE: Final = "agent"
"""Where the outbox keeps how the agent does, as JSON, for `status`."""

Say = Callable[[str], None]
_backing_off: Final = tenacity.wait_exponential(multiplier=2.0, max=LONGEST_PAUSE)
_queueing: Final = tenacity.wait_exponential(multiplier=2.0, max=LONGEST_BUSY)


@dataclass(slots=True)
class Part:
    """One thing that the agent does again and again; `due` and `since` are Unix seconds."""

    name: str
    act: Callable[[], None]
    due: float = 0.0
    failures: int = 0
    since: float = 0.0
    problem: str = ""


@dataclass(slots=True)
class Agent:
    """Everything a run needs; `also` are further things to do in every round, by name."""

    home: Home
    sender: Sender
    interval: float
    say: Say
    also: dict[str, Callable[[], None]] = field(default_factory=dict)
    _parts: list[Part] = field(default_factory=list)
    _told: float = 0.0
    _started: int = 0

    def __post_init__(self) -> None:
        acts: dict[str, Callable[[], None]] = {
            "register": self.look_at_register,
            "signing": self.sign_anew,
            "sending": self.hand_in,
            "receipts": self.collect,
            "coverage": self.cover,
        }
        self._parts = [Part(name, act) for name, act in (acts | self.also).items()]
        self._started = int(self.sender.clock())

    def run(self, stop: Callable[[], bool]) -> None:
        """Until `stop`.  Raises Refuted."""
        try:
            while not stop():
                self.round(stop)
                self._tell()
                until = min(part.due for part in self._parts)
                while not stop() and self.sender.clock() < until:
                    self.sender.sleep(min(0.5, self.interval))
        finally:
            self._tell(ended=True)

    def round(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Every part that is due, once."""
        for part in self._parts:
            if stop():
                return
            if part.due > self.sender.clock():
                continue
            try:
                part.act()
            except Refuted:
                raise
            except (GlassbookError, OSError) as error:
                self._failed(part, error)
            else:
                if part.failures:
                    self.say(f"{part.name}: goes on.")
                part.failures, part.problem = 0, ""
                # A little chance in the pause: the moment of sending should tell nothing about that of access.
                part.due = self.sender.clock() + self.interval * random.uniform(0.5, 1.5)

    def _failed(self, part: Part, error: GlassbookError | OSError) -> None:
        now = self.sender.clock()
        if not part.failures:
            part.since = now
        if isinstance(error, Busy) and error.went_on:
            part.failures = (
                0  # some was taken: it is not refused ever again, and need not come ever more rarely
            )
        part.failures += 1
        problem = str(error)
        if problem != part.problem:
            self.say(f"{part.name}: {problem}")
        part.problem = problem
        part.due = now + pause(part.failures, error.seconds if isinstance(error, Busy) else None)

    def _tell(self, ended: bool = False) -> None:
        """Keep for `status` how it goes; a full disk must not end the agent."""
        now = self.sender.clock()
        if not ended and now - self._told < min(self.interval, 10.0):
            return
        self._told = now
        state = {
            "started": self._started,
            "seen": int(now),
            "ended": ended,
            "ahead_s": self.sender.ledger.ahead_s,
            "failing": [
                {"part": part.name, "since": int(part.since), "problem": part.problem}
                for part in self._parts
                if part.failures
            ],
        }
        try:
            self.home.outbox.put(STATE, json.dumps(state).encode())
        except GlassbookError as error:
            self.say(str(error))

    # The parts

    def look_at_register(self) -> None:
        """Take over a newer version of this source's registration, and settings that were changed."""
        changed = self.home.has_changed()
        if changed:
            self.home.reload()
        newest = self.sender.maker.registration.newest
        view = self.home.view(int(self.sender.clock()))
        try:
            if not changed:
                following = registry_index_label(newest.source, newest.version + 1)
                if view.proofs([following])[0].index is None:
                    return
                view = self.home.view(int(self.sender.clock()))
            registration = self.home.find_registration(view)
        except Moved:
            return  # the log went on meanwhile; it is asked at the next round
        self.sender.maker = self.home.maker(registration)
        version = registration.newest.version
        if version != newest.version:
            self.say(
                f"The register has version {version} of source {registration.source}; it is used from now on."
            )

    def sign_anew(self) -> None:
        outbox, maker = self.home.outbox, self.sender.maker
        if is_recovering(outbox) or not is_needed(outbox, maker):
            return
        self.sender.collect()
        done = sign_anew(outbox, maker, self.home.view(int(self.sender.clock())))
        if done:
            self.say(f"{done} records are signed again, with the key that the register has in force.")

    def hand_in(self) -> None:
        if is_recovering(self.home.outbox):
            return
        self.sender.try_again()
        self.sender.hand_in()

    def collect(self) -> None:
        self.sender.collect()

    def cover(self) -> None:
        """Whatever of the daily coverage can be done now."""
        outbox, registration = self.home.outbox, self.sender.maker.registration
        now = int(self.sender.clock())
        if is_recovering(outbox):
            return
        try:
            view = self.home.view(now)
            collect_coverages(outbox, registration, view, self.sender.policy, now, self.say)
            if not is_read(outbox) and not read_own(outbox, view, registration, now, READ_AT_ONCE):
                self.say("The log is read for this source's own entries, before its days are counted.")
                return
        except Moved:
            return  # the log went on meanwhile; it is asked at the next round
        make_due(outbox, registration, self.sender.maker.key, self.home.settings.coverage, now)
        hand_in_coverages(outbox, registration, self.sender.ledger, now, self.say)


def pause(failures: int, asked: float | None) -> float:
    """Seconds until the next try after so many failures in a row; `asked` by a busy ledger, None for other failures."""
    state = tenacity.RetryCallState(retry_object=tenacity.Retrying(), fn=None, args=(), kwargs={})
    state.attempt_number = failures
    own = _backing_off(state) if asked is None else max(asked, _queueing(state))
    return own * random.uniform(1.0, 1.5)
