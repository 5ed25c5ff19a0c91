"""Events into the outbox: what a file says, checked against the register, numbered and made into records.

Events go in by batches, one transaction each: after a crash or on a full disk the same import can be run
again, and what was recorded the first time is not recorded twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from ledger.core.encoding import year_of
from ledger.core.errors import Malformed
from ledger.department.access import Access, Fate, Outcome
from ledger.department.links import Link, add_links, links_of
from ledger.department.outbox import Outbox, Prepared, Stream
from ledger.department.records import RecordMaker
from ledger.department.recovery import RECOVERING, is_recovering
from ledger.department.settings import CannotGoOn

BATCH: Final = 500
"""Events in one transaction: enough that its fsync costs little beside the signatures."""

FindCounters = Callable[[list[tuple[int, int, str]]], list[int]]
"""How many records of each (epoch, seal, subject) the log holds already, for streams the outbox does not know."""

Within = Callable[[Outcome, list[Prepared]], None]


def none_before(streams: list[tuple[int, int, str]]) -> list[int]:
    """An outbox that was never lost knows every stream that has records."""
    return [0] * len(streams)


def record_events(
    outcomes: Iterable[Outcome],
    maker: RecordMaker,
    outbox: Outbox,
    now: int,
    find: FindCounters = none_before,
) -> Iterator[tuple[Outcome, bool]]:
    """Put the events to be recorded in the outbox; each outcome comes back once that is durable.

    With it comes whether an earlier import had recorded the event.  An access that the register does not allow
    turns the outcome into a rejected one.  Raises CannotGoOn (a full disk): outcomes not yet given back are not
    recorded.
    """
    source = iter(outcomes)
    while batch := list(islice(source, BATCH)):
        yield from record_batch(batch, maker, outbox, now, find)


def _checked(outcome: Outcome, maker: RecordMaker, now: int) -> Outcome:
    for access in outcome.accesses:
        fault = maker.fault(access, now)
        if fault:
            return replace(outcome, fate=Fate.REJECTED, reason=fault, accesses=())
    return outcome


def record_batch(
    batch: Sequence[Outcome],
    maker: RecordMaker,
    outbox: Outbox,
    now: int,
    find: FindCounters = none_before,
    within: Within | None = None,
) -> list[tuple[Outcome, bool]]:
    """As `record_events`, all in one transaction: durable when it returns, or nothing is.

    `within` is called inside it with each newly recorded outcome and its records.
    """
    for outcome in batch:
        for access in outcome.accesses:
            maker.check_year(access, now)
    batch = [_checked(outcome, maker, now) for outcome in batch]
    # Asked before the transaction: the network may be slow, and the outbox must not be held meanwhile.
    unknown = _unknown_streams(batch, outbox)
    found = dict(zip(unknown, find(unknown), strict=True))
    # So is what costs most of the rest, a VRF evaluation for each person not met before.
    for outcome in batch:
        if outcome.accesses and not outbox.has_event(outcome.identity):
            for name in map(stream_of, outcome.accesses):
                maker.key_of(*name)
    done: list[tuple[Outcome, bool]] = []
    with outbox.transaction():
        if is_recovering(outbox):
            raise CannotGoOn("outbox", RECOVERING)
        numbered: dict[tuple[int, int, str], _Numbered] = {}
        made: list[tuple[Outcome, list[Prepared]]] = []
        links: list[Link] = []
        for outcome in batch:
            done.append(_record_event(outcome, maker, outbox, numbered, found, made, links))
        for stream in numbered.values():
            outbox.add_records(stream.stream, stream.prepared)
        add_links(outbox, links)
        for recorded, records in made if within is not None else ():
            assert within is not None
            within(recorded, records)
    return done


class _Numbered:
    """A stream and the records prepared for it in this transaction."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.prepared: list[Prepared] = []

    @property
    def next(self) -> int:
        return self.stream.given + len(self.prepared) + 1


def _record_event(
    outcome: Outcome,
    maker: RecordMaker,
    outbox: Outbox,
    numbered: dict[tuple[int, int, str], _Numbered],
    found: dict[tuple[int, int, str], int],
    recorded: list[tuple[Outcome, list[Prepared]]],
    links: list[Link],
) -> tuple[Outcome, bool]:
    if outcome.fate is not Fate.RECORDED:
        return outcome, False
    if outbox.has_event(outcome.identity):
        return outcome, True
    made: list[tuple[_Numbered, Prepared]] = []
    for access in outcome.accesses:
        name = stream_of(access)
        if name not in numbered:
            stream = outbox.stream(*name) or outbox.add_stream(*name, found.get(name, 0))
            numbered[name] = _Numbered(stream)
        place = numbered[name]
        try:
            made.append((place, maker.prepare(access, place.next)))
        except Malformed as error:
            # An event's accesses are of different persons, so of different streams: no number is lost by this.
            return replace(outcome, fate=Fate.REJECTED, reason=error.what, accesses=()), False
    for access, (place, prepared) in zip(outcome.accesses, made, strict=True):
        place.prepared.append(prepared)
        links += links_of(outcome.identity, access, place.stream.id, prepared.n)
    outbox.new_event(outcome.identity)
    recorded.append((outcome, [prepared for _, prepared in made]))
    return outcome, False


def stream_of(access: Access) -> tuple[int, int, str]:
    return year_of(access.day), access.seal, access.subject


def _unknown_streams(batch: list[Outcome], outbox: Outbox) -> list[tuple[int, int, str]]:
    named = dict.fromkeys(stream_of(access) for outcome in batch for access in outcome.accesses)
    return [name for name in named if outbox.stream(*name) is None]
