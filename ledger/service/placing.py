"""What becomes of each candidate within the transaction that writes it: accepted, a duplicate, or refused after all.

look_up      which labels are taken, and by what
place_all    a request's candidates into the group that is written together
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple

from ledger.core.entries import RECORD, REGISTRY
from ledger.core.merkle import leaf_hash
from ledger.service.checks import Candidate, Checked
from ledger.service.problems import Refusal
from ledger.store import Connection, acceptances, inbox, log, treetiles
from ledger.store.acceptances import Run
from ledger.store.errors import StoreContended
from ledger.store.knownlabels import KnownLabels


class Accepted(NamedTuple):
    """Durable under `number`, now or from before, since `accepted` (Unix seconds): what its promise says."""

    label: bytes
    leaf: bytes
    accepted: int
    number: int


class Duplicate(NamedTuple):
    """In the log already, at index `at`; `accepted` as above, or None once it is published."""

    label: bytes
    leaf: bytes
    at: int
    accepted: int | None


Outcome = Accepted | Duplicate | Refusal


class Taken(NamedTuple):
    """What stands under a label: its leaf hash, its index `at` if it is sequenced, when it was accepted, while that is
    known, and its number, while it waits at least."""

    leaf: bytes
    at: int | None
    accepted: int | None
    number: int


@dataclass(slots=True)
class Group:
    """What one transaction is about to put into the inbox, from the number `first` on, and what it must remember."""

    now: int
    first: int
    taken: dict[bytes, Taken]  # label → what stood under it before
    new: inbox.Arrivals = field(default_factory=inbox.Arrivals)
    # Of `new`: label → leaf hash and number
    fresh: dict[bytes, tuple[bytes, int]] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    registrations: list[tuple[int, bytes]] = field(default_factory=list)
    waiting: dict[bytes, int] | None = (
        None  # u32 source ‖ u32 day → records in the inbox, once that is asked for
    )
    counted: int = 0  # how many of `new` are in `waiting`

    def records_of(self, db: Connection, source: int, day: int) -> int:
        """Records of a source and day in log, inbox and this group."""
        if self.waiting is None:
            # Until this transaction ends the sequencer moves nothing from the one count to the other.
            log.hold_state(db)
            self.waiting = inbox.waiting_day_counts(db)
        for entry in self.new.entries[self.counted :]:
            if entry[1] == RECORD:
                key = inbox.day_key(entry)
                self.waiting[key] = self.waiting.get(key, 0) + 1
        self.counted = len(self.new)
        key = source.to_bytes(4, "big") + day.to_bytes(4, "big")
        return log.read_day_count(db, source, day) + self.waiting.get(key, 0)


def look_up(
    db: Connection, known: KnownLabels, asked: list[bytes], published_size: int
) -> dict[bytes, Taken]:
    """Which of these labels are taken, and by what; `known` has caught up in this transaction.

    What was accepted before keeps its time, however often and to whomever it is promised, until it is published.
    """
    places = known.find(db, asked)
    if not places:
        return {}
    numbers = {label: place.number for label, place in places.items() if place.number is not None}
    last = inbox.last_sequenced(db)  # first: what is sequenced later is seen to be
    index_of = log.index_of(db, numbers.values())
    for label, number in list(numbers.items()):
        if number <= last and number not in index_of:  # it was left out
            del numbers[label], places[label]
    indices = {label: index_of[number] for label, number in numbers.items() if number in index_of}
    indices |= {label: place.at for label, place in places.items() if place.at is not None}
    unpublished = [index for index in indices.values() if index >= published_size]
    numbers_at = log.read_numbers_at(db, unpublished)
    numbers |= {label: numbers_at[index] for label, index in indices.items() if index in numbers_at}
    owed = {
        label: number
        for label, number in numbers.items()
        if indices.get(label, published_size) >= published_size
    }
    times = acceptances.times_of(db, owed.values())
    # The leaf hash tells whether it is the very same entry, also when that has left the database.
    leaves = treetiles.read_leaf_hashes(db, list(indices.values()))
    if len(leaves) < len(set(indices.values())):
        raise StoreContended("entries left the database while they were looked up")
    waiting = log.read_numbered(db, [number for label, number in numbers.items() if label not in indices])
    if len(waiting) < len(places) - len(indices):
        raise StoreContended("entries were sequenced and left the database while they were looked up")
    found = {}
    for label in places:
        index = indices.get(label)
        leaf = leaves[index] if index is not None else leaf_hash(waiting[numbers[label]])
        found[label] = Taken(leaf, index, times.get(owed.get(label, 0)), numbers.get(label, 0))
    return found


def place_all(db: Connection, group: Group, member: Checked) -> list[Outcome]:
    """Put a member's candidates into the group; its outcomes, in order."""
    if member.plain and not group.taken:
        free = _place_plain(group, member.candidates)
        if free is not None:
            return free
    outcomes: dict[int, Outcome] = dict(member.refusals)
    for candidate in member.candidates:
        label, leaf = candidate.label, candidate.leaf
        if label in group.taken or label in group.fresh or candidate.refusal or candidate.coverage:
            outcome = _decide(db, group, candidate)
            if outcome is not None:
                outcomes[candidate.place] = outcome
                continue
        number = group.first + len(group.new)
        _note_run(group, candidate.registrations)
        if candidate.raw[1] == REGISTRY:
            group.registrations.append((candidate.registrations + 1, candidate.raw))
        group.fresh[label] = leaf, number
        group.new.add(candidate.raw, label, leaf, candidate.envelope, candidate.fetch)
        outcomes[candidate.place] = Accepted(label, leaf, group.now, number)
    return [outcomes[place] for place in range(member.total)]


