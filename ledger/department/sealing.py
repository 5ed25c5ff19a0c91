"""Seals: a record that its subject can find from a month on, and nobody before (docs/seals.md).

    M = the month of the access          M < seal ≤ M + the source's seal_months

The month is in the signed entry for good.  What is not allowed is refused by name before anything is queued.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ledger.core.completeness import LAST_SEAL
from ledger.core.encoding import day_of, month_of
from ledger.core.errors import Malformed
from ledger.department.access import Outcome
from ledger.department.registration import Registration
from ledger.department.settings import CannotGoOn

_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")


def parse_seal(text: str, where: str = "seal") -> int:
    """Months since 1970-01 of a month written YYYY-MM.  Malformed for any other text, and for 1970-01 itself."""
    found = _MONTH.fullmatch(text)
    month = (int(found.group(1)) - 1970) * 12 + int(found.group(2)) - 1 if found else 0
    if not 1 <= month <= LAST_SEAL:
        raise Malformed(where, "is no month, YYYY-MM, after 1970-01")
    return month


def format_seal(seal: int) -> str:
    """YYYY-MM of months since 1970-01."""
    return f"{1970 + seal // 12:04}-{seal % 12 + 1:02}"


def check_seal(seal: int, registration: Registration, now: int) -> None:
    """Raises CannotGoOn when no access up to now (Unix seconds) may carry this seal, whatever its day.

    A single access may still be too old or too young for it: `RecordMaker.fault` says so.
    """
    months = registration.newest.seal_months
    if not months:
        raise CannotGoOn(
            "--seal",
            "this source may not seal: the register states seal_months 0; have the statement changed first",
        )
    latest = month_of(day_of(now)) + months
    if seal > latest:
        raise CannotGoOn(
            "--seal",
            f"{format_seal(seal)} is later than the register allows: records of this month can be sealed for "
            f"{months} months, until {format_seal(latest)}",
        )


def seal_outcomes(outcomes: Iterable[Outcome], seal: int) -> Iterator[Outcome]:
    """The same outcomes, every access of theirs sealed until that month; with 0 as they are."""
    for outcome in outcomes:
        if seal and outcome.accesses:
            outcome = replace(outcome, accesses=tuple(replace(one, seal=seal) for one in outcome.accesses))
        yield outcome
