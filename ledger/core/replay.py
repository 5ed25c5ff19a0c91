"""The audit: a whole log replayed entry by entry against every rule of docs/formats.md, without any secret.

    replay = Replay(origin, newest)             newest: the newest witness timestamp of the checkpoint audited
    jobs = replay.feed_many(entries)            the next entries, in order
    replay.report(bad_signatures(origin, jobs)) in the same order as the batches were fed
    summary = replay.finish()                   and replay.violations

`feed_many` does all but the signatures, which take most of the time: it hands them out as jobs, so that the caller
verifies them in as many processes as there are, several batches under way at once. Labels go into the index in
one batch at each index root, where alone the index is looked at.

What is found wrong is data: a `Violation` names the leaf and the rule. It never stops the replay, and it never
holds anything about a person, as a log does not.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from ledger.core.encoding import day_of
from ledger.core.entries import (
    Coverage,
    Entry,
    IndexRoot,
    Record,
    Registry,
    check_time,
    coverage_index_label,
    decode_entry,
    registry_index_label,
    signed_message,
)
from ledger.core.errors import BadSignature, GlassbookError, Malformed, RuleBroken
from ledger.core.index import TOP_BITS, MemoryRows, PrefixTree, Row
from ledger.core.keys import verify_ed25519
from ledger.core.merkle import Frontier
from ledger.core.registry import Register
from ledger.core.statements import SourceVersion

Job = tuple[int, bytes, bytes]
"""A signature to verify: the leaf, the 32-byte key that must have signed it, and the entry."""

_SECTIONS: Final = {"key-role": "§1", "label-taken": "§5", "index": "§5", "last-leaf": "§2"}
"""Where in docs/formats.md a kind of violation is ruled out, unless in §2."""


@dataclass(frozen=True, slots=True, order=True)
class Violation:
    """A rule of docs/formats.md broken at leaf `index`.

    `kind` is a short stable name (`signature`, `label-taken`, `seal` …), `rule` the section, `detail` plain words.
    """

    index: int
    kind: str
    rule: str
    detail: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What a replay came to over the first `size` entries; roots are 32 bytes.

    `late` records came after the coverage of their day, `suspect` ones before a revocation and from its date on:
    both are counted and no violations. `silent` has the days without coverage that each source owes.
    """

    size: int
    root: bytes
    labels: int
    index_root: bytes
    records: int
    late: int
    suspect: int
    silent: dict[int, int]

    @property
    def silent_days(self) -> int:
        """Of all sources together."""
        return sum(self.silent.values())


@dataclass(slots=True)
class _Covered:
    """A coverage, what the log had of that day before it, and after.

    One that breaks a rule covers nothing (`holds` is false), but takes its label.
    """

    index: int
    claimed: int
    counted: int
    late: int = 0
    holds: bool = True


