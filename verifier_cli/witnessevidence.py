"""What a witness keeps to show to others: two checkpoints that cannot both be true, or the rules a log broke."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ledger.client.publiclog import PublicLog
from ledger.core.errors import Fork, ProofRefuted
from ledger.core.note import parse_note
from ledger.core.policy import Opened
from ledger.core.replay import Replay, Violation
from verifier_cli.cosigning import Request
from verifier_cli.forks import shown
from verifier_cli.outcome import write_refutation
from verifier_cli.submission import parse_head
from verifier_cli.violation import Collector

MOST_KEPT = 10
"""Violations of one step that get a file each."""


def fork_between(log: PublicLog | None, seen: bytes, new: bytes) -> Fork | None:
    """That two checkpoints signed by one log cannot both be true; None when that cannot be shown.

    Of one size the two notes are enough; else `log` is read for the consistency proof between them.
    """
    first, second = _opened(seen), _opened(new)
    one, other = first.checkpoint, second.checkpoint
    if one == other:
        return None
    if one.size == other.size:
        what = f"the log has forked: two roots signed for size {one.size}"
        return Fork("checkpoint", what, seen=seen, note=new)
    if log is None:
        return None
    found = shown(log, first, second, ProofRefuted("checkpoint", "does not contain the one before"))
    return found if isinstance(found, Fork) else None


def keep_fork(folder: Path, fork: Fork) -> str | None:
    """Write it to a file in `folder`; its path. `glassbook-verify consistency --evidence` judges it."""
    return write_refutation("witness", fork, folder=folder)


def keep_violations(
    folder: Path, log: PublicLog, request: Request, violations: Sequence[Violation], replay: Replay
) -> str | None:
    """Write the first rules that the log broke to files in `folder`; the path of the first.

    `glassbook-verify violation` judges them. `replay` is the audit that found them.
    """
    collector = Collector(log, request.note, replay)
    paths = [collector.write(violation, folder) for violation in violations[:MOST_KEPT]]
    return next((path for path in paths if path is not None), None)


def _opened(note: bytes) -> Opened:
    """A checkpoint of a log whose signatures this witness has verified."""
    return Opened(parse_head(parse_note(note).text), note, (), (), None, None)
