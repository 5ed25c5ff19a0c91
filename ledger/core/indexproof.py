"""Index proofs: that an entry stands under a label, or that none does (docs/formats.md §5).

    leaf  = H(0x02 ‖ label[32] ‖ u64 entry index)      at the shallowest depth at which it is alone
    node  = H(0x03 ‖ left[32] ‖ right[32])
    empty = 32 zero bytes

    proof = u8 depth ‖ u8 has_leaf ‖ [label[32] ‖ u64 index] ‖ bitmap[ceil(depth/8)] ‖ siblings, deepest first

Bit i of the bitmap (least significant first in each byte) is 1 when the i-th sibling, deepest first, is written
out; the others are empty. The path of a label ends in its own leaf, and it is present; or in another leaf on that
path, or in nothing, and it is absent. A proof has one spelling: everything else is refused.
"""

from hashlib import sha256
from struct import Struct
from typing import Final

from ledger.core.errors import Malformed, ProofRefuted

EMPTY: Final = bytes(32)
"""Hash of a missing child and root of the empty index."""

MAX_DEPTH: Final = 255
"""A leaf's depth is one byte of a proof."""

Row = tuple[bytes, int]
"""A label of 32 bytes and the index of its entry in the log."""

ROW: Final = Struct(">32sQ")
"""label ‖ u64 index, 40 bytes, as in a leaf."""

_WHERE: Final = "index proof"


def leaf_hash(label: bytes, index: int) -> bytes:
    """H(0x02 ‖ label ‖ u64 index)."""
    return sha256(b"\x02" + label + index.to_bytes(8, "big")).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """H(0x03 ‖ left ‖ right)."""
    return sha256(b"\x03" + left + right).digest()


def format_index_proof(leaf: Row | None, depth: int, bitmap: int, siblings: bytes) -> bytes:
    """A proof's bytes: the leaf in which the path ends, if any, its depth, and the siblings on it.

    `siblings` are those that are not empty, 32 bytes each, deepest first; bit i of `bitmap` says that the i-th is one.
    """
    head = bytes((depth, 0)) if leaf is None else bytes((depth, 1)) + ROW.pack(*leaf)
    return head + bitmap.to_bytes((depth + 7) // 8, "little") + siblings


Known = dict[tuple[int, int], tuple[bytes, int, bytes]]
"""Depth and path of a node → its hash, and the rest of a proof that was seen to lead on to the root."""

_KNOWN_DEPTHS: Final = frozenset((12, 9, 6))


def check_index_proof(
    root: bytes, covers: int, label: bytes, proof: bytes, known: Known | None = None
) -> int | None:
    """The index of the entry under `label`, or None when the proof shows that there is none.

    `root` (32 bytes) and `covers` come from an index root that the caller trusts; `label` has 32 bytes. `known`
    remembers for many proofs under one root what of their paths was folded already: the same hash and the same rest of
    a proof lead to the same root.

    Raises Malformed when the proof is not in the one way it can be written, ProofRefuted when it is, but does
    not prove anything about this label under this root.
    """
    size = len(proof)
    if size < 2:
        raise Malformed(_WHERE, "cut short")
    depth, has_leaf = proof[0], proof[1]
    if has_leaf > 1:
        raise Malformed(_WHERE, f"has_leaf is {has_leaf}, not 0 or 1")
    at = 42 if has_leaf else 2
    end = at + (depth + 7) // 8
    if size < end:
        raise Malformed(_WHERE, "cut short")
    bitmap = int.from_bytes(proof[at:end], "little")
    if bitmap >> depth:
        raise Malformed(_WHERE, "padding bits of the bitmap are set")
    if depth and not bitmap & 1:
        raise Malformed(_WHERE, "the deepest sibling is empty, so the path is longer than it can be")
    wanted = end + 32 * bitmap.bit_count()
    if size != wanted:
        raise Malformed(_WHERE, "cut short" if size < wanted else "trailing bytes")
    key = int.from_bytes(label, "big")
    found: int | None = None
    digest = EMPTY
    if has_leaf:
        leaf_label = proof[2:34]
        index = int.from_bytes(proof[34:42], "big")
        if leaf_label == label:
            found = index
        elif (int.from_bytes(leaf_label, "big") ^ key) >> (256 - depth):
            raise ProofRefuted(_WHERE, "the leaf is off the path of the label asked for")
        if index >= covers:
            raise ProofRefuted(_WHERE, f"entry {index} is not among the {covers} that the index root covers")
        digest = sha256(b"\x02" + proof[2:42]).digest()
    path = key >> (256 - depth)  # bit 0 is now the deepest step
    way: list[tuple[tuple[int, int], tuple[bytes, int, bytes]]] = []
    for left in range(depth, 0, -1):
        if known is not None and left in _KNOWN_DEPTHS:
            here, rest = (left, path), (digest, bitmap, proof[end:])
            if known.get(here) == rest:
                digest = root
                break
            way.append((here, rest))
        if bitmap & 1:
            sibling = proof[end : end + 32]
            if sibling == EMPTY:
                raise Malformed(_WHERE, "an empty sibling is written out")
            end += 32
        else:
            sibling = EMPTY
        digest = sha256(b"\x03" + (sibling + digest if path & 1 else digest + sibling)).digest()
        bitmap >>= 1
        path >>= 1
    if digest != root:
        raise ProofRefuted(_WHERE, "the root it leads to is not the index root")
    if known is not None:
        known.update(way)
    return found
