"""What has not settled yet: labels and keys of the entries accepted lately, packed in the order of their numbers.

One row for all that a transaction accepts, where indexes would get three for each entry (docs/adr/0031).  Labels are
looked up for every entry, in memory (recentlabels.py); keys seldom, through all rows.  A row goes when all of it has
settled (settling.py): some 250,000 entries are here, and those that wait.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from ledger.store import schema
from ledger.store.engine import Connection, run
from ledger.store.statements import insert_rows

LABEL_BYTES = 32
KEY_BYTES = 6
SLICE_BITS = 4
SLICES = 1 << SLICE_BITS
"""Of the labels, and of the keys, by their first four bits: each settles by itself."""

SMALL = 1024
"""Entries: rows of fewer are joined."""

_NOBODY = bytes(LABEL_BYTES)
"""In place of the label of an entry that was left out; no hash is this."""

Pack = tuple[int, bytes]
"""The number of the first entry, and something of so many bytes of each."""


def add(
    db: Connection,
    first: int,
    labels: Sequence[bytes],
    leaves: Sequence[bytes],
    fetches: Sequence[bytes | None],
) -> None:
    """Note these index labels, leaf hashes and H(fetch_token), 32 bytes each, of entries numbered from `first` on."""
    row = (
        first,
        first + len(labels) - 1,
        b"".join([leaf[:KEY_BYTES] for leaf in leaves]),
        # Without a token the leaf's own: one key for all of these would lead to as many numbers.
        b"".join([(fetch or leaf)[:KEY_BYTES] for fetch, leaf in zip(fetches, leaves, strict=True)]),
        b"".join(labels),
    )
    insert_rows(db, schema.recents, [row])


def read_after(db: Connection, number: int) -> list[Pack]:
    """The labels of the entries with numbers above this one, in order."""
    rows = run(
        db,
        "SELECT first, labels FROM recents WHERE last > ? AND first >="
        " COALESCE((SELECT MAX(first) FROM recents WHERE first <= ?), 0) ORDER BY first",
        (number, number),
    )
    return [_behind(number, first, bytes(data), LABEL_BYTES) for first, data in rows.all()]


def _behind(number: int, first: int, data: bytes, width: int) -> Pack:
    past = max(0, number + 1 - first)
    return first + past, data[width * past :]


def labels_in(pack: Pack) -> Iterable[tuple[bytes, int]]:
    """Label and number of each entry in it that was not left out."""
    number, data = pack
    for at in range(0, len(data), LABEL_BYTES):
        label = data[at : at + LABEL_BYTES]
        if label != _NOBODY:
            yield label, number
        number += 1


def unsettled(db: Connection, last: int, parts: Collection[int] = range(SLICES)) -> list[tuple[bytes, int]]:
    """Label and number of entries numbered up to `last` whose label has not settled, in these slices."""
    marks = read_marks(db)
    return [
        (label, number)
        for pack in read_after(db, min(marks[part] for part in parts))
        for label, number in labels_in(pack)
        if label[0] >> 8 - SLICE_BITS in parts and marks[label[0] >> 8 - SLICE_BITS] < number <= last
    ]


def read_keys(db: Connection, column: str, after: int = 0) -> list[Pack]:
    """The keys of the entries with numbers above `after`: `leaves` or `fetches`."""
    rows = run(db, f"SELECT first, {column} FROM recents WHERE last > ? ORDER BY first", (after,))
    return [_behind(after, first, bytes(data), KEY_BYTES) for first, data in rows.all()]


def oldest(db: Connection) -> int | None:
    """The lowest number here."""
    number = run(db, "SELECT MIN(first) FROM recents").scalar()
    return None if number is None else int(number)


def forget(db: Connection, number: int) -> None:
    """Forget the label of an entry that waits, and is left out of the log; its keys lead nowhere then."""
    row = run(
        db, "SELECT first, labels FROM recents WHERE first <= ? AND last >= ?", (number, number)
    ).first()
    if row is not None:
        first, data = row[0], bytearray(row[1])
        at = LABEL_BYTES * (number - first)
        data[at : at + LABEL_BYTES] = _NOBODY
        run(db, "UPDATE recents SET labels = ? WHERE first = ?", (bytes(data), first))


def join_small(db: Connection, before: int, last: int) -> None:
    """Join rows of few entries, once the entries numbered before+1 … last are sequenced.

    Each then has SMALL entries at least, but the newest, which the next call goes on with.
    """
    rows = run(
        db,
        "SELECT first, last FROM recents WHERE last <= ? AND first >= COALESCE("
        "(SELECT first FROM recents WHERE last <= ? ORDER BY first DESC LIMIT 1), 0) ORDER BY first",
        (last, before),
    ).all()
    start, count, several = 0, 0, False
    for first, end in rows:
        several, start = count > 0, start if count else first
        count += end - first + 1
        if count >= SMALL:
            if several:
                _join(db, start, end)
            count, several = 0, False
    if several:
        _join(db, start, rows[-1][1])


def _join(db: Connection, start: int, end: int) -> None:
    which = "FROM recents WHERE first >= ? AND last <= ?"
    rows = run(db, f"SELECT leaves, fetches, labels {which} ORDER BY first", (start, end)).all()
    run(db, f"DELETE {which}", (start, end))
    insert_rows(db, schema.recents, [(start, end, *map(b"".join, zip(*rows, strict=True)))])


def begin_marks(db: Connection, last: int = 0) -> None:
    """Nothing has settled yet of the entries numbered above `last`."""
    insert_rows(db, schema.settled, [(part, last) for part in range(2 * SLICES)])


def read_marks(db: Connection) -> list[int]:
    """Up to which number each slice of the labels has settled, and then each of the keys."""
    return list(run(db, "SELECT last FROM settled ORDER BY part").scalars())


def mark(db: Connection, part: int, last: int) -> None:
    """All of this part has settled up to this number; what nobody needs any more goes."""
    run(db, "UPDATE settled SET last = ? WHERE part = ?", (last, part))
    run(db, "DELETE FROM recents WHERE last <= (SELECT MIN(last) FROM settled)")
