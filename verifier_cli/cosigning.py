"""What a witness cosigns and what it refuses (C2SP tlog-witness and tlog-cosignature).

    200 one cosignature line for each of its keys
    400 not in the form of submission.py, or `old` above the checkpoint's size
    403 not signed by the log: by one key of each kind that it was told of, none of them badly
    404 a log this witness was not told of
    409 `old` is not the size cosigned last, which is the body (text/x.tlog.size)
    422 the proof does not prove it, or stands where none belongs; another root at the size cosigned last; of an
        auditor also, for good: the log breaks a rule
    503 its clock went back, its disk is full, or an auditor is not there yet

`examine` does all that needs no entries, `cosign` decides: looking up what was cosigned last and replacing it is one
transaction, durable before a cosignature leaves. An auditor's request goes through witnessaudit.py between the two,
and is cosigned for exactly the size and root that were audited.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ledger.core.checkpoint import Checkpoint
from ledger.core.errors import GlassbookError, Malformed, Refuted
from ledger.core.evidence import check_log_keys
from ledger.core.merkle import check_consistency
from ledger.core.note import format_note, parse_note
from ledger.core.statements import Charter
from verifier_cli.submission import (
    SIZE_TYPE,
    Answer,
    Submission,
    parse_head,
    parse_submission,
    signed_by_log,
)
from verifier_cli.witnessfile import Seen, WitnessFile

VIOLATION = "violation"
FORK = "fork"
"""Kinds of alarm that no later checkpoint ends."""

CLOCK_BACK = "this witness's clock is before what it did last; its operator has to set it\n"


@dataclass(frozen=True, slots=True)
class Request:
    """A request by a log this witness knows; `note` is the checkpoint with the log's own signatures alone."""

    submission: Submission
    note: bytes

    @property
    def checkpoint(self) -> Checkpoint:
        return self.submission.checkpoint

    @classmethod
    def kept(cls, note: bytes) -> Request:
        """That which a checkpoint came with which was examined and kept: to audit up to it, not to be cosigned."""
        taken = parse_note(note)
        return cls(Submission(0, [], parse_head(taken.text), taken), note)


@dataclass(frozen=True, slots=True)
class Audited:
    """Every entry below `size` was audited, they lead to `root`, and as of `newest` (Unix s) no rule is broken."""

    size: int
    root: bytes
    newest: int
    charter: Charter


def add_checkpoint(file: WitnessFile, body: bytes, now: int) -> Answer:
    """Answer one request to a plain witness. `now` is Unix seconds and becomes the cosignatures' timestamp.

    Raises sqlite3.Error (a full disk, for one) and FileRefused; then nothing was recorded and nothing is cosigned.
    """
    request = examine(file, body, now)
    return request if isinstance(request, Answer) else cosign(file, request, now)


def examine(
    file: WitnessFile, body: bytes, now: int, refused: Callable[[Request], None] = lambda _: None
) -> Answer | Request:
    """Refuse what can be refused without reading entries; `refused` is given what the log did sign all the same."""
    try:
        submission = parse_submission(body)
        checkpoint = submission.checkpoint
        if file.auditor and checkpoint.size < 2:
            raise Malformed("checkpoint", f"size {checkpoint.size}: no checkpoint below 2 is ever published")
        keys = file.log_keys(checkpoint.origin)
        if not keys:
            return Answer(404, "this witness does not know the log; its operator adds it with --log-vkey\n")
        note = signed_by_log(submission.note, keys)
    except Malformed as error:
        return Answer(400, f"{error}\n")
    except Refuted as error:
        return Answer(403, f"{error}\n")
    if submission.old > checkpoint.size:
        return Answer(400, f"old size {submission.old} is above the checkpoint's {checkpoint.size}\n")
    request = Request(submission, note)
    answer = judge(request, file.seen(checkpoint.origin), now) or condemned(file, checkpoint.origin)
    if answer is None:
        return request
    refused(request)
    return answer


def cosign(file: WitnessFile, request: Request, now: int, audited: Audited | None = None) -> Answer:
    """Record the checkpoint and cosign it, unless it no longer follows what was cosigned last.

    An auditor needs `audited`, which must be of exactly this checkpoint. Raises as `add_checkpoint` does.
    """
    checkpoint = request.checkpoint
    if file.auditor:
        if audited is None or (audited.size, audited.root) != (checkpoint.size, checkpoint.root):
            raise ValueError("an auditor cosigns only what it has audited")
        try:
            # docs/formats.md §6: whoever has the charter requires a signature by every key in it, told of it or not.
            note = request.submission.note
            check_log_keys(format_note(note.text, note.lines), audited.charter, now)
        except Refuted as error:
            return Answer(403, f"{error}\n")
        if now < audited.newest:
            return Answer(503, CLOCK_BACK, retry_after=1)
    with file.replacing(checkpoint.origin) as (seen, put):
        refusal = judge(request, seen, now) or condemned(file, checkpoint.origin)
        if refusal:
            return refusal
        put(Seen(checkpoint.size, checkpoint.root, now, request.note))
    # Only here, after the commit, is there anything to cosign: a crash above leaves the log to ask again.
    return Answer(200, "".join(signer.sign(checkpoint.text, now).text for signer in file.signers))


def judge(request: Request, seen: Seen, now: int) -> Answer | None:
    """Why this checkpoint cannot follow what was cosigned last, or None when it can."""
    submission, checkpoint = request.submission, request.checkpoint
    if submission.old != seen.size:
        return Answer(409, f"{seen.size}\n", SIZE_TYPE)
    if checkpoint.size == seen.size and checkpoint.root != seen.root:
        return Answer(422, f"another root than the one cosigned at size {seen.size}: the log has forked\n")
    if seen.size == 0 or checkpoint.size == seen.size:
        if submission.proof:
            return Answer(422, f"from {seen.size} to {checkpoint.size} the proof is empty\n")
    else:
        try:
            check_consistency(seen.size, checkpoint.size, seen.root, checkpoint.root, submission.proof)
        except GlassbookError as error:
            return Answer(422, f"{error}\n")
    if now < seen.cosigned:
        return Answer(503, CLOCK_BACK, retry_after=1)
    return None


def forked(checkpoint: Checkpoint, seen: Seen) -> bool:
    """Whether this checkpoint and the one cosigned last cannot both be true, as far as the two alone show it."""
    return checkpoint.size == seen.size > 0 and checkpoint.root != seen.root


def condemned(file: WitnessFile, origin: str) -> Answer | None:
    """The lasting refusal of a log that was found to break a rule."""
    for alarm in file.alarms(origin):
        if alarm.kind == VIOLATION:
            return Answer(422, f"{alarm.text}\n")
    return None
