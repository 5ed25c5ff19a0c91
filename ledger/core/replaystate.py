"""What a replay keeps and gives: violations, the summary, what is saved of it; all of it plain."""

from collections.abc import Mapping
from dataclasses import dataclass

from ledger.core.entries import Record, record_label_prefix
from ledger.core.merkle import Frontier
from ledger.core.replaycounts import DayCount


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

    `late` records came after the coverage of their day, `suspect` ones before a revocation and from its date on,
    `seals_due` counts sealed records whose month has come, by (source, month): all are counted and no violations.
    `silent` has the days without coverage that each source owes; `retired` and `revoked` sources by their newest
    version.
    """

    size: int
    root: bytes
    labels: int
    index_root: bytes
    records: int
    late: int
    suspect: int
    silent: dict[int, int]
    seals_due: dict[tuple[int, int], int]
    retired: list[int]
    revoked: list[int]
    left_out: int = 0
    """Violations beyond the first `VIOLATIONS`, which are not told."""

    @property
    def silent_days(self) -> int:
        """Of all sources together."""
        return sum(self.silent.values())


@dataclass(frozen=True, slots=True)
class Stated:
    """A registry entry that took its label; only one that broke no other rule is `in_force`."""

    index: int
    raw: bytes
    in_force: bool


@dataclass(frozen=True, slots=True)
class Changes:
    """What a replay learned since it was last saved, but for the index, which `tree` and its rows keep."""

    stated: list[Stated]
    days: list[DayCount]
    violations: list[Violation]


@dataclass(frozen=True, slots=True)
class Kind:
    """What is the same for all sound records of a source, day, seal and activity while a version is in force."""

    label: bytes
    """What their index labels are hashes of, but for the record's own label."""
    key: bytes
    day: DayCount
    count: dict[int, int]
    counted_as: int

    @classmethod
    def of(cls, record: Record, key: bytes, day: DayCount) -> "Kind":
        count, counted_as = (day.sealed, record.seal) if record.seal else (day.open, record.activity)
        return cls(record_label_prefix(record.source, record.epoch, record.seal), key, day, count, counted_as)


class Leaves:
    """Leaf hashes of the batch under way, put into the frontier as far as a root is asked for, tile by tile."""

    __slots__ = ("_frontier", "_hashes", "_start", "_subtrees")

    def __init__(self, frontier: Frontier, hashes: bytes, subtrees: Mapping[int, bytes]) -> None:
        self._frontier = frontier
        self._hashes = hashes
        self._subtrees = subtrees
        self._start = frontier.size

    def push(self, stop: int) -> None:
        """Bring the frontier to this size."""
        frontier, hashes, start = self._frontier, self._hashes, self._start
        at = frontier.size
        while at < stop:
            subtree = self._subtrees.get(at) if stop - at >= 256 else None
            if subtree is not None:
                frontier.append_subtree(8, subtree)
                at += 256
            else:
                place = 32 * (at - start)
                frontier.append(hashes[place : place + 32])
                at += 1
