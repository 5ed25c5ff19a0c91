"""When entries were accepted: what a promise says, the same for every answer about the same entry (formats §6).  And
against how many registry entries they were checked, for the sequencer.

A row holds for all numbers from its own on, up to the next row's: one row a second or so, however many entries were
accepted in it, and nothing at all for each.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ledger.store import schema
from ledger.store.engine import Connection, run
from ledger.store.log import read_numbers_at
from ledger.store.statements import insert_rows


class Run(NamedTuple):
    """Entries numbered `first` and above were accepted at `accepted` (Unix seconds), checked against so many registry
    entries."""

    first: int
    accepted: int
    registrations: int


def note_runs(db: Connection, runs: Sequence[Run]) -> bool:
    """Note how entries were accepted, in order; False when the newest row says all of it already."""
    row = run(
        db, "SELECT first, accepted, registrations FROM acceptances ORDER BY first DESC LIMIT 1"
    ).first()
    known = row and Run(*row)
    new: list[Run] = []
    for found in runs:
        if known is None or known[1:] != found[1:]:
            new.append(found)
            known = found
    insert_rows(db, schema.acceptances, new)
    return bool(new)


def read_runs(db: Connection, first: int, last: int) -> list[Run]:
    """What holds for the numbers first … last, in order; the first row may begin below `first`."""
    rows = run(
        db,
        "SELECT first, accepted, registrations FROM acceptances WHERE first <= ? AND first >="
        " (SELECT COALESCE(MAX(first), 0) FROM acceptances WHERE first <= ?) ORDER BY first",
        (last, first),
    )
    return [Run(*row) for row in rows.all()]


def times_of(db: Connection, numbers: Collection[int]) -> dict[int, int]:
    """When the entries with these numbers were accepted, Unix seconds; one that is no longer known is left out."""
    if not numbers:
        return {}
    runs = read_runs(db, min(numbers), max(numbers))
    firsts = [found.first for found in runs]
    places = {number: bisect_right(firsts, number) for number in numbers}
    return {number: runs[place - 1].accepted for number, place in places.items() if place}


def drop_published(db: Connection, published_size: int) -> None:
    """Forget what is published: nobody is owed a promise there, and a receipt says more.

    Entries are sequenced in the order of their numbers, and the last leaf but one of a checkpoint has the
    highest number below it.
    """
    last = read_numbers_at(db, [published_size - 2]).get(published_size - 2) if published_size > 1 else None
    if last is not None:
        run(
            db,
            "DELETE FROM acceptances WHERE first < (SELECT MAX(first) FROM acceptances WHERE first <= ?)",
            (last,),
        )
