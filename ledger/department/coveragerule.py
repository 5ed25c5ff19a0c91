"""When a day is covered: the table `[coverage]` of department.toml.

[coverage]
hour = 4            # from this hour on (UTC) of the next day a day is covered
wait_hours = 12     # so long it is put off while records of the day wait that the ledger never saw
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger.core.encoding import SECONDS_PER_DAY
from ledger.department.strict_toml import Table


@dataclass(frozen=True, slots=True)
class CoverageRule:
    """The hour from which a day is covered, counted from its end, and how long it may be put off."""

    hour: int = 4
    wait_hours: int = 12

    def due(self, day: int) -> int:
        """Unix seconds from which `day` is covered: never before it has ended."""
        return (day + 1) * SECONDS_PER_DAY + self.hour * 3600

    def late(self, day: int) -> int:
        """Unix seconds from which, had the agent run, it is covered without the records that only wait here."""
        return self.due(day) + self.wait_hours * 3600

    def last_due(self, now: int) -> int:
        """The last day whose hour has come."""
        return (now - self.hour * 3600) // SECONDS_PER_DAY - 1


def read_coverage(table: Table) -> CoverageRule:
    """The table `[coverage]`.  Raises Malformed."""
    hour = table.integer("hour", 0, 23)
    wait = table.integer("wait_hours", 0, 240)
    table.finish()
    usual = CoverageRule()
    return CoverageRule(usual.hour if hour is None else hour, usual.wait_hours if wait is None else wait)
