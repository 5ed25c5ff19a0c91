"""The ledger's promises to publish (docs/formats.md §6): checked on arrival, kept until the receipt or exported.

A promise says when the ledger had a record.  One that is no good costs the department nothing but the evidence: the
record stays in the outbox either way, until its receipt is checked.  So it is said and counted, and no reason to stop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ledger.core.errors import GlassbookError, Malformed, RuleBroken
from ledger.core.promise import PromiseForm, parse_promise
from ledger.core.statements import Charter
from ledger.department.handin import Answer
from ledger.department.outbox import Outbox
from ledger.department.promisetable import KeptPromise, count_promises, keep_promise, kept_promises
from ledger.files import write_atomic
from ledger.vectors import OneByOne, choose

AHEAD_S: Final = 300
"""How far ahead of this computer's clock a promise may say that it accepted, as much as readers allow witnesses."""

MANY: Final = 64
"""Promises in one answer for which it is worth to look for something faster than one after the other."""

_BAD: Final = "bad promises"


class Promised(Protocol):
    """An entry in the outbox, with its leaf hash."""

    @property
    def entry(self) -> bytes: ...
    @property
    def leaf_hash(self) -> bytes: ...


def check_promise(promise: bytes, record: Promised, charter: Charter, now: int) -> KeptPromise:
    """The promise for `record`, if it is one; `now` is this computer's clock, Unix seconds.

    It may be older than the record's last sending, since a ledger repeats what it promised when an answer was lost;
    but never from the future, which would move its end.  Raises Malformed, BadSignature or RuleBroken.
    """
    found = parse_promise(promise, charter.origin, charter.ledger)
    if found.leaf != record.leaf_hash:
        raise RuleBroken("promise", "was made for another entry than the one handed in")
    return _check_time(promise, record, found.accepted, now)


def _check_time(promise: bytes, record: Promised, accepted: int, now: int) -> KeptPromise:
    if accepted > now + AHEAD_S:
        raise RuleBroken(
            "promise",
            f"says that it accepted {accepted - now} s after this computer's clock; one of the two is wrong",
        )
    return KeptPromise(record.leaf_hash, record.entry, accepted, promise)


@dataclass(frozen=True, slots=True)
class Arrived:
    """The promises of one answer: the good ones, how many were not, and why the last of those was not."""

    good: list[KeptPromise]
    bad: int
    why: str

    @property
    def words(self) -> str:
        """What to tell a person; empty when every promise that was due is there and good."""
        if not self.bad:
            return ""
        return (
            f"{self.bad} of the ledger's promises are not good, the last because it {self.why}; the records stay in "
            "the outbox until receipts are checked, yet nothing shows when the ledger took them; tell its operator"
        )


def check_promises(answered: Iterable[tuple[Promised, Answer]], charter: Charter, now: int) -> Arrived:
    """Check what came as promises with these answers; with every acceptance one is due.

    Those that are as they should be are found together. Each other one is looked at by itself, to say what it is.
    """
    good: list[KeptPromise] = []
    bad, why = 0, ""
    asked = [
        (record, answer.promise) for record, answer in answered if answer.due or answer.promise is not None
    ]
    times = PromiseForm(charter.origin, charter.ledger).times(
        [promise or b"" for _, promise in asked],
        [record.leaf_hash for record, _ in asked],
        (choose("auto").bulk if len(asked) >= MANY else OneByOne()).verify_rows,
    )
    for (record, promise), accepted in zip(asked, times, strict=True):
        try:
            if promise is None:
                raise Malformed("promise", "is missing")
            if accepted is None:
                good.append(check_promise(promise, record, charter, now))
            else:
                good.append(_check_time(promise, record, accepted, now))
        except GlassbookError as error:
            bad, why = bad + 1, error.what
    return Arrived(good, bad, why)


def keep_promises(outbox: Outbox, arrived: Arrived) -> None:
    """Keep the good ones and count the others, inside a transaction."""
    for kept in arrived.good:
        keep_promise(outbox, kept)
    if arrived.bad:
        outbox.put(_BAD, str(count_bad(outbox) + arrived.bad).encode())


def count_bad(outbox: Outbox) -> int:
    """How many promises were not good, ever."""
    kept = outbox.get(_BAD) or b"0"
    return int(kept) if kept.isdigit() else 0


@dataclass(frozen=True, slots=True)
class Standing:
    """How many promises are kept, how many of them are overdue at the time asked, and how many came bad, ever."""

    kept: int
    overdue: int
    bad: int
    merge_delay_s: int

    @property
    def words(self) -> list[str]:
        """What a person has to know of it, a sentence a line; none when all is well."""
        said = []
        if self.overdue:
            many = self.overdue != 1
            said.append(
                f"{self.overdue} record{'s' * many} accepted more than {in_words(self.merge_delay_s)} ago "
                f"{'are' if many else 'is'} not published, as far as is known here: the promises are evidence. "
                "Collect receipts with: glassbook department send; export the promises with: glassbook department "
                "promises --out DIR"
            )
        if self.bad:
            said.append(f"{self.bad} promise{'s' * (self.bad != 1)} of the ledger came and were not good.")
        return said


def standing(outbox: Outbox, merge_delay_s: int, now: int) -> Standing:
    """How the promises stand at `now` (Unix seconds) by this computer's clock."""
    kept, overdue = count_promises(outbox, now - merge_delay_s)
    return Standing(kept, overdue, count_bad(outbox), merge_delay_s)


def export(outbox: Outbox, folder: Path, accepted_before: int | None) -> list[Path]:
    """Write each promise as LEAF.promise, with the entry it is for as LEAF.entry; returns the former's paths.

    Neither names a person.  With the entry, its absence can be shown in the log's index (glassbook-verify promise).
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kept in kept_promises(outbox, accepted_before):
        path = folder / f"{kept.leaf_hash.hex()}.promise"
        write_atomic(path.with_suffix(".entry"), kept.entry)
        write_atomic(path, kept.promise)
        paths.append(path)
    return paths


def in_words(seconds: int) -> str:
    """A span of time for people, in its largest unit: `a day`, `2 hours`, `90 seconds`."""
    for unit, name in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= unit and (seconds % unit == 0 or unit == 1 or seconds >= 10 * unit):
            count = seconds // unit
            one = "an" if name == "hour" else "a"
            return f"{one} {name}" if count == 1 else f"{count} {name}s"
    return "no time"
