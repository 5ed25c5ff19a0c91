"""How much is let in at a time, so that what is let in is answered soon, and the rest is told when to come back.

A request weighs what it costs to answer, in units of the user's choice. Before its body is read it is let in or not:

    asked ──► arriving (its body comes) ──► waits for a turn ──► worked on ──► done
      └─► Full: when to come back

By Little's law whoever is let in waits for what is in flight divided by the rate at which it is done; no more is let
in than is done `within` seconds. The rate is what was done in a window of time, when that is more than was thought, or
when somebody was late. When nobody was late and some were refused, a little more is tried.

- A body that does not come holds its place for GRACE_S only; then it counts with what came of it.
- Small requests have turns of their own, and an eighth of room more: large ones do not keep them waiting.
- Over half of the room, a client that has something in flight gets no more than its equal share with all
  who asked in the last PRESENT_S; nobody is refused for its share while it is alone.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

WINDOW_S: Final = 1.0
"""The rate is measured over at least so long."""

GRACE_S: Final = 1.0
PRESENT_S: Final = 5.0
MOST_CLIENTS: Final = 10_000
LONGEST_S: Final = 30
"""The longest that anybody is sent away for."""

ALL, SHARE = "full", "share"


class Full(Exception):
    """Not now. `reason` is ALL, or SHARE for a client that has more than its share; come back after so many seconds."""

    def __init__(self, reason: str, retry_after_s: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Limits:
    """Weights are the user's units; `rate` is the one to begin with, a second."""

    rate: float
    most: float
    """In flight, however fast it is done."""
    small: float
    """Up to this weight a request is a small one."""
    within: float = 1.5
    turns: int = 12
    """Large requests worked on at a time; as many are let in as keep every part of the work busy."""
    small_turns: int = 64


@dataclass(slots=True)
class _Client:
    weight: float = 0.0
    asked: float = 0.0


