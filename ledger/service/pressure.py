"""A full inbox: who comes meanwhile is told so at once, and when there will be room."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable

from ledger.service.problems import RequestRefused, busy

BELIEVED_S = 0.25
"""So long a full inbox is taken to be full still, without another look."""

LONGEST_S = 60
UNKNOWN_S = 2


class Pressure:
    """Of an inbox that takes `limit` entries; `clock` gives seconds, `chance` a whole number between two."""

    def __init__(
        self,
        limit: int,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[int, int], int] = random.randint,
    ) -> None:
        self._limit, self._clock, self._chance = limit, clock, chance
        self._seen: tuple[float, int] | None = None  # when, and how many were sequenced then
        self._rate = 0.0  # entries sequenced a second
        self._over = 0
        self._until = -math.inf

    def note(self, waiting: int, sequenced: int) -> None:
        """It is full: so many wait, and so many have been sequenced since ever."""
        now = self._clock()
        self._over = waiting - self._limit
        self._until = now + BELIEVED_S
        if self._seen is None:
            self._seen = now, sequenced
        elif now - self._seen[0] >= 1:
            self._rate = (sequenced - self._seen[1]) / (now - self._seen[0])
            self._seen = now, sequenced

    def check(self) -> None:
        """Raises RequestRefused while it is believed to be full."""
        if self._clock() < self._until:
            raise self.refusal()

    def refusal(self) -> RequestRefused:
        """Busy until a tenth of it is free, as fast as it was last seen to be sequenced."""
        seconds = (self._over + self._limit / 10) / self._rate if self._rate > 0 else UNKNOWN_S
        low = max(1, min(math.ceil(seconds), LONGEST_S))
        after = min(self._chance(low, 2 * low), LONGEST_S)
        return busy("more entries wait to be sequenced than this ledger lets wait", after, "inbox")
