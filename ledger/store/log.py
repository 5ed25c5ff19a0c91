"""The sequenced log: its state, entries, tree tiles, registrations and counts per day."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass

from ledger.store import schema
from ledger.store.engine import Connection, run, run_many
from ledger.store.schema import SCHEMA_VERSION, short_key
from ledger.store.statements import among, insert_rows

STATE = "size, root, labels, index_root, registrations, pages_covers"


@dataclass(frozen=True, slots=True)
class State:
    """The log after its last batch: `size` leaves, the last an index root; both roots are over them all."""

    size: int
    root: bytes
    labels: int
    index_root: bytes
    registrations: int
    pages_covers: int


def begin_log(db: Connection, empty: State) -> None:
    """Write the rows of which there is one: a log of size 0.  Raises IntegrityError when there is one."""
    run(
        db,
        f"INSERT INTO state (id, schema_version, {STATE}) VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
        (SCHEMA_VERSION, *astuple(empty)),
    )
    run(db, "INSERT INTO deposits (id, next) VALUES (1, 1)")
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
    return State(row[0], bytes(row[1]), row[2], bytes(row[3]), row[4], row[5])


def read_size(db: Connection) -> int:
    """Leaves sequenced; always also the size of the newest checkpoint that may be published."""
    return int(run(db, "SELECT size FROM state WHERE id = 1").scalar_one())


def swap_state(db: Connection, expected_size: int, new: State) -> bool:
    """Replace the state if its size is still `expected_size`; False (nothing changed) when it is not."""
    changed = run(
        db,
        "UPDATE state SET size = ?, root = ?, labels = ?, index_root = ?, registrations = ?,"
        " pages_covers = ? WHERE id = 1 AND size = ?",
        (*astuple(new), expected_size),
    )
    return changed.rowcount == 1


def append_entries(db: Connection, start: int, rows: Sequence[tuple[bytes, int, bytes]]) -> None:
    """Append leaves from index `start` on: (leaf hash, number in the inbox or 0, entry)."""
    insert_rows(
        db,
        schema.entries,
        [
            (index, short_key(leaf), deposit, entry)
            for index, (leaf, deposit, entry) in enumerate(rows, start)
        ],
    )


def read_entries(db: Connection, start: int, stop: int) -> list[bytes]:
    """Entries start … stop−1 in order.  Raises LookupError when the log does not reach to `stop`."""
    rows = run(
        db, "SELECT entry FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx", (start, stop)
    ).fetchall()
    if len(rows) != max(0, stop - start):
        raise LookupError(f"entries {start} to {stop}: the store holds only {len(rows)} of them")
    return [bytes(row[0]) for row in rows]


def read_entries_at(db: Connection, indices: Sequence[int]) -> dict[int, bytes]:
    """The entries at these indices, by index; those beyond the log are left out."""
    found: dict[int, bytes] = {}
    for start in range(0, len(indices), 500):
        those, params = among(db, "idx", indices[start : start + 500])
        for idx, entry in run(db, f"SELECT idx, entry FROM entries WHERE {those}", params):
            found[idx] = bytes(entry)
    return found


def read_numbers_at(db: Connection, indices: Sequence[int]) -> dict[int, int]:
    """By index, the numbers under which the entries at these indices were accepted."""
    found: dict[int, int] = {}
    for start in range(0, len(indices), 500):
        those, params = among(db, "idx", indices[start : start + 500])
        for idx, number in run(db, f"SELECT idx, deposit FROM entries WHERE {those}", params):
            found[idx] = number
    return found


def find_leaf(db: Connection, leaf_hash: bytes) -> list[tuple[int, bytes]]:
    """Candidates (index, entry) for a leaf hash: those whose short key is the same; the caller hashes."""
    rows = run(db, "SELECT idx, entry FROM entries WHERE leaf_key = ? ORDER BY idx", (short_key(leaf_hash),))
    return [(idx, bytes(entry)) for idx, entry in rows]


def write_tiles(db: Connection, tiles: Iterable[tuple[int, int, bytes]]) -> None:
    """Put hash tiles (level, n, hashes), replacing the partial ones that stood there."""
    insert_rows(
        db,
        schema.tree_tiles,
        list(tiles),
        conflict="ON CONFLICT (level, n) DO UPDATE SET data = excluded.data",
    )


def read_tile(db: Connection, level: int, n: int, width: int) -> bytes:
    """The first `width` hashes of a hash tile: 32·width bytes.

    A tile never changes but by growing, so this is the tile of every tree large enough.
    Raises LookupError when the log is not.
    """
    data = run(db, "SELECT data FROM tree_tiles WHERE level = ? AND n = ?", (level, n)).scalar()
    if data is None or len(data) < 32 * width:
        raise LookupError(f"tile {level}/{n}: the store does not hold {width} hashes of it")
    return bytes(data[: 32 * width])


def read_tiles(db: Connection, level: int, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """Hash tiles n = start … stop−1 of a level as (n, hashes), the last possibly partial."""
    rows = run(
        db,
        "SELECT n, data FROM tree_tiles WHERE level = ? AND n >= ? AND n < ? ORDER BY n",
        (level, start, stop),
    )
    for n, data in rows:
        yield n, bytes(data)


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


def accepted_day_counts(db: Connection, days: Collection[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Records by (source, day) in log and inbox together, for at least these days; those without any are left out.

    One statement: the sequencer may commit at any moment, and what it moves is counted once.
    """
    counts: dict[tuple[int, int], int] = {}
    ordered = sorted(days)
    for start in range(0, len(ordered), 200):
        part = ordered[start : start + 200]
        sources, params = among(db, "source", sorted({source for source, _ in part}))
        numbers, more = among(db, "day", sorted({day for _, day in part}))
        rows = run(
            db,
            f"SELECT source, day, records FROM day_counts WHERE {sources} AND {numbers}"
            f" UNION ALL SELECT source, day, COUNT(*) FROM inbox WHERE {sources} AND {numbers} GROUP BY source, day",
            [*params, *more, *params, *more],
        ).all()
        found: dict[tuple[int, int], int] = {}
        for source, day, records in rows:
            found[source, day] = found.get((source, day), 0) + records
        counts |= {day: found[day] for day in part if day in found}
    return counts


def read_day_count(db: Connection, source: int, day: int) -> int:
    """Records of a source and day in the log, the inbox not counted."""
    count = run(db, "SELECT records FROM day_counts WHERE source = ? AND day = ?", (source, day)).scalar()
    return int(count or 0)
