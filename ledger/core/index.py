"""The index: a binary prefix tree that gives every entry but index roots exactly one label.

    leaf  = H(0x02 ‖ label[32] ‖ u64 entry index)      at the shallowest depth at which it is alone
    node  = H(0x03 ‖ left[32] ‖ right[32])
    empty = 32 zero bytes

The bits of a label are read most significant first. The root depends on the set of (label, index) pairs
alone, never on their order or on how they are stored.

What a proof looks like and how it is checked stands in indexproof.py. Source: docs/formats.md §5.

Storage is given from outside. `PrefixTree` keeps the hashes of the top levels (by default 18, about 17 MiB)
and asks an `IndexRows` for the labels below one node of the lowest of them: a *bucket*. A bucket of a tree
with a million labels holds four, so that neither the labels nor most of the hashes need to be in memory.
"""

from array import array
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import repeat
from struct import Struct, pack, unpack_from
from typing import NamedTuple

from ledger.core.errors import Malformed
from ledger.core.indexbuckets import Buckets, put_hash
from ledger.core.indexproof import EMPTY, Row, check_index_proof, format_index_proof, leaf_hash
from ledger.core.indexrows import (
    IndexRows,
    MemoryRows,
    PackedRows,
    hash_range,
)

__all__ = [
    "EMPTY",
    "TOP_BITS",
    "Bucket",
    "IndexRows",
    "MemoryRows",
    "PackedRows",
    "PrefixTree",
    "Row",
    "check_index_proof",
]

TOP_BITS = 18
"""Levels kept in memory unless told otherwise: 2^19 hashes of 32 bytes."""

SHARED_BITS = 9
"""Depth down to which the paths of many proofs are put together once."""

BUCKET = Struct(">I32sI")
"""prefix ‖ hash ‖ labels, as `take_changed_packed` gives it."""


class Bucket(NamedTuple):
    """What the tree remembers of one bucket: enough to start again without reading a label."""

    prefix: int
    hash: bytes
    labels: int


