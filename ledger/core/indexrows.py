"""The labels of an index as they are stored: in buckets, sorted, and packed as label[32] ‖ u64 index.

A bucket holds the labels below one node of the tree. Packed rows compare as their labels do, and hash to a leaf as
they stand, so that most of the time nothing has to be unpacked.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from struct import Struct
from typing import Protocol

from ledger.core.errors import RuleBroken
from ledger.core.indexproof import EMPTY, MAX_DEPTH, ROW, Row, node_hash

ROW_BYTES = ROW.size

KEY_BYTES = 8
"""So many bytes of a label as a number take less time than all of it, and seldom have two labels as much in common."""

_ROWS = Struct(f"{ROW_BYTES}s").iter_unpack


def _keys_from(at: int) -> Callable[[bytes], Iterator[tuple[int]]]:
    return Struct(f">{at}xQ{ROW_BYTES - KEY_BYTES - at}x").iter_unpack


_KEYS = [
    (at, _keys_from(at), 8 * (at + KEY_BYTES) - depth)
    for depth in range(257)
    for at in [min(depth // 8, 32 - KEY_BYTES)]
]
"""By depth of a subtree: the byte of a label where a key begins, what reads the keys of packed rows, and how many of
their bits lie below."""


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
        """See `IndexRows`; `bits` is at most the number the rows were packed under."""
        unpack = ROW.iter_unpack
        for data in self.packed(prefixes, bits):
            yield list(unpack(data)) if data else ()

    def packed(self, prefixes: Sequence[int], bits: int) -> Iterator[bytes | None]:
        """See `PackedRows`."""
        if bits == self.bits:
            return map(self._packed.get, prefixes)
        if bits > self.bits:
            raise ValueError(f"rows are packed under {self.bits} bits, not {bits}")
        return (self._join(prefix, self.bits - bits) for prefix in prefixes)

    def _join(self, prefix: int, split: int) -> bytes:
        parts = map(self._packed.get, range(prefix << split, prefix + 1 << split))
        return b"".join([part for part in parts if part])

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
    if len(bucket) <= ROW_BYTES:
        return sha256(b"\x02" + bucket).digest() if bucket else EMPTY
    leaves = [sha256(b"\x02" + row).digest() for (row,) in _ROWS(bucket)]
    _, keys_of, below = _KEYS[depth]
    try:
        keys = [key for (key,) in keys_of(bucket)]
        return hash_range(keys, leaves, 0, len(keys), below)
    except RuleBroken:  # so many bits were too few
        keys = [int.from_bytes(row[:32], "big") for (row,) in _ROWS(bucket)]
        return hash_range(keys, leaves, 0, len(keys), 256 - depth)


def grow_bucket(bucket: bytes, row: bytes, depth: int) -> tuple[bytes, bytes]:
    """A packed bucket at `depth` with one more packed row in its place, and its hash; the bucket itself, and no hash,
    when the label is taken in it."""
    at, keys_of, below = _KEYS[depth]
    key = int.from_bytes(row[at : at + KEY_BYTES], "big")
    keys = [key for (key,) in keys_of(bucket)]
    place = bisect_left(keys, key)
    cut = ROW_BYTES * place
    grown = bucket[:cut] + row + bucket[cut:]
    keys.insert(place, key)
    leaves = [sha256(b"\x02" + row).digest() for (row,) in _ROWS(grown)]
    try:
        return grown, hash_range(keys, leaves, 0, len(keys), below)
    except RuleBroken:  # so many bits were too few, or the label is taken
        grown = merged(bucket, row)
        return (bucket, b"") if grown is bucket else (grown, bucket_hash(grown, depth))


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


def hash_range(keys: list[int], leaves: list[bytes], low: int, high: int, below: int) -> bytes:
    """Hash of the subtree over leaves low … high − 1, in whose labels `below` bits, of 256, are not the subtree's own.

    `keys` are the labels as numbers, sorted; or of each label as many of the bits that follow the first 256 − `below`
    or fewer, and `below` is the less by what they lack at their end. RuleBroken when two differ in none but the last.
    """
    count = high - low
    if count == 1:
        return leaves[low]
    # Sorted keys part where the first and the last do; every node from there up has one empty child.
    key = keys[low]
    parting = (key ^ keys[high - 1]).bit_length() - 1  # bits that follow it
    if parting < 1:
        raise RuleBroken("index", "two labels have their first 255 bits in common")
    if count == 2:
        digest = sha256(b"\x03" + leaves[low] + leaves[low + 1]).digest()
    else:
        middle = bisect_left(keys, keys[high - 1] >> parting << parting, low, high)
        # A call for a single leaf would cost as much as a hash.
        left = leaves[low] if middle - low == 1 else hash_range(keys, leaves, low, middle, parting)
        right = leaves[middle] if high - middle == 1 else hash_range(keys, leaves, middle, high, parting)
        digest = sha256(b"\x03" + left + right).digest()
    for bit in range(parting + 1, below):
        digest = sha256(b"\x03" + EMPTY + digest if key >> bit & 1 else b"\x03" + digest + EMPTY).digest()
    return digest
