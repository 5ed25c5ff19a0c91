"""An agent beside a small department's log, whose rounds and clock a test moves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from smalldepartment import SmallDepartment

from ledger.core.encoding import SECONDS_PER_DAY
from ledger.core.entries import Coverage, Record, decode_entry
from ledger.department.agent import Agent
from ledger.department.home import Home


class SmallAgent:
    """`said` is what it told; every round is 10 s after the one before."""

    def __init__(self, small: SmallDepartment, home: Home) -> None:
        self.small, self.home = small, home
        self.said: list[str] = []
        self.sender = small.sender(home)
        self.agent = Agent(home, self.sender, 1.0, self.said.append)

    def rounds(self, count: int = 3) -> None:
        for _ in range(count):
            self.agent.round()
            self.wait(10)

    def wait(self, seconds: float) -> None:
        self.small.slept.append(seconds)


@contextmanager
def agent_of(small: SmallDepartment) -> Iterator[SmallAgent]:
    with small.home() as home:
        yield SmallAgent(small, home)


def coverages_in_log(small: SmallDepartment) -> dict[int, int]:
    """Day and count of every coverage; each counts exactly what stands before it, and no day has two."""
    found: dict[int, int] = {}
    counts: dict[int, int] = {}
    for raw in small.log.entries:
        entry = decode_entry(raw)
        if isinstance(entry, Record):
            counts[entry.day] = counts.get(entry.day, 0) + 1
        elif isinstance(entry, Coverage):
            assert entry.day not in found
            assert entry.records == counts.get(entry.day, 0)
            found[entry.day] = entry.records
    return found


def owed(small: SmallDepartment, hour: int = 4) -> list[int]:
    """The days for which a coverage is due by the department's clock."""
    now = small.now + sum(small.slept)
    last = int(now - hour * 3600) // SECONDS_PER_DAY - 1
    since = small.log.version(small.source).since
    return list(range(since, last + 1))