class PrefixTree:
    """Root and proofs over the rows of an `IndexRows`.

    New labels come in through `insert_many`. Whoever changes rows by another way (a database transaction, or
    a reader moving on to a newer `covers`) says so with `mark_dirty`: the buckets are read again when a root
    or a proof is next asked for. One thread at a time.
    """

    def __init__(self, rows: IndexRows, top_bits: int = TOP_BITS) -> None:
        if not 1 <= top_bits <= 24:
            raise ValueError("top_bits is 1 to 24")
        self._rows = rows
        self._bits = top_bits
        # Nodes are numbered as in a heap: the root is 1, the children of i, 2i and 2i+1, stand side by side.
        self._hashes = bytearray(64 << top_bits)
        # 0 nothing below · 1 a lone leaf, whose hash the node passes up unchanged · 2 an inner node.
        self._states = bytearray(2 << top_bits)
        # The lowest of these levels are the buckets.
        self._buckets = Buckets(top_bits, memoryview(self._hashes)[32 << top_bits :])
        self._labels = 0
        self._dirty: set[int] = set()
        self._changed: set[int] = set()

    @property
    def top_bits(self) -> int:
        """Depth of the buckets."""
        return self._bits

    @property
    def root(self) -> bytes:
        """The index root, 32 bytes; zeros when there is no label."""
        self.flush()
        return bytes(self._hashes[32:64])

    @property
    def labels(self) -> int:
        """How many labels the index has."""
        self.flush()
        return self._labels

    def insert_many(self, pairs: Iterable[Row]) -> list[Row]:
        """Put labels in, in any order, and return those that were taken.

        A label may be taken by a row already there or by a pair with a lower index in the same call; the
        first stays and nothing else about the index changes. Hashing towards the root is shared: batches pay.
        Raises Malformed when rows are missing that the root was made of.
        """
        self.flush()
        shift = 24 - self._bits
        prefixes: list[int] = []
        groups: list[list[Row]] = []
        taken: list[Row] = []
        last_label, last_prefix = b"", -1
        for pair in sorted(pairs):
            label = pair[0]
            if label == last_label:
                taken.append(pair)
                continue
            last_label = label
            prefix = int.from_bytes(label[:3], "big") >> shift
            if prefix == last_prefix:
                groups[-1].append(pair)
            else:
                last_prefix = prefix
                prefixes.append(prefix)
                groups.append([pair])
        fresh: list[Row] = []
        touched: list[int] = []
        stored = self._rows.buckets(prefixes, self._bits)
        counts = self._buckets.counts
        for prefix, group, old in zip(prefixes, groups, stored, strict=True):
            if len(old) != counts[prefix]:
                raise Malformed("index rows", f"{len(old)} labels in bucket {prefix}, not {counts[prefix]}")
            if old:
                known = {label for label, _ in old}
                new = [pair for pair in group if pair[0] not in known]
                if len(new) < len(group):
                    taken += [pair for pair in group if pair[0] in known]
                    if not new:
                        continue
                self._set_bucket(prefix, sorted([*old, *new]))
                fresh += new
            else:
                self._set_bucket(prefix, group)
                fresh += group
            touched.append(prefix)
        self._propagate(touched)
        self._rows.add(fresh)
        return taken

    def insert_packed(self, rows: PackedRows, pairs: list[bytes]) -> list[int]:
        """As `insert_many`, for many labels at a time: `pairs` are packed (label ‖ u64 index) and get sorted.

        `rows` are those of this tree. Returns the indices of the pairs whose label was taken, in no order.
        """
        self.flush()
        touched, taken = self._buckets.insert(rows, pairs)
        states, counts, base = self._states, self._buckets.counts, 1 << self._bits
        for prefix in touched:
            states[base + prefix] = 2 if counts[prefix] > 1 else 1
        self._labels += len(pairs) - len(taken)
        self._changed.update(touched)
        self._propagate(touched)
        return [int.from_bytes(pair[32:], "big") for pair in taken]

    def mark_dirty(self, labels: Iterable[bytes]) -> None:
        """Rows with these labels came or went without `insert_many`: read their buckets again when needed."""
        shift = 24 - self._bits
        self._dirty.update(int.from_bytes(label[:3], "big") >> shift for label in labels)

    def flush(self) -> None:
        """Read every bucket marked dirty and bring the tree up to date."""
        if not self._dirty:
            return
        prefixes = sorted(self._dirty)
        for prefix, rows in zip(prefixes, self._rows.buckets(prefixes, self._bits), strict=True):
            self._set_bucket(prefix, rows)
        self._propagate(prefixes, shrinking=True)
        self._dirty.clear()

    def bucket(self, prefix: int) -> Bucket:
        """A bucket as it is now; its hash is zeros when it has no label."""
        self.flush()
        return Bucket(
            prefix, bytes(self._buckets.hashes[32 * prefix : 32 * prefix + 32]), self._buckets.counts[prefix]
        )

    def take_changed(self) -> list[Bucket]:
        """Buckets that changed since the last call, sorted, for whoever stores them (0 labels: emptied)."""
        self.flush()
        changed = [self.bucket(prefix) for prefix in sorted(self._changed)]
        self._changed.clear()
        return changed

    def take_changed_packed(self) -> bytes:
        """As `take_changed`, 40 bytes each: u32 prefix ‖ hash[32] ‖ u32 labels."""
        self.flush()
        hashes, counts, pack = self._buckets.hashes, self._buckets.counts, BUCKET.pack
        changed = [
            pack(prefix, bytes(hashes[32 * prefix : 32 * prefix + 32]), counts[prefix])
            for prefix in sorted(self._changed)
        ]
        self._changed.clear()
        return b"".join(changed)

    def pack_buckets(self, start: int, stop: int) -> bytes:
        """The buckets start … stop−1 as they are now: their hashes, 32 bytes each, then the u32 numbers of labels."""
        self.flush()
        counts = pack(f">{stop - start}I", *self._buckets.counts[start:stop])
        return bytes(self._buckets.hashes[32 * start : 32 * stop]) + counts

    def load_packed(self, runs: Iterable[tuple[int, bytes]]) -> None:
        """Fill an empty tree: the first bucket of each run, and what `pack_buckets` gave for it.

        Takes about 0.3 s for a million labels. The caller compares `root` with one it trusts: what is loaded is not
        checked against the rows.
        """
        buckets, base, touched = self._buckets, 1 << self._bits, []
        for start, data in runs:
            count = len(data) // 36
            stop = start + count
            if len(data) != 36 * count or not 0 <= start <= stop <= base:
                raise Malformed("index buckets", f"{len(data)} bytes from bucket {start} on are none")
            counts = array("I", unpack_from(f">{count}I", data, 32 * count))
            buckets.hashes[32 * start : 32 * stop] = data[: 32 * count]
            buckets.counts[start:stop] = counts
            self._states[base + start : base + stop] = bytes([min(labels, 2) for labels in counts])
            touched += [prefix for prefix, labels in enumerate(counts, start) if labels]
        self._labels = sum(buckets.counts)
        touched.sort()
        self._propagate(touched)

    def load(self, buckets: Iterable[tuple[int, bytes, int]]) -> None:
        """Take over buckets as they are elsewhere: (prefix, hash, labels) as `take_changed` gave them, the newest last.

        The caller compares `root` with one it trusts: what is loaded is not checked against the rows.
        """
        touched, states, base, known = [], self._states, 1 << self._bits, self._buckets
        hashes, counts, put = known.hashes, known.counts, put_hash
        for prefix, digest, labels in buckets:
            if not labels:
                continue
            if not 0 <= prefix < base or len(digest) != 32 or labels < 0:
                raise Malformed(
                    "index bucket", f"{prefix} is no prefix of {self._bits} bits with a 32-byte hash"
                )
            put(hashes, prefix << 5, digest)
            states[base + prefix] = 2 if labels > 1 else 1
            self._labels += labels - counts[prefix]
            counts[prefix] = labels
            touched.append(prefix)
        touched.sort()
        self._propagate(touched)
        self._changed.clear()

    def prove(self, label: bytes) -> bytes:
        """The proof that `label` is present or absent under `root`."""
        return self.prove_many([label])[0]

    def prove_many(self, labels: Sequence[bytes]) -> list[bytes]:
        """Proofs in order; each bucket they need is read once.

        Raises Malformed when the rows are no longer those that `root` was made of.
        """
        self.flush()
        paths = [self._walk(label) for label in labels]
        needed = sorted({bucket for _, bucket in paths if bucket is not None})
        rows = dict(zip(needed, self._rows.buckets(needed, self._bits), strict=True))
        for prefix in needed:
            at = 32 * ((1 << self._bits) + prefix)
            if _hash_rows(rows[prefix], self._bits) != self._hashes[at : at + 32]:
                raise Malformed("index rows", f"the labels of bucket {prefix} do not hash to it")
        above: dict[int, tuple[bytes, int]] = {}
        return [
            self._prove(label, node, () if bucket is None else rows[bucket], above)
            for label, (node, bucket) in zip(labels, paths, strict=True)
        ]

    def _walk(self, label: bytes) -> tuple[int, int | None]:
        """Down `label`'s path: the node that it reaches, and the bucket in which it ends or goes on."""
        states, bits = self._states, self._bits
        bucket = 1 << bits | int.from_bytes(label[:3], "big") >> 24 - bits
        # Above a node with an inner node's state there are only such, so the way up is the shorter one.
        node = bucket
        while node > 1 and states[node >> 1] != 2:
            node >>= 1
        if not states[node]:
            return node, None
        if not states[bucket]:  # another's lone leaf somewhere below: find its bucket
            bucket = node
            while not bucket >> bits:
                bucket = 2 * bucket if states[2 * bucket] else 2 * bucket + 1
        return node, bucket - (1 << bits)

    def _prove(
        self, label: bytes, node: int, rows: Sequence[Row], above: dict[int, tuple[bytes, int]]
    ) -> bytes:
        """The proof for a label whose path reaches `node` and, if that is a bucket, goes on among its `rows`.

        `above` remembers the upper part of paths, which many have in common.
        """
        # Below a top node with a lone leaf there is one row; below an inner bucket the walk goes on.
        below, leaf = _walk_rows(rows, label, self._bits) if rows else ([], None)
        states, hashes = self._states, self._hashes
        depth, bitmap = 0, 0
        written: list[bytes | bytearray] = []
        for sibling in reversed(below):
            if sibling != EMPTY:
                bitmap |= 1 << depth
                written.append(sibling)
            depth += 1
        while node >> SHARED_BITS > 1:
            beside = node ^ 1
            if states[beside]:
                bitmap |= 1 << depth
                at = beside << 5
                written.append(hashes[at : at + 32])
            depth += 1
            node >>= 1
        shared = above.get(node)
        if shared is None:
            shared = above[node] = self._siblings(node)
        siblings, upper = shared
        written.append(siblings)
        return format_index_proof(
            leaf, depth + node.bit_length() - 1, bitmap | upper << depth, b"".join(written)
        )

    def _siblings(self, node: int) -> tuple[bytes, int]:
        """The siblings from a node up to the root, deepest first and without the empty ones, and their bitmap."""
        written, bitmap, depth = [], 0, 0
        while node > 1:
            if self._states[node ^ 1]:
                bitmap |= 1 << depth
                written.append(self._hashes[32 * (node ^ 1) : 32 * (node ^ 1) + 32])
            depth += 1
            node >>= 1
        return b"".join(written), bitmap

    def _set_bucket(self, prefix: int, rows: Sequence[Row]) -> None:
        buckets = self._buckets
        self._states[(1 << self._bits) + prefix] = min(len(rows), 2)
        self._labels += len(rows) - buckets.counts[prefix]
        buckets.set(prefix, _hash_rows(rows, self._bits), len(rows))
        self._changed.add(prefix)

    def _propagate(self, prefixes: Sequence[int], shrinking: bool = False) -> None:
        """Hash again every node above these buckets, level by level, each once. `prefixes` are sorted.

        `shrinking`: labels may have gone; else an inner node is known to stay one.
        """
        hashes, states, hash_function, put = self._hashes, self._states, sha256, put_hash
        view = memoryview(hashes)  # a slice of it costs less than one of the bytes
        base, inner = 1 << self._bits, 3 if shrinking else 2
        nodes: list[int] = [base + prefix for prefix in prefixes]
        for _ in repeat(None, self._bits):
            parents: list[int] = []
            last = 0
            for node in nodes:
                parent = node >> 1
                if parent == last:
                    continue
                last = parent
                parents.append(parent)
                at = parent << 6  # of the two children's hashes, 64 bytes
                if states[parent] == inner:
                    put(hashes, parent << 5, hash_function(b"\x03" + view[at : at + 64]).digest())
                    continue
                left = states[node & ~1]
                below = left + states[node | 1]
                if below > 1:
                    states[parent] = 2
                    put(hashes, parent << 5, hash_function(b"\x03" + view[at : at + 64]).digest())
                else:
                    # A lone leaf passes up unchanged: it stands at the shallowest depth at which it is alone.
                    states[parent] = below
                    if not left:
                        at += 32
                    put(hashes, parent << 5, hashes[at : at + 32])
            nodes = parents


def _hash_rows(rows: Sequence[Row], depth: int) -> bytes:
    """Hash of the subtree at `depth` that holds these rows, sorted by label."""
    if len(rows) < 2:
        return leaf_hash(*rows[0]) if rows else EMPTY
    keys = [int.from_bytes(label, "big") for label, _ in rows]
    leaves = [leaf_hash(label, index) for label, index in rows]
    return hash_range(keys, leaves, 0, len(keys), 256 - depth)


def _walk_rows(rows: Sequence[Row], label: bytes, depth: int) -> tuple[list[bytes], Row | None]:
    """Down `label`'s path in the subtree at `depth`: siblings, topmost first, and the leaf it ends in."""
    key = int.from_bytes(label, "big")
    siblings: list[bytes] = []
    while len(rows) > 1:
        bit = 255 - depth
        middle = 0
        while middle < len(rows) and not rows[middle][0][depth >> 3] >> (bit & 7) & 1:
            middle += 1
        ours, theirs = (rows[middle:], rows[:middle]) if key >> bit & 1 else (rows[:middle], rows[middle:])
        depth += 1
        siblings.append(_hash_rows(theirs, depth))
        rows = ours
    return siblings, rows[0] if rows else None
