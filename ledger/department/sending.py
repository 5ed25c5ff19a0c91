"""The outbox into the ledger, and receipts back.

    waiting ── hand in ──► handed in ── published, receipt checked ──► gone, stream done up to n
       ▲                       │
       └──── refused ◄─────────┘        (stays, with the ledger's reason; holds back what follows in its stream)

A receipt is taken from the published log, not from the ledger, and a record leaves the outbox only when

- the checkpoint fulfils this department's own policy and contains all that was seen before,
- entry, index root and index proof hold under it (docs/formats.md §6),
- the entry is this record byte for byte, and its label is label(n) of the n that was given.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from ledger.client.publiclog import Moved
from ledger.client.view import View
from ledger.core.entries import Record, decode_entry
from ledger.core.errors import ProofRefuted
from ledger.core.policy import Policy
from ledger.core.receipt import Receipt, ReceiptChecker, format_receipt
from ledger.department.handin import Busy, LedgerClient
from ledger.department.outbox import Counts, Outbox, Waiting
from ledger.department.promises import check_promises, keep_promises
from ledger.department.records import RecordMaker
from ledger.department.settings import CannotGoOn

RECEIPTS_AT_ONCE: Final = 5_000
PAUSE: Final = 0.3
"""Seconds between two looks at the published log: it is published about once a second."""

RESEND: Final = 600.0
"""Seconds after which a running agent sends again what was taken and is still not published."""

OpenView = Callable[[int], View]
Say = Callable[[str], None]


@dataclass(slots=True)
class Sender:
    """Everything a send needs; `clock` gives Unix seconds and `sleep` waits, `say` tells the person at the terminal."""

    outbox: Outbox
    maker: RecordMaker
    ledger: LedgerClient
    policy: Policy
    open_view: OpenView
    batch: int
    say: Say
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    patience: float = 60.0
    """Seconds that may go by without any progress."""
    _resend_at: float = 0.0
    _looked_at: bytes = b""
    """The checkpoint under which every record handed in was looked for: nothing more can be found there."""

    def send(self, wait: bool) -> Counts:
        """Hand in all that waits; with `wait`, until every record that is not refused has its receipt.

        Without it, what is published already is still collected.  Raises CannotGoOn, Unreachable or Refuted;
        whatever was reached before stays reached.
        """
        since = self.clock()
        self.try_again()
        counts = self.outbox.counts()
        while True:
            wish = self._hand_in_unless_busy()
            self.collect()
            before, counts = counts, self.outbox.counts()
            if counts != before:
                since = self.clock()
            # Behind a refused record others of its stream are held back; these are not waited for.
            if not wait or not (counts.handed_in or self.outbox.to_hand_in(1, self._epochs)):
                return counts
            if self.clock() - since > self.patience + wish:
                if wish:
                    raise CannotGoOn(
                        "ledger",
                        f"was too busy for anything of {counts.owed} records for {self.patience:.0f} s; nothing is"
                        " lost, they stay in the outbox. Send again later, or let glassbook department run do it",
                    )
                raise CannotGoOn(
                    "receipts",
                    f"{counts.owed} records have no receipt yet, and nothing moved for {self.patience:.0f} s; they "
                    "stay in the outbox. Is the publisher running, and does it reach its witnesses?",
                )
            self.sleep(max(wish, PAUSE))

    @property
    def _epochs(self) -> Collection[int]:
        """The epochs of which the log takes records: those with a registered VRF key."""
        return self.maker.registration.newest.vrf

    def _hand_in_unless_busy(self) -> float:
        """Hand in what waits; returns the seconds that the ledger asked to be left alone."""
        try:
            self.hand_in()
        except Busy as busy:
            self.say(str(busy))
            return busy.seconds
        return 0.0

    def try_again(self) -> None:
        """What was refused is sent again, and now and then what was taken and is still not published."""
        # A ledger restored from a backup may have lost it.
        again = self.clock() >= self._resend_at
        self.outbox.try_again(handed_in=again)
        if again:
            self._resend_at = self.clock() + RESEND

    def hand_in(self) -> None:
        """Hand in what waits, batch by batch.  Raises as `LedgerClient.hand_in`; what was answered stays answered."""
        went_on = False
        while records := self.outbox.take_to_hand_in(self.batch, self._epochs):
            random.shuffle(records)
            try:
                answers = self.ledger.hand_in(records)
            except Busy as busy:
                busy.went_on = went_on
                raise
            went_on = True
            self._looked_at = b""
            answered = list(zip(records, answers, strict=False))
            arrived = check_promises(answered, self.maker.charter, int(self.clock()))
            with self.outbox.transaction():
                for record, answer in answered:
                    if not answer.taken:
                        self.outbox.refuse(record.id, answer.problem)
                self.outbox.handed_in(record.id for record, answer in answered if answer.taken)
                keep_promises(self.outbox, arrived)
            if arrived.bad:
                self.say(arrived.words)

    def collect(self) -> int:
        """Fetch, check and keep receipts for what is published; returns how many."""
        kept, last = 0, 0
        while records := self.outbox.awaiting_receipt(RECEIPTS_AT_ONCE, after=last):
            last = records[-1].id
            now = int(self.clock())
            try:
                view = self.open_view(now)
                if view.note == self._looked_at:
                    return kept
                receipts = view.receipts_of([record.entry for record in records])
            except Moved:
                return kept  # the log went on meanwhile; it is asked again at the next look
            kept += self._keep(zip(records, receipts, strict=True), view.checker())
            if len(records) < RECEIPTS_AT_ONCE:
                self._looked_at = view.note
        return kept

    def _keep(self, found: Iterable[tuple[Waiting, Receipt | None]], checker: ReceiptChecker) -> int:
        kept = 0
        with self.outbox.transaction():
            for record, receipt in found:
                if receipt is None:
                    continue
                if receipt.entry != record.entry:
                    self.outbox.refuse(
                        record.id, "label-conflict: another record of this source has this number"
                    )
                    continue
                checked = checker.check(receipt)
                self.check_label(record)
                self.outbox.add_receipt(record, checked.index, format_receipt(receipt))
                kept += 1
        return kept

    def check_label(self, record: Waiting) -> None:
        """ProofRefuted unless the entry's label is that of the number it was given."""
        stream = record.stream
        entry = decode_entry(record.entry)
        key = self.maker.key_of(stream.epoch, stream.seal, stream.subject)
        if not isinstance(entry, Record) or entry.label != key.label(record.n):
            raise ProofRefuted(
                "outbox",
                f"a record stands as n = {record.n} and carries another label; was the file altered?",
            )
