"""A client's view of one log as a state machine without I/O.

The client remembers the last checkpoint that it accepted. `accept` takes the next one or says what is wrong:

    the new checkpoint …                                    then
    does not fulfil the policy                              what Policy.open raises
    is smaller than the one remembered                      Rollback: an old copy, or a log cut short
    has the same size and another root                      Fork
    has the same size and root, and is not newer            the remembered one stays
    has the same size and root, and is newer                it is remembered
    is larger, and the consistency proof does not hold      ProofRefuted: a fork, or a wrong proof
    is larger, yet a cosigner dates it earlier              Rollback
    is larger, and the proof holds                          it is remembered

Refused checkpoints change nothing. Every error about two checkpoints carries both, as `seen` and `note` in its
evidence: signed notes, which anyone can check again.
"""

from collections.abc import Sequence

from ledger.core.checkpoint import parse_checkpoint
from ledger.core.errors import Fork, Malformed, ProofRefuted, Rollback
from ledger.core.merkle import check_consistency
from ledger.core.note import VerifierKey, parse_note
from ledger.core.policy import CLOCK_TOLERANCE_S, Opened, Policy


class TrustedLog:
    """One log under one policy; `seen` is the last checkpoint accepted, None before the first.

    To remember across runs, keep `seen.note` and open it again with the policy.
    """

    def __init__(self, policy: Policy, seen: Opened | None = None) -> None:
        if seen is not None and seen.checkpoint.origin != policy.origin:
            raise Malformed("trusted log", "the checkpoint remembered is not of the policy's log")
        self.policy = policy
        self.seen = seen

    def proof_needed(self, note: bytes) -> tuple[int, int] | None:
        """The sizes between which accept(note) will want a consistency proof; None when it wants an empty one.

        Believes nothing in the note: it only says what to fetch. Malformed when it holds no checkpoint.
        """
        size = parse_checkpoint(parse_note(note, "checkpoint").text).size
        if self.seen is None or size <= self.seen.checkpoint.size:
            return None
        return self.seen.checkpoint.size, size

    def accept(self, note: bytes, consistency_proof: Sequence[bytes], now: int) -> Opened:
        """The checkpoint to trust from now on, seen at `now` (Unix seconds), as the table above says.

        The proof is between the size remembered and the new one; empty for the first or an equal size.
        """
        new = self.policy.open(note, now)
        if self.seen is not None:
            new = self._follow(self.seen, new, consistency_proof)
        elif consistency_proof:
            raise Malformed(
                "consistency proof", "is given, but there is no earlier checkpoint it could start from"
            )
        self.seen = new
        return new

    def _follow(self, seen: Opened, new: Opened, proof: Sequence[bytes]) -> Opened:
        old_size, size = seen.checkpoint.size, new.checkpoint.size
        evidence = {"seen": seen.note, "note": new.note}
        if size < old_size:
            raise Rollback("checkpoint", f"size {size}, but size {old_size} was seen before", **evidence)
        if size == old_size and new.checkpoint.root != seen.checkpoint.root:
            raise Fork("checkpoint", f"two different roots signed for size {size}", **evidence)
        try:
            check_consistency(old_size, size, seen.checkpoint.root, new.checkpoint.root, proof)
        except ProofRefuted as error:
            what = f"not shown to contain what was seen at size {old_size}: consistency proof {error.what}"
            raise ProofRefuted(
                "checkpoint", f"size {size} is {what}", proof=list(proof), **evidence
            ) from error
        if size == old_size:
            return new if (new.newest or 0) > (seen.newest or 0) else seen
        # A cosignature says: at this time no larger tree was known to me. So a larger one cannot be earlier.
        before, after = _latest(seen), _latest(new)
        for vkey in before.keys() & after.keys():
            if after[vkey] + CLOCK_TOLERANCE_S < before[vkey]:
                what = f"{vkey.name} dates size {size} at {after[vkey]}, before size {old_size} at {before[vkey]}"
                raise Rollback("checkpoint", what, **evidence)
        return new


def _latest(opened: Opened) -> dict[VerifierKey, int]:
    """The latest time that each counted cosigner states."""
    times: dict[VerifierKey, int] = {}
    for good in opened.good:
        if good.vkey in opened.counted and good.timestamp is not None:
            times[good.vkey] = max(good.timestamp, times.get(good.vkey, 0))
    return times
