"""The Merkle tree of RFC 6962 §2.1 over SHA-256, and its inclusion and consistency proofs.

    MTH({})      = SHA-256()
    MTH({d})     = SHA-256(0x00 ‖ d)                        a leaf
    MTH(D[0:n])  = SHA-256(0x01 ‖ MTH(D[0:k]) ‖ MTH(D[k:n]))   k: the largest power of two below n

A tree of n leaves is a row of *perfect* subtrees, one per bit of n, largest first; for 7 leaves

    level 2        (2,0)
                  ╱     ╲
    level 1    (1,0)   (1,1)   (1,2)
               ╱  ╲    ╱  ╲    ╱  ╲
    level 0   0    1  2    3  4    5   6           the row: (2,0) (1,2) (0,6)

A perfect subtree's hash never changes as the log grows, so these are what tiles store. Every hash of a proof
is one such node or a fold of a few. "Which nodes does it take" and "fold them" are apart: the first needs no
hashes and the second no tree, so whoever stores the hashes has to answer one question only, a `HashReader`.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from ledger.core.encoding import Reader, u64
from ledger.core.errors import Malformed, ProofRefuted

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
"""MTH of no leaves."""


class Node(NamedTuple):
    """The perfect subtree over leaves n·2^level up to, not including, (n + 1)·2^level."""

    level: int
    n: int


HashReader = Callable[[Sequence[Node]], Sequence[bytes]]
"""Gives the 32-byte hashes of the nodes asked for, in order."""


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 ‖ entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return sha256(b"\x01" + left + right).digest()


def _range(low: int, high: int) -> list[Node]:
    # The row of perfect subtrees of D[low:high]; low is a multiple of the largest, as in all of RFC 6962.
    nodes = []
    while low < high:
        level = (high - low).bit_length() - 1
        nodes.append(Node(level, low >> level))
        low += 1 << level
    return nodes


def _split(low: int, high: int) -> int:
    return low + (1 << (high - low - 1).bit_length() - 1)


def root_nodes(size: int) -> list[Node]:
    """The row of perfect subtrees of a tree of this size, largest first; none for size 0."""
    return _range(0, size)


def inclusion_nodes(index: int, size: int) -> list[list[Node]]:
    """For each hash of the inclusion proof, leaf's sibling first, the nodes it is folded of.

    RFC 6962 §2.1.1. Malformed when index is not below size.
    """
    if not 0 <= index < size:
        raise Malformed("inclusion proof", f"there is no leaf {index} in a tree of size {size}")
    groups = []
    low, high = 0, size
    while high - low > 1:
        middle = _split(low, high)
        if index < middle:
            groups.append(_range(middle, high))
            high = middle
        else:
            groups.append(_range(low, middle))
            low = middle
    groups.reverse()
    return groups


def consistency_nodes(old: int, new: int) -> list[list[Node]]:
    """For each hash of the consistency proof, deepest first, the nodes it is folded of.

    RFC 6962 §2.1.2; none when old is 0 or new. Malformed when old is larger than new.
    """
    if not 0 <= old <= new:
        raise Malformed("consistency proof", f"size {old} is not between 0 and {new}")
    groups = []
    low, high = 0, new
    while 0 < old < high:
        middle = _split(low, high)
        if old <= middle:
            groups.append(_range(middle, high))
            high = middle
        else:
            groups.append(_range(low, middle))
            low = middle
    # When the walk never went right, what is left is the old tree itself, whose root the reader has.
    if low > 0:
        groups.append(_range(low, high))
    groups.reverse()
    return groups


def fold(hashes: Sequence[bytes]) -> bytes:
    """The hash over a row of perfect subtrees, largest first; EMPTY_ROOT for no subtree."""
    if not hashes:
        return EMPTY_ROOT
    folded = hashes[-1]
    for left in reversed(hashes[:-1]):
        folded = node_hash(left, folded)
    return folded


def _fold_groups(groups: list[list[Node]], read: HashReader) -> list[bytes]:
    hashes = read([node for group in groups for node in group])
    folded, start = [], 0
    for group in groups:
        folded.append(fold(hashes[start : start + len(group)]))
        start += len(group)
    return folded


def tree_root(size: int, read: HashReader) -> bytes:
    """MTH(D[0:size]), 32 bytes."""
    return fold(read(root_nodes(size))) if size else EMPTY_ROOT


def prove_inclusion(index: int, size: int, read: HashReader) -> list[bytes]:
    """PATH(index, D[0:size]) of RFC 6962 §2.1.1: at most 63 hashes for sizes below 2^63."""
    return _fold_groups(inclusion_nodes(index, size), read)


def prove_consistency(old: int, new: int, read: HashReader) -> list[bytes]:
    """PROOF(old, D[0:new]) of RFC 6962 §2.1.2; empty when old is 0 or new."""
    return _fold_groups(consistency_nodes(old, new), read)


class InclusionPaths:
    """Inclusion proofs of many leaves of one tree of `size`: what they share is read and folded once."""

    def __init__(self, size: int, read: HashReader) -> None:
        self._size = size
        self._read = read
        # Of a node the hashes beside it and beside all above it, nearest first.
        self._above: dict[tuple[int, int], tuple[bytes, ...]] = {}

    def prove(self, index: int) -> tuple[bytes, ...]:
        """What prove_inclusion gives. Malformed when index is not below the size."""
        if not 0 <= index < self._size:
            inclusion_nodes(index, self._size)
        above, size = self._above, self._size
        level, n = 0, index
        while 1 << level < size and (level, n) not in above:
            level, n = level + 1, n >> 1
        path = above.get((level, n), ())
        while level:
            level -= 1
            n = index >> level
            low = (n ^ 1) << level
            if low < size:  # else the last node of its row, which moves up without a sibling
                high = low + (1 << level)
                beside = [Node(level, n ^ 1)] if high <= size else _range(low, size)
                path = (fold(self._read(beside)), *path)
            if level:  # a leaf is rarely asked for twice
                above[level, n] = path
        return path


def _check_hashes(where: str, *hashes: bytes) -> None:
    for hash_ in hashes:
        if len(hash_) != HASH_BYTES:
            raise Malformed(where, f"a hash of {len(hash_)} bytes, not {HASH_BYTES}")


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to from a leaf hash (RFC 9162 §2.1.3.2).

    Raises ProofRefuted when index is not below size or the proof has not the length they call for.
    """
    where = "inclusion proof"
    _check_hashes(where, leaf, *proof)
    if not 0 <= index < size:
        raise ProofRefuted(where, f"index {index} is not below the tree size {size}")
    node, last, root = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofRefuted(where, f"has more hashes than leaf {index} of {size} needs")
        if node & 1 or node == last:
            root = node_hash(sibling, root)
            # A last node without a sibling moves up unchanged until it is a right child.
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            root = node_hash(root, sibling)
        node >>= 1
        last >>= 1
    if last:
        raise ProofRefuted(where, f"has fewer hashes than leaf {index} of {size} needs")
    return root


