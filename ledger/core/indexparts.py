"""How a full bucket of the index takes one more label: by its parts.

    the bucket's node                  hashed anew from the parts, three hashes
    ·  ·                               two levels
    0  1  2  3                         the parts: the hash of each is kept, and only the label's own is made anew

A bucket of twelve labels takes 28 hashes as a whole, and less than half of them for one more label. The part hashes are
kept in memory, 128 bytes a bucket, and are never stored: they are made from the rows when they are first needed.
"""

from bisect import bisect_left
from hashlib import sha256
from itertools import pairwise

from ledger.core.indexproof import EMPTY
from ledger.core.indexrows import ROW_BYTES, bucket_hash, merged, pair_hash

PARTS = 4
SPLIT = 6
"""Rows from which on a bucket is full enough."""

_BYTES = 32 * PARTS

_PART_OF = tuple(bytes((byte >> shift) % PARTS for byte in range(256)) for shift in range(7))
"""By how many bits of a byte are right of the two: which part a byte stands for."""


class PartHashes:
    """The part hashes of all buckets of an index, by prefix, in one piece of memory: a bucket has 128 bytes or none."""

    def __init__(self, bits: int) -> None:
        self._kept = bytearray(1 << bits)
        self._hashes = bytearray(_BYTES << bits)

    def __getitem__(self, prefix: int) -> bytes:
        return bytes(self._hashes[_BYTES * prefix : _BYTES * (prefix + 1)]) if self._kept[prefix] else b""

    def __setitem__(self, prefix: int, parts: bytes) -> None:
        if parts:
            self._hashes[_BYTES * prefix : _BYTES * (prefix + 1)] = parts
        self._kept[prefix] = bool(parts)


def can_split(depth: int) -> bool:
    """Whether the two bits at this depth lie in one byte of a label."""
    return depth % 8 <= 6


def split_bucket(bucket: bytes, depth: int) -> tuple[bytes, bytes]:
    """Hash of a bucket at `depth` with two rows or more, and its part hashes, 32 bytes each. See `can_split`."""
    column = bucket[depth // 8 :: ROW_BYTES].translate(_PART_OF[6 - depth % 8])
    bounds = [ROW_BYTES * bisect_left(column, part) for part in range(PARTS + 1)]
    rows = [bucket[start:stop] for start, stop in pairwise(bounds)]
    parts = b"".join([bucket_hash(some, depth + 2) for some in rows])
    left = bisect_left(column, PARTS // 2)
    return _hash_parts(parts, left, len(column) - left), parts


def grow_split(bucket: bytes, row: bytes, depth: int, parts: bytes) -> tuple[bytes, bytes, bytes]:
    """One more row in a bucket at `depth`, of which these are the part hashes: the bucket, its hash, its part hashes.

    The bucket itself, and no hash, when the label is taken in it.
    """
    place, table = depth // 8, _PART_OF[6 - depth % 8]
    column = bucket[place::ROW_BYTES].translate(table)
    part = table[row[place]]
    start = ROW_BYTES * bisect_left(column, part)
    stop = start + ROW_BYTES * column.count(part)
    rows, at = bucket[start:stop], 32 * part
    if len(rows) == ROW_BYTES and rows[:32] != row[:32]:
        # One label where there was one: its leaf hash is the part's.
        digest = pair_hash(rows, parts[at : at + 32], row, depth + 2)
        rows = rows + row if rows < row else row + rows
    else:
        grown = merged(rows, row)
        if grown is rows:
            return bucket, b"", parts
        rows, digest = grown, bucket_hash(grown, depth + 2)
    parts = parts[:at] + digest + parts[at + 32 :]
    left = bisect_left(column, PARTS // 2) + (part < PARTS // 2)
    return (
        bucket[:start] + rows + bucket[stop:],
        _hash_parts(parts, left, len(column) + 1 - left),
        parts,
    )


def _hash_parts(parts: bytes, left: int, right: int) -> bytes:
    """Hash of a bucket by its part hashes; so many rows are in the first two, and in the others."""
    return sha256(b"\x03" + _pair(parts[:64], left) + _pair(parts[64:], right)).digest()


def _pair(hashes: bytes, rows: int) -> bytes:
    # A lone leaf passes up unchanged, and so does nothing; all else is hashed, also with an empty sibling.
    if rows > 1:
        return sha256(b"\x03" + hashes).digest()
    return hashes[32:] if hashes.startswith(EMPTY) else hashes[:32]


def grow_bucket(
    bucket: bytes, group: bytes, depth: int, parts: bytes, split: bool
) -> tuple[bytes, bytes, bytes, list[bytes]]:
    """Several packed rows more in a bucket at `depth`: the bucket, its hash, its part hashes, and the rows whose label
    was taken in it; the bucket itself when all were.

    `parts`: the part hashes before, or nothing; with `split` a bucket of SPLIT rows gets some.
    """
    grown, digest = bucket, b""
    taken: list[bytes] = []
    for at in range(0, len(group), ROW_BYTES):
        before, row = grown, group[at : at + ROW_BYTES]
        if parts:
            grown, found, parts = grow_split(before, row, depth, parts)
            digest = found or digest
        else:
            grown = merged(before, row)
        if grown is before:
            taken.append(row)
    if grown is not bucket and not parts:
        if split and len(grown) >= SPLIT * ROW_BYTES:
            digest, parts = split_bucket(grown, depth)
        else:
            digest = bucket_hash(grown, depth)
    return grown, digest, parts, taken
