"""The daily coverage (docs/formats.md §2): which days are owed, and from making one to its receipt.

A day is covered once its records have their receipts, from an hour that department.toml says.  It is put off while
some wait here that the ledger never saw, for some hours and no longer.  What the ledger may have is always waited for:
it could come into the log before the coverage and not be counted.  Days that were missed are made up for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ledger.client.view import View
from ledger.core.encoding import format_date
from ledger.core.entries import Coverage, coverage_index_label, decode_entry, sign_coverage
from ledger.core.errors import ProofRefuted
from ledger.core.keys import SigningKey
from ledger.core.policy import Policy
from ledger.core.receipt import check_receipt, format_receipt
from ledger.department.coveragerule import CoverageRule
from ledger.department.coveragetable import add_coverage, coverages, days_known, set_states, settle
from ledger.department.erasures import note_receipts
from ledger.department.outbox import Outbox
from ledger.department.ownlog import want
from ledger.department.promises import check_promises, keep_promises
from ledger.department.promisetable import forget_promise
from ledger.department.refusals import code_of
from ledger.department.registration import Registration

if TYPE_CHECKING:
    from ledger.department.handin import LedgerClient

AGAIN_S: Final = 60
"""Seconds after which a refused coverage is made anew."""

RESEND_S: Final = 600
"""Seconds after which one is handed in again that was taken and is still not published."""

_AT_ONCE: Final = 100
_RECEIPTS_AT_ONCE: Final = 2000
Say = Callable[[str], None]


def owed_days(registration: Registration, rule: CoverageRule, now: int) -> range:
    """The days that the source owes coverage for and whose hour has come by `now`, Unix seconds."""
    newest = registration.newest
    retired = next((v.retired for v in reversed(registration.versions) if v.retired is not None), None)
    ends = [day for day in (retired, newest.revoked) if day is not None]
    return range(newest.since, min([rule.last_due(now), *ends]) + 1)


def make_due(
    outbox: Outbox, registration: Registration, key: SigningKey, rule: CoverageRule, now: int
) -> int:
    """Make the coverages that are due and can be made now; how many.  Those refused are made anew after a minute."""
    note_receipts(outbox)
    known = days_known(outbox)
    again = {kept.day for kept in coverages(outbox, ("refused",), _AT_ONCE) if kept.changed + AGAIN_S <= now}
    days = [day for day in owed_days(registration, rule, now) if day not in known or day in again]
    made = 0

    def sign(day: int) -> Callable[[int], bytes]:
        return lambda records: sign_coverage(
            registration.charter.origin, key, source=registration.source, day=day, records=records
        )

    for start in range(0, len(days), _AT_ONCE):
        with outbox.transaction():
            for day in days[start : start + _AT_ONCE]:
                made += add_coverage(outbox, day, sign(day), now, wait_s=rule.wait_hours * 3600)
    return made


def hand_in_coverages(
    outbox: Outbox, registration: Registration, ledger: LedgerClient, now: int, say: Say
) -> None:
    """Hand in every coverage that waits.  Raises as `LedgerClient.hand_in`: then they are handed in again."""
    stale = [k for k in coverages(outbox, ("handed in",), _RECEIPTS_AT_ONCE) if k.changed + RESEND_S <= now]
    with outbox.transaction():
        set_states(outbox, [(kept, "waiting", kept.problem) for kept in stale], now)
    while waiting := coverages(outbox, ("waiting",), _RECEIPTS_AT_ONCE):
        answered = list(zip(waiting, ledger.hand_in(waiting), strict=False))
        arrived = check_promises(answered, registration.charter, now)
        changes = []
        for kept, answer in answered:
            if answer.taken:
                changes.append((kept, "handed in", ""))
            elif code_of(answer.problem) == "label-conflict":
                # One for the day is there already, or nearly: the log will show which.
                changes.append((kept, "handed in", answer.problem))
            else:
                say(f"the coverage of {format_date(kept.day)} is refused: {answer.problem}")
                changes.append((kept, "refused", answer.problem))
        with outbox.transaction():
            set_states(outbox, changes, now)
            keep_promises(outbox, arrived)
            if any("(count)" in problem for _, _, problem in changes):
                want(outbox)
        if arrived.bad:
            say(arrived.words)


def collect_coverages(
    outbox: Outbox, registration: Registration, view: View, policy: Policy, now: int, say: Say
) -> int:
    """Fetch and check the receipts of coverages that are published; how many.  Raises as `view.receipts`."""
    kept = coverages(outbox, ("waiting", "handed in"), _RECEIPTS_AT_ONCE)
    if not kept:
        return 0
    receipts = view.receipts([coverage_index_label(registration.source, one.day) for one in kept])
    settled = 0
    with outbox.transaction():
        for one, receipt in zip(kept, receipts, strict=True):
            if receipt is None:
                continue
            checked = check_receipt(receipt, policy, now, view.opened)
            found = decode_entry(receipt.entry)
            if not isinstance(found, Coverage):
                raise ProofRefuted(
                    "index", "holds under a coverage's label what is none", entry=receipt.entry
                )
            if receipt.entry != one.entry:
                say(
                    f"the log holds another coverage of {format_date(one.day)}, of {found.records} records; "
                    f"the one made here says {one.coverage.records} and is given up"
                )
            settle(outbox, one.day, receipt.entry, checked.index, format_receipt(receipt), now)
            forget_promise(outbox, one.leaf_hash)
            settled += 1
    return settled