def check_inclusion(leaf: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """ProofRefuted unless proof shows that the leaf with this hash is leaf number index under root."""
    _check_hashes("root hash", root)
    if root_from_inclusion(leaf, index, size, proof) != root:
        raise ProofRefuted("inclusion proof", f"does not lead from leaf {index} to the root of size {size}")


class InclusionChecks:
    """`check_inclusion` for many leaves under one `root`: what was folded to it once is not folded again.

    A proof is as good as the fold it stands for, so a node that was once shown to lead to the root, with the same
    hash and by the same rest of the path, is shown for every leaf below it.
    """

    def __init__(self, size: int, root: bytes) -> None:
        self._size = size
        self._root = root
        # (number, last number in its row, hash) of a node → the rest of a path that was shown to lead on to the root
        self._shown: dict[tuple[int, int, bytes], tuple[bytes, ...]] = {}

    def check(self, leaf: bytes, index: int, proof: Sequence[bytes]) -> None:
        """Raises what check_inclusion raises."""
        path = tuple(proof)
        holds, way = self._fold(leaf, index, path)
        if not holds:
            check_inclusion(leaf, index, self._size, self._root, path)
        for node, at in way:
            self._shown[node] = path[at:]

    def _fold(
        self, leaf: bytes, index: int, path: tuple[bytes, ...]
    ) -> tuple[bool, list[tuple[tuple[int, int, bytes], int]]]:
        """Whether the path leads to the root, as far as this knows, and the new nodes on it with their places."""
        way: list[tuple[tuple[int, int, bytes], int]] = []
        if not 0 <= index < self._size or len(leaf) != HASH_BYTES:
            return False, way
        node, last, folded = index, self._size - 1, leaf
        for at, sibling in enumerate(path):
            if last == 0 or len(sibling) != HASH_BYTES:
                return False, way
            if at:
                here = node, last, folded
                known = self._shown.get(here)
                if known is not None and known == path[at:]:
                    return True, way
                way.append((here, at))
            if node & 1 or node == last:
                folded = node_hash(sibling, folded)
                while not node & 1 and node:
                    node >>= 1
                    last >>= 1
            else:
                folded = node_hash(folded, sibling)
            node >>= 1
            last >>= 1
        return last == 0 and folded == self._root, way


def check_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """ProofRefuted unless proof shows that the tree of size new begins with the tree of size old.

    RFC 9162 §2.1.4.2; the proof is empty when old is 0 or new.
    """
    where = "consistency proof"
    _check_hashes(where, old_root, new_root, *proof)
    if not 0 <= old <= new:
        raise ProofRefuted(where, f"the old size {old} is larger than the new size {new}")
    if old in (0, new):
        # Nothing to prove, so nothing may stand there: else one statement had many proofs.
        if proof:
            raise ProofRefuted(where, f"must be empty between sizes {old} and {new}")
        if old == new and old_root != new_root:
            raise ProofRefuted(where, f"two different roots for size {new}")
        if old == 0 and old_root != EMPTY_ROOT:
            raise ProofRefuted(where, "the root of size 0 is not that of the empty tree")
        return
    node, last = old - 1, new - 1
    while node & 1:
        node >>= 1
        last >>= 1
    # node is 0 when old is a power of two: the old tree is then the first subtree, and its root known.
    path = list(proof) if node else [old_root, *proof]
    if not path:
        raise ProofRefuted(where, f"has fewer hashes than {old} to {new} needs")
    old_seen = new_seen = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofRefuted(where, f"has more hashes than {old} to {new} needs")
        if node & 1 or node == last:
            old_seen = node_hash(sibling, old_seen)
            new_seen = node_hash(sibling, new_seen)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            new_seen = node_hash(new_seen, sibling)
        node >>= 1
        last >>= 1
    if last:
        raise ProofRefuted(where, f"has fewer hashes than {old} to {new} needs")
    if old_seen != old_root:
        raise ProofRefuted(where, f"does not lead to the old root, of size {old}")
    if new_seen != new_root:
        raise ProofRefuted(where, f"does not lead to the new root, of size {new}")


class Frontier:
    """What a growing tree has to remember: its size and its row of perfect subtrees, at most 63 hashes."""

    __slots__ = ("hashes", "size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self.hashes = list(hashes)
        _check_hashes("frontier", *self.hashes)
        if size < 0 or len(self.hashes) != size.bit_count():
            raise Malformed("frontier", f"{len(self.hashes)} hashes do not fit size {size}")

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash of 32 bytes."""
        # As in binary counting: each 1 at the end of the size is a subtree that now gets its right sibling.
        hashes, carry = self.hashes, self.size
        while carry & 1:
            leaf = sha256(b"\x01" + hashes.pop() + leaf).digest()
            carry >>= 1
        hashes.append(leaf)
        self.size += 1

    def append_subtree(self, level: int, root: bytes) -> None:
        """Add the perfect subtree of 2^level leaves with this hash; the size must be a multiple of that."""
        carry = self.size >> level
        if carry << level != self.size:
            raise Malformed("frontier", f"no subtree of level {level} can stand at leaf {self.size}")
        hashes = self.hashes
        while carry & 1:
            root = sha256(b"\x01" + hashes.pop() + root).digest()
            carry >>= 1
        hashes.append(root)
        self.size += 1 << level

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes in order."""
        for leaf in leaves:
            self.append(leaf)

    def root(self) -> bytes:
        """MTH of the leaves so far."""
        return fold(self.hashes)

    def copy(self) -> "Frontier":
        return Frontier(self.size, self.hashes)

    def to_bytes(self) -> bytes:
        """u64 size ‖ hashes, largest subtree first."""
        return u64(self.size) + b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Frontier":
        """What to_bytes gave."""
        reader = Reader(data, "frontier")
        size = reader.u64()
        hashes = [reader.take(HASH_BYTES) for _ in range(size.bit_count())]
        reader.end()
        return cls(size, hashes)
