"""The sequenced log: its state, batches and entries, registrations and counts per day.

An entry is stored under its number; a row of `batches` says which leaves the numbers of a batch are.  Entries that the
public files hold may have left the database (retention.py): then they are missing in what is read here, or LookupError
is raised, as each function says.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

from ledger.store import schema
from ledger.store.engine import Connection, run, run_many
from ledger.store.recents import begin_marks
from ledger.store.schema import SCHEMA_VERSION
from ledger.store.statements import among, insert_rows

STATE = "size, root, labels, index_root, registrations, pages_covers, last"
CHUNK = 500

FAR = 1000
"""Leaves, or numbers: to read the batches between two that are nearer costs less than to look twice."""


@dataclass(frozen=True, slots=True)
class State:
    """The log after its last batch: `size` leaves, the last an index root; both roots are over them all, and `last`
    is the highest number sequenced."""

    size: int
    root: bytes
    labels: int
    index_root: bytes
    registrations: int
    pages_covers: int
    last: int


class Batch(NamedTuple):
    """Leaves start … start+width−1 are the entries numbered first … first+width−1; then comes `root`, the index root
    entry, or None where the batch goes on behind a number that was left out. `closed`: Unix seconds."""

    start: int
    first: int
    width: int
    root: bytes | None
    closed: int

    @property
    def stop(self) -> int:
        """The index of the first leaf behind it."""
        return self.start + self.width + (self.root is not None)


BATCH = "start, first, width, root, closed"


def begin_log(db: Connection, empty: State) -> None:
    """Write the rows of which there is one: a log of size 0.  Raises IntegrityError when there is one."""
    run(
        db,
        f"INSERT INTO state (id, schema_version, {STATE}) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)",
        (SCHEMA_VERSION, *astuple(empty)),
    )
    run(db, "INSERT INTO deposits (id, next) VALUES (1, 1)")
    begin_marks(db)
    run(
        db,
        "INSERT INTO publication (id, signed_size, signed_note, published_size, published_note,"
        " published_time) VALUES (1, 0, ?, 0, ?, 0)",
        (b"", b""),
    )


def has_log(db: Connection) -> bool:
    """Whether a log was begun in this database."""
    return run(db, "SELECT 1 FROM state WHERE id = 1").first() is not None


def read_state(db: Connection) -> State:
    """The state this transaction sees."""
    row = run(db, f"SELECT {STATE} FROM state WHERE id = 1").one()
    return State(row[0], bytes(row[1]), row[2], bytes(row[3]), row[4], row[5], row[6])


def read_size(db: Connection) -> int:
    """Leaves sequenced; always also the size of the newest checkpoint that may be published."""
    return int(run(db, "SELECT size FROM state WHERE id = 1").scalar_one())


def swap_state(db: Connection, expected: State, new: State) -> bool:
    """Replace the state if size and last number are still those `expected`; False (nothing changed) when not."""
    changed = run(
        db,
        "UPDATE state SET size = ?, root = ?, labels = ?, index_root = ?, registrations = ?,"
        " pages_covers = ?, last = ? WHERE id = 1 AND size = ? AND last = ?",
        (*astuple(new), expected.size, expected.last),
    )
    return changed.rowcount == 1


def hold_state(db: Connection) -> None:
    """Keep the sequencer from moving on until this write transaction ends. On SQLite nobody else writes meanwhile."""
    if db.dialect.name != "sqlite":
        run(db, "SELECT size FROM state WHERE id = 1 FOR UPDATE").all()


def append_batches(db: Connection, batches: Sequence[Batch]) -> None:
    """Append leaves: the entries that these name, and their index roots."""
    insert_rows(db, schema.batches, [tuple(batch._replace(root=batch.root or b"")) for batch in batches])


def read_batches(db: Connection, start: int, stop: int) -> list[Batch]:
    """The batches that hold leaves start … stop−1, in order."""
    rows = run(
        db,
        f"SELECT {BATCH} FROM batches WHERE start < ? AND start >="
        " COALESCE((SELECT MAX(start) FROM batches WHERE start <= ?), 0) ORDER BY start",
        (stop, start),
    )
    return _batches(rows)


def _batches(rows: Iterable[tuple[int, int, int, bytes, int]]) -> list[Batch]:
    return [
        Batch(start, first, width, bytes(root) or None, closed) for start, first, width, root, closed in rows
    ]


def read_entries(db: Connection, start: int, stop: int) -> list[bytes]:
    """Entries start … stop−1 in order.  Raises LookupError when the log does not reach to `stop`, or some have left."""
    found: list[bytes] = []
    for batch in read_batches(db, start, stop):
        low, high = max(start, batch.start), min(stop, batch.start + batch.width)
        if low < high:
            offset = batch.first - batch.start
            rows = run(
                db,
                "SELECT entry FROM entries WHERE number >= ? AND number < ? ORDER BY number",
                (low + offset, high + offset),
            ).all()
            found += [bytes(row[0]) for row in rows]
        if batch.root is not None and start <= batch.stop - 1 < stop:
            found.append(batch.root)
    if len(found) != max(0, stop - start):
        raise LookupError(f"entries {start} to {stop}: the store holds only {len(found)} of them")
    return found


def read_entries_at(db: Connection, indices: Sequence[int]) -> dict[int, bytes]:
    """The entries at these indices, by index; those beyond the log, and those that have left, are left out."""
    found: dict[int, bytes] = {}
    wanted: dict[int, int] = {}
    for index, batch in _at(db, indices):
        if index == batch.start + batch.width:
            if batch.root is not None:
                found[index] = batch.root
        else:
            wanted[batch.first + index - batch.start] = index
    held = read_numbered(db, list(wanted))
    return found | {wanted[number]: entry for number, entry in held.items()}


def read_numbers_at(db: Connection, indices: Sequence[int]) -> dict[int, int]:
    """By index, the numbers under which the entries at these indices were accepted; index roots have none."""
    return {
        index: batch.first + index - batch.start
        for index, batch in _at(db, indices)
        if index < batch.start + batch.width
    }


def _at(db: Connection, indices: Sequence[int]) -> Iterator[tuple[int, Batch]]:
    """Each index within the log, with the batch that holds it."""
    for some in _neighbours(indices):
        batches = read_batches(db, some[0], some[-1] + 1)
        starts = [batch.start for batch in batches]
        for index in some:
            place = bisect_right(starts, index)
            if place and index < batches[place - 1].stop:
                yield index, batches[place - 1]


def _neighbours(values: Collection[int]) -> Iterator[list[int]]:
    """These in order, cut where two are further than FAR apart: between them may be millions of batches."""
    some: list[int] = []
    for value in sorted(set(values)):
        if some and value - some[-1] > FAR:
            yield some
            some = []
        some.append(value)
    if some:
        yield some


def index_of(db: Connection, numbers: Collection[int]) -> dict[int, int]:
    """By number, the index of the leaf that its entry is; entries that wait, or were left out, have none."""
    found: dict[int, int] = {}
    for some in _neighbours(numbers):
        rows = run(
            db,
            f"SELECT {BATCH} FROM batches WHERE first <= ? AND first >="
            " COALESCE((SELECT MAX(first) FROM batches WHERE first <= ?), 0) ORDER BY first, start",
            (some[-1], some[0]),
        )
        batches = [batch for batch in _batches(rows) if batch.width]
        firsts = [batch.first for batch in batches]
        for number in some:
            place = bisect_right(firsts, number)
            if place and number < batches[place - 1].first + batches[place - 1].width:
                found[number] = batches[place - 1].start + number - batches[place - 1].first
    return found


def read_numbered(db: Connection, numbers: Sequence[int]) -> dict[int, bytes]:
    """The entries accepted under these numbers, by number; those that have left are left out."""
    found: dict[int, bytes] = {}
    for start in range(0, len(numbers), CHUNK):
        those, params = among(db, "number", numbers[start : start + CHUNK])
        for number, entry in run(db, f"SELECT number, entry FROM entries WHERE {those}", params):
            found[number] = bytes(entry)
    return found


def add_registration(db: Connection, number: int, index: int | None, entry: bytes) -> None:
    """Note an accepted registry entry, the `number`-th (from 1); `index` is None while it waits."""
    run(db, "INSERT INTO registrations (number, idx, entry) VALUES (?, ?, ?)", (number, index, entry))


def place_registrations(db: Connection, placed: Iterable[tuple[int, int]]) -> None:
    """Of each (number, index): the `number`-th registry entry was sequenced at `index`."""
    run_many(
        db,
        "UPDATE registrations SET idx = ? WHERE number = ?",
        [(index, number) for number, index in placed],
    )


def drop_registration(db: Connection, number: int) -> None:
    """The `number`-th registry entry was accepted and then not sequenced; later ones keep their numbers."""
    run(db, "DELETE FROM registrations WHERE number = ?", (number,))


def read_registrations(db: Connection, after: int = 0) -> list[tuple[int, int | None, bytes]]:
    """Registry entries accepted after the first `after`: (number, index or None while it waits, entry)."""
    rows = run(db, "SELECT number, idx, entry FROM registrations WHERE number > ? ORDER BY number", (after,))
    return [(number, idx, bytes(entry)) for number, idx, entry in rows]


def read_charter_entry(db: Connection) -> bytes:
    """The entry at leaf 0.  Raises LookupError when there is none."""
    entry = run(db, "SELECT entry FROM registrations WHERE number = 1").scalar()
    if entry is None:
        raise LookupError("the store holds no charter")
    return bytes(entry)


def last_registration(db: Connection) -> int:
    """The number of the newest registry entry in log and inbox; 0 when there is none."""
    return int(run(db, "SELECT COALESCE(MAX(number), 0) FROM registrations").scalar_one())


def add_day_counts(db: Connection, counts: Iterable[tuple[int, int, int]]) -> None:
    """Add to the records in the log: (source, day, how many more)."""
    insert_rows(
        db,
        schema.day_counts,
        list(counts),
        conflict="ON CONFLICT (source, day) DO UPDATE SET records = day_counts.records + excluded.records",
    )


def read_day_count(db: Connection, source: int, day: int) -> int:
    """Records of a source and day in the log, the inbox not counted."""
    count = run(db, "SELECT records FROM day_counts WHERE source = ? AND day = ?", (source, day)).scalar()
    return int(count or 0)
