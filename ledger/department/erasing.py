"""Having the operator delete what is to be erased: signed requests, and what its answers mean.

Requests hold records of many persons where they can, in the order of their hashes: what is erased together should not
say which records belong together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ledger.core.encoding import b64url_encode, day_of
from ledger.core.erasure import sign_erasure
from ledger.core.keys import SigningKey
from ledger.department.erasures import RULE, decide, erased, find_due, note_receipts, to_erase
from ledger.department.outbox import Outbox
from ledger.department.registration import Registration
from ledger.department.retention import Retention

if TYPE_CHECKING:
    # An HTTP client takes longer to import than most of the commands take altogether.
    from ledger.department.handin import LedgerClient

TOGETHER: Final = 1000
"""Records in one request."""

LAST_DAY: Final = "retention was looked at"
"""Where the outbox keeps the day on which the rules were applied last."""

_GONE: Final = frozenset({"erased", "absent"})
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sent:
    """Records of which the operator has no envelope any more, and those it does not know."""

    erased: int
    unknown: int


def send_erasures(
    outbox: Outbox, registration: Registration, key: SigningKey, ledger: LedgerClient, now: int
) -> Sent:
    """Ask for everything that is to be erased, once.  Raises Busy and CannotGoOn; what was answered stays answered.

    What the ledger does not know is asked again another time: it may stand on a backup that is catching up.
    """
    done = unknown = 0
    last = b""
    while leaves := to_erase(outbox, TOGETHER, last):
        last = leaves[-1]
        jws = sign_erasure(registration.charter.origin, registration.source, now, leaves, key)
        answers = ledger.erase(jws)
        gone = [leaf for leaf in leaves if answers.get(b64url_encode(leaf)) in _GONE]
        erased(outbox, gone, now)
        done += len(gone)
        unknown += len(leaves) - len(gone)
    return Sent(done, unknown)


def erase_daily(
    outbox: Outbox,
    rules: Retention,
    registration: Registration,
    key: SigningKey,
    ledger: LedgerClient,
    now: int,
    say: Say,
) -> None:
    """Once a day: choose what the rules let be kept no longer, and ask for all that is to be erased.

    The day is noted when that is done, so a day on which it failed is tried again at the next round.
    """
    today = str(day_of(now)).encode()
    if outbox.get(LAST_DAY) == today:
        return
    note_receipts(outbox)
    due = find_due(outbox, rules, day_of(now))
    decide(outbox, due, RULE, now)
    sent = send_erasures(outbox, registration, key, ledger, now)
    outbox.put(LAST_DAY, today)
    if due or sent.erased or sent.unknown:
        say(sent_words(sent))


def sent_words(sent: Sent) -> str:
    """What a request reached, for people."""
    words = f"The details of {records(sent.erased)} are erased at the operator."
    if sent.unknown:
        words += f" Not known there, and asked for again: {records(sent.unknown)}."
    return words


def records(count: int) -> str:
    """`1 record`, `2 records`."""
    return f"{count} record" + "s" * (count != 1)
