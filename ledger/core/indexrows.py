"""The labels of an index as they are stored: in buckets, sorted, and packed as label[32] ‖ u64 index.

A bucket holds the labels below one node of the tree. Packed rows compare as their labels do, and hash to a leaf as
they stand, so that most of the time nothing has to be unpacked.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Protocol

from ledger.core.errors import RuleBroken
from ledger.core.indexproof import EMPTY, MAX_DEPTH, ROW, Row, node_hash

ROW_BYTES = ROW.size


class IndexRows(Protocol):
    """The labels, held by whoever owns the storage.

    A reader at an older state (the publisher, who serves proofs under the published index root while the
    log has already grown) gives rows whose index is below that root's `covers` and no others.
    """

    def buckets(self, prefixes: Sequence[int], bits: int) -> Iterable[Sequence[Row]]:
        """For each prefix, in order: the rows whose label begins with these `bits` bits, sorted by label."""
        ...

    def add(self, rows: Sequence[Row]) -> None:
        """Keep these rows, sorted by label; none of their labels is stored yet."""
        ...


class PackedRows(IndexRows, Protocol):
    """Rows that can be had packed, for whoever puts in many at a time."""

    def packed(self, prefixes: Sequence[int], bits: int) -> Iterable[bytes | None]:
        """As `buckets`, each bucket as its packed rows one after another; None or nothing for an empty one."""
        ...

    def replace(self, prefixes: Sequence[int], buckets: Sequence[bytes], fresh: Sequence[bytes]) -> None:
        """Keep these as the buckets under these prefixes; `fresh` are the packed rows new in them, sorted."""
        ...


class MemoryRows:
    """All rows in memory, packed: about 75 bytes a label at a million, for audits and for folders."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self._packed: dict[int, bytes] = {}

    def buckets(self, prefixes: Sequence[int], bits: int) -> Iterator[Sequence[Row]]:
        """See `IndexRows`; `bits` is the number the rows were packed under."""
        unpack = ROW.iter_unpack
        for data in self.packed(prefixes, bits):
            yield list(unpack(data)) if data else ()

    def packed(self, prefixes: Sequence[int], bits: int) -> Iterator[bytes | None]:
        """See `PackedRows`."""
        if bits != self.bits:
            raise ValueError(f"rows are packed under {self.bits} bits, not {bits}")
        return map(self._packed.get, prefixes)

    def add(self, rows: Sequence[Row]) -> None:
        """See `IndexRows`."""
        packed, pack, shift = self._packed, ROW.pack, 24 - self.bits
        for row in rows:
            prefix = int.from_bytes(row[0][:3], "big") >> shift
            packed[prefix] = merged(packed.get(prefix), pack(*row))

    def replace(self, prefixes: Sequence[int], buckets: Sequence[bytes], fresh: Sequence[bytes]) -> None:
        """See `PackedRows`."""
        self._packed.update(zip(prefixes, buckets, strict=True))

    def __iter__(self) -> Iterator[Row]:
        for prefix in sorted(self._packed):
            yield from ROW.iter_unpack(self._packed[prefix])


def merged(bucket: bytes | None, row: bytes) -> bytes:
    """A packed bucket with one more packed row in its place; the bucket itself when the label is taken in it."""
    if not bucket:
        return row
    low, high = 0, len(bucket) // ROW_BYTES
    while low < high:
        middle = (low + high) // 2
        at = ROW_BYTES * middle
        if bucket[at : at + ROW_BYTES] < row:
            low = middle + 1
        else:
            high = middle
    at = ROW_BYTES * low
    # An entry that came before has a lower index, so a row with the same label stands just before this one.
    if at and bucket[at - ROW_BYTES : at - 8] == row[:32]:
        return bucket
    return bucket[:at] + row + bucket[at:]


def bucket_hash(bucket: bytes, depth: int) -> bytes:
    """Hash of the subtree at `depth` that holds these packed rows, sorted by label."""
    count = len(bucket) // ROW_BYTES
    if count == 0:
        return EMPTY
    if count == 1:
        return sha256(b"\x02" + bucket).digest()
    if count == 2:
        first = bucket[:ROW_BYTES]
        return pair_hash(first, sha256(b"\x02" + first).digest(), bucket[ROW_BYTES:], depth)
    starts = range(0, len(bucket), ROW_BYTES)
    keys = [int.from_bytes(bucket[at : at + 32], "big") for at in starts]
    leaves = [sha256(b"\x02" + bucket[at : at + ROW_BYTES]).digest() for at in starts]
    return hash_range(keys, leaves, 0, count, depth)


def pair_hash(known: bytes, known_leaf: bytes, row: bytes, depth: int) -> bytes:
    """As `bucket_hash` over two packed rows, of the first of which the leaf hash is known."""
    key = int.from_bytes(known[:32], "big")
    difference = key ^ int.from_bytes(row[:32], "big")
    parting = 256 - difference.bit_length()
    if parting >= MAX_DEPTH:
        raise RuleBroken("index", "two labels have their first 255 bits in common")
    leaf = sha256(b"\x02" + row).digest()
    digest = sha256(b"\x03" + known_leaf + leaf if known < row else b"\x03" + leaf + known_leaf).digest()
    for level in range(parting - 1, depth - 1, -1):
        digest = node_hash(EMPTY, digest) if key >> (255 - level) & 1 else node_hash(digest, EMPTY)
    return digest


def hash_range(keys: list[int], leaves: list[bytes], low: int, high: int, depth: int) -> bytes:
    """Hash of the subtree at `depth` over leaves low … high − 1; `keys` are their labels as numbers, sorted."""
    if high - low == 1:
        return leaves[low]
    # Sorted keys part where the first and the last do; every node from there up has one empty child.
    parting = 256 - (keys[low] ^ keys[high - 1]).bit_length()
    if parting >= MAX_DEPTH:
        raise RuleBroken("index", "two labels have their first 255 bits in common")
    if high - low == 2:
        digest = sha256(b"\x03" + leaves[low] + leaves[low + 1]).digest()
    else:
        middle = bisect_left(keys, keys[high - 1] >> (255 - parting) << (255 - parting), low, high)
        # A call for a single leaf would cost as much as a hash.
        left = leaves[low] if middle - low == 1 else hash_range(keys, leaves, low, middle, parting + 1)
        right = leaves[middle] if high - middle == 1 else hash_range(keys, leaves, middle, high, parting + 1)
        digest = sha256(b"\x03" + left + right).digest()
    key = keys[low]
    for level in range(parting - 1, depth - 1, -1):
        digest = node_hash(EMPTY, digest) if key >> (255 - level) & 1 else node_hash(digest, EMPTY)
    return digest
