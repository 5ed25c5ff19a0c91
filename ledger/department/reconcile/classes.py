"""An event of another log, and how it stands: each event ends in exactly one class.

events = the sum of all classes;   accesses = the first five
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Class(Enum):
    """How an event of the log stands; the value is its name in JSON."""

    RECEIPT = "with_receipt"
    WAITING = "waiting"
    REFUSED = "refused"
    NO_RECORD = "without_record"
    NOT_TOLD = "not_told"
    """It was recorded; which record it is, the outbox does not know any more, or never did."""
    NOT_ABOUT_A_PERSON = "not_about_a_person"
    FAILED = "failed"
    """An exchange in which nothing was given."""
    REJECTED = "rejected"
    REPEATED = "repeated"
    """The same event stood in a file before."""
    OUTSIDE = "outside"
    """Of a day that was not asked for."""


ACCESSES: Final = (Class.RECEIPT, Class.WAITING, Class.REFUSED, Class.NO_RECORD, Class.NOT_TOLD)


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it is compared: its place, its day (days since 1970-01-01; None when it has none), what it is.

    `identity` and `key` are 32 bytes or empty; `key` is what its records are found by, of which `needed` are due.
    `class_` is set when it is settled without looking; `reason` says why.  `side` names the only side that wrote an
    exchange down.
    """

    file: str
    position: str
    day: int | None = None
    identity: bytes = b""
    key: bytes = b""
    needed: int = 1
    class_: Class | None = None
    reason: str = ""
    side: str = ""
    unread: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """How an event stands, with the indices in the log of its records that have a receipt."""

    event: Event
    class_: Class
    reason: str = ""
    indices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Unmet:
    """A record against the log: its index (None while it waits), day, activity (0: sealed), and how it stands."""

    index: int | None
    day: int
    activity: int
    standing: str


MET: Final = "with_access"
UNMET: Final = "without_access"
NO_CLAIM: Final = "without_claim"
"""It does not have the claim by which events are looked for."""
UNKNOWN: Final = "not_told"
"""Nothing is kept of which event it was made of."""

STANDINGS: Final = (MET, UNMET, NO_CLAIM, UNKNOWN)
