"""Numbers of entries by a hash: by leaf hash, and by hash of fetch token.

A hash is looked up by its first six bytes: two entries can have them in common, so that whoever looks compares the
whole hash with what he finds.  New keys are in `recents` and settle later (settling.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from struct import Struct
from typing import NamedTuple

from sqlalchemy import Table

from ledger.store import schema
from ledger.store.engine import Connection, run
from ledger.store.recents import KEY_BYTES, SLICE_BITS, SLICES, Pack, mark, read_keys, read_marks
from ledger.store.statements import among, insert_rows

_ROW = Struct(">HIQ")
CHUNK = 500
AT_ONCE = 2
"""Slices: keys settle with the labels, and one run of theirs waits for the one before."""

FEW = 16
"""Keys that are searched for one by one; for more of them every recent one is looked at."""


class Kind(NamedTuple):
    """What the hashes are of: where they are at first, a column of `recents`, and where they settle."""

    recent: str
    settled: Table


LEAF = Kind("leaves", schema.leaf_keys)
FETCH = Kind("fetches", schema.fetch_keys)


def short_key(hash32: bytes) -> int:
    """The first six bytes of a hash as a number: what fits one index entry, small and dense."""
    return int.from_bytes(hash32[:KEY_BYTES], "big")


def find_numbers(db: Connection, kind: Kind, hashes: Sequence[bytes]) -> dict[int, list[int]]:
    """By short key, the numbers that may have these hashes, ascending."""
    wanted = sorted({digest[:KEY_BYTES] for digest in hashes})
    found: dict[int, set[int]] = {}
    # The recent ones first: a key that settles in between is then seen at least once.
    for key, number in _find_recent(db, kind, wanted):
        found.setdefault(short_key(key), set()).add(number)
    for start in range(0, len(wanted), CHUNK):
        those, params = among(db, "key", [short_key(key) for key in wanted[start : start + CHUNK]])
        for key, number in run(db, f"SELECT key, number FROM {kind.settled.name} WHERE {those}", params):
            found.setdefault(key, set()).add(number)
    return {key: sorted(numbers) for key, numbers in found.items()}


def _find_recent(db: Connection, kind: Kind, wanted: Collection[bytes]) -> Iterator[tuple[bytes, int]]:
    if not wanted:
        return
    asked = frozenset(wanted)
    for first, data in read_keys(db, kind.recent):
        if len(wanted) > FEW:
            places = range(0, len(data), KEY_BYTES)
            found = [(data[at : at + KEY_BYTES], at) for at in places if data[at : at + KEY_BYTES] in asked]
        else:
            found = [(key, at) for key in wanted for at in _places(data, key)]
        yield from ((key, first + at // KEY_BYTES) for key, at in found)


def _places(data: bytes, key: bytes) -> Iterator[int]:
    at = data.find(key)
    while at >= 0:
        if at % KEY_BYTES == 0:
            yield at
        at = data.find(key, at + 1)


class KeyRun:
    """The keys of entries that were sequenced, on their way to settle: sorted, and written some slices at a time."""

    def __init__(self, db: Connection, last: int) -> None:
        """Of the entries numbered up to `last`, those that have not settled."""
        self._last = last
        marks = read_marks(db)[SLICES:]
        self._slices = {
            kind: _sorted(read_keys(db, kind.recent, min(marks)), marks, last) for kind in (LEAF, FETCH)
        }
        # Those first that the run before, of a process that has ended, did not come to.
        self._left = sorted(range(SLICES), key=marks.__getitem__, reverse=True)

    def write(self, db: Connection) -> None:
        """Write the next slices."""
        for part in self._left[-AT_ONCE:]:
            for kind, slices in self._slices.items():
                rows = _ROW.iter_unpack(slices[part])
                insert_rows(db, kind.settled, [(high << 32 | low, number) for high, low, number in rows])
            mark(db, SLICES + part, self._last)

    def written(self) -> bool:
        """The transaction of `write` has committed; whether those were the last slices."""
        del self._left[-AT_ONCE:]
        return not self._left


def _sorted(packs: Iterable[Pack], marks: Sequence[int], last: int) -> list[bytes]:
    """By slice, the keys of entries numbered up to `last` that are above its mark, in order: key ‖ u64 number, packed,
    as one by one they would take three times as much memory."""
    found: list[list[bytes]] = [[] for _ in range(SLICES)]
    for first, data in packs:
        stop = min(len(data), KEY_BYTES * (last + 1 - first))
        for number, at in enumerate(range(0, stop, KEY_BYTES), first):
            part = data[at] >> 8 - SLICE_BITS
            if number > marks[part]:
                found[part].append(data[at : at + KEY_BYTES] + number.to_bytes(8, "big"))
    return [b"".join(sorted(some)) for some in found]
