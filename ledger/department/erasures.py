"""Which details are to be erased and which are: the outbox's table `details`.

    receipt ──► kept ── decided ──► to erase ── the operator's answer ──► erased
                          (why)        ▲                                     │
                                       └──────────── asked again ────────────┘

A decision is durable before anybody is asked, and asked for until it is answered: a crash in between costs a second
request and nothing else.  Only records with a receipt can be chosen: before it, the envelope has to go out with its
entry, and may have to again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.core.encoding import day_of
from ledger.core.entries import Record, decode_entry
from ledger.core.errors import Malformed
from ledger.core.receipt import parse_receipt
from ledger.department.outbox import Outbox
from ledger.department.outboxschema import NOTED
from ledger.department.retention import Retention, open_since

RECORD: Final = "record"
DATE: Final = "date"
RULE: Final = "rule"
"""Why details are erased: chosen by themselves, by their date, or by a rule of department.toml."""

_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Details:
    """Of one record: leaf hash, index in the log, day since 1970-01-01, seal month or 0, activity or 0."""

    leaf_hash: bytes
    position: int
    day: int
    seal: int
    activity: int


@dataclass(frozen=True, slots=True)
class ErasureCounts:
    """Details the operator keeps, those it is to delete, and those deleted."""

    kept: int
    waiting: int
    erased: int


_COLUMNS: Final = "leaf_hash, position, day, seal, activity"


def note_receipts(outbox: Outbox) -> int:
    """Take records into the table whose receipts an earlier release kept without it; how many.

    Since there is the table, each receipt comes with its row: so all of them are looked through only once.
    """
    noted = 0
    while outbox.get(NOTED) is None:
        with outbox.transaction() as db:
            rows = db.execute(
                "SELECT r.leaf_hash, r.position, r.receipt FROM receipts AS r LEFT JOIN details AS d "
                "ON d.leaf_hash = r.leaf_hash WHERE d.leaf_hash IS NULL LIMIT ?",
                (_AT_ONCE,),
            ).fetchall()
            db.executemany(
                f"INSERT INTO details ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)",
                [(leaf, position, *_of(receipt)) for leaf, position, receipt in rows],
            )
        noted += len(rows)
        if len(rows) < _AT_ONCE:
            outbox.put(NOTED, b"1")
    return noted


def _of(receipt: bytes) -> tuple[int, int, int]:
    entry = decode_entry(parse_receipt(receipt).entry)
    if not isinstance(entry, Record):
        raise Malformed("outbox", "holds a receipt of an entry that is no record")
    return entry.day, entry.seal, entry.activity


def find_records(outbox: Outbox, positions: Sequence[int]) -> dict[int, Details]:
    """The details kept of the records at these indices, by index."""
    marks = ",".join("?" * len(positions))
    with outbox.reading() as db:
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM details WHERE why IS NULL AND position IN ({marks})", positions
        ).fetchall()
    return {row[1]: Details(*row) for row in rows}


def is_decided(outbox: Outbox, position: int) -> bool:
    """Whether the record at this index was chosen before."""
    with outbox.reading() as db:
        row = db.execute(
            "SELECT 1 FROM details WHERE position = ? AND why IS NOT NULL", (position,)
        ).fetchone()
    return row is not None


def find_before(outbox: Outbox, day: int, activity: int | None, today: int) -> tuple[list[Details], int]:
    """The details kept of accesses before a day, and how many of them are sealed still and left alone.

    `activity`: of this alone, and of no sealed record, whose activity is not known here.
    """
    found = _kept_before(outbox, day)
    if activity is not None:
        found = [one for one in found if one.activity == activity]
    opened = [one for one in found if open_since(one.day, one.seal) <= today]
    return opened, len(found) - len(opened)


def find_due(outbox: Outbox, rules: Retention, today: int) -> list[Details]:
    """The details that the rules let be kept no longer."""
    if rules.shortest is None:
        return []
    return [
        one
        for one in _kept_before(outbox, today - rules.shortest)
        if rules.is_due(one.day, one.seal, one.activity, today)
    ]


def _kept_before(outbox: Outbox, day: int) -> list[Details]:
    with outbox.reading() as db:
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM details WHERE why IS NULL AND day < ? ORDER BY position", (day,)
        ).fetchall()
    return [Details(*row) for row in rows]


def decide(outbox: Outbox, chosen: Iterable[Details], why: str, now: int) -> None:
    """From now on these are to be erased; durable when it returns."""
    with outbox.transaction() as db:
        db.executemany(
            "UPDATE details SET why = ?, decided = ? WHERE leaf_hash = ? AND why IS NULL",
            [(why, now, one.leaf_hash) for one in chosen],
        )


def to_erase(outbox: Outbox, limit: int, after: bytes = b"") -> list[bytes]:
    """Leaf hashes that the operator is still to be asked about, above `after`: in an order that says nothing."""
    with outbox.reading() as db:
        rows = db.execute(
            "SELECT leaf_hash FROM details WHERE why IS NOT NULL AND erased IS NULL AND leaf_hash > ? "
            "ORDER BY leaf_hash LIMIT ?",
            (after, limit),
        ).fetchall()
    return [bytes(row[0]) for row in rows]


def erased(outbox: Outbox, leaves: Iterable[bytes], now: int) -> None:
    """The operator has no envelope of these any more."""
    with outbox.transaction() as db:
        db.executemany("UPDATE details SET erased = ? WHERE leaf_hash = ?", [(now, leaf) for leaf in leaves])


def ask_again(outbox: Outbox) -> int:
    """Have the operator asked about everything once more, as after it restored a backup; how many."""
    with outbox.transaction() as db:
        return db.execute("UPDATE details SET erased = NULL WHERE erased IS NOT NULL").rowcount


def erased_of(outbox: Outbox, subjects: Sequence[str]) -> list[tuple[int, int, str, int, int]]:
    """(epoch, seal, subject, n, day) of each record of these persons whose details were erased on that day."""
    marks = ",".join("?" * len(subjects))
    with outbox.reading() as db:
        rows = db.execute(
            "SELECT s.epoch, s.seal, s.subject, r.n, d.erased FROM streams AS s "
            "JOIN receipts AS r ON r.stream = s.id JOIN details AS d ON d.leaf_hash = r.leaf_hash "
            f"WHERE d.erased IS NOT NULL AND s.subject IN ({marks}) ORDER BY s.epoch, s.seal, s.subject, r.n",
            list(subjects),
        ).fetchall()
    return [(*row[:4], day_of(row[4])) for row in rows]


def count_erasures(outbox: Outbox) -> ErasureCounts:
    """The counts; records whose receipts came since the last look are kept."""
    with outbox.reading() as db:
        decided, done = db.execute(
            "SELECT count(why), count(erased) FROM details WHERE why IS NOT NULL"
        ).fetchone()
    return ErasureCounts(outbox.counts().receipts - decided, decided - done, done)
