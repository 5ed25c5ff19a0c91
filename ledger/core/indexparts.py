"""An index that grows by the parts of its buckets: what a large one takes in costs it half the work.

    the bucket's node                  hashed anew from the parts: three hashes
    ·  ·                               two levels
    0  1  2  3                         the parts: only that in which a label is new is read, and hashed anew

Rows are stored by part, so that a new label in a log of three millions meets three others, and not twelve. Hash and
number of labels of each part are in memory, 144 bytes a bucket, and are never stored: after a start they are made from
the rows when a bucket first gets a label, or before (`warm`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from ledger.core.errors import Malformed
from ledger.core.index import TOP_BITS, PrefixTree
from ledger.core.indexbuckets import Buckets, put_hash
from ledger.core.indexproof import EMPTY, Row
from ledger.core.indexrows import ROW_BYTES, PackedRows, bucket_hash

SPLIT_BITS = 2
PARTS = 1 << SPLIT_BITS
"""Of a bucket."""

PART_BITS = TOP_BITS + SPLIT_BITS
"""Those that all labels of a part begin with, in an index of TOP_BITS."""

WARMED = 1024
"""Buckets at a time: some 20 ms in a log of three millions."""


class PartedTree(PrefixTree):
    """A `PrefixTree` over rows packed under `part_bits`."""

    def __init__(self, rows: PackedRows, top_bits: int = TOP_BITS) -> None:
        super().__init__(rows, top_bits)
        self.part_bits = top_bits + SPLIT_BITS
        self._parts = Buckets(self.part_bits, memoryview(bytearray(32 << self.part_bits)))
        self._known = bytearray(1 << top_bits)  # of which buckets the parts are right
        self._spread = bytearray(1 << top_bits)  # and which of those have two labels or more in both halves
        self._packed = rows
        self._warmed = 0

    def insert_packed(self, rows: PackedRows, pairs: list[bytes]) -> list[int]:
        """See `PrefixTree`."""
        if rows is not self._packed:
            raise ValueError("the rows are not those of this tree")
        self.flush()
        shift = 24 - self.top_bits
        places = [int.from_bytes(pair[:3], "big") >> shift for pair in pairs]
        self.learn(places)
        parts, taken = self._parts.insert(rows, pairs)
        counts = self._buckets.counts
        for bucket in places:
            counts[bucket] += 1
        for pair in taken:
            counts[int.from_bytes(pair[:3], "big") >> shift] -= 1
        self._labels += len(pairs) - len(taken)
        buckets = list(dict.fromkeys([part >> SPLIT_BITS for part in parts]))
        self._fold_many(buckets)
        self._changed.update(buckets)
        self._propagate(buckets)
        return [int.from_bytes(pair[32:], "big") for pair in taken]

    def learn(self, buckets: Iterable[int]) -> None:
        """Make the parts of those of these buckets of which they are not known.

        Raises Malformed when the rows do not hash to the bucket.
        """
        known = self._known
        unknown = [bucket for bucket in buckets if not known[bucket]]
        if not unknown:
            return
        unknown = sorted(set(unknown))
        full = [bucket for bucket in unknown if self._buckets.counts[bucket]]
        parts = [part for bucket in full for part in parts_of(bucket)]
        rows = dict(zip(parts, self._packed.packed(parts, self.part_bits), strict=True))
        for bucket in unknown:
            for part in parts_of(bucket):
                data = rows.get(part) or b""
                self._parts.set(part, bucket_hash(data, self.part_bits), len(data) // ROW_BYTES)
            if self._fold(bucket) != self.bucket(bucket)[1:]:
                raise Malformed("index rows", f"the labels of bucket {bucket} do not hash to it")
            known[bucket] = 1

    @property
    def cold(self) -> bool:
        """Whether `warm` has anything left to do."""
        return self._warmed < 1 << self.top_bits

    def warm(self) -> None:
        """Learn some buckets more: a label in one that is not known takes four times as long."""
        end = min(self._warmed + WARMED, 1 << self.top_bits)
        self.learn(range(self._warmed, end))
        self._warmed = end

    def _fold_many(self, buckets: Sequence[int]) -> None:
        """Hash these buckets anew out of their parts."""
        hashes, states, base = self._parts.hashes, self._states, 1 << self.top_bits
        spread, into, put = self._spread, self._buckets.hashes, put_hash
        for bucket in buckets:
            if spread[bucket]:  # nearly always in a large index
                at = bucket << SPLIT_BITS + 5
                halves = sha256(b"\x03" + hashes[at : at + 64]).digest()
                halves += sha256(b"\x03" + hashes[at + 64 : at + 128]).digest()
                put(into, bucket << 5, sha256(b"\x03" + halves).digest())
            else:
                digest, labels = self._fold(bucket)
                put(into, bucket << 5, digest)
                states[base + bucket] = min(labels, 2)

    def _fold(self, bucket: int) -> tuple[bytes, int]:
        """Hash of a bucket, and number of its labels, by its parts."""
        hashes, at = self._parts.hashes, bucket << SPLIT_BITS + 5
        first, second, third, fourth = self._parts.counts[PARTS * bucket : PARTS * (bucket + 1)]
        left, right = first + second, third + fourth
        self._spread[bucket] = left > 1 and right > 1
        halves = _pair(bytes(hashes[at : at + 64]), left) + _pair(bytes(hashes[at + 64 : at + 128]), right)
        return _pair(halves, left + right), left + right

    def load(self, buckets: Iterable[tuple[int, bytes, int]]) -> None:
        """See `PrefixTree`."""
        self._known = bytearray(len(self._known))
        self._warmed = 0
        super().load(buckets)

    def _set_bucket(self, prefix: int, rows: Sequence[Row]) -> None:
        self._known[prefix] = 0
        super()._set_bucket(prefix, rows)


def parts_of(bucket: int) -> range:
    """The parts of a bucket, by the bits that their labels begin with."""
    return range(PARTS * bucket, PARTS * (bucket + 1))


def _pair(hashes: bytes, labels: int) -> bytes:
    # A lone leaf passes up unchanged, and so does nothing; all else is hashed, also with an empty sibling.
    if labels > 1:
        return sha256(b"\x03" + hashes).digest()
    return hashes[32:] if hashes.startswith(EMPTY) else hashes[:32]
