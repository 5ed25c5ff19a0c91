"""Proof files of one entry's inclusion (C2SP tlog-proof).

c2sp.org/tlog-proof@v1
extra YWdl…                                        optional, not authenticated by anything
index 11
NtRh2yFB0vtk0RmKIkzMZ+YefZKK7mcABXXWWVLxpHQ=       inclusion proof, the leaf's sibling first
…

log.example.gov/access/2026                        a checkpoint with its signatures, to the end
…
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.core.checkpoint import Checkpoint
from ledger.core.encoding import b64decode, b64encode, parse_decimal
from ledger.core.errors import Malformed
from ledger.core.merkle import HASH_BYTES, check_inclusion
from ledger.core.note import MAX_NOTE_BYTES

FIRST_LINE = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 63
"""A tree below 2^63 leaves has no longer inclusion proof."""
MAX_PROOF_BYTES = 2 * MAX_NOTE_BYTES


@dataclass(frozen=True, slots=True)
class TlogProof:
    """A proof file taken apart: index, hashes of 32 bytes, the signed checkpoint as it stands, extra data."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def check(self, leaf: bytes, checkpoint: Checkpoint) -> None:
        """ProofRefuted unless the leaf with this hash is number `index` under a trusted checkpoint."""
        check_inclusion(leaf, self.index, checkpoint.size, checkpoint.root, self.hashes)


def parse_tlog_proof(data: bytes, where: str = "tlog-proof") -> TlogProof:
    """A proof file's parts; its checkpoint is neither parsed nor verified."""
    if len(data) > MAX_PROOF_BYTES:
        raise Malformed(where, f"has more than {MAX_PROOF_BYTES} bytes")
    head, blank, checkpoint = data.partition(b"\n\n")
    if not blank:
        raise Malformed(where, "has no empty line before the checkpoint")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise Malformed(where, "has a character beyond ASCII before the checkpoint") from None
    if lines.pop(0) != FIRST_LINE:
        raise Malformed(where, f"does not begin with {FIRST_LINE}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = b64decode(lines.pop(0)[6:], f"{where} extra")
    if not lines or not lines[0].startswith("index "):
        raise Malformed(where, "has no index line where it is due")
    index = parse_decimal(lines.pop(0)[6:], f"{where} index")
    if len(lines) > MAX_HASHES:
        raise Malformed(where, f"has more than {MAX_HASHES} hashes")
    hashes = tuple(b64decode(line, f"{where} hash") for line in lines)
    if any(len(hash_) != HASH_BYTES for hash_ in hashes):
        raise Malformed(where, f"has a hash that is not {HASH_BYTES} bytes long")
    return TlogProof(index, hashes, checkpoint, extra)


def format_tlog_proof(
    index: int, hashes: Sequence[bytes], checkpoint: bytes, extra: bytes | None = None
) -> bytes:
    """The proof file: what parse_tlog_proof takes apart."""
    lines = [FIRST_LINE]
    if extra is not None:
        lines.append(f"extra {b64encode(extra)}")
    lines.append(f"index {index}")
    lines.extend(b64encode(hash_) for hash_ in hashes)
    return "\n".join(lines).encode("ascii") + b"\n\n" + checkpoint
