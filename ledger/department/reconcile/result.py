"""What came of a comparison: the counts by day, and each difference by its place; in words or as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from ledger.core.encoding import format_date
from ledger.department.reconcile.classes import (
    ACCESSES,
    MET,
    STANDINGS,
    UNKNOWN,
    UNMET,
    Class,
    Found,
    Unmet,
)
from ledger.department.sentence import printable

LISTED: Final = 10_000
"""Differences of each kind that the JSON lists; all are counted."""

_SHOWN: Final = 100
"""Differences of each kind that are shown in words."""

_TOLD: Final = {
    Class.NO_RECORD: "without a record",
    Class.REFUSED: "refused",
    Class.REJECTED: "rejected",
    Class.RECEIPT: "receipt",
    Class.WAITING: "waiting",
}
_KINDS: Final = {
    **{class_.value: words for class_, words in _TOLD.items()},
    "one_side": "written down by one side alone",
    "records_without_access": "without an access",
}
_HEADS: Final = (
    "day",
    "accesses",
    "receipt",
    "waiting",
    "refused",
    "no record",
    "not told",
    "records",
    "no access",
)


@dataclass(slots=True)
class Result:
    """The comparison as far as it has come.  `show` prints a line; `everything` lists what is accounted for too."""

    format: str
    by: str
    as_json: bool
    everything: bool
    show: Callable[[str], None]
    classes: Counter[Class] = field(default_factory=Counter)
    days: dict[int, Counter[Class]] = field(default_factory=dict)
    records: dict[int, Counter[str]] = field(default_factory=dict)
    sides: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    unfinished: str = ""
    _lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _told: Counter[str] = field(default_factory=Counter)
    _left_off: int = 0

    def take(self, found: Found) -> None:
        """Count one event, and tell of it what there is to tell."""
        event, class_ = found.event, found.class_
        self.classes[class_] += 1
        self.unread += event.unread
        if class_ in ACCESSES:
            assert event.day is not None
            self.days.setdefault(event.day, Counter())[class_] += 1
        place = {"file": event.file, "position": event.position}
        if event.day is not None:
            place["day"] = format_date(event.day)
        if class_ in (Class.NO_RECORD, Class.REFUSED, Class.REJECTED) or (
            self.everything and class_ in (Class.RECEIPT, Class.WAITING)
        ):
            reason = found.reason or event.reason
            self._tell(
                class_.value,
                {**place, **({"reason": reason} if reason else {}), "entries": list(found.indices)},
                f"{_TOLD[class_]}: {_words(place)}"
                + (f": {reason}" if reason else "")
                + "".join(f", entry {index}" for index in found.indices),
            )
        if event.side and class_ in (*ACCESSES, Class.FAILED):
            self.sides[event.side] += 1
            self._tell(
                "one_side", {**place, "side": event.side}, f"only the {event.side}'s side: {_words(place)}"
            )

    def take_record(self, record: Unmet) -> None:
        """Count one record, and tell of it when no event led to it."""
        self.records.setdefault(record.day, Counter())[record.standing] += 1
        if record.standing == UNMET:
            day = format_date(record.day)
            name = "a record that waits" if record.index is None else f"entry {record.index}"
            of = f", activity {record.activity}" if record.activity else ", sealed"
            self._tell(
                "records_without_access",
                {"index": record.index, "day": day, "activity": record.activity},
                f"without an access: {name} ({day}{of})",
            )

    def _tell(self, kind: str, member: dict[str, Any], line: str) -> None:
        self._told[kind] += 1
        if self.as_json:
            listed = self._lists.setdefault(kind, [])
            if len(listed) < LISTED:
                listed.append(member)
            else:
                self._left_off += 1
        elif self._told[kind] <= _SHOWN or (
            self.everything and kind in (Class.RECEIPT.value, Class.WAITING.value)
        ):
            self.show(printable(line))

    @property
    def accesses(self) -> int:
        return sum(self.classes[class_] for class_ in ACCESSES)

    @property
    def first(self) -> int | None:
        return min(self.days, default=None)

    @property
    def last(self) -> int | None:
        return max(self.days, default=None)

    def count_records(self, standing: str) -> int:
        return sum(counts[standing] for counts in self.records.values())

    @property
    def accounted(self) -> bool:
        """Every event was read, and every access has a record that is not refused."""
        bad = (Class.NO_RECORD, Class.REFUSED, Class.REJECTED)
        return not (self.unfinished or self.unread or any(self.classes[class_] for class_ in bad))

    @property
    def exact(self) -> bool:
        """And nothing is open on the other side either: each has its receipt, each record its access."""
        return self.accounted and not (
            self.classes[Class.WAITING]
            or self.classes[Class.NOT_TOLD]
            or self.sides
            or self.count_records(UNMET)
            or self.count_records(UNKNOWN)
        )

    def as_document(self) -> dict[str, Any]:
        """The result as JSON; `left_off` counts the differences that are counted and not listed."""
        kinds = [Class.NO_RECORD, Class.REFUSED, Class.REJECTED]
        if self.everything:
            kinds += [Class.RECEIPT, Class.WAITING]
        names = [*(class_.value for class_ in kinds), "one_side", "records_without_access"]
        return {
            "format": self.format,
            "by": self.by,
            "accounted": self.accounted,
            "exact": self.exact,
            "complete": not (self.unfinished or self.unread),
            "summary": {
                "events": self.classes.total(),
                "accesses": self.accesses,
                **{class_.value: self.classes[class_] for class_ in Class},
                "records": {name: self.count_records(name) for name in STANDINGS},
                "one_side": {side: self.sides[side] for side in ("client", "service")},
            },
            "days": [
                {
                    "day": format_date(day),
                    "accesses": self.days.get(day, Counter()).total(),
                    **{class_.value: self.days.get(day, Counter())[class_] for class_ in ACCESSES},
                    "records": {name: self.records.get(day, Counter())[name] for name in STANDINGS},
                }
                for day in sorted({*self.days, *self.records})
            ],
            "lists": {name: self._lists.get(name, []) for name in names},
            "left_off": self._left_off,
        }

    def in_words(self) -> str:
        """The table of days, what is beside it, and the sum of it all."""
        lines = [
            f"… and {count - _SHOWN} more {_KINDS[kind]}; --json lists up to {LISTED} of each kind."
            for kind, count in self._told.items()
            if count > _SHOWN and kind not in (Class.RECEIPT.value, Class.WAITING.value)
        ]
        lines += self._table()
        beside = [
            (Class.NOT_ABOUT_A_PERSON, "not about a person"),
            (Class.FAILED, "failed on every side that wrote them down, so that nothing was given"),
            (Class.REJECTED, "rejected"),
            (Class.REPEATED, "the same as an event before"),
            (Class.OUTSIDE, "of days not asked for"),
        ]
        lines.append(f"{_many(self.classes.total(), 'event')}: {_many(self.accesses, 'access', 'accesses')}")
        lines += [f"  {self.classes[class_]} {words}" for class_, words in beside if self.classes[class_]]
        if self.sides:
            told = " and ".join(f"{count} by the {side}'s" for side, count in sorted(self.sides.items()))
            lines.append(f"Written down by one side alone: {told}.")
        if self.classes[Class.NOT_TOLD]:
            lines.append(
                "Not told: recorded, by an earlier release or in a year since erased; which record it is, is not kept."
            )
        if self.unfinished:
            lines.append(f"Stopped before the end: {self.unfinished}")
        lines += self._verdict()
        return "\n".join(lines)

    def _table(self) -> list[str]:
        days = sorted({*self.days, *self.records})
        rows: list[tuple[str, ...]] = [_HEADS]
        for day in days:
            counts, records = self.days.get(day, Counter()), self.records.get(day, Counter())
            cells = [
                counts.total(),
                *(counts[class_] for class_ in ACCESSES),
                records.total(),
                records[UNMET],
            ]
            rows.append((format_date(day), *map(str, cells)))
        if not days:
            return []
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADS))]
        return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]

    def _verdict(self) -> list[str]:
        lines = []
        missing, refused = self.classes[Class.NO_RECORD], self.classes[Class.REFUSED]
        if missing:
            lines.append(
                f"{_many(missing, 'access has', 'accesses have')} no record: import the log that they stand in."
            )
        if refused:
            lines.append(
                f"{_many(refused, 'access has', 'accesses have')} a refused record: see glassbook department status."
            )
        if self.classes[Class.REJECTED]:
            lines.append("What was rejected may be an access: correct the mapping or the log.")
        if self.classes[Class.WAITING]:
            lines.append("Records that wait have no receipt yet: glassbook department send --wait")
        if unmet := self.count_records(UNMET):
            lines.append(
                f"{_many(unmet, 'record has', 'records have')} no access here: is every log of these days named?"
            )
        if unknown := self.count_records(UNKNOWN):
            lines.append(f"Of {_many(unknown, 'record')} it is not kept which access each was made of.")
        if self.accounted and not self.accesses:
            lines.append("NOTHING TO ACCOUNT FOR: no access is in these files.")
        elif self.accounted:
            lines.append(
                "ACCOUNTED FOR: every access has its record"
                + (", and every record its access." if self.exact and self.count_records(MET) else ".")
            )
        else:
            lines.append("NOT ACCOUNTED FOR: not every access has its record.")
        return lines


def _words(place: dict[str, Any]) -> str:
    day = f" ({place['day']})" if "day" in place else ""
    return f"{place['file']}: {place['position']}{day}"


def _many(count: int, one: str, more: str = "") -> str:
    return f"{count} {one if count == 1 else more or one + 's'}"
