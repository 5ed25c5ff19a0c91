"""A second, naive implementation of the trees, straight from the formats, sharing no code with ledger.core.

Everything is recursive, slow and short, so that it can be checked by reading it next to docs/formats.md. It
makes values to compare with; it has no parser and no storage.
"""

import hashlib

ZERO = b"\x00" * 32


def H(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


# RFC 6962 §2.1


def mth(leaves: list[bytes]) -> bytes:
    """Merkle tree hash of the list of leaf contents, RFC 6962 §2.1."""
    n = len(leaves)
    if n == 0:
        return H(b"")
    if n == 1:
        return H(b"\x00" + leaves[0])
    k = split(n)
    return H(b"\x01" + mth(leaves[:k]) + mth(leaves[k:]))


def split(n: int) -> int:
    """The largest power of two smaller than n."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """Audit path of leaf m, RFC 6962 §2.1.1."""
    n = len(leaves)
    if n == 1:
        return []
    k = split(n)
    if m < k:
        return path(m, leaves[:k]) + [mth(leaves[k:])]
    return path(m - k, leaves[k:]) + [mth(leaves[:k])]


def proof(m: int, leaves: list[bytes]) -> list[bytes]:
    """Consistency proof from size m to all leaves, RFC 6962 §2.1.2."""
    return subproof(m, leaves, True)


def subproof(m: int, leaves: list[bytes], known: bool) -> list[bytes]:
    n = len(leaves)
    if m == n:
        return [] if known else [mth(leaves)]
    k = split(n)
    if m <= k:
        return subproof(m, leaves[:k], known) + [mth(leaves[k:])]
    return subproof(m - k, leaves[k:], False) + [mth(leaves[:k])]


# The index, formats §5


def bit(label: bytes, depth: int) -> int:
    """Bit number `depth` of the label, most significant first."""
    return label[depth // 8] >> (7 - depth % 8) & 1


def index_root(rows: dict[bytes, int], depth: int = 0) -> bytes:
    """Root of the prefix tree over label -> index, below `depth` bits that all of them share."""
    if not rows:
        return ZERO
    if len(rows) == 1:
        ((label, index),) = rows.items()
        return H(b"\x02" + label + index.to_bytes(8, "big"))
    left = {label: index for label, index in rows.items() if bit(label, depth) == 0}
    right = {label: index for label, index in rows.items() if bit(label, depth) == 1}
    return H(b"\x03" + index_root(left, depth + 1) + index_root(right, depth + 1))


def index_proof(rows: dict[bytes, int], label: bytes) -> bytes:
    """The proof that `label` is present or absent among the rows."""
    siblings: list[bytes] = []
    depth = 0
    while len(rows) > 1:
        here = {other: index for other, index in rows.items() if bit(other, depth) == bit(label, depth)}
        there = {other: index for other, index in rows.items() if other not in here}
        depth += 1
        siblings.insert(0, index_root(there, depth))
        rows = here
    head = bytes([depth, len(rows)])
    for terminal, index in rows.items():
        head += terminal + index.to_bytes(8, "big")
    bits = ["0" if sibling == ZERO else "1" for sibling in siblings]
    while len(bits) % 8:
        bits.append("0")
    bitmap = b""
    for at in range(0, len(bits), 8):
        bitmap += bytes([int("".join(reversed(bits[at : at + 8])), 2)])
    return head + bitmap + b"".join(sibling for sibling in siblings if sibling != ZERO)


def log_root_before_last(leaf_hash_siblings: list[bytes]) -> bytes:
    """MTH of all leaves but the last, from the path of the last one (formats §6)."""
    r = leaf_hash_siblings[0]
    for s in leaf_hash_siblings[1:]:
        r = H(b"\x01" + s + r)
    return r
