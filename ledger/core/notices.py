"""What a source says beside the keys it gives: which details it erased, which years' keys it destroys.

A member of a `*.keys.json` file that other readers ignore (docs/formats.md §1: unsigned files):

    {"origin": …, "keys": …, "notices": {
        "erased":    [{"source": 1, "epoch": 2026, "seal": 0, "subject": "nhs:9434765919", "number": 3,
                       "on": "2028-03-01"}, …],
        "destroyed": [{"source": 1, "epoch": 2019, "on": "2027-02-01"}, …],
        "announced": [{"source": 1, "epoch": 2020, "not_before": "2028-02-01"}, …]}}

It is the source's word and nothing proves it: a reader repeats it as that, and no verdict depends on it.  What is
not of this shape is left out, since another program may mean something else by the name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ledger.core.encoding import format_date, parse_date
from ledger.core.errors import GlassbookError
from ledger.core.jose import integer
from ledger.core.streams import parse_subject
from ledger.core.unsigned import member, text_member

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
class Notices:
    """All of them; empty when a source says nothing."""

    erased: tuple[Erased, ...] = ()
    destroyed: tuple[EpochNotice, ...] = ()
    announced: tuple[EpochNotice, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.erased or self.destroyed or self.announced)


def parse_notices(value: Any) -> Notices:
    """The notices in the value of the member; never raises."""
    found = value if isinstance(value, dict) else {}
    return Notices(
        erased=_each(found.get("erased"), _erased),
        destroyed=_each(found.get("destroyed"), lambda item: _epoch(item, "on")),
        announced=_each(found.get("announced"), lambda item: _epoch(item, "not_before")),
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


def notices_object(notices: Notices) -> dict[str, list[dict[str, Any]]]:
    """The value of the member, for `parse_notices`."""
    return {
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
