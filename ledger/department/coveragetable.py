"""Coverages in the outbox, and how many records of a day the log holds: tables `coverages` and `found`.

    made ──► waiting ── handed in ── receipt ──► done
                ▲           │
                │           ▼
    made anew ◄─┴──────── refused      (with the count of then, and the key in force then)

A coverage counts exactly the records of its day that are in the log before it.  So it is made only when no record of
that day may be on its way, and none of them is handed in until the coverage is settled; whatever comes then is late.
Both are decided in one transaction each, whoever sends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.core.encoding import u32
from ledger.core.entries import Coverage, decode_entry
from ledger.core.errors import Malformed
from ledger.core.merkle import leaf_hash
from ledger.department.outbox import Outbox


@dataclass(frozen=True, slots=True)
class KeptCoverage:
    """A coverage in the outbox: day since 1970-01-01, 84-byte entry, its leaf hash, state, the ledger's problem."""

    day: int
    entry: bytes
    leaf_hash: bytes
    state: str
    problem: str = ""
    changed: int = 0

    envelope: None = None
    deposited: None = None

    @property
    def coverage(self) -> Coverage:
        found = decode_entry(self.entry)
        if not isinstance(found, Coverage):
            raise Malformed("outbox", "holds an entry among its coverages that is none")
        return found


@dataclass(frozen=True, slots=True)
class CoverageCounts:
    """Coverages by state, and the last day that has a receipt (None: none yet)."""

    waiting: int
    handed_in: int
    refused: int
    done: int
    last: int | None


PUT_OFF: Final = "coverage is put off since, day"
"""Where the outbox keeps since when, Unix seconds, for each such day."""

OF_DAY: Final = "substr(entry, 9, 4) = ?"
_COLUMNS: Final = "day, entry, leaf_hash, state, problem, changed"


def days_known(outbox: Outbox) -> set[int]:
    """The days that have a coverage here, in whatever state."""
    with outbox.reading() as db:
        return {row[0] for row in db.execute("SELECT day FROM coverages")}


def add_coverage(outbox: Outbox, day: int, make: Callable[[int], bytes], now: int, *, wait_s: int) -> bool:
    """Make the coverage of a day, `make(records)`, unless records of the day may be on their way.

    While records of the day only wait here, and the ledger never saw them, it is put off for `wait_s` seconds; then
    they will be late.  A refused coverage is made anew.  False when it is not the time.  Inside a transaction.
    """
    with outbox.reading() as db:
        tried, owed = db.execute(
            f"SELECT coalesce(sum(tried), 0), count(*) FROM records WHERE {OF_DAY}", (u32(day),)
        ).fetchone()
        if tried or (owed and _put_off(outbox, day, now, wait_s)):
            return False
        row = db.execute("SELECT state FROM coverages WHERE day = ?", (day,)).fetchone()
        if row is not None and row[0] != "refused":
            return False
        outbox.put(f"{PUT_OFF} {day}", None)
        entry = make(_count(outbox, day))
        db.execute(
            f"INSERT OR REPLACE INTO coverages ({_COLUMNS}) VALUES (?, ?, ?, 'waiting', '', ?)",
            (day, entry, leaf_hash(entry), now),
        )
    return True


def _put_off(outbox: Outbox, day: int, now: int, wait_s: int) -> bool:
    """Whether it is not so long yet that the day's coverage is put off."""
    name = f"{PUT_OFF} {day}"
    since = int(outbox.get(name) or now)
    if since == now:
        outbox.put(name, str(now).encode())
    return now < since + wait_s


def _count(outbox: Outbox, day: int) -> int:
    """Records of a day in the log: those with a receipt, and those found there."""
    with outbox.reading() as db:
        found: int = db.execute(
            "SELECT count(*) FROM (SELECT leaf_hash FROM details WHERE day = ? "
            "UNION SELECT leaf_hash FROM found WHERE day = ?)",
            (day, day),
        ).fetchone()[0]
    return found


