"""How often one may ask: so many times in a window of time, counted in memory.

What is counted by is kept as an HMAC under a key of this process alone, so that memory holds no list of who asked.
The table is bounded: when it is full, whoever was counted longest ago is forgotten.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from math import ceil

MOST = 50_000
"""Names counted at once."""


class RateLimit:
    """At most `most` times within any `window_s` seconds for one name.  Safe to use from several threads."""

    def __init__(
        self,
        most: int,
        window_s: float,
        clock: Callable[[], float] = time.monotonic,
        names: int = MOST,
    ) -> None:
        self._most, self._window_s, self._clock, self._names = most, window_s, clock, names
        self._secret = secrets.token_bytes(32)
        self._times: OrderedDict[bytes, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str) -> int:
        """Count once: 0 when that is allowed, else the seconds to wait, and it is not counted."""
        key = hmac.digest(self._secret, name.encode("utf-8", "surrogatepass"), "sha256")[:16]
        now = self._clock()
        with self._lock:
            times = self._times.setdefault(key, deque())
            self._times.move_to_end(key)
            while times and times[0] <= now - self._window_s:
                times.popleft()
            if len(times) >= self._most:
                return max(1, ceil(times[0] + self._window_s - now))
            times.append(now)
            if len(self._times) > self._names:
                self._times.popitem(last=False)
            return 0


def network_of(address: str) -> str:
    """What an address is counted by: itself, or of IPv6 the /64, which one household has as a whole."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(int(found) >> 64)
    return str(found.ipv4_mapped) if isinstance(found, IPv6Address) else str(found)
