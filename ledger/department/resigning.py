"""Records that an older key signed, and that are not in the log yet, signed with the key in force.

The version in force at a leaf's index verifies the record there, and its SD-JWT (docs/formats.md §2).  Under a
checkpoint that holds the newest version, a label that the index has not is taken by no entry before that version; so
what an older key signed under it can never be logged any more, and the same number may be given the record anew.
"""

from __future__ import annotations

from typing import Final

from ledger.client.publiclog import Moved
from ledger.client.view import View
from ledger.core.entries import decode_entry
from ledger.core.errors import Malformed
from ledger.department.outbox import Outbox, Waiting
from ledger.department.records import RecordMaker

SIGNED: Final = "all is signed by"
"""Where the outbox keeps the 32-byte key by which every record in it is signed, as far as was seen."""

_AT_ONCE: Final = 1000


def is_needed(outbox: Outbox, maker: RecordMaker) -> bool:
    """Another key is in force than when it was seen to last, or the ledger refuses signatures."""
    if outbox.get(SIGNED) != maker.key.public:
        return True
    return any(problem.startswith("bad-signature") for problem, _ in outbox.problems())


def sign_anew(outbox: Outbox, maker: RecordMaker, view: View) -> int:
    """Sign what is to be signed again, under a view that holds the registration; how many records.

    One whose label is in the index is left alone: its receipt is collected.  Raises as `view.proofs` does.
    """
    if view.size <= maker.registration.newest.index:
        return 0
    done, left, last = 0, 0, 0
    while records := outbox.not_held(_AT_ONCE, last):
        last = records[-1].id
        old = [record for record in records if not maker.is_signed(record.entry)]
        if not old:
            continue
        try:
            located = view.proofs([_label(record) for record in old])
        except Moved:
            return done  # the log went on meanwhile; the rest is done at the next look
        for record, found in zip(old, located, strict=True):
            if found.index is not None:
                left += 1
                continue
            signed = maker.sign_again(record)
            with outbox.transaction():
                done += outbox.sign_again(record, signed)
    if not left and not outbox.count_held():
        outbox.put(SIGNED, maker.key.public)
    return done


def _label(record: Waiting) -> bytes:
    label = decode_entry(record.entry).index_label
    if label is None:
        raise Malformed("outbox", "holds an entry without a label")
    return label
