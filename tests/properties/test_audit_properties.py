"""The audit of any log, in any batches, finds what counting by hand finds."""

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from logfactory import DAY, NOW, LogFactory

from ledger.core.encoding import format_date
from ledger.core.entries import sign_coverage, sign_record
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.replay import Replay, bad_signatures
from ledger.core.statements import sign_source

SINCE = DAY - 2
STRANGER = Ed25519PrivateKey.from_seed(bytes(32))
DAYS = st.integers(DAY - 3, DAY + 1)
SOURCES = st.integers(1, 2)
SIGNED = st.sampled_from([True, True, True, False])


@dataclass(frozen=True)
class Event:
    """What was put at a leaf. `said` is what a coverage counts too many; the day of a status is its date."""

    kind: str
    source: int
    day: int
    signed: bool = True
    label: int = 0
    said: int = 0


EVENTS = st.lists(
    st.one_of(
        st.builds(Event, st.just("record"), SOURCES, DAYS, SIGNED, st.integers(0, 40)),
        st.builds(
            Event, st.just("coverage"), SOURCES, DAYS, SIGNED, st.just(0), st.sampled_from([0, 0, 0, 1])
        ),
        st.builds(Event, st.sampled_from(["retired", "revoked"]), SOURCES, DAYS),
        st.builds(Event, st.just("index root"), st.just(0), st.just(0)),
    ),
    max_size=24,
)


class ByHand:
    """Every rule of formats §2 about records and coverages, by going through all leaves for each of them."""

    def __init__(self) -> None:
        self.leaves: list[Event | None] = [None] * 3  # charter and two sources
        self.violations: set[int] = set()

    def before(self, index: int, kind: str, source: int) -> list[tuple[int, Event]]:
        return [
            (place, event)
            for place, event in enumerate(self.leaves[:index])
            if event is not None and event.kind == kind and event.source == source
        ]

    def all(self, kind: str, source: int) -> list[tuple[int, Event]]:
        return self.before(len(self.leaves), kind, source)

    def put(self, source: int, day: int, index: int) -> int:
        """Records of the day that the source has really put before a leaf."""
        return sum(event.signed and event.day == day for _, event in self.before(index, "record", source))

    def status(self, source: int) -> str:
        found = self.all("retired", source) + self.all("revoked", source)
        return max(found, key=lambda one: one[0])[1].kind if found else "active"

    def add(self, event: Event) -> None:
        index, wrong = len(self.leaves), False
        if event.kind == "record":
            taken = any(other.label == event.label for _, other in self.all("record", event.source))
            wrong = taken or not event.signed or self.status(event.source) != "active"
        elif event.kind == "coverage":
            taken = any(other.day == event.day for _, other in self.all("coverage", event.source))
            wrong = taken or not event.signed or event.said != 0
        self.leaves.append(event)
        if wrong:
            self.violations.add(index)

    def covered(self, source: int) -> dict[int, int]:
        """Day → leaf of each coverage that the source has signed, unless another stood there first."""
        first: dict[int, tuple[int, Event]] = {}
        for index, event in self.all("coverage", source):
            first.setdefault(event.day, (index, event))
        return {day: index for day, (index, event) in first.items() if event.signed}

    def late(self) -> int:
        return sum(
            event.signed and self.covered(source).get(event.day, len(self.leaves)) < index
            for source in (1, 2)
            for index, event in self.all("record", source)
        )

    def suspect(self) -> int:
        return sum(
            event.signed
            and any(place > index and event.day >= r.day for place, r in self.all("revoked", source))
            for source in (1, 2)
            for index, event in self.all("record", source)
        )

    def silent(self) -> int:
        silent = 0
        for source in (1, 2):
            ends = [NOW // 86_400 - 2]
            for kind in ("retired", "revoked"):
                ends += [event.day for _, event in self.all(kind, source)[-1:]]
            silent += len(set(range(SINCE, min(ends) + 1)) - self.covered(source).keys())
        return silent


def log_of(events: list[Event]) -> tuple[LogFactory, ByHand]:
    """A log with these events; a status that may not follow is left out."""
    log, by_hand = LogFactory(), ByHand()
    for _ in range(2):
        log.add_source(since=format_date(SINCE))
    for event in events:
        if event.kind == "index root":
            log.seal_batch()
            by_hand.add(event)
            continue
        source = log.sources[event.source - 1]
        key = source.key if event.signed else STRANGER
        if event.kind == "record":
            fields: dict[str, Any] = {"source": event.source, "day": event.day, "seal": 0, "activity": 1}
            label = event.label.to_bytes(32, "big")
            log.append(sign_record(log.origin, key, **fields, label=label, commitment=bytes(32)))
        elif event.kind == "coverage":
            records = by_hand.put(event.source, event.day, log.size) + event.said
            log.append(sign_coverage(log.origin, key, source=event.source, day=event.day, records=records))
        elif (by_hand.status(event.source), event.kind) == ("revoked", "retired"):
            continue
        else:
            kept = {k: v for k, v in log.version(source).statement.items() if k not in ("retired", "revoked")}
            date = {event.kind: format_date(event.day)}
            add_version(log, event.source, {**kept, "status": event.kind, **date})
        by_hand.add(event)
    log.seal_batch()
    by_hand.add(Event("index root", 0, 0))
    return log, by_hand


def add_version(log: LogFactory, source: int, statement: dict[str, Any]) -> None:
    before = log.version(log.sources[source - 1])
    log.append(sign_source(log.registrar, log.register.charter, source, statement, before))


@settings(max_examples=100)
@given(events=EVENTS, batch=st.integers(1, 9), ahead=st.integers(0, 4))
def test_audit_finds_what_counting_by_hand_finds(events: list[Event], batch: int, ahead: int) -> None:
    log, by_hand = log_of(events)
    replay = Replay(log.origin, NOW, log.size)
    under_way = []
    for start in range(0, log.size, batch):
        under_way.append(replay.feed_many(log.entries[start : start + batch]))
        if len(under_way) > ahead:
            replay.report(bad_signatures(log.origin, under_way.pop(0)))
    for jobs in under_way:
        replay.report(bad_signatures(log.origin, jobs))
    summary = replay.finish()
    assert {violation.index for violation in replay.violations} == by_hand.violations
    assert (summary.late, summary.suspect, summary.silent_days) == (
        by_hand.late(), by_hand.suspect(), by_hand.silent(),
    )  # fmt: skip
    for source in (1, 2):
        for day in range(DAY - 3, DAY + 2):
            counted = replay.records.get((source, day), 0)
            assert counted == by_hand.put(source, day, len(by_hand.leaves))
