"""Checkpoints: a log's signed statement "this is my tree" (C2SP tlog-checkpoint, docs/formats.md §6).

    log.example.gov/access/2026                        origin
    717313                                             size: number of leaves
    cZCLTFeaAuFqyOUuvHQ6qeblrmTuCBczMPpZqamhlrc=       root hash, base64

Exactly these three lines: extension lines are refused, because the ML-DSA-44 signature does not cover them.
The text is the body of a signed note, whose lines and messages are in note.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ledger.core.encoding import b64encode
from ledger.core.errors import BadSignature, Malformed, Refuted
from ledger.core.note import Good, VerifierKey, good_signatures, parse_note, tree_head
from ledger.core.texts import check_origin


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log's tree: origin, size (2 to 2^63 − 1) and root (32 bytes)."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root)}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint in a note's text, which must be exactly what Checkpoint.text writes."""
    checkpoint = Checkpoint(*tree_head(text))
    check_origin(checkpoint.origin, "checkpoint")
    if checkpoint.text != text:
        raise Malformed("checkpoint", "has more than the three lines origin, size and root")
    # Leaf 0 is the charter and the last leaf an index root: a smaller tree says nothing yet.
    if checkpoint.size < 2:
        raise Malformed("checkpoint", f"size {checkpoint.size}: no checkpoint below 2 is ever published")
    return checkpoint


def open_checkpoint(
    data: bytes, log: VerifierKey, others: Iterable[VerifierKey] = ()
) -> tuple[Checkpoint, list[Good]]:
    """The checkpoint that log signed, and the good signatures on it by log and others.

    Refuted when it is another log's; BadSignature when log did not sign it or a known key's signature is bad.
    """
    note = parse_note(data, "checkpoint")
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != log.name:
        raise Refuted("checkpoint", f"is of the log {checkpoint.origin}, not of {log.name}", note=data)
    good = good_signatures(note, (log, *others))
    if not any(signature.vkey == log for signature in good):
        raise BadSignature("checkpoint", f"is not signed by the log's key {log.key_id.hex()}", note=data)
    return checkpoint, good
