"""Numbers of entries by a hash: by leaf hash, and by hash of fetch token.

A hash is looked up by its first six bytes: two entries can have them in common, so that whoever looks compares the
whole hash with what he finds.  New keys are in `recents`; later they lie in chunks, sorted (keyruns.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import Table

from ledger.store import schema
from ledger.store.engine import Connection, run
from ledger.store.recents import KEY_BYTES, SLICES, read_keys, read_marks
from ledger.store.statements import among

ROW_BYTES = 2 * KEY_BYTES
"""Of a key in a chunk: itself, and the number, as many bytes."""

FIRST_BITS, STEP_BITS, LAST_LEVEL = 8, 4, 10
"""Keys of a chunk of level 0 begin with the same 8 bits, of level 1 with the same 12, … of level 10 they are equal."""

CHUNK = 200
"""Keys of one question. They are in order, so that those which share a chunk mostly ask for it once."""

USUAL = 3
"""Levels that are asked for at any rate: those of a hundred million keys."""

FEW = 16
"""Keys that are searched for one by one; for more of them every recent one is looked at."""


class Kind(NamedTuple):
    """What the hashes are of: where they are at first, a column of `recents`, and where they settle."""

    recent: str
    settled: Table


LEAF = Kind("leaves", schema.leaf_chunks)
FETCH = Kind("fetches", schema.fetch_chunks)


def short_key(hash32: bytes) -> int:
    """The first six bytes of a hash as a number."""
    return int.from_bytes(hash32[:KEY_BYTES], "big")


def chunk_of(key: int, level: int) -> int:
    """The chunk of this level that a short key lies in: a 1, and then the bits that all in it begin with.

    So no two chunks have the same number, and those of a deeper level have higher ones.
    """
    bits = FIRST_BITS + STEP_BITS * level
    return 1 << bits | key >> 8 * KEY_BYTES - bits


def level_of(chunk: int) -> int:
    """The level of the chunk with this number."""
    return (chunk.bit_length() - 1 - FIRST_BITS) // STEP_BITS


def find_numbers(db: Connection, kind: Kind, hashes: Sequence[bytes]) -> dict[int, list[int]]:
    """By short key, the numbers that may have these hashes, ascending."""
    wanted = sorted({digest[:KEY_BYTES] for digest in hashes})
    found: dict[int, set[int]] = {}
    # The recent ones first: a key that settles in between is then seen at least once.
    for key, number in _find_recent(db, kind, wanted):
        found.setdefault(short_key(key), set()).add(number)
    for key, number in _find_settled(db, kind.settled, wanted):
        found.setdefault(short_key(key), set()).add(number)
    return {key: sorted(numbers) for key, numbers in found.items()}


def _find_recent(db: Connection, kind: Kind, wanted: Collection[bytes]) -> Iterator[tuple[bytes, int]]:
    if not wanted:
        return
    asked = frozenset(wanted)
    # Whatever settles behind this look is found where it has settled.
    for first, data in read_keys(db, kind.recent, min(read_marks(db)[SLICES:])):
        if len(wanted) > FEW:
            places = range(0, len(data), KEY_BYTES)
            found = [(data[at : at + KEY_BYTES], at) for at in places if data[at : at + KEY_BYTES] in asked]
        else:
            found = [(key, at) for key in wanted for at in _places(data, key, KEY_BYTES)]
        yield from ((key, first + at // KEY_BYTES) for key, at in found)


def _places(data: bytes, key: bytes, width: int) -> Iterator[int]:
    """Where in packed rows of this width a key begins one."""
    at = data.find(key)
    while at >= 0:
        if at % width == 0:
            yield at
        at = data.find(key, at + 1)


def _find_settled(db: Connection, table: Table, wanted: Sequence[bytes]) -> Iterator[tuple[bytes, int]]:
    if not wanted:
        return
    # In a write on PostgreSQL each statement sees what was committed before it, and a key may move meanwhile, always
    # to a deeper level. The levels from `level` to `end` are asked for it in one statement, and behind it whether there
    # are more: what was on none of them has moved to one that is asked then. Elsewhere all of this sees one state.
    level, end = 0, USUAL
    while level < end:
        for start in range(0, len(wanted), CHUNK):
            asked: dict[int, list[bytes]] = {}
            for key in wanted[start : start + CHUNK]:
                number = short_key(key)
                for at in range(level, end):
                    asked.setdefault(chunk_of(number, at), []).append(key)
            those, params = among(db, "chunk", asked)
            for chunk, data in run(db, f"SELECT chunk, data FROM {table.name} WHERE {those}", params):
                yield from _numbers(bytes(data), asked[chunk])
        level, end = end, _levels(db, table)


def _levels(db: Connection, table: Table) -> int:
    """How many levels hold anything, or have deeper ones that do."""
    chunk = run(db, f"SELECT MAX(chunk) FROM {table.name}").scalar()
    return 0 if chunk is None else level_of(chunk) + 1


def _numbers(data: bytes, wanted: Sequence[bytes]) -> Iterator[tuple[bytes, int]]:
    for key in wanted:
        if key in data:
            for at in _places(data, key, ROW_BYTES):
                yield key, int.from_bytes(data[at + KEY_BYTES : at + ROW_BYTES], "big")
