"""`glassbook-verify consistency`: the log still contains what was seen before."""

from collections.abc import Sequence
from pathlib import Path

from ledger.client.publiclog import PublicLog
from ledger.client.seen import default_path, load_seen, save_seen
from ledger.client.view import View
from ledger.core.encoding import b64encode
from ledger.core.errors import Fork, GlassbookError, ProofRefuted, QuorumNotMet
from ledger.core.merkle import check_consistency
from ledger.core.policy import Opened, Policy
from ledger.core.receipt import checkpoint_step
from ledger.core.replay import Replay
from ledger.core.trustedlog import TrustedLog
from verifier_cli.forks import by_log_alone, refuse_fork, shown
from verifier_cli.logfacts import log_facts
from verifier_cli.outcome import Line, Outcome, Verdict, numbered
from verifier_cli.words import time_in_words


def consistency_command(
    log: PublicLog, policy: Policy, now: int, earlier: tuple[str, bytes] | None, state: Path | None
) -> Outcome:
    """Compare the log with the checkpoint in `earlier` (name, note) and with the one remembered in `state`.

    Raises `Fork` or `Rollback` with both notes and the proof in their evidence.
    """
    path = state or default_path(policy)
    remembered = load_seen(path)
    known = [] if earlier is None else [(earlier[0], open_earlier(policy, earlier[1], earlier[0], now))]
    kept = None if remembered is None else open_earlier(policy, remembered, str(path), now)
    if kept is not None:
        known.append((str(path), kept))
    view = open_after(log, policy, now, [seen for _, seen in known])
    compared = []
    newest = view.opened
    for name, seen in known:
        followed = follow(view, seen)
        compared.append({"file": name, "size": seen.checkpoint.size, "seen": seen.newest})
        if seen is kept:
            newest = followed
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
    newest = view.opened
    if remembered is not None:
        newest = follow(view, open_earlier(view.policy, remembered, str(path), view.now))
    if newest.note != remembered:
        save_seen(path, newest.note)


def open_after(log: PublicLog, policy: Policy, now: int, known: Sequence[Opened]) -> View:
    """The log at its newest checkpoint, as `View.open`; `known` are checkpoints seen before.

    One that lacks the quorum is the log's own word all the same: `Fork` if it cannot be true beside one of `known`.
    """
    note = log.checkpoint()
    try:
        return View(log, policy, note, now)
    except QuorumNotMet:
        for seen in known:
            refuse_fork(log, seen, by_log_alone(policy, note))
        raise


def follow(view: View, seen: Opened) -> Opened:
    """The checkpoint to remember from now on: that of `view`, or `seen` when it is the same tree and no older.

    Raises `Fork`, `Rollback` or `ProofRefuted` with what shows it to a third party in their evidence.
    """
    trusted = TrustedLog(view.policy, seen)
    try:
        sizes = trusted.proof_needed(view.note)
        proof = view.consistency_from(sizes[0]) if sizes else []
        return trusted.accept(view.note, proof, view.now)
    except ProofRefuted as error:
        raise shown(view.log, seen, view.opened, error) from None


def open_earlier(policy: Policy, note: bytes, file: str, now: int) -> Opened:
    """A checkpoint seen before, out of `file`. It may be of a time with other witnesses: the log's own signature
    makes it binding. Raises what `Policy.open` raises, of that file."""
    try:
        try:
            return policy.open(note, now)
        except QuorumNotMet:
            return by_log_alone(policy, note)
    except GlassbookError as error:
        # "checkpoint" alone would be taken for the log's.
        raise type(error)(f"{file}: {error.where}", error.what, **error.evidence) from None


def check_audited(view: View, replay: Replay) -> None:
    """Raise `Fork` unless the log at `view` begins with the entries that were audited."""
    if not replay.size:
        return
    size = replay.size
    proof = view.consistency_from(size)
    try:
        check_consistency(size, view.size, replay.frontier.root(), view.opened.checkpoint.root, proof)
    except ProofRefuted:
        raise Fork(
            "checkpoint", f"size {view.size} does not begin with the {size} entries that were audited before",
            note=view.note, proof=[b64encode(node) for node in proof],
            audited={"size": size, "root": b64encode(replay.frontier.root())},
        ) from None  # fmt: skip