def _place_plain(group: Group, candidates: list[Candidate]) -> list[Outcome] | None:
    """The same for records that no rule forbids, when all their labels are free; None when one is not."""
    _, raws, labels, leaves, envelopes, fetches, registrations, _, _ = zip(*candidates, strict=True)
    first = group.first + len(group.new)
    numbers = range(first, first + len(leaves))
    fresh = dict(zip(labels, zip(leaves, numbers, strict=True), strict=True))
    if len(fresh) < len(candidates) or not group.fresh.keys().isdisjoint(fresh):
        return None
    _note_run(group, registrations[0])
    group.fresh.update(fresh)
    new = group.new
    new.entries += raws
    new.labels += labels
    new.leaves += leaves
    new.envelopes += envelopes
    new.fetches += fetches
    return list(map(Accepted, labels, leaves, repeat(group.now), numbers))


def _note_run(group: Group, registrations: int) -> None:
    """The next entries of the group were checked against so many registry entries."""
    if not group.runs or group.runs[-1].registrations != registrations:
        group.runs.append(Run(group.first + len(group.new), group.now, registrations))


def _decide(db: Connection, group: Group, candidate: Candidate) -> Outcome | None:
    """What becomes of a candidate whose label is not free, or to which a rule has something to say; None: it may
    enter."""
    label, leaf = candidate.label, candidate.leaf
    known = group.taken.get(label)
    if known is None and label in group.fresh:
        fresh, number = group.fresh[label]
        known = Taken(fresh, None, group.now, number)
    if known is not None and known.leaf == leaf:
        if known.at is not None:
            return Duplicate(label, leaf, known.at, known.accepted)
        accepted = group.now if known.accepted is None else known.accepted
        return Accepted(label, leaf, accepted, known.number)
    if candidate.refusal is not None:
        return candidate.refusal
    if candidate.coverage is not None:
        source, day = candidate.coverage.source, candidate.coverage.day
        counted = group.records_of(db, source, day)
        if counted != candidate.coverage.records:
            return Refusal(
                "rule-broken",
                f"coverage: the ledger has {counted} records of the day, not {candidate.coverage.records}",
                "count",
            )
    if known is not None:
        return Refusal("label-conflict", "another entry stands under this label in log or inbox")
    return None
