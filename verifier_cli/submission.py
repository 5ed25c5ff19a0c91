"""What a log sends a witness, and what the witness answers (C2SP tlog-witness, `POST <prefix>/add-checkpoint`).

    old 717000                                       the size the witness cosigned last
    q0eXGFY9cEk5CFr0iRFrhcOUTG3wRAwBybk2RrPs6tM=     the consistency proof from there, 0 to 63 lines
    …
                                                     an empty line, then the checkpoint
    log.example.gov/access/2026
    717313
    cZCLTFeaAuFqyOUuvHQ6qeblrmTuCBczMPpZqamhlrc=

    — log.example.gov/access/2026 ew/WM9weRlbEdKYt5OiO…

What would not be written back byte for byte the same is refused, and so is a checkpoint with extension lines: the
ML-DSA-44 cosignature would not cover them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.core.checkpoint import Checkpoint
from ledger.core.encoding import b64decode, parse_decimal
from ledger.core.errors import BadSignature, Malformed
from ledger.core.merkle import HASH_BYTES
from ledger.core.note import (
    MAX_NOTE_BYTES,
    Note,
    VerifierKey,
    format_note,
    good_signatures,
    parse_note,
    tree_head,
)
from ledger.core.texts import check_origin

MAX_PROOF_LINES = 63
"""C2SP tlog-witness: a client sends no more."""

MAX_BODY = MAX_NOTE_BYTES + 4096
"""Bytes of a request: the longest note (1 MiB) and the longest proof before it."""

SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Submission:
    """A parsed add-checkpoint request; `note` is the checkpoint as sent, taken apart and not verified."""

    old: int
    proof: list[bytes]
    checkpoint: Checkpoint
    note: Note


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over HTTP; `retry_after` in seconds, for 429 and 503."""

    status: int
    body: str
    content_type: str = TEXT_TYPE
    retry_after: int | None = None


def parse_submission(body: bytes) -> Submission:
    """Take an add-checkpoint request apart. Raises Malformed, naming the line."""
    where = "add-checkpoint"
    head, gap, rest = body.partition(b"\n\n")
    if not gap:
        raise Malformed(where, "no empty line between the proof and the checkpoint")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise Malformed(where, "something other than ASCII before the checkpoint") from None
    if not lines[0].startswith("old "):
        raise Malformed(f"{where}, line 1", "is not `old`, one space and a size")
    old = parse_decimal(lines[0][4:], f"{where}, line 1")
    if len(lines) - 1 > MAX_PROOF_LINES:
        raise Malformed(where, f"{len(lines) - 1} proof lines; at most {MAX_PROOF_LINES} can be needed")
    proof = []
    for number, line in enumerate(lines[1:], 2):
        digest = b64decode(line, f"{where}, line {number}")
        if len(digest) != HASH_BYTES:
            raise Malformed(f"{where}, line {number}", f"a hash has 32 bytes, this has {len(digest)}")
        proof.append(digest)
    note = parse_note(rest, "checkpoint")
    return Submission(old, proof, parse_head(note.text), note)


def parse_head(text: str) -> Checkpoint:
    """The checkpoint in a note's text, which must be exactly its three lines. Raises Malformed.

    Of any log, so of any size: that ours begin at 2 (docs/formats.md §2) is for an auditor to know.
    """
    checkpoint = Checkpoint(*tree_head(text))
    check_origin(checkpoint.origin, "checkpoint")
    if checkpoint.text != text:
        raise Malformed("checkpoint", "has more than the three lines origin, size and root")
    return checkpoint


def signed_by_log(note: Note, keys: Sequence[VerifierKey]) -> bytes:
    """The note with the log's own signature lines alone; `keys` are those the witness was told of.

    Lines by other keys are ignored, as C2SP signed-note asks. Of the log's keys, one of each kind must have signed
    (of an Ed25519 and an ML-DSA-44 key both), none twice and none badly.
    Raises BadSignature; Malformed for two lines by one key.
    """
    known = {(key.name, key.key_id) for key in keys}
    own = [line for line in note.lines if (line.name, line.key_id) in known]
    if len({(line.name, line.key_id) for line in own}) < len(own):
        raise Malformed("checkpoint", "has two signature lines by one key of the log")
    signed = {signature.vkey.kind for signature in good_signatures(note, keys)}
    for key in keys:
        if key.kind not in signed:
            raise BadSignature("checkpoint", f"carries no signature by the log's key {key.key_id.hex()}")
    return format_note(note.text, own)
