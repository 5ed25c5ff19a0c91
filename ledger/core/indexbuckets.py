"""The buckets of an index: of all labels that begin with the same bits, the hash and the number, in memory.

How new labels go in, many at a time. What stands above the buckets is made anew by whoever has them (index.py).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from struct import Struct

from ledger.core.errors import Malformed
from ledger.core.indexrows import ROW_BYTES, PackedRows, bucket_hash, grow_bucket, merged, pair_hash

put_hash = Struct("32s").pack_into
"""In a third of the time of a slice assignment."""


class Buckets:
    """By the first `bits` bits of a label, 24 at most."""

    def __init__(self, bits: int, hashes: memoryview) -> None:
        """All are empty. `hashes`: room for 32 bytes each."""
        if not 1 <= bits <= 24:
            raise ValueError("buckets are by 1 to 24 bits")
        self.bits = bits
        self.hashes = hashes
        self.counts = array("I", bytes(4 << bits))

    def set(self, prefix: int, digest: bytes, labels: int) -> None:
        """What a bucket holds now."""
        put_hash(self.hashes, prefix << 5, digest)
        self.counts[prefix] = labels

    def insert(self, rows: PackedRows, pairs: list[bytes]) -> tuple[list[int], list[bytes]]:
        """Put labels in, packed (label ‖ u64 index), which get sorted: the buckets that changed, in order, and the
        pairs whose label was taken, in no order.

        Raises Malformed when the rows are not as many as they were.
        """
        pairs.sort()
        bits, hashes, counts, put = self.bits, self.hashes, self.counts, put_hash
        prefixes, groups, taken = _by_prefix(pairs, bits)
        touched: list[int] = []
        buckets: list[bytes] = []
        for prefix, group, old in zip(prefixes, groups, rows.packed(prefixes, bits), strict=True):
            bucket, count = old or b"", counts[prefix]
            if len(bucket) != ROW_BYTES * count:
                found = len(bucket) // ROW_BYTES
                raise Malformed("index rows", f"{found} labels under {prefix} of {bits} bits, not {count}")
            at = prefix << 5
            if not count:
                grown, digest = group, bucket_hash(group, bits)
            elif len(bucket) == len(group) == ROW_BYTES and bucket[:32] != group[:32]:
                # One label where there was one: the hash of that leaf is known.
                digest = pair_hash(bucket, bytes(hashes[at : at + 32]), group, bits)
                grown = bucket + group if bucket < group else group + bucket
            elif len(group) == ROW_BYTES:
                grown, digest = grow_bucket(bucket, group, bits)
                if not digest:
                    taken.append(group)
                    continue
            else:
                grown = _merge(bucket, group, taken)
                if grown is bucket:
                    continue
                digest = bucket_hash(grown, bits)
            put(hashes, at, digest)
            counts[prefix] = len(grown) // ROW_BYTES
            touched.append(prefix)
            buckets.append(grown)
        gone = set(taken)
        rows.replace(touched, buckets, [pair for pair in pairs if pair not in gone] if gone else pairs)
        return touched, taken


def _merge(bucket: bytes, group: bytes, taken: list[bytes]) -> bytes:
    """A bucket with these rows in it as well; those whose label it has already go to `taken`."""
    for at in range(0, len(group), ROW_BYTES):
        row = group[at : at + ROW_BYTES]
        grown = merged(bucket, row)
        if grown is bucket:
            taken.append(row)
        bucket = grown
    return bucket


def _by_prefix(pairs: Sequence[bytes], bits: int) -> tuple[list[int], list[bytes], list[bytes]]:
    """Sorted packed pairs by the bucket they are in: prefixes, pairs of each, and those whose label one of them has."""
    shift = 24 - bits
    prefixes: list[int] = []
    groups: list[bytes] = []
    taken: list[bytes] = []
    last_prefix = -1
    for pair in pairs:
        prefix = int.from_bytes(pair[:3], "big") >> shift
        if prefix != last_prefix:
            last_prefix = prefix
            prefixes.append(prefix)
            groups.append(pair)
        elif groups[-1][-ROW_BYTES:-8] == pair[:32]:
            taken.append(pair)
        else:
            groups[-1] += pair
    return prefixes, groups, taken
