"""From events to their records, and back: which records no event led to.

By identity an event stands for all its records.  By a claim (`event.request_id`, `event.trace_id`), which many events
and records may share, each record is taken once: ten accesses in one request need ten records that name it.

What was met is kept in temporary tables of SQLite, so memory stays small however long the logs are.  Of what the
outbox holds nothing is changed, and a running agent may go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ledger.core.encoding import u32
from ledger.core.entries import Record, decode_entry
from ledger.department.erasures import note_receipts
from ledger.department.links import IDENTITY, KINDS
from ledger.department.outbox import Outbox
from ledger.department.reconcile.classes import (
    MET,
    NO_CLAIM,
    UNKNOWN,
    UNMET,
    Class,
    Event,
    Found,
    Unmet,
)
from ledger.department.refusals import code_of

LAST_DAY: Final = 2**32 - 1

_TEMPORARY: Final = (
    "CREATE TEMP TABLE IF NOT EXISTS met (key BLOB PRIMARY KEY, stream INTEGER, n INTEGER) WITHOUT ROWID",
    "CREATE TEMP TABLE IF NOT EXISTS seen (identity BLOB PRIMARY KEY) WITHOUT ROWID",
    "DELETE FROM temp.met",
    "DELETE FROM temp.seen",
)
_STANDS: Final = (
    "(SELECT max(CASE WHEN m.key IS NOT NULL THEN 3 WHEN l.kind = :kind THEN 2 ELSE 1 END) "
    "FROM links AS l LEFT JOIN temp.met AS m ON m.key = l.key WHERE l.stream = r.stream AND l.n = r.n)"
)
_STANDINGS: Final = {None: UNKNOWN, 1: NO_CLAIM, 2: UNMET, 3: MET}


class Matching:
    """Events against one outbox, by IDENTITY or by one of the claims of links.py.

    Raises CannotGoOn for what the outbox's file or the disk does not allow.
    """

    def __init__(self, outbox: Outbox, by: str) -> None:
        self._outbox = outbox
        self._by = by
        with outbox.reading() as db:
            for statement in _TEMPORARY:
                db.execute(statement)

    def find(self, event: Event, first: int | None, last: int | None) -> Found:
        """How an event stands; days outside `first` … `last` are not looked at."""
        if event.identity and event.class_ is None and not self._is_new(event.identity):
            return Found(event, Class.REPEATED)
        if event.day is not None and not _within(event.day, first, last):
            # Its record may be of the next day, by another mapping: it has an access all the same.
            self._meet(event.key)
            return Found(event, Class.OUTSIDE)
        if event.class_ is not None:
            self._meet(event.key)
            return Found(event, event.class_, event.reason)
        if not event.key:
            return self._unlinked(event, f"does not have {self._by}, by which records are looked for")
        rows = self._records(event)
        if len(rows) < event.needed:
            if rows:
                reason = f"{len(rows)} of its {event.needed} accesses have a record"
                return Found(event, Class.NO_RECORD, reason, _indices(rows))
            return self._unlinked(event, "")
        problem = next((problem for state, problem, _ in rows if state == "refused"), None)
        if problem is not None:
            return Found(event, Class.REFUSED, code_of(problem) or "refused", _indices(rows))
        if any(state is not None for state, _, _ in rows):
            return Found(event, Class.WAITING, "", _indices(rows))
        if any(index is None for _, _, index in rows):
            return Found(event, Class.NOT_TOLD)
        return Found(event, Class.RECEIPT, "", _indices(rows))

    def records(self, first: int, last: int) -> Iterator[Unmet]:
        """The records of these days, both included, in order: those an event led to, and the others."""
        first = max(first, 0)  # no record is of a day before 1970, whatever a log says
        if first > last:
            return
        note_receipts(self._outbox)
        values = {"kind": KINDS[self._by], "first": first, "last": last}
        with self._outbox.reading() as db:
            yield from (
                Unmet(index, day, activity, _STANDINGS[stands])
                for index, day, activity, stands in db.execute(
                    f"SELECT d.position, d.day, d.activity, {_STANDS} FROM details AS d "
                    "LEFT JOIN receipts AS r ON r.leaf_hash = d.leaf_hash "
                    "WHERE d.day BETWEEN :first AND :last ORDER BY d.day, d.position",
                    values,
                )
            )
            waiting = db.execute(
                f"SELECT r.entry, {_STANDS} FROM records AS r "
                "WHERE substr(r.entry, 9, 4) BETWEEN :first AND :last ORDER BY r.id",
                values | {"first": u32(first), "last": u32(last)},
            )
            for entry, stands in waiting:
                record = decode_entry(entry)
                assert isinstance(record, Record)
                yield Unmet(None, record.day, record.activity, _STANDINGS[stands])
            found = db.execute("SELECT day FROM found WHERE day BETWEEN :first AND :last", values)
            yield from (Unmet(None, day, 0, UNKNOWN) for (day,) in found)

    def _is_new(self, identity: bytes) -> bool:
        with self._outbox.reading() as db:
            return db.execute("INSERT OR IGNORE INTO temp.seen VALUES (?)", (identity,)).rowcount == 1

    def _meet(self, key: bytes) -> None:
        if key:
            with self._outbox.reading() as db:
                db.execute("INSERT OR IGNORE INTO temp.met VALUES (?, 0, 0)", (key,))

    def _records(self, event: Event) -> list[tuple[str | None, str | None, int | None]]:
        """State and problem of records in the outbox, or index of those with a receipt; taken when by a claim."""
        self._meet(event.key)
        with self._outbox.reading() as db:
            rows = db.execute(
                "SELECT r.state, r.problem, p.position, l.stream, l.n FROM links AS l "
                "JOIN temp.met AS m ON m.key = l.key "
                "LEFT JOIN records AS r ON r.stream = l.stream AND r.n = l.n "
                "LEFT JOIN receipts AS p ON p.stream = l.stream AND p.n = l.n "
                "WHERE l.key = ? AND (l.stream, l.n) > (m.stream, m.n) ORDER BY l.stream, l.n LIMIT ?",
                (event.key, -1 if self._by == IDENTITY else event.needed),
            ).fetchall()
            if rows and self._by != IDENTITY:
                db.execute("UPDATE temp.met SET stream = ?, n = ? WHERE key = ?", (*rows[-1][3:], event.key))
        return [row[:3] for row in rows]

    def _unlinked(self, event: Event, reason: str) -> Found:
        """Of an event that no link leads on from: perhaps the outbox knows it all the same."""
        if event.identity and self._outbox.has_event(event.identity):
            with self._outbox.reading() as db:
                kept = db.execute("SELECT 1 FROM links WHERE key = ? LIMIT 1", (event.identity,)).fetchone()
            if kept is None:
                return Found(event, Class.NOT_TOLD)
        return Found(event, Class.NO_RECORD, reason)


def _within(day: int, first: int | None, last: int | None) -> bool:
    return (first is None or day >= first) and (last is None or day <= last)


def _indices(rows: list[tuple[str | None, str | None, int | None]]) -> tuple[int, ...]:
    return tuple(sorted(index for _, _, index in rows if index is not None))
