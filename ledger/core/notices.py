"""What a source says beside the keys it gives: details it erased, years' keys it destroys, releases not in the log.

A member of a `*.keys.json` file that other readers ignore (docs/formats.md §1: unsigned files):

    {"origin": …, "keys": …, "notices": {
        "erased":    [{"source": 1, "epoch": 2026, "seal": 0, "subject": "nhs:9434765919", "number": 3,
                       "on": "2028-03-01"}, …],
        "destroyed": [{"source": 1, "epoch": 2019, "on": "2027-02-01"}, …],
        "announced": [{"source": 1, "epoch": 2020, "not_before": "2028-02-01"}, …],
        "released":  [{"source": 1, "subject": "nhs:9434765919", "at": 1836000000, "by": ["carer@example.org"]}, …]}}

`released` are the keys that a source gave when the log took no more records of it, retired or revoked as it was: when
(Unix seconds), and who acted for her, the one who asked first; nobody when she asked herself.

It is the source's word and nothing proves it: a reader repeats it as that, and no verdict depends on it.  What is
not of this shape is left out, since another program may mean something else by the name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ledger.core.encoding import format_date, parse_date
from ledger.core.errors import GlassbookError, Malformed
from ledger.core.jose import integer
from ledger.core.streams import parse_subject
from ledger.core.unsigned import member, text_member

LONGEST_NAME: Final = 255
MOST_DELEGATES: Final = 5
"""How many may stand in a row, each acting for the next."""

_LAST_SECOND: Final = 253_402_300_799
_WHERE = "notices"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class Erased:
    """The details of record `number` of a stream were erased on `day` (days since 1970-01-01)."""

    source: int
    epoch: int
    seal: int
    subject: str
    number: int
    day: int


@dataclass(frozen=True, slots=True)
class EpochNotice:
    """The VRF key of a source's epoch was destroyed on `day`, or is not destroyed before it."""

    source: int
    epoch: int
    day: int


@dataclass(frozen=True, slots=True, repr=False)
class Released:
    """Keys of `subject` given `at` (Unix seconds), to herself or to those who acted for her, `by`."""

    source: int
    subject: str
    at: int
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Notices:
    """All of them; empty when a source says nothing."""

    erased: tuple[Erased, ...] = ()
    destroyed: tuple[EpochNotice, ...] = ()
    announced: tuple[EpochNotice, ...] = ()
    released: tuple[Released, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.erased or self.destroyed or self.announced or self.released)


def parse_notices(value: Any) -> Notices:
    """The notices in the value of the member; never raises."""
    found = value if isinstance(value, dict) else {}
    return Notices(
        erased=_each(found.get("erased"), _erased),
        destroyed=_each(found.get("destroyed"), lambda item: _epoch(item, "on")),
        announced=_each(found.get("announced"), lambda item: _epoch(item, "not_before")),
        released=_each(found.get("released"), _released),
    )


def _each(items: Any, read: Callable[[Any], T]) -> tuple[T, ...]:
    found: list[T] = []
    for item in items if isinstance(items, list) else []:
        try:
            found.append(read(item))
        except GlassbookError:
            continue
    return tuple(found)


def _number(item: Any, name: str, low: int, high: int) -> int:
    return integer(member(item, name, _WHERE), _WHERE, low, high)


def _date(item: Any, name: str) -> int:
    return integer(parse_date(text_member(item, name, _WHERE), _WHERE), _WHERE)


def _erased(item: Any) -> Erased:
    subject = text_member(item, "subject", _WHERE)
    parse_subject(subject)
    return Erased(
        _number(item, "source", 1, 2**32 - 1),
        _number(item, "epoch", 0, 2**16 - 1),
        _number(item, "seal", 0, 2**16 - 1),
        subject,
        _number(item, "number", 1, 2**53 - 1),
        _date(item, "on"),
    )


def _epoch(item: Any, date: str) -> EpochNotice:
    return EpochNotice(
        _number(item, "source", 1, 2**32 - 1), _number(item, "epoch", 0, 2**16 - 1), _date(item, date)
    )


def _released(item: Any) -> Released:
    subject = text_member(item, "subject", _WHERE)
    parse_subject(subject)
    by = member(item, "by", _WHERE)
    if not isinstance(by, list) or len(by) > MOST_DELEGATES or not all(map(_is_name, by)):
        raise Malformed(_WHERE, "by names nobody")
    return Released(
        _number(item, "source", 1, 2**32 - 1), subject, _number(item, "at", 0, _LAST_SECOND), tuple(by)
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= LONGEST_NAME and value.isprintable()


def notices_object(notices: Notices) -> dict[str, list[dict[str, Any]]]:
    """The value of the member, for `parse_notices`."""
    found: dict[str, list[dict[str, Any]]] = {
        "erased": [
            {
                "source": one.source,
                "epoch": one.epoch,
                "seal": one.seal,
                "subject": one.subject,
                "number": one.number,
                "on": format_date(one.day),
            }
            for one in notices.erased
        ],
        "destroyed": [
            {"source": one.source, "epoch": one.epoch, "on": format_date(one.day)}
            for one in notices.destroyed
        ],
        "announced": [
            {"source": one.source, "epoch": one.epoch, "not_before": format_date(one.day)}
            for one in notices.announced
        ],
    }
    if notices.released:
        found["released"] = [
            {"source": one.source, "subject": one.subject, "at": one.at, "by": list(one.by)}
            for one in notices.released
        ]
    return found
