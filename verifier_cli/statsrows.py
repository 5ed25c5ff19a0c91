"""Counts of an audited log as rows of one table: by source, day, month, activity, or month in which seals open.

Everything here was counted by the replay over entries that were proven and checked; nothing is looked up. What cannot
be told of a row is None, and not 0: of an activity, for one, that a record was late.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from ledger.core.encoding import LAST_DAY, format_date, month_of
from ledger.core.registry import Register
from ledger.core.replaycounts import Counts, DayCount
from ledger.core.statements import SourceVersion
from verifier_cli.words import in_language

BY = ("source", "day", "month", "activity", "seal")
"""What a row can stand for, always of one source."""

_NO_DATE = "after 9999"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: one table of `by`, of these sources (all when empty), from day to day, both included.

    Days are days since 1970-01-01; None is no bound.
    """

    by: str = "source"
    sources: tuple[int, ...] = ()
    first: int | None = None
    last: int | None = None
    lang: str = "en"

    def takes(self, source: int, day: int) -> bool:
        """Whether a source's day is asked for."""
        if self.sources and source not in self.sources:
            return False
        return (self.first is None or day >= self.first) and (self.last is None or day <= self.last)


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `period` is YYYY-MM-DD or YYYY-MM, `opens` the YYYY-MM in which sealed records open; both may be empty.

    `records` = `open` + `sealed`. `late` came after the coverage of their day, `suspect` before a revocation and from
    its date on; `silent_days` are days owed without coverage, up to two days before the newest witness timestamp.
    """

    source: int
    department: str
    system: str
    period: str = ""
    activity: int | None = None
    activity_text: str = ""
    opens: str = ""
    records: int = 0
    open: int | None = None
    sealed: int | None = None
    late: int | None = None
    suspect: int | None = None
    silent_days: int | None = None


COLUMNS = tuple(field.name for field in fields(Row))


@dataclass(slots=True)
class _Sum:
    """What one row counts."""

    open: int = 0
    sealed: int = 0
    late: int = 0
    suspect: int = 0
    silent: int = 0


def rows(counts: Counts, register: Register, newest: int, wish: Wish, *, silence: bool = True) -> list[Row]:
    """The table asked for, in order of period, source, and what else the rows stand for.

    Without `silence` nothing is said of silent days: where entries are still to be audited, they may cover them.
    """
    days = [day for day in counts if day.records and wish.takes(day.source, day.day)]
    if wish.by == "activity":
        return _by_activity(days, register, wish.lang)
    if wish.by == "seal":
        return _by_seal(days, register, wish.lang)
    sums: dict[tuple[str, int], _Sum] = {}
    for day in days:
        sum_ = sums.setdefault((_period(day.day, wish.by), day.source), _Sum())
        sum_.open += sum(day.open.values())
        sum_.sealed += sum(day.sealed.values())
        sum_.late += day.late
        sum_.suspect += counts.suspect_on(day, register)
    for source, silent in _silent(counts, register, newest, wish) if silence else ():
        sums.setdefault((_period(silent, wish.by), source), _Sum()).silent += 1
    if wish.by == "source":
        for source in register.sources:
            if not wish.sources or source in wish.sources:
                sums.setdefault(("", source), _Sum())
    return [
        Row(
            source, *_names(register, source, wish.lang), period, records=one.open + one.sealed, open=one.open,
            sealed=one.sealed, late=one.late, suspect=one.suspect, silent_days=one.silent if silence else None,
        )
        for (period, source), one in sorted(sums.items())
    ]  # fmt: skip


def _silent(counts: Counts, register: Register, newest: int, wish: Wish) -> Iterable[tuple[int, int]]:
    for source in register.sources:
        if wish.sources and source not in wish.sources:
            continue
        for day in counts.silent_days_of(source, register, newest):
            if wish.takes(source, day):
                yield source, day


def _by_activity(days: Iterable[DayCount], register: Register, lang: str) -> list[Row]:
    """Open records by activity; sealed ones, whose activity nobody is told, in a row of activity 0."""
    open_: dict[tuple[int, int], int] = {}
    sealed: dict[int, int] = {}
    for day in days:
        for activity, count in day.open.items():
            open_[day.source, activity] = open_.get((day.source, activity), 0) + count
        if day.sealed:
            sealed[day.source] = sealed.get(day.source, 0) + sum(day.sealed.values())
    found = [
        Row(
            source, *_names(register, source, lang), activity=activity,
            activity_text=_activity_text(register, source, activity, lang), records=count, open=count, sealed=0,
        )
        for (source, activity), count in open_.items()
        if count
    ]  # fmt: skip
    found += [
        Row(source, *_names(register, source, lang), activity=0, records=count, open=0, sealed=count)
        for source, count in sealed.items()
        if count
    ]
    return sorted(found, key=lambda row: (row.source, row.activity or 0))


def _by_seal(days: Iterable[DayCount], register: Register, lang: str) -> list[Row]:
    found: dict[tuple[int, int], int] = {}
    for day in days:
        for month, count in day.sealed.items():
            found[month, day.source] = found.get((month, day.source), 0) + count
    return [
        Row(
            source, *_names(register, source, lang), opens=format_month(month), records=count, open=0, sealed=count
        )
        for (month, source), count in sorted(found.items())
        if count
    ]  # fmt: skip


def _period(day: int, by: str) -> str:
    if by == "source":
        return ""
    if day > LAST_DAY:
        return _NO_DATE
    return format_date(day) if by == "day" else format_month(month_of(day))


def format_month(month: int) -> str:
    """YYYY-MM of months since 1970-01."""
    return f"{1970 + month // 12:04}-{month % 12 + 1:02}"


def _newest(register: Register, source: int) -> SourceVersion | None:
    versions = register.sources.get(source)
    return versions[-1] if versions else None


def _names(register: Register, source: int, lang: str) -> tuple[str, str]:
    """Department and system, as the newest version names them."""
    newest = _newest(register, source)
    if newest is None:
        return "", ""
    return in_language(newest.department, lang), in_language(newest.system, lang)


def _activity_text(register: Register, source: int, activity: int, lang: str) -> str:
    """What the newest version that states this activity says of it."""
    for version in reversed(register.sources.get(source, [])):
        if activity in version.activities:
            texts: Mapping[str, str] = version.activities[activity].text
            return in_language(texts, lang)
    return ""
