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

Between two batches all that the replay knows can be written down and read back: `changes` gives what came since the
last time, `restore` takes all of it.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from ledger.core.entries import (
    INDEX_ROOT_BYTES,
    RECORD_BYTES,
    Coverage,
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
from ledger.core.index import TOP_BITS, MemoryRows, PackedRows, PrefixTree
from ledger.core.indexproof import ROW
from ledger.core.keys import verify_ed25519
from ledger.core.merkle import Frontier
from ledger.core.registry import Register
from ledger.core.replaycounts import Counts, Covered, DayCount, statuses
from ledger.core.replaystate import Changes, Kind, Leaves, Stated, Summary, Violation
from ledger.core.statements import SourceVersion

__all__ = ["Changes", "Job", "Replay", "Stated", "Summary", "Violation", "bad_signatures"]

Job = tuple[int, bytes, bytes]
"""A signature to verify: the leaf, the 32-byte key that must have signed it, and the entry."""

PENDING_LABELS: Final = 65_536
"""Labels that wait for an index root at most: a log without index roots must not fill the memory."""

VIOLATIONS: Final = 100_000
"""Violations told at most: of a log that breaks a rule with every entry, the others are only counted."""

KINDS: Final = 65_536
"""Kinds of record remembered at most."""
_KIND_BYTES: Final = 18
"""Of a record: all that its rules look at but label, commitment and signature."""

_SECTIONS: Final = {"key-role": "§1", "label-taken": "§5", "index": "§5", "last-leaf": "§2"}
"""Where in docs/formats.md a kind of violation is ruled out, unless in §2."""

_CERTAIN: Final = {"malformed", "label-taken", "index-covers", "log-root", "day-in-future", "last-leaf"}
"""Kinds of violation that do not depend on what any other entry holds."""


@dataclass(slots=True)
class _Batch:
    """What waits for the signatures of a batch: rules broken by entries if their source did sign them, by leaf, and
    the days whose coverage is to be counted."""

    jobs: list[Job] = field(default_factory=list)
    faults: dict[int, RuleBroken] = field(default_factory=dict)
    covered: list[DayCount] = field(default_factory=list)


class Replay:
    """The state of an audit after `size` entries.

    `newest` (Unix seconds) decides what lies in the future and which days are silent; whoever goes on under a
    newer checkpoint sets it again. `expected` is the size of the log, if known: it only makes the index faster.
    `rows` hold the labels, in memory unless given; `bits` are the levels of the index kept in memory.
    """

    def __init__(
        self,
        origin: str,
        newest: int,
        expected: int = 1 << TOP_BITS,
        *,
        rows: PackedRows | None = None,
        bits: int | None = None,
    ) -> None:
        self.origin = origin
        self.newest = newest
        self.register = Register(origin)
        self.frontier = Frontier()
        self.counts = Counts()
        if bits is None:
            # As many buckets as a log of that size has labels for, up to the usual number.
            bits = min(TOP_BITS, max(8, expected.bit_length() - 1))
        self._rows = MemoryRows(bits) if rows is None else rows
        self.tree = PrefixTree(self._rows, bits)
        self.violations: list[Violation] = []
        self.left_out = 0
        """Violations found and not kept, being too many."""
        self.ends_in_root = False
        """Whether the last entry fed is an index root."""
        self.first_missing: int | None = None
        """The first entry that nobody had: from there on only what is wrong whatever stood there is a violation."""
        self._leaves = Leaves(self.frontier, b"", {})
        self._pending: list[bytes] = []
        self._kinds: dict[bytes, Kind] = {}
        self._judged_at = newest
        self._stated: set[tuple[int, int]] = set()  # (source, version) labels taken by registry entries
        self._unreported: deque[_Batch] = deque()
        self._batch = _Batch()
        self._new_stated: list[Stated] = []
        self._new_days: list[DayCount] = []
        self._saved_violations = 0

    @property
    def size(self) -> int:
        """Entries fed so far."""
        return self.frontier.size

    @property
    def settled(self) -> bool:
        """Whether every batch fed was reported."""
        return not self._unreported

    @property
    def records(self) -> dict[tuple[int, int], int]:
        """Records signed by a source, by (source, day)."""
        return self.counts.records_by_day()

    @property
    def by_activity(self) -> dict[tuple[int, int, int], int]:
        """Open records by (source, day, activity)."""
        return self.counts.open_by_activity()

    @property
    def sealed(self) -> dict[tuple[int, int], int]:
        """Sealed records by (source, month in which they open)."""
        return self.counts.sealed_by_month()

    def feed_many(
        self,
        entries: Sequence[bytes | None],
        hashes: bytes | None = None,
        subtrees: Mapping[int, bytes] | None = None,
    ) -> list[Job]:
        """Take the next entries; the signatures that remain to be verified, to be answered through `report`.

        A caller that has the leaf hashes gives them, 32 bytes each, and by their first leaf the hashes of subtrees
        of 256 leaves. None is an entry that nobody has: its hash is then needed, or that of its subtree.
        """
        if hashes is None:
            hashes = b"".join([sha256(b"\x00" + (raw or b"")).digest() for raw in entries])
        self._leaves = Leaves(self.frontier, hashes, subtrees or {})
        self._batch = _Batch()
        jobs = self._batch.jobs
        index = self.frontier.size
        if self._judged_at != self.newest:
            self._kinds.clear()
            self._judged_at = self.newest
        kinds = self._kinds
        for raw in entries:
            if raw is None:
                if self.first_missing is None:
                    self.first_missing = index
            elif len(raw) == RECORD_BYTES and (kind := kinds.get(raw[:_KIND_BYTES])) is not None:
                # Almost every entry of a log: a record like others before, in all that rules look at.
                label = sha256(kind.label + raw[18:50]).digest()
                self._pending.append(label + index.to_bytes(8, "big"))
                jobs.append((index, kind.key, raw))
                day = kind.day
                if not day.touched:
                    self._touch(day)
                kind.count[kind.counted_as] = kind.count.get(kind.counted_as, 0) + 1
                if day.covered is not None and day.covered.holds:
                    day.covered.late += 1
            else:
                self._entry(index, raw)
            index += 1
        self._leaves.push(index)
        if entries:
            raw = entries[-1]
            # No sound entry of another kind is as long: one altered in its first bytes is told already.
            self.ends_in_root = raw is None or len(raw) == INDEX_ROOT_BYTES
        if len(self._pending) >= PENDING_LABELS:
            self._index_pending()
        self._unreported.append(self._batch)
        return jobs

    def _entry(self, index: int, raw: bytes) -> None:
        try:
            entry = decode_entry(raw)
        except Malformed as error:
            self._violation(index, error, "malformed")
            return
        if isinstance(entry, Record):
            self._record(index, entry, raw)
        elif isinstance(entry, IndexRoot):
            self._index_root(index, entry)
        elif isinstance(entry, Coverage):
            self._coverage(index, entry, raw)
        else:
            self._registry(index, entry, raw)

    def report(self, bad: Iterable[int]) -> None:
        """The leaves of the oldest batch not yet reported whose signatures did not verify; often none."""
        batch = self._unreported.popleft()
        failed = set(bad)
        if failed:
            for index, _, raw in batch.jobs:
                if index in failed:
                    self._bad_signature(index, raw)
        for index, error in batch.faults.items():
            # One entry, one finding: what the source did not sign is forged, whatever else is wrong with it.
            if index not in failed or not self._judged(index, "signature"):
                self._violation(index, error)
        # Only now is it certain how many records of that day the source had really signed.
        for day in batch.covered:
            found = day.covered
            if found is not None and found.holds and found.claimed != found.counted:
                what = f"of source {day.source} counts {found.claimed}, the log has {found.counted} before it"
                self._violation(found.index, RuleBroken("coverage", what), "coverage-count")

    def finish(self) -> Summary:
        """What it all came to; more may be fed afterwards. Every batch must have been reported."""
        self._settle()
        if self.size and not self.ends_in_root:
            last = self.size - 1
            if not any(one.index == last and one.kind == "last-leaf" for one in self.violations):
                error = RuleBroken("log", "the last entry is not an index root")
                self._violation(last, error, "last-leaf")
                self._settle()
        return Summary(
            size=self.size,
            root=self.frontier.root(),
            labels=self.tree.labels,
            index_root=self.tree.root,
            records=sum(day.records for day in self.counts),
            late=self.counts.late(),
            suspect=sum(self.counts.suspect(self.register).values()),
            silent=self.counts.silent(self.register, self.newest),
            seals_due=self.counts.seals_due(self.newest),
            retired=statuses(self.register.sources, "retired"),
            revoked=statuses(self.register.sources, "revoked"),
            left_out=self.left_out,
        )

    def silent_days_of(self, source: int) -> list[int]:
        """Days (since 1970-01-01) for which `source` owes coverage and has none, up to two days before `newest`."""
        return self.counts.silent_days_of(source, self.register, self.newest)

    def changes(self) -> Changes:
        """What came since `saved` was last called. Every batch must have been reported."""
        self._settle()
        return Changes(self._new_stated, self._new_days, self.violations[self._saved_violations :])

    def saved(self) -> None:
        """What `changes` gave is in safety."""
        for day in self._new_days:
            day.touched = False
        self._new_stated, self._new_days = [], []
        self._saved_violations = len(self.violations)

    def restore(self, frontier: Frontier, ends_in_root: bool, left_out: int, changes: Changes) -> None:
        """Make a fresh replay one that was saved; `changes` is all that it ever gave. Its tree is loaded apart."""
        self.frontier, self.ends_in_root, self.left_out = frontier, ends_in_root, left_out
        for stated in changes.stated:
            entry = decode_entry(stated.raw)
            if not isinstance(entry, Registry):
                raise Malformed("saved audit", f"entry {stated.index} is no registry entry")
            self._stated.add((entry.source, entry.version))
            if stated.in_force:
                self.register.add(stated.index, stated.raw)
        self.counts.days = {(day.source, day.day): day for day in changes.days}
        self.violations = list(changes.violations)
        self._saved_violations = len(self.violations)

    def _settle(self) -> None:
        if self._unreported:
            raise ValueError("a batch fed has not been reported")
        self._index_pending()
        self.violations[self._saved_violations :] = sorted(self.violations[self._saved_violations :])

    def _touch(self, day: DayCount) -> None:
        if not day.touched:
            day.touched = True
            self._new_days.append(day)

    def _record(self, index: int, record: Record, raw: bytes) -> None:
        self._pending.append(ROW.pack(record.index_label, index))
        version = self._signer(index, record)
        if version is None:
            return
        sound = True
        try:
            version.check_signer(record)
            version.check_record(record)
            check_time(record, self.newest)
        except RuleBroken as error:
            # Signed by the source or not: if it was, it counts as one of that day all the same.
            self._batch.faults[index] = error
            sound = False
        self._batch.jobs.append((index, version.key, raw))
        day = self._count(record, 1, version.version if version.status == "revoked" else None)
        if day.covered is not None and day.covered.holds:
            day.covered.late += 1
        if sound:
            if len(self._kinds) >= KINDS:
                self._kinds.clear()
            self._kinds[raw[:_KIND_BYTES]] = Kind.of(record, version.key, day)

    def _count(self, record: Record, change: int, revoked: int | None) -> DayCount:
        """Count a record, or take it out again; `revoked` is the version it came under when that was revoked."""
        day = self.counts.day(record.source, record.day)
        self._touch(day)
        if record.seal:
            _add(day.sealed, record.seal, change)
        else:
            _add(day.open, record.activity, change)
        if revoked is not None:
            _add(day.after_revocation, revoked, change)
        return day

    def _coverage(self, index: int, coverage: Coverage, raw: bytes) -> None:
        day = self.counts.day(coverage.source, coverage.day)
        if day.covered is not None:
            what = f"of source {coverage.source}: that day has one at entry {day.covered.index}"
            self._violation(index, RuleBroken("coverage", what), "label-taken")
            return
        self._touch(day)
        self._pending.append(ROW.pack(coverage_index_label(coverage.source, coverage.day), index))
        day.covered = covered = Covered(index, coverage.records, day.records)
        version = self._signer(index, coverage)
        if version is None:
            covered.holds = False
            return
        self._batch.jobs.append((index, version.key, raw))
        try:
            version.check_signer(coverage)
            version.check_coverage(coverage)
            check_time(coverage, self.newest)
        except RuleBroken as error:
            self._batch.faults[index] = error
            covered.holds = False
            return
        self._batch.covered.append(day)

    def _signer(self, index: int, entry: Record | Coverage) -> SourceVersion | None:
        """The version whose key it must be signed with; none, and a violation, when there is no such source."""
        version = self.register.in_force(entry.source)
        if version is None:
            try:
                self.register.signer(entry)
            except RuleBroken as error:
                self._violation(index, error)
        return version

    def _registry(self, index: int, entry: Registry, raw: bytes) -> None:
        stated = (entry.source, entry.version)
        takes_label = entry.index_label is not None
        if takes_label:
            if stated in self._stated:
                what = f"version {entry.version} of source {entry.source} already stands in the log"
                self._violation(index, RuleBroken("registry", what), "label-taken")
                return
            self._stated.add(stated)
            self._pending.append(ROW.pack(registry_index_label(*stated), index))
        in_force = True
        try:
            self.register.add(index, raw)
            self._kinds.clear()  # of records that came under another version
        except GlassbookError as error:
            self._violation(index, error, "registry")
            in_force = False
        if takes_label:
            self._new_stated.append(Stated(index, raw, in_force))

    def _index_root(self, index: int, root: IndexRoot) -> None:
        where = "index root"
        self._leaves.push(index)
        if index == 0:
            self._violation(index, RuleBroken(where, "stands at leaf 0, where the charter is due"), "charter")
        self._index_pending()
        wrong = []
        if root.covers != index:
            wrong.append(("index-covers", f"covers {root.covers}, stands at {index}"))
        if root.log_root != self.frontier.root():
            wrong.append(("log-root", "log_root is not that of the entries before it"))
        judged = self.first_missing is None  # what nobody has may be in the index
        if judged and root.index_root != self.tree.root:
            wrong.append(("index-root", "index_root is not that of the index before it"))
        if judged and root.labels != self.tree.labels:
            wrong.append(("index-labels", f"counts {root.labels} labels, the index has {self.tree.labels}"))
        if wrong:
            # One entry, one finding: an index that leaves a label out also counts one less.
            error = RuleBroken(where, "; ".join(what for _, what in wrong))
            self._violation(index, error, wrong[0][0])

    def _index_pending(self) -> None:
        """Put into the index what stands before this leaf; a label that was taken stays with its first entry."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        for index in self.tree.insert_packed(self._rows, pending):
            self._violation(
                index, RuleBroken("record", "its label is taken by an earlier entry"), "label-taken"
            )

    def _bad_signature(self, index: int, raw: bytes) -> None:
        entry = decode_entry(raw)
        kind = "record" if isinstance(entry, Record) else "coverage"
        self._violation(index, BadSignature(kind, "the signature is not by the source's key"), "signature")
        if isinstance(entry, Record):
            # Not the source's, so nothing that it has to answer for.
            version = self.register.version_at(entry.source, index)
            revoked = version is not None and version.status == "revoked"
            day = self._count(entry, -1, version.version if version is not None and revoked else None)
            covered = day.covered
            if covered is not None and covered.index > index:
                covered.counted -= 1
            elif covered is not None and covered.holds:
                covered.late -= 1
        elif isinstance(entry, Coverage):
            day = self.counts.day(entry.source, entry.day)
            self._touch(day)
            if day.covered is not None:
                day.covered.holds = False

    def _judged(self, index: int, kind: str) -> bool:
        """Whether such a violation can be told there, though entries before it may be missing."""
        return self.first_missing is None or index <= self.first_missing or kind in _CERTAIN

    def _violation(self, index: int, error: GlassbookError, kind: str = "rule") -> None:
        kind = error.evidence.get("rule", kind)
        if not self._judged(index, kind):
            return
        if len(self.violations) >= VIOLATIONS:
            self.left_out += 1
            return
        self.violations.append(Violation(index, kind, _SECTIONS.get(kind, "§2"), str(error)))


def _add(counts: dict[int, int], key: int, change: int) -> None:
    count = counts.get(key, 0) + change
    if count:
        counts[key] = count
    else:
        del counts[key]


def bad_signatures(origin: str, jobs: Iterable[Job]) -> list[int]:
    """The leaves among these jobs whose signature is not by the key; may run in another process."""
    return [
        index for index, key, raw in jobs if not verify_ed25519(key, raw[-64:], signed_message(origin, raw))
    ]
