"""The published log as this department sees it: its newest checkpoint, held against the last one seen."""

from __future__ import annotations

from pathlib import Path

from ledger.client.openlog import open_log
from ledger.client.publiclog import PublicLog
from ledger.client.seen import load_seen, save_seen
from ledger.client.view import View
from ledger.core.errors import GlassbookError, QuorumNotMet
from ledger.core.policy import Policy
from ledger.core.trustedlog import TrustedLog
from ledger.department.settings import CannotGoOn, Settings

_END_OF_TIME = 2**62
"""Unix seconds later than any timestamp."""


def open_view(settings: Settings, policy: Policy, now: int, log: PublicLog | None = None) -> View:
    """The log at its newest checkpoint, which contains all that was seen before; remembered from now on.

    Raises Unreachable, Malformed for an answer or a `seen.checkpoint` that is none, and Refuted (QuorumNotMet,
    Rollback, Fork …) with both notes in its evidence when the log is not what it was.
    """
    try:
        view = View.open(log or open_log(settings.log), policy, now)
        accept(settings.seen, policy, view, now)
    except QuorumNotMet as error:
        if _is_ahead(policy, error.evidence.get("note")):
            raise CannotGoOn(
                "clock",
                "the checkpoint's witnesses signed later than this machine's clock says it is; set the clock",
            ) from None
        raise
    return view


def _is_ahead(policy: Policy, note: object) -> bool:
    """Whether a checkpoint would fulfil the policy if only it were later."""
    try:
        return isinstance(note, bytes) and policy.open(note, _END_OF_TIME) is not None
    except GlassbookError:
        return False


def accept(remembered: Path, policy: Policy, view: View, now: int) -> None:
    """Check a view against the checkpoint in a file, and put its own there when it is the newer."""
    note = load_seen(remembered)
    trusted = TrustedLog(policy, policy.open(note, now) if note is not None else None)
    sizes = trusted.proof_needed(view.note)
    accepted = trusted.accept(view.note, view.consistency_from(sizes[0]) if sizes else (), now)
    if note is None or accepted.note != note:
        save_seen(remembered, accepted.note)
