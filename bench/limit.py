"""Holds processes to a share of one core, without rights that a container lacks.

    python -m bench.limit 0.5 PID PID …

Each PID stands for itself and all that descend from it. A bucket fills with CPU time at the given rate; what they use
empties it, and while it is empty they are stopped (SIGSTOP) and go on (SIGCONT) when it has filled. So it is CPU time
that is limited, over all threads and children together, and not the time in which they may run. Ends when its input
does, and lets all go on.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.processes import cpu_s, family

PERIOD_S = 0.004
BURST_S = 0.025
"""The bucket holds no more: what was left unused is not made up for later."""

LOOK_S = 0.25
"""How often it is looked whether there are new children."""


@dataclass(slots=True)
class Held:
    """One process with its descendants, and its bucket of CPU seconds."""

    root: int
    share: float
    left: float = BURST_S
    stopped: bool = False
    used: dict[int, float] = field(default_factory=dict)

    def look(self) -> None:
        """Take note of new children; what they have used until now is not counted."""
        for pid in family(self.root):
            if pid not in self.used:
                self.used[pid] = cpu_s(pid)
                if self.stopped:
                    self.signal(signal.SIGSTOP)

    def step(self, passed_s: float) -> None:
        """Fill and empty the bucket after so many seconds, and stop or continue the processes."""
        for pid, before in self.used.items():
            now = cpu_s(pid)
            if now > before:
                self.left -= now - before
                self.used[pid] = now
        self.left = min(self.left + self.share * passed_s, BURST_S)
        if self.stopped != (self.left <= 0):
            self.stopped = not self.stopped
            self.signal(signal.SIGSTOP if self.stopped else signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        for pid in list(self.used):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                del self.used[pid]


def hold(share: float, roots: Sequence[int]) -> None:
    """Hold each to its share until the standard input ends."""
    held = [Held(root, share) for root in roots]
    before = looked = 0.0
    try:
        while not select.select([sys.stdin], [], [], PERIOD_S)[0]:
            now = time.monotonic()
            for one in held:
                if now - looked > LOOK_S:
                    one.look()
                one.step(min(now - before, 1.0) if before else 0.0)
            looked = now if now - looked > LOOK_S else looked
            before = now
    finally:
        for one in held:
            one.signal(signal.SIGCONT)


@contextmanager
def holding(share: float, roots: Sequence[int]) -> Iterator[None]:
    """Hold processes to a share of a core each, by a process of its own, until the block ends."""
    command = [sys.executable, "-m", "bench.limit", str(share), *map(str, roots)]
    limiter = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        yield
    finally:
        assert limiter.stdin is not None
        limiter.stdin.close()
        limiter.wait()


if __name__ == "__main__":
    hold(float(sys.argv[1]), [int(word) for word in sys.argv[2:]])
