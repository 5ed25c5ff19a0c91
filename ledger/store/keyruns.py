"""How keys settle: in runs, which are merged when there are many (docs/adr/0032).

What has not settled is taken as a run: sorted keys, written some slices at a time, as one row for each chunk of level 0
that they fall into. No row that is there is touched. When a chunk has many rows, all of them are sorted together and
move to the chunks of the next level, up to 16, a row for each. So a row holds some hundred keys at any level, a look-up
reads some ten rows of each level, and a level holds 16 times as many keys as the one before: three million keys are on
two.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from struct import Struct, pack

from sqlalchemy import Table

from ledger.store.engine import Connection, run
from ledger.store.keys import CHUNK, FETCH, LAST_LEVEL, LEAF, ROW_BYTES, chunk_of, level_of, short_key
from ledger.store.recents import KEY_BYTES, SLICE_BITS, SLICES, Pack, mark, read_keys, read_marks
from ledger.store.statements import among, insert_rows

AT_ONCE = 4
"""Slices: keys settle with the labels, and one run of theirs waits for the one before. They do so four times as often,
as they cost little, and a look-up reads all that have not."""

FEWEST, SPREAD = 9, 16
"""Rows of a chunk from which on they are merged: 9 to 24, by the last bits of its number. Neighbours get a row at the
same time, and would otherwise all be merged in the same transaction; so a few are in each."""

MOST = 1024
"""Keys of a row; more of them lie at once on a deeper level. Who makes entries can choose what their hashes begin with:
what is merged in one transaction stays small all the same."""

_ROW = Struct(f"{ROW_BYTES}s")
Rows = Iterator[tuple[int, int, bytes]]
"""Of the table: chunk, last, data."""


class KeyRun:
    """The keys of entries that were sequenced, on their way to settle: sorted, and written some slices at a time."""

    def __init__(self, db: Connection, last: int) -> None:
        """Of the entries numbered up to `last`, those that have not settled."""
        self._last = last
        marks = read_marks(db)[SLICES:]
        self._slices = {
            kind: _sliced(read_keys(db, kind.recent, min(marks)), marks, last) for kind in (LEAF, FETCH)
        }
        # Those first that the run before, of a process that has ended, did not come to.
        self._left = sorted(range(SLICES), key=marks.__getitem__, reverse=True)

    def write(self, db: Connection) -> None:
        """Write the next slices."""
        parts = self._left[-AT_ONCE:]
        for kind, slices in self._slices.items():
            rows = [row for part in parts for row in placed(slices[part], 0, self._last)]
            insert_rows(db, kind.settled, rows)
            _merge(db, kind.settled, [chunk for chunk, _, _ in rows])
        for part in parts:
            mark(db, SLICES + part, self._last)

    def written(self) -> bool:
        """The transaction of `write` has committed; whether those were the last slices."""
        del self._left[-AT_ONCE:]
        return not self._left


def _sliced(packs: Iterable[Pack], marks: Sequence[int], last: int) -> list[bytes]:
    """By slice, the rows of entries numbered up to `last` that are above its mark, in order and packed: one by one they
    would take five times as much memory."""
    rows = _sorted(_rows_of(first, data[: KEY_BYTES * max(0, last + 1 - first)]) for first, data in packs)
    ends = [bisect_left(rows, bytes([part << 8 - SLICE_BITS])) for part in range(SLICES)]
    slices = [rows[start:end] for start, end in pairwise([*ends, len(rows)])]
    for part, after in enumerate(marks):
        if after > min(marks):  # the run before did come to this one
            settled = after.to_bytes(KEY_BYTES, "big")
            slices[part] = [row for row in slices[part] if row[KEY_BYTES:] > settled]
    return [b"".join(some) for some in slices]


def _rows_of(first: int, keys: bytes) -> bytes:
    """Keys of entries numbered from `first` on as rows of a chunk; a byte of all of them at a time, which is quick."""
    count = len(keys) // KEY_BYTES
    numbers = pack(f">{count}Q", *range(first, first + count))
    rows = bytearray(ROW_BYTES * count)
    for at in range(KEY_BYTES):
        rows[at::ROW_BYTES] = keys[at::KEY_BYTES]
        rows[KEY_BYTES + at :: ROW_BYTES] = numbers[8 - KEY_BYTES + at :: 8]
    return bytes(rows)


def _sorted(packed: Iterable[bytes]) -> list[bytes]:
    return sorted([row for data in packed for (row,) in _ROW.iter_unpack(data)])


def by_chunk(data: bytes, level: int) -> Iterator[tuple[int, bytes]]:
    """Packed rows in order, by the chunks of this level that they lie in."""
    places = range(0, len(data), ROW_BYTES)

    def chunk_at(at: int) -> int:
        return chunk_of(short_key(data[at : at + KEY_BYTES]), level)

    end = 0
    while end < len(places):
        start, chunk = end, chunk_at(places[end])
        end = bisect_right(places, chunk, start, key=chunk_at)
        yield chunk, data[ROW_BYTES * start : ROW_BYTES * end]


def placed(data: bytes, level: int, last: int) -> Rows:
    """The rows of the table for these keys: at this level, or deeper."""
    for chunk, some in by_chunk(data, level):
        if len(some) > MOST * ROW_BYTES and level < LAST_LEVEL:
            yield from placed(some, level + 1, last)
        else:
            yield chunk, last, some


def _merge(db: Connection, table: Table, chunks: Sequence[int]) -> None:
    """Merge those of these chunks that have many rows, and then those that got one by it."""
    while chunks:
        rows: list[tuple[int, int, bytes]] = []
        for start in range(0, len(chunks), CHUNK):
            those, params = among(db, "chunk", chunks[start : start + CHUNK])
            counted = run(
                db, f"SELECT chunk, COUNT(*) FROM {table.name} WHERE {those} GROUP BY chunk", params
            )
            for chunk, count in counted.all():
                # Keys of the last level are all equal, and whoever looks for one reads all of them anyway.
                if count >= FEWEST + chunk % SPREAD and level_of(chunk) < LAST_LEVEL:
                    rows += _take(db, table, chunk)
        insert_rows(db, table, rows)
        chunks = [chunk for chunk, _, _ in rows]


def _take(db: Connection, table: Table, chunk: int) -> Rows:
    """Take a chunk's rows away; what they become on the next level."""
    found = run(db, f"SELECT last, data FROM {table.name} WHERE chunk = ?", (chunk,)).all()
    run(db, f"DELETE FROM {table.name} WHERE chunk = ?", (chunk,))
    merged = b"".join(_sorted(bytes(data) for _, data in found))
    return placed(merged, level_of(chunk) + 1, max(last for last, _ in found))
