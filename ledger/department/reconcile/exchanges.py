"""The two sides of one X-Road exchange, as two security servers wrote them down, put together by the message id.

A message id may be used again.  Then `xRequestId`, the same on both sides, tells the exchanges apart, and where it
does not, the order in time does.  Who wrote an exchange down alone is said.

The sides wait in a private temporary database of SQLite, so that memory stays small; of one message id there may be
MOST sides.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final

from ledger.department.access import Outcome
from ledger.department.reconcile.classes import Class, Event
from ledger.department.reconcile.xroad import CLIENT, SERVICE, Side
from ledger.department.settings import CannotGoOn

MOST: Final = 10_000
"""Sides with one message id: more are no exchanges."""

_PRAGMAS: Final = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -8192")
_COLUMNS: Final = "file, position, key, pair, identity, side, at, succeeded, ours, nobody"


def exchanges(sides: Iterable[Side | Outcome]) -> Iterator[Event]:
    """Each exchange as one event; each side that cannot be read, or was read before, as one too.

    Raises CannotGoOn when the temporary database cannot grow.
    """
    db = sqlite3.connect("", isolation_level=None)
    try:
        for pragma in _PRAGMAS:
            db.execute(f"PRAGMA {pragma}")
        db.execute(
            "CREATE TABLE sides (file, position, key BLOB, pair BLOB, identity BLOB UNIQUE, side, at INTEGER, "
            "succeeded, ours, nobody)"
        )
        for side in sides:
            if isinstance(side, Outcome):
                yield Event(
                    side.file,
                    side.position,
                    class_=Class.REJECTED,
                    reason=side.reason,
                    unread=side.unread,
                )
            elif not _add(db, side):
                yield Event(side.file, side.position, side.day, class_=Class.REPEATED)
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM sides WINDOW same AS (PARTITION BY key) "
            "ORDER BY min(at) OVER same, min(rowid) OVER same, key, at, rowid"
        )
        waiting = map(_side, rows)
        for _, group in groupby(waiting, key=lambda side: side.key):
            yield from _of_one_id(group)
    except sqlite3.Error:
        raise CannotGoOn("temporary file", "no room for it; set TMPDIR to a folder with more") from None
    finally:
        db.close()


def _add(db: sqlite3.Connection, side: Side) -> bool:
    """False for a record that was there before."""
    values = (
        os.fsencode(side.file), side.position, side.key, side.pair, side.identity,
        side.side, side.at, side.succeeded, side.ours, side.nobody,
    )  # fmt: skip
    marks = ", ".join("?" * len(values))
    return db.execute(f"INSERT OR IGNORE INTO sides ({_COLUMNS}) VALUES ({marks})", values).rowcount == 1


def _side(row: tuple[Any, ...]) -> Side:
    values: list[Any] = [os.fsdecode(row[0]), *row[1:7], bool(row[7]), bool(row[8]), row[9]]
    return Side(*values)


def _of_one_id(group: Iterator[Side]) -> Iterator[Event]:
    known: list[Side] = []
    for side in group:
        if not side.key:
            yield _event((side,))
        elif len(known) < MOST:
            known.append(side)
        else:
            reason = f"its message id stands in more than {MOST} records"
            yield Event(side.file, side.position, class_=Class.REJECTED, reason=reason)
    for pair in sorted(pairs(known), key=lambda pair: min(side.at for side in pair)):
        yield _event(pair)


def pairs(sides: list[Side]) -> list[tuple[Side, ...]]:
    """The sides of one message id, in order of time, two by two or alone."""
    found: list[tuple[Side, ...]] = []
    left: list[Side] = []
    # First those that name the same request, then what is left in the order of time.
    by_request: dict[bytes, list[Side]] = {}
    for side in sides:
        by_request.setdefault(side.pair, []).append(side)
    for request, same in by_request.items():
        if request:
            both, rest = _in_order(same)
            found += both
            left += rest
        else:
            left += same
    both, alone = _in_order(sorted(left, key=lambda side: side.at))
    return [*found, *both, *((side,) for side in alone)]


def _in_order(sides: list[Side]) -> tuple[list[tuple[Side, ...]], list[Side]]:
    """The first of the client's with the first of the service's, and so on; and those that remain."""
    clients = [side for side in sides if side.side == CLIENT]
    services = [side for side in sides if side.side == SERVICE]
    number = min(len(clients), len(services))
    both: list[tuple[Side, ...]] = list(zip(clients, services, strict=False))
    return both, clients[number:] + services[number:]


def _event(pair: tuple[Side, ...]) -> Event:
    """An exchange at the place where its service wrote it down, or its client did alone."""
    shown = pair[-1]
    nobody = next((side.nobody for side in pair if side.nobody), "")
    class_ = None
    if nobody:
        class_ = Class.NOT_ABOUT_A_PERSON
    elif not any(side.ours for side in pair):
        class_, nobody = Class.NOT_ABOUT_A_PERSON, "another's: `where` in [exchange] does not hold"
    elif not any(side.succeeded for side in pair):
        class_ = Class.FAILED
    return Event(
        shown.file,
        shown.position,
        shown.day,
        key=shown.key,
        class_=class_,
        reason=nobody,
        side=shown.side if len(pair) == 1 else "",
    )
