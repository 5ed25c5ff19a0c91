"""The moment of an access, out of whatever way a log writes times.

    [time]
    from = "accessed_at"
    format = "%d/%m/%Y %H:%M:%S"     or iso (without `format`), postgres, unix, unix-ms, unix-us, unix-ns
    zone = "Europe/London"           where the text itself does not say

A local time that the clocks went through twice is not guessed at: `ambiguous` says which one it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final
from zoneinfo import ZoneInfo

from ledger.core.encoding import day_of
from ledger.core.errors import Malformed
from ledger.department.importers.fields.paths import Path, Record
from ledger.department.importers.fields.values import Lookups
from ledger.department.strict_toml import Table

_UNITS: Final = {"unix": 0, "unix-ms": 3, "unix-us": 6, "unix-ns": 9}
_WORDS: Final = ("iso", "postgres", *_UNITS)
_FORMS: Final = f"must be one of {', '.join(_WORDS)}, or as strptime has it: %d/%m/%Y %H:%M:%S"
_AMBIGUOUS: Final = ("reject", "first", "second")

# ISO 8601 with a date, a time and perhaps a zone; PostgreSQL writes the zone as an abbreviation after a space.
_ISO: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2})(:[0-9]{2})?(?:[.,]([0-9]{1,9}))?"
    r" ?(Z|[+-][0-9]{2}(?::?[0-9]{2})?|[A-Za-z]{2,6})?",
    re.ASCII,
)
_UTC_NAMES: Final = frozenset({"UTC", "GMT", "Z"})
_NUMBER: Final = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,9}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Times:
    """How the moment of an event is read; `zone` is for times that do not say theirs."""

    paths: tuple[Path, ...]
    format: str
    zone: ZoneInfo | None
    ambiguous: str

    def moment(self, record: Record) -> tuple[str, int]:
        """The moment in RFC 3339, in the zone it was written in, and its UTC day since 1970-01-01.

        Raises Malformed when it is missing, no such time, not to be told from another, or before 1970.
        """
        for path in self.paths:
            text = next(iter(path.find(record)), "")
            if text:
                return self._read(path.text, text)
        raise Malformed(self.paths[0].text, "holds no time; the event does not say when it happened")

    def _read(self, where: str, text: str) -> tuple[str, int]:
        try:
            at, fraction = self._parse(where, text)
            utc = at.astimezone(UTC)
            day = day_of(int((utc - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()))
        except (ValueError, OverflowError):
            raise Malformed(where, f"holds no time that exists, written as {self._expected()}") from None
        if utc.year < 1970:
            raise Malformed(where, "lies before 1970, where days begin")
        return _written(at, fraction), day

    def _expected(self) -> str:
        words = {"iso": "2026-02-28T10:03:00Z", "postgres": "2026-02-28 10:03:00.123 UTC"}
        return words.get(self.format, self.format)

    def _parse(self, where: str, text: str) -> tuple[datetime, str]:
        if self.format in _UNITS:
            return _unix(text, _UNITS[self.format])
        if self.format in ("iso", "postgres"):
            return self._iso(where, text)
        at = datetime.strptime(text, self.format)
        fraction = f"{at.microsecond:06}".rstrip("0")
        return (at if at.tzinfo is not None else self._placed(where, at, "")), fraction

    def _iso(self, where: str, text: str) -> tuple[datetime, str]:
        found = _ISO.fullmatch(text)
        if found is None:
            raise ValueError(text)
        date, minutes, seconds, fraction, zone = found.groups()
        at = datetime.fromisoformat(f"{date}T{minutes}{seconds or ':00'}")
        if zone and (zone in _UTC_NAMES or zone[0] in "+-"):
            return at.replace(tzinfo=_offset(zone)), fraction or ""
        return self._placed(where, at, zone or ""), fraction or ""

    def _placed(self, where: str, at: datetime, name: str) -> datetime:
        """A local time in the mapping's zone; `name` is the zone's abbreviation when the log writes one."""
        if self.zone is None:
            raise Malformed(
                where, "does not say its zone as a number; give `zone` in [time], as Europe/London"
            )
        readings = [at.replace(tzinfo=self.zone, fold=fold) for fold in (0, 1)]
        exist = [r for r in readings if r.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None) == at]
        if name:
            exist = [reading for reading in exist if reading.tzname() == name]
        if not exist:
            raise Malformed(where, "is no time in the zone that [time] gives; correct `zone`, or the log")
        if exist[0].utcoffset() == exist[-1].utcoffset():
            return exist[0]
        if self.ambiguous == "reject":
            raise Malformed(
                where, 'was twice, when the clocks went back; say `ambiguous` = "first" or "second" in [time]'
            )
        return exist[0 if self.ambiguous == "first" else -1]


def _unix(text: str, digits: int) -> tuple[datetime, str]:
    found = _NUMBER.fullmatch(text)
    if found is None or (digits and found.group(2)):
        raise ValueError(text)
    seconds, rest = divmod(int(found.group(1)), 10**digits)
    fraction = f"{rest:0{digits}}" if digits else found.group(2) or ""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds), fraction.rstrip("0")


def _offset(zone: str) -> timezone:
    if zone in _UTC_NAMES:
        return UTC
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    if hours > 14 or minutes > 59:
        raise ValueError(zone)
    size = timedelta(hours=hours, minutes=minutes)
    return timezone(-size if zone[0] == "-" else size)


def _written(at: datetime, fraction: str) -> str:
    offset = (at.utcoffset() or timedelta()).total_seconds()
    if offset % 60:
        at, offset = at.astimezone(UTC), 0  # some zones had seconds once; RFC 3339 has none
    minutes = int(offset // 60)
    sign = "-" if minutes < 0 else "+"
    zone = f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}" if minutes else "Z"
    seconds = at.replace(microsecond=0, tzinfo=None).isoformat()
    return f"{seconds}{f'.{fraction}' if fraction else ''}{zone}"


def read_times(table: Table, lookups: Lookups) -> Times:
    """The section `[time]`."""
    written = table.any("from")
    names = [written] if isinstance(written, str) else written
    if not isinstance(names, list) or not names or not all(type(name) is str for name in names):
        raise table.wrong(
            "from", "must be given: where the time stands, or a list of which the first filled counts"
        )
    paths = tuple(lookups.path(table, "from", name) for name in names)
    format_ = table.text("format", "iso")
    if format_ not in _WORDS:
        _check_format(table, format_)
    zone = _zone(table)
    ambiguous = table.text("ambiguous", "reject")
    if ambiguous not in _AMBIGUOUS:
        raise table.wrong("ambiguous", f"must be one of {', '.join(_AMBIGUOUS)}")
    if format_ not in _WORDS and "%z" not in format_ and zone is None:
        raise table.wrong(
            "zone", "missing; `format` reads no zone (%z), so say which one it is, as Europe/London"
        )
    table.finish()
    return Times(paths, format_, zone, ambiguous)


def _zone(table: Table) -> ZoneInfo | None:
    name = table.text("zone", "")
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise table.wrong("zone", "is no zone known here; write it as Europe/London or UTC") from None


def _check_format(table: Table, format_: str) -> None:
    """A strptime format has to tell a whole moment: what it writes it must read again."""
    if "%" not in format_:
        raise table.wrong("format", _FORMS)
    if "%Z" in format_:
        raise table.wrong("format", "%Z reads names that mean many zones; leave it out and give `zone`")
    sample = datetime(2026, 11, 23, 14, 57, 31, tzinfo=timezone(timedelta(hours=1)))
    try:
        read = datetime.strptime(sample.strftime(format_), format_)
    except (ValueError, re.error):
        raise table.wrong("format", _FORMS) from None
    if (read.year, read.month, read.day, read.hour, read.minute) != (2026, 11, 23, 14, 57):
        raise table.wrong("format", "does not tell year, month, day, hour and minute (%H, or %I with %p)")
