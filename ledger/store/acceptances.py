"""When entries were accepted: what a promise says, the same for every answer about the same entry (formats §6).

A row holds for all numbers from its own on, up to the next row's: one row a second at most, however many
entries were accepted in it, and nothing at all for each.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection

from ledger.store.engine import Connection, run


def note_time(db: Connection, first: int, accepted: int) -> bool:
    """Entries numbered `first` and above are accepted at `accepted` (Unix seconds), until another time is noted.

    False when the newest row says so already.
    """
    newest = run(db, "SELECT accepted FROM acceptances ORDER BY first DESC LIMIT 1").scalar()
    if newest == accepted:
        return False
    run(db, "INSERT INTO acceptances (first, accepted) VALUES (?, ?)", (first, accepted))
    return True


def times_of(db: Connection, numbers: Collection[int]) -> dict[int, int]:
    """When the entries with these numbers were accepted, Unix seconds; one that is no longer known is left out."""
    if not numbers:
        return {}
    rows = run(
        db,
        "SELECT first, accepted FROM acceptances WHERE first <= ? AND first >="
        " (SELECT COALESCE(MAX(first), 0) FROM acceptances WHERE first <= ?) ORDER BY first",
        (max(numbers), min(numbers)),
    ).all()
    firsts = [first for first, _ in rows]
    places = {number: bisect_right(firsts, number) for number in numbers}
    return {number: rows[place - 1][1] for number, place in places.items() if place}


def drop_published(db: Connection, published_size: int) -> None:
    """Forget the times of what is published: nobody is owed a promise there, and a receipt says more.

    Entries are sequenced in the order of their numbers, and the last leaf but one of a checkpoint has the
    highest number below it.
    """
    last = run(db, "SELECT deposit FROM entries WHERE idx = ?", (published_size - 2,)).scalar()
    if last is not None:
        run(
            db,
            "DELETE FROM acceptances WHERE first < (SELECT MAX(first) FROM acceptances WHERE first <= ?)",
            (last,),
        )
