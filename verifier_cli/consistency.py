"""`glassbook-verify consistency`: the log still contains what was seen before."""

from pathlib import Path

from ledger.client.publiclog import PublicLog
from ledger.client.seen import default_path, load_seen, save_seen
from ledger.client.view import View
from ledger.core.checkpoint import open_checkpoint
from ledger.core.errors import GlassbookError, QuorumNotMet
from ledger.core.policy import Opened, Policy
from ledger.core.receipt import checkpoint_step
from ledger.core.trustedlog import TrustedLog
from verifier_cli.logfacts import log_facts
from verifier_cli.outcome import Line, Outcome, Verdict, numbered
from verifier_cli.words import time_in_words


def consistency_command(
    log: PublicLog, policy: Policy, now: int, earlier: tuple[str, bytes] | None, state: Path | None
) -> Outcome:
    """Compare the log with the checkpoint in `earlier` (name, note) and with the one remembered in `state`.

    Raises `Fork` or `Rollback` with both notes in their evidence.
    """
    view = View.open(log, policy, now)
    path = state or default_path(policy)
    compared = []
    if earlier is not None:
        seen, _ = _follow(view, earlier[1], earlier[0])
        compared.append({"file": earlier[0], "size": seen.checkpoint.size, "seen": seen.newest})
    remembered = load_seen(path)
    newest = view.opened
    if remembered is not None:
        seen, newest = _follow(view, remembered, str(path))
        compared.append({"file": str(path), "size": seen.checkpoint.size, "seen": seen.newest})
    if remembered != newest.note:
        save_seen(path, newest.note)
    steps = [checkpoint_step(view.opened, policy)]
    lines = numbered(steps)
    for number, one in enumerate(compared, len(steps) + 1):
        when = f", dated {time_in_words(one['seen'])}" if isinstance(one["seen"], int) else ""
        lines.append(
            Line(f"{number}. All {one['size']} entries of the checkpoint in {one['file']}{when}", "heading")
        )
        lines.append(Line(f"are the first {one['size']} of the {view.size} there are now.", indent=3))
    lines.append(Line())
    lines.append(Line(f"Remembered in {path} for the next time.", "quiet"))
    if compared:
        message = f"the log of {view.size} entries contains all that was seen before"
    else:
        message = f"nothing was remembered of this log before; from now on size {view.size} is"
    return Outcome(
        "consistency", Verdict.HOLDS, message,
        {"log": log_facts(view), "compared": compared, "state": str(path)}, lines,
    )  # fmt: skip


def remember(view: View, path: Path) -> None:
    """Compare `view` with what is remembered at `path`, and remember it. Raises `Fork`, `Rollback`, OSError."""
    remembered = load_seen(path)
    newest = view.opened if remembered is None else _follow(view, remembered, str(path))[1]
    if newest.note != remembered:
        save_seen(path, newest.note)


def _follow(view: View, note: bytes, file: str) -> tuple[Opened, Opened]:
    """The older checkpoint, out of `file`, opened, and the one to remember from now on."""
    try:
        seen = _open_earlier(view.policy, note, view.now)
    except GlassbookError as error:
        # "checkpoint" alone would be taken for the log's.
        raise type(error)(f"{file}: {error.where}", error.what, **error.evidence) from None
    trusted = TrustedLog(view.policy, seen)
    sizes = trusted.proof_needed(view.note)
    proof = view.consistency_from(sizes[0]) if sizes else []
    return seen, trusted.accept(view.note, proof, view.now)


def _open_earlier(policy: Policy, note: bytes, now: int) -> Opened:
    """A checkpoint seen before. It may be of a time with other witnesses: the log's own signature makes it binding."""
    try:
        return policy.open(note, now)
    except QuorumNotMet:
        checkpoint, good = open_checkpoint(note, policy.log, [witness.vkey for witness in policy.witnesses])
        return Opened(checkpoint, note, tuple(good), (), None, None)