class Ticket:
    """One request that was let in; `done` gives its place back, as often as it is called."""

    __slots__ = ("_admission", "_asked", "_began", "_client", "_come", "_held", "_small", "_working")

    def __init__(self, admission: Admission, weight: float, client: _Client) -> None:
        self._admission, self._client = admission, client
        self._asked = self._held = weight
        self._come = 0.0
        self._began = 0.0  # when its body was here
        self._small = weight <= admission.limits.small
        self._working = False

    def came(self, weight: float) -> bool:
        """So much more of its body has come; whether there is room for it."""
        self._come += weight
        if self._come > self._held:
            self._hold(self._come)
        return self._admission.in_flight <= self._admission.limits.most

    def weigh(self, weight: float) -> None:
        """What it has turned out to weigh, if that is more."""
        if weight > self._held:
            self._hold(weight)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Its body is here: wait for its turn, and work in the block."""
        self.begin()
        async with self._admission.turns_for(self._small):
            yield

    def begin(self) -> None:
        """Its body is here, and it is worked on from now on."""
        self.weigh(self._asked)
        self._working = True
        self._admission.working += self._held
        self._began = self._admission.now()

    def overdue(self) -> None:
        """Its body has not come in time: it counts with what is here."""
        if not self._working and self._held:
            self._hold(max(self._come, 1.0))

    def done(self, measured: bool = False) -> None:
        """It is answered, or given up; `measured` when it took the work that its weight stands for."""
        if self._held and self._working and measured:
            self._admission.finished(self._held, self._began)
        self._hold(0.0)

    def _hold(self, weight: float) -> None:
        more = weight - self._held
        self._held = weight
        self._client.weight += more
        self._admission.held(more, self._working)


class Admission:
    """Decides who is let in; for one event loop."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[int, int], int] = random.randint,
    ) -> None:
        """`clock` gives seconds, and `chance` a whole number between two, both included."""
        self.limits = limits
        self.rate = limits.rate
        self.in_flight = 0.0
        self.working = 0.0
        """What of it is here as a whole."""
        self.refused_at = -math.inf
        self._clock, self._chance = clock, chance
        self._turns = asyncio.Semaphore(limits.turns)
        self._small_turns = asyncio.Semaphore(limits.small_turns)
        self._arriving: deque[tuple[float, Ticket]] = deque()
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._since: float | None = None
        self._finished = 0.0
        self._late = False
        self._offered = 0.0
        self._offered_since = clock()
        self._pressure = 1.0

    @property
    def limit(self) -> float:
        """How much may be in flight just now."""
        return min(self.rate * self.limits.within, self.limits.most)

    @property
    def refuses(self) -> bool:
        """Whether somebody was sent away in the last PRESENT_S."""
        return self._clock() - self.refused_at < PRESENT_S

    def ask(self, weight: float, client: str) -> Ticket:
        """Let a request of this weight in.  Raises Full."""
        now = self._clock()
        while self._arriving and self._arriving[0][0] <= now:
            self._arriving.popleft()[1].overdue()
        self._note_offer(weight, now)
        mine = self._present(client, now)
        if self.in_flight:
            limit = self.limit
            over_share = mine.weight > 0 and mine.weight + weight > limit / len(self._clients)
            if over_share and len(self._clients) > 1 and self.in_flight > limit / 2:
                raise self._full(SHARE, now)
            room = limit * 9 / 8 if weight <= self.limits.small else limit
            # What is larger than half of it would otherwise never find room beside others.
            if self.in_flight + min(weight, limit / 2) > room:
                raise self._full(ALL, now)
        ticket = Ticket(self, weight, mine)
        mine.weight += weight
        self.in_flight += weight
        self._arriving.append((now + GRACE_S, ticket))
        return ticket

    def seconds(self) -> int:
        """When to come back: once what is in flight is done, and longer the more is offered; with chance in it."""
        low = max(1, math.ceil(self.in_flight / self.rate * self._pressure))
        return min(self._chance(low, 2 * low), LONGEST_S)

    def turns_for(self, small: bool) -> asyncio.Semaphore:
        return self._small_turns if small else self._turns

    def held(self, more: float, working: bool) -> None:
        """A ticket counts for so much more, or less."""
        self.in_flight += more
        if working:
            self.working += more
            if self.working <= 0:
                self._since = None  # what comes next is not to be measured with the time in between

    def now(self) -> float:
        return self._clock()

    def finished(self, weight: float, began: float) -> None:
        """So much work, that `began` then, is done: measure."""
        now = self._clock()
        self._finished += weight
        self._late = self._late or now - began > self.limits.within
        if self._since is not None and now - self._since >= WINDOW_S:
            self._adjust(self._finished / (now - self._since))
            self._since = None
        if self._since is None:
            self._since, self._finished, self._late = now, 0.0, False

    def _adjust(self, through: float) -> None:
        """What was done a second, and whether it was done in time, tell how much can be."""
        if through > self.rate or self._late:
            self.rate += 0.5 * (through - self.rate)
        elif self._since is not None and self.refused_at >= self._since:
            # In time, and with too little in flight less is done than can be: let some more in.
            self.rate *= 1.05

    def _note_offer(self, weight: float, now: float) -> None:
        self._offered += weight
        if now - self._offered_since >= WINDOW_S:
            pressure = self._offered / (now - self._offered_since) / self.rate
            self._pressure = min(max((self._pressure + pressure) / 2, 1.0), 5.0)
            self._offered, self._offered_since = 0.0, now

    def _present(self, name: str, now: float) -> _Client:
        client = self._clients.setdefault(name, _Client())
        client.asked = now
        self._clients.move_to_end(name)
        while len(self._clients) > 1:
            oldest, other = next(iter(self._clients.items()))
            if now - other.asked < PRESENT_S and len(self._clients) <= MOST_CLIENTS:
                break
            if other.weight > 0 and len(self._clients) <= MOST_CLIENTS:
                other.asked = now  # it is still here
                self._clients.move_to_end(oldest)
                continue
            del self._clients[oldest]
        return client

    def _full(self, reason: str, now: float) -> Full:
        self.refused_at = now
        return Full(reason, self.seconds())
