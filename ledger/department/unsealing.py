"""Opening a sealed stream to its subject before its month: she is given its key, and that is recorded.

No entry changes: the seal stays in it, and to everybody else the records are what they were.  She finds them with the
same proof that none is missing.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from ledger.core.encoding import day_of
from ledger.department.access import Access, Claims, Fate, Outcome
from ledger.department.home import Home
from ledger.department.importing import none_before, record_batch
from ledger.department.recovery import asking, must_ask
from ledger.department.registration import Registration
from ledger.department.sealing import format_seal
from ledger.department.settings import CannotGoOn

_SYSTEM: Final = "glassbook department keys"


def check_unseal(registration: Registration, activity: int | None) -> int:
    """The activity under which it is recorded.  Raises CannotGoOn for one that is not registered, and without seals."""
    if max((version.seal_months for version in registration.versions), default=0) == 0:
        raise CannotGoOn("--unseal", "this source never could seal, so there is nothing to open")
    if activity is None:
        raise CannotGoOn("--unseal", "is recorded as an access of its own; name its activity with --activity")
    if activity not in registration.newest.activities:
        known = ", ".join(map(str, sorted(registration.newest.activities)))
        raise CannotGoOn("--activity", f"{activity} is not registered for this source; there are: {known}")
    return activity


def record_unsealing(
    home: Home,
    registration: Registration,
    subjects: Sequence[str],
    seals: Sequence[int],
    activity: int,
    now: int,
) -> None:
    """One access for each of her identifiers, durable in the outbox when it returns: only then keys are given.

    Raises CannotGoOn with the reason when it cannot be recorded.
    """
    maker = home.maker(registration)
    accesses = tuple(
        Access(subject, day_of(now), activity, _claims(subject, seals, activity, now)) for subject in subjects
    )
    outcome = Outcome(_SYSTEM, "$", Fate.RECORDED, "", accesses, secrets.token_bytes(32))
    find = asking(lambda: home.view(now), maker) if must_ask(home.outbox) else none_before
    ((recorded, _),) = record_batch([outcome], maker, home.outbox, now, find)
    if recorded.fate is not Fate.RECORDED:
        raise CannotGoOn("--unseal", f"cannot be recorded, so nothing is given: {recorded.reason}")


def _claims(subject: str, seals: Sequence[int], activity: int, now: int) -> Claims:
    months = ", ".join(map(format_seal, sorted(seals)))
    return {
        "subject": subject,
        "event": {
            "at": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "action": "https://w3id.org/dpv#Disclose",
            "result": "opened",
            "outcome": "success",
            "system": _SYSTEM,
        },
        "data": {"fields": ["the keys to the list of accesses"]},
        "purpose": {"activity": activity},
        "reason": {
            "text": f"the department opened to the person, before the time, what is sealed until {months}"
        },
    }
