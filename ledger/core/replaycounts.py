"""What an audit counts, by source and day; all of it plain numbers that can be written down and read back.

    day = counts.day(source, day)       the day's records, coverage, late ones
    counts.records_by_day()             {(source, day): records}
    counts.late(), counts.suspect(register), counts.silent(register, newest), counts.seals_due(newest)

Only what the source really signed is counted: the replay takes a forged record out again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ledger.core.encoding import day_of, month_of
from ledger.core.registry import Register
from ledger.core.statements import SourceVersion


@dataclass(slots=True)
class Covered:
    """A coverage, what the log had of that day before it, and after.

    One that breaks a rule covers nothing (`holds` is false), but takes its label.
    """

    index: int
    claimed: int
    counted: int
    late: int = 0
    holds: bool = True


@dataclass(slots=True)
class DayCount:
    """The records of one source on one day (since 1970-01-01), and the day's coverage.

    `open` counts open records by activity, `sealed` sealed ones by the month in which they open (since 1970-01),
    `after_revocation` those of both that came under a revoked version, by that version.
    """

    source: int
    day: int
    open: dict[int, int] = field(default_factory=dict)
    sealed: dict[int, int] = field(default_factory=dict)
    after_revocation: dict[int, int] = field(default_factory=dict)
    covered: Covered | None = None
    touched: bool = False
    """Changed since it was last saved."""

    @property
    def records(self) -> int:
        """All of them."""
        return sum(self.open.values()) + sum(self.sealed.values())

    @property
    def late(self) -> int:
        """Records that came after the day's coverage."""
        return self.covered.late if self.covered is not None and self.covered.holds else 0

    def to_plain(self) -> list[Any]:
        """All but source and day, for JSON."""
        found = self.covered
        covered = found and [found.index, found.claimed, found.counted, found.late, found.holds]
        maps = (self.open, self.sealed, self.after_revocation)
        return [*([[key, count[key]] for key in sorted(count)] for count in maps), covered]

    @classmethod
    def from_plain(cls, source: int, day: int, plain: Sequence[Any]) -> "DayCount":
        """What `to_plain` gave."""
        open_, sealed, after, covered = plain
        found = None if covered is None else Covered(*covered)
        return cls(source, day, dict(open_), dict(sealed), dict(after), found)


class Counts:
    """All days of all sources."""

    def __init__(self) -> None:
        self.days: dict[tuple[int, int], DayCount] = {}

    def day(self, source: int, day: int) -> DayCount:
        """The counts of a source's day, empty when there was nothing yet."""
        found = self.days.get((source, day))
        if found is None:
            found = self.days[source, day] = DayCount(source, day)
        return found

    def __iter__(self) -> Iterator[DayCount]:
        return iter(self.days.values())

    def records_by_day(self) -> dict[tuple[int, int], int]:
        """Records signed by a source, by (source, day)."""
        return {place: day.records for place, day in self.days.items() if day.open or day.sealed}

    def open_by_activity(self) -> dict[tuple[int, int, int], int]:
        """Open records by (source, day, activity)."""
        return {(*place, key): n for place, day in self.days.items() for key, n in day.open.items()}

    def sealed_by_month(self) -> dict[tuple[int, int], int]:
        """Sealed records by (source, month in which they open)."""
        found: dict[tuple[int, int], int] = {}
        for day in self:
            for month, count in day.sealed.items():
                found[day.source, month] = found.get((day.source, month), 0) + count
        return dict(sorted(found.items()))

    def seals_due(self, newest: int) -> dict[tuple[int, int], int]:
        """Sealed records whose month has come by `newest` (Unix seconds), by (source, month)."""
        month = month_of(day_of(newest))
        return {place: count for place, count in self.sealed_by_month().items() if place[1] <= month}

    def late(self) -> int:
        """Records that came after the coverage of their day."""
        return sum(day.late for day in self)

    def suspect(self, register: Register) -> dict[int, int]:
        """Records before a revocation of their source and of a day from its date on, by source; zeros left out."""
        revoked = {
            source for source, versions in register.sources.items() if versions[-1].status == "revoked"
        }
        found: dict[int, int] = {}
        for day in self:
            count = self.suspect_on(day, register) if day.source in revoked else 0
            if count:
                found[day.source] = found.get(day.source, 0) + count
        return dict(sorted(found.items()))

    def suspect_on(self, day: DayCount, register: Register) -> int:
        """The suspect records of one day of one source."""
        versions = register.sources.get(day.source, ())
        reaching = [v.version for v in versions if v.revoked is not None and day.day >= v.revoked]
        if not reaching:
            return 0
        # Of what came after a revocation, suspect is only what a later revocation reaches back to.
        after = sum(count for under, count in day.after_revocation.items() if under >= reaching[-1])
        return day.records - after

    def silent_days_of(self, source: int, register: Register, newest: int) -> list[int]:
        """Days for which `source` owes coverage and has none, up to two days before `newest`."""
        return [day for day in _owed_days(source, register, newest) if not self._is_covered(source, day)]

    def silent_run(self, source: int, register: Register, newest: int) -> range:
        """The silent days of a source that end with the last one owed, without a covered day between them."""
        owed = _owed_days(source, register, newest)
        first = owed.stop
        while first > owed.start and not self._is_covered(source, first - 1):
            first -= 1
        return range(first, owed.stop)

    def silent(self, register: Register, newest: int) -> dict[int, int]:
        """How many silent days each source has."""
        owed = {source: _owed_days(source, register, newest) for source in register.sources}
        silent = {source: len(days) for source, days in owed.items()}
        for day in self:
            if day.covered is not None and day.covered.holds and day.day in owed.get(day.source, ()):
                silent[day.source] -= 1
        return silent

    def _is_covered(self, source: int, day: int) -> bool:
        found = self.days.get((source, day))
        return found is not None and found.covered is not None and found.covered.holds


def _owed_days(source: int, register: Register, newest: int) -> range:
    first, last = register.owes_coverage(source)
    end = day_of(newest) - 2
    return range(first, (end if last is None else min(end, last)) + 1)


def statuses(sources: dict[int, list[SourceVersion]], status: str) -> list[int]:
    """The sources whose newest version has this status."""
    return [source for source, versions in sources.items() if versions[-1].status == status]