class Replay:
    """The state of an audit after `size` entries; all of it in plain containers.

    `newest` (Unix seconds) decides what lies in the future and which days are silent; whoever goes on under a
    newer checkpoint sets it again. `expected` is the size of the log, if known: it only makes the index faster.
    """

    def __init__(self, origin: str, newest: int, expected: int = 1 << TOP_BITS) -> None:
        self.origin = origin
        self.newest = newest
        self.register = Register(origin)
        self.frontier = Frontier()
        # As many buckets as a log of that size has labels for, up to the usual number.
        bits = min(TOP_BITS, max(8, expected.bit_length() - 1))
        self.tree = PrefixTree(MemoryRows(bits), bits)
        self.violations: list[Violation] = []
        self.records: dict[tuple[int, int], int] = {}
        """Records signed by a source, by (source, day)."""
        self.by_activity: dict[tuple[int, int, int], int] = {}
        """Open records by (source, day, activity)."""
        self.sealed: dict[tuple[int, int], int] = {}
        """Sealed records by (source, seal month)."""
        self._pending: list[Row] = []
        self._stated: set[tuple[int, int]] = set()  # (source, version) labels taken by registry entries
        self._covered: dict[tuple[int, int], _Covered] = {}
        # Of these, the ones that came under a version of the source that was revoked, by (source, day, version).
        self._after_revocation: dict[tuple[int, int, int], int] = {}
        self._unreported: deque[tuple[list[Job], list[tuple[int, int]]]] = deque()
        self._batch_jobs: list[Job] = []
        self._batch_covered: list[tuple[int, int]] = []
        self._last: Entry | None = None

    @property
    def size(self) -> int:
        """Entries fed so far."""
        return self.frontier.size

    def feed_many(self, entries: Sequence[bytes]) -> list[Job]:
        """Take the next entries; the signatures that remain to be verified, to be answered through `report`."""
        jobs: list[Job] = []
        self._batch_jobs, self._batch_covered = jobs, []
        append = self.frontier.append
        index = self.frontier.size
        for raw in entries:
            try:
                entry = decode_entry(raw)
            except Malformed as error:
                self._violation(index, error, "malformed")
                self._last = None
            else:
                self._last = entry
                if type(entry) is Record:
                    self._record(index, entry, raw)
                elif type(entry) is IndexRoot:
                    self._index_root(index, entry)
                elif type(entry) is Coverage:
                    self._coverage(index, entry, raw)
                elif type(entry) is Registry:
                    self._registry(index, entry, raw)
            append(sha256(b"\x00" + raw).digest())
            index += 1
        self._unreported.append((jobs, self._batch_covered))
        return jobs

    def report(self, bad: Iterable[int]) -> None:
        """The leaves of the oldest batch not yet reported whose signatures did not verify; often none."""
        jobs, covered = self._unreported.popleft()
        failed = set(bad)
        for index, _, raw in jobs:
            if index in failed:
                self._bad_signature(index, raw)
        # Only now is it certain how many records of that day the source had really signed.
        for place in covered:
            found = self._covered[place]
            if found.holds and found.claimed != found.counted:
                what = f"of source {place[0]} counts {found.claimed}, the log has {found.counted} before it"
                self._violation(found.index, RuleBroken("coverage", what), "coverage-count")

    def finish(self) -> Summary:
        """What it all came to; more may be fed afterwards. Every batch must have been reported."""
        if self._unreported:
            raise ValueError("a batch fed has not been reported")
        self._index_pending()
        if self.size and type(self._last) is not IndexRoot:
            error = RuleBroken("log", "the last entry is not an index root")
            self._violation(self.size - 1, error, "last-leaf")
        self.violations.sort()
        return Summary(
            size=self.size,
            root=self.frontier.root(),
            labels=self.tree.labels,
            index_root=self.tree.root,
            records=sum(self.records.values()),
            late=sum(covered.late for covered in self._covered.values() if covered.holds),
            suspect=sum(self._suspect(versions) for versions in self.register.sources.values()),
            silent=self._silent_days(),
        )

    def silent_days_of(self, source: int) -> list[int]:
        """Days (since 1970-01-01) for which `source` owes coverage and has none, up to two days before `newest`."""
        covered = {day for (of, day), found in self._covered.items() if of == source and found.holds}
        return [day for day in self._owed_days(source) if day not in covered]

    def _owed_days(self, source: int) -> range:
        first, last = self.register.owes_coverage(source)
        end = day_of(self.newest) - 2
        return range(first, (end if last is None else min(end, last)) + 1)

    def _silent_days(self) -> dict[int, int]:
        """How many silent days each source has, in one pass over all coverages."""
        owed = {source: self._owed_days(source) for source in self.register.sources}
        silent = {source: len(days) for source, days in owed.items()}
        for (source, day), found in self._covered.items():
            if found.holds and day in owed.get(source, ()):
                silent[source] -= 1
        return silent

    def _record(self, index: int, record: Record, raw: bytes) -> None:
        self._pending.append((record.index_label, index))
        place = (record.source, record.day)
        try:
            version = self.register.signer(record)
        except RuleBroken as error:
            self._violation(index, error)
            retired = self.register.in_force(record.source)
            if retired is None:
                return
            # Signed by the source or not: if it was, it counts as one of that day all the same.
            version = retired
            if version.status == "revoked":
                under = (*place, version.version)
                self._after_revocation[under] = self._after_revocation.get(under, 0) + 1
        try:
            version.check_record(record)
            check_time(record, self.newest)
        except RuleBroken as error:
            self._violation(index, error)
        self._batch_jobs.append((index, version.key, raw))
        self._count(record, 1)
        covered = self._covered.get(place)
        if covered is not None and covered.holds:
            covered.late += 1

    def _count(self, record: Record, change: int) -> None:
        source, _, day, seal, activity = record[:5]
        place = (source, day)
        self.records[place] = self.records.get(place, 0) + change
        if seal:
            month = (source, seal)
            self.sealed[month] = self.sealed.get(month, 0) + change
        else:
            key = (source, day, activity)
            self.by_activity[key] = self.by_activity.get(key, 0) + change

    def _coverage(self, index: int, coverage: Coverage, raw: bytes) -> None:
        place = (coverage.source, coverage.day)
        if place in self._covered:
            what = f"of source {coverage.source}: that day has one at entry {self._covered[place].index}"
            self._violation(index, RuleBroken("coverage", what), "label-taken")
            return
        self._pending.append((coverage_index_label(*place), index))
        covered = _Covered(index, coverage.records, self.records.get(place, 0))
        self._covered[place] = covered
        try:
            version = self.register.signer(coverage)
            version.check_coverage(coverage)
            check_time(coverage, self.newest)
        except RuleBroken as error:
            self._violation(index, error)
            covered.holds = False
            return
        self._batch_covered.append(place)
        self._batch_jobs.append((index, version.key, raw))

    def _registry(self, index: int, entry: Registry, raw: bytes) -> None:
        stated = (entry.source, entry.version)
        if entry.index_label is not None:
            if stated in self._stated:
                what = f"version {entry.version} of source {entry.source} already stands in the log"
                self._violation(index, RuleBroken("registry", what), "label-taken")
                return
            self._stated.add(stated)
            self._pending.append((registry_index_label(*stated), index))
        try:
            self.register.add(index, raw)
        except GlassbookError as error:
            self._violation(index, error, "registry")

    def _index_root(self, index: int, root: IndexRoot) -> None:
        where = "index root"
        if index == 0:
            self._violation(index, RuleBroken(where, "stands at leaf 0, where the charter is due"), "charter")
        self._index_pending()
        if root.covers != index:
            error = RuleBroken(where, f"covers {root.covers}, stands at {index}")
            self._violation(index, error, "index-covers")
        if root.log_root != self.frontier.root():
            error = RuleBroken(where, "log_root is not that of the entries before it")
            self._violation(index, error, "log-root")
        if root.index_root != self.tree.root:
            error = RuleBroken(where, "index_root is not that of the index before it")
            self._violation(index, error, "index-root")
        if root.labels != self.tree.labels:
            error = RuleBroken(where, f"counts {root.labels} labels, the index has {self.tree.labels}")
            self._violation(index, error, "index-labels")

    def _index_pending(self) -> None:
        """Put into the index what stands before this leaf; a label that was taken stays with its first entry."""
        pending, self._pending = self._pending, []
        for _, index in self.tree.insert_many(pending):
            self._violation(
                index, RuleBroken("record", "its label is taken by an earlier entry"), "label-taken"
            )

    def _bad_signature(self, index: int, raw: bytes) -> None:
        entry = decode_entry(raw)
        kind = "record" if isinstance(entry, Record) else "coverage"
        self._violation(index, BadSignature(kind, "the signature is not by the source's key"), "signature")
        if isinstance(entry, Record):
            # Not the source's, so nothing that it has to answer for.
            self._count(entry, -1)
            place = (entry.source, entry.day)
            version = self.register.version_at(entry.source, index)
            if version is not None and version.status == "revoked":
                self._after_revocation[*place, version.version] -= 1
            covered = self._covered.get(place)
            if covered is not None and covered.index > index:
                covered.counted -= 1
            elif covered is not None and covered.holds:
                covered.late -= 1
        elif isinstance(entry, Coverage):
            self._covered[entry.source, entry.day].holds = False

    def _suspect(self, versions: Sequence[SourceVersion]) -> int:
        """Records of a source before one of its revocations and with a day from that one's date on."""
        revoked = [(version.version, version.revoked) for version in versions if version.revoked is not None]
        if not revoked:
            return 0
        source = versions[0].source
        first = min(date for _, date in revoked)
        found = sum(count for (of, day), count in self.records.items() if of == source and day >= first)
        # Of what came after a revocation, suspect is only what a later revocation reaches back to.
        for (of, day, under), count in self._after_revocation.items():
            if (
                of == source
                and day >= first
                and all(day < date for version, date in revoked if version > under)
            ):
                found -= count
        return found

    def _violation(self, index: int, error: GlassbookError, kind: str = "rule") -> None:
        kind = error.evidence.get("rule", kind)
        self.violations.append(Violation(index, kind, _SECTIONS.get(kind, "§2"), str(error)))


def bad_signatures(origin: str, jobs: Iterable[Job]) -> list[int]:
    """The leaves among these jobs whose signature is not by the key; may run in another process."""
    return [
        index for index, key, raw in jobs if not verify_ed25519(key, raw[-64:], signed_message(origin, raw))
    ]
