"""The moment of an access: RFC 3339 text and the UTC day it falls on."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from ledger.core.encoding import day_of
from ledger.core.errors import Malformed

_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)


def moment(times: tuple[tuple[str, str], ...]) -> tuple[str, int]:
    """The first of an event's times that is a whole instant, as written, and its UTC day since 1970-01-01.

    FHIR's dateTime may stop at the year, month or day: such a time is passed over for a later one.
    Raises Malformed when none is left, or when one has the form of an instant and is none.
    """
    for element, text in times:
        found = _INSTANT.fullmatch(text)
        if found is None:
            continue
        try:
            at = datetime.fromisoformat(found.group(1)).replace(tzinfo=UTC) - _offset(found.group(3))
            day = day_of(int(at.timestamp()))
        except (ValueError, OverflowError):
            raise Malformed(element, "is no date and time that exists (leap seconds are not taken)") from None
        if at.year < 1970:
            raise Malformed(element, "lies before 1970, where days begin")
        return text, day
    if times:
        raise Malformed(times[0][0], "is no instant (date, time and zone, as in 2026-02-28T10:03:00Z)")
    raise Malformed("recorded", "missing, and no other element says when it happened")


def _offset(zone: str) -> timedelta:
    if zone == "Z":
        return timedelta()
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 14 or minutes > 59:
        raise ValueError(zone)
    size = timedelta(hours=hours, minutes=minutes)
    return -size if zone[0] == "-" else size