def coverages(outbox: Outbox, states: Sequence[str], limit: int) -> list[KeptCoverage]:
    """Those in these states, earliest days first."""
    marks = ",".join("?" * len(states))
    with outbox.reading() as db:
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM coverages WHERE state IN ({marks}) ORDER BY day LIMIT ?",
            (*states, limit),
        ).fetchall()
    return [KeptCoverage(*row) for row in rows]


def set_states(outbox: Outbox, changes: Iterable[tuple[KeptCoverage, str, str]], now: int) -> None:
    """State and problem of each, unless it was made anew meanwhile; inside a transaction."""
    with outbox.reading() as db:
        db.executemany(
            "UPDATE coverages SET state = ?, problem = ?, changed = ? "
            "WHERE day = ? AND leaf_hash = ? AND state <> 'done'",
            [(state, problem, now, kept.day, kept.leaf_hash) for kept, state, problem in changes],
        )


def settle(outbox: Outbox, day: int, entry: bytes, position: int, receipt: bytes, now: int) -> None:
    """What the log holds as the day's coverage, with its checked receipt; inside a transaction."""
    with outbox.reading() as db:
        db.execute(
            "INSERT OR REPLACE INTO coverages VALUES (?, ?, ?, 'done', '', ?, ?, ?)",
            (day, entry, leaf_hash(entry), now, position, receipt),
        )


def note_found(
    outbox: Outbox, records: Iterable[tuple[bytes, int]], covered: Iterable[tuple[int, bytes]], now: int
) -> None:
    """Own entries met in the log: (leaf hash, day) of records, (day, entry) of coverages; inside a transaction."""
    with outbox.reading() as db:
        db.executemany(
            "INSERT OR IGNORE INTO found SELECT :leaf, :day "
            "WHERE NOT EXISTS (SELECT 1 FROM receipts WHERE leaf_hash = :leaf)",
            [{"leaf": leaf, "day": day} for leaf, day in records],
        )
        db.executemany(
            # Its receipt is fetched as for any other that the ledger has.
            "INSERT INTO coverages (day, entry, leaf_hash, state, changed) VALUES (?, ?, ?, 'handed in', ?) "
            "ON CONFLICT (day) DO UPDATE SET entry = excluded.entry, leaf_hash = excluded.leaf_hash, "
            "state = 'handed in', problem = '' WHERE state <> 'done'",
            [(day, entry, leaf_hash(entry), now) for day, entry in covered],
        )


def count_coverages(outbox: Outbox) -> CoverageCounts:
    with outbox.reading() as db:
        states = dict(db.execute("SELECT state, count(*) FROM coverages GROUP BY state").fetchall())
        last = db.execute("SELECT max(day) FROM coverages WHERE state = 'done'").fetchone()[0]
    return CoverageCounts(
        states.get("waiting", 0),
        states.get("handed in", 0),
        states.get("refused", 0),
        states.get("done", 0),
        last,
    )


def coverage_receipts(outbox: Outbox, limit: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Index in the log and receipt file of the newest `limit` coverages that have one, newest first."""
    with outbox.reading() as db:
        yield from db.execute(
            "SELECT position, receipt FROM coverages WHERE receipt IS NOT NULL ORDER BY position DESC LIMIT ?",
            (-1 if limit is None else limit,),
        )


def coverage_problems(outbox: Outbox) -> list[tuple[int, str]]:
    """Day and problem of each coverage that the ledger refused, earliest first."""
    with outbox.reading() as db:
        return db.execute(
            "SELECT day, problem FROM coverages WHERE state = 'refused' ORDER BY day LIMIT 100"
        ).fetchall()


def late_waiting(outbox: Outbox) -> int:
    """Records without a receipt whose day has its coverage: they will be late, or wait until it is settled."""
    with outbox.reading() as db:
        days = db.execute("SELECT DISTINCT substr(entry, 9, 4) FROM records").fetchall()
        known = {u32(row[0]) for row in db.execute("SELECT day FROM coverages WHERE state <> 'refused'")}
        late = [day for (day,) in days if bytes(day) in known]
        total = 0
        for day in late:
            total += db.execute(f"SELECT count(*) FROM records WHERE {OF_DAY}", (day,)).fetchone()[0]
    return total
