"""Whether an opened SD-JWT says what its entry in the log says (formats.md §2, §3).

The entry names source, epoch, day, seal and activity in public and commits to the JWT; the SD-JWT, opened
by who holds it, must agree. Withheld claims are not missed, unless `check_complete` is asked: whoever
opens an envelope does.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ledger.core.encoding import parse_date
from ledger.core.entries import Record
from ledger.core.errors import Malformed, RuleBroken
from ledger.core.sdjwt import SdJwt, commitment, issuer
from ledger.core.statements import Charter
from ledger.core.streams import parse_subject
from ledger.core.unsigned import member

_MINUTES_PER_DAY: Final = 1440
# RFC 3339 §5.6; a leap second (:60) is refused, formats.md §1 knows none.
_TIMESTAMP: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([01][0-9]|2[0-3]):([0-5][0-9]):[0-5][0-9](?:\.[0-9]+)?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))",
)


def utc_day(timestamp: Any, where: str) -> int:
    """The UTC day, since 1970-01-01, of an RFC 3339 time with its zone; Malformed if it is none."""
    found = _TIMESTAMP.fullmatch(timestamp) if isinstance(timestamp, str) else None
    if found is None:
        raise Malformed(where, "not an RFC 3339 time with zone, like 2026-02-28T10:03:00Z")
    date, hour, minute, sign, zone_hour, zone_minute = found.groups()
    minutes = int(hour) * 60 + int(minute)
    if sign:
        zone = int(zone_hour) * 60 + int(zone_minute)
        minutes += zone if sign == "-" else -zone
    return parse_date(date, where) + minutes // _MINUTES_PER_DAY


def check_claims(record: Record, sd_jwt: SdJwt, charter: Charter, subject: str | None = None) -> None:
    """RuleBroken or Malformed unless `sd_jwt`, its signature checked, is that of `record`.

    Commitment, issuer and epoch; of the opened claims the subject's canonical form (or that it is
    `subject`, when that is known to be canonical), the day of `event.at` and, unless sealed,
    `purpose.activity`.
    """
    where = "SD-JWT"
    if commitment(sd_jwt.jwt) != record.commitment:
        raise RuleBroken(where, "is not the one that the record commits to", rule="commitment")
    if sd_jwt.issuer != issuer(charter.origin, record.source):
        raise RuleBroken(where, "iss is not the source of the record", rule="issuer")
    if sd_jwt.epoch != record.epoch:
        raise RuleBroken(where, "epoch differs from that of the record", rule="epoch")
    for name, value in sd_jwt.claims.items():
        if name == "subject":
            _check_subject(value, charter, subject)
        elif name == "event":
            if utc_day(member(value, "at", "claim event"), "claim event.at") != record.day:
                raise RuleBroken("claim event.at", "is not on the day of the record", rule="event-day")
        elif name == "purpose" and record.seal == 0:
            activity = member(value, "activity", "claim purpose")
            if type(activity) is not int or activity != record.activity:
                raise RuleBroken("claim purpose.activity", "differs from that of the record", rule="activity")


def check_complete(sd_jwt: SdJwt, charter: Charter) -> None:
    """RuleBroken unless every claim that the charter demands is there and opened."""
    missing = [name for name in charter.claims if name not in sd_jwt.claims]
    if missing:
        raise RuleBroken("SD-JWT", f"the charter demands {', '.join(missing)} as well", rule="claims")


def _check_subject(value: Any, charter: Charter, expected: str | None) -> None:
    if not isinstance(value, str):
        raise Malformed("claim subject", "not a text")
    if expected is None:
        charter.check_subject(*parse_subject(value))
    elif value != expected:
        raise RuleBroken("claim subject", "is another person than that of the stream", rule="subject")
