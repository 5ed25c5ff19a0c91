"""`glassbook-verify audit`: the whole log replayed, every file of it recomputed (verifier_cli.auditing).

How far it came is kept until it is done, in a file of the user's data folder, one for each log and place it is read
from: after a kill at any point the same command goes on. A log that was audited whole is read whole again, since its
files may have changed; only with `--audit FILE` an audit goes on where the last one ended, however it ended.
"""

import hashlib
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ledger.client.prefixlog import PrefixLog
from ledger.client.publiclog import PublicLog, Unreachable
from ledger.client.seen import data_path
from ledger.client.view import View
from ledger.core.checkpoint import Checkpoint
from ledger.core.errors import Malformed, RuleBroken
from ledger.core.merkle import tree_root
from ledger.core.policy import Policy
from ledger.core.replay import Replay
from verifier_cli.auditfile import AuditFile
from verifier_cli.auditfound import Audit
from verifier_cli.auditing import Save, Stopped, advance
from verifier_cli.auditwords import audit_lines, audit_result, rule_of
from verifier_cli.consistency import check_audited, remember
from verifier_cli.outcome import Line, Outcome, Verdict, write_refutation
from verifier_cli.violation import Collector

SHOWN = 20
"""Violations that get an evidence file each; all are listed."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What to audit: entries below `upto` (None: all), signatures from `since` on. `audit` names a file to keep the
    audit in for good, `fresh` begins anew. `seen` is a file of the last checkpoint seen."""

    since: int = 0
    upto: int | None = None
    jobs: int = 1
    audit: Path | None = None
    fresh: bool = False
    seen: Path | None = None


def audit_command(
    log: PublicLog, policy: Policy, now: int, wish: Wish, progress: Callable[[int, int], None] | None = None
) -> Outcome:
    """Audit a log. Raises `Unreachable` for a file that is not there, `QuorumNotMet`, `BadSignature`, and `Fork` when
    the log does not begin with what was audited before."""
    view = View.open(log, policy, now)
    upto = view.size if wish.upto is None else wish.upto
    if not 1 <= upto <= view.size:
        raise Malformed("--to", f"{upto} is not between 1 and the log's size, {view.size}")
    if wish.since > upto:
        raise Malformed("--from", f"{wish.since} is above {upto}, the size audited")
    if wish.seen is not None:
        remember(view, wish.seen)
    with _kept(view, wish, upto) as kept, _stoppable() as stop:
        found = Audit(view, upto, kept.replay, wish.since, kept.replay.size, kept.path, notes=kept.notes)
        found.passing = kept.passing
        found.by_clock = view.opened.newest is None
        try:
            _advance(found, kept.save, wish.jobs, progress, stop)
        except Stopped:
            return _stopped(found)
        except Unreachable as error:
            raise Unreachable(error.where, f"{error.what}{_going_on(found)}") from None
        # Evidence is made from the index, which lies in the file that is kept.
        outcome = _outcome(found)
        kept.done()
    return outcome


def _advance(
    found: Audit,
    save: Save | None,
    jobs: int,
    progress: Callable[[int, int], None] | None,
    stop: threading.Event | None,
) -> None:
    view, replay = found.view, found.replay
    whole = found.upto == view.size
    checkpoint, log = view.opened.checkpoint, view.log
    if not whole:
        # What is a prefix of the signed tree is signed with it.
        checkpoint = Checkpoint(checkpoint.origin, found.upto, tree_root(found.upto, view.tiles))
        log = PrefixLog(log, view.size)
    if progress is not None:
        progress(replay.size, found.upto)
    advanced = advance(
        log, replay, checkpoint, jobs=jobs, save=save, progress=progress, stop=stop, signed_from=found.since
    )
    found.summary, found.of_copy = advanced.summary, advanced.of_copy
    found.copy_left_out = advanced.copy_left_out
    told = [violation for violation in replay.violations if violation.index >= found.since]
    if not whole:
        # Only a checkpoint ends in an index root, and there is none of this size.
        told = [one for one in told if (one.index, one.kind) != (found.upto - 1, "last-leaf")]
    found.of_log = sorted(told)
    if replay.register.has_charter:
        view.check_charter_keys(replay.register.charter)


# -- what is kept between two runs ---------------------------------------------------------------------


@dataclass(slots=True)
class _Kept:
    """The replay to go on with, and the file it is saved in; none when this run keeps nothing."""

    replay: Replay
    path: Path | None = None
    file: AuditFile | None = None
    passing: bool = False
    """Whether it is kept only until the audit is done."""
    notes: list[str] = field(default_factory=list)

    @property
    def save(self) -> Save | None:
        return None if self.file is None else self.file.save

    def done(self) -> None:
        """The audit went through: what was kept for the sake of going on is not needed any more."""
        if self.passing and self.file is not None and self.path is not None:
            self.file.close()
            self.file = None
            for end in ("", "-wal", "-shm"):
                Path(f"{self.path}{end}").unlink(missing_ok=True)


@contextmanager
def _kept(view: View, wish: Wish, upto: int) -> Iterator[_Kept]:
    newest = view.now if view.opened.newest is None else view.opened.newest
    origin = view.opened.checkpoint.origin
    path = wish.audit or passing_path(view)
    notes: list[str] = []
    file: AuditFile | None = None
    # An audit of a part proves less than the file says of what is in it.
    if not wish.since and upto == view.size:
        try:
            file = AuditFile.open(path)
        except OSError as error:
            if wish.audit is not None:
                raise
            notes.append(f"how far this audit comes cannot be kept in {path}: {error.strerror or error}")
    if file is None:
        yield _Kept(Replay(origin, newest, upto), notes=notes)
        return
    kept: _Kept | None = None
    try:
        if wish.fresh:
            file.forget(origin)
        replay = file.load(origin, newest, upto)
        replay.newest = newest
        if replay.size <= upto:
            check_audited(view, replay)
            kept = _Kept(replay, path, file, wish.audit is None, notes)
        else:
            notes.append(
                f"{path} holds an audit up to size {replay.size}, so this older state was audited without it"
            )
            kept = _Kept(Replay(origin, newest, upto), notes=notes)
        yield kept
    except sqlite3.Error as error:
        what = f"{error}; look at its disk, or name another file with --audit"
        raise Unreachable(str(path), what) from None
    finally:
        if kept is None or kept.file is not None or kept.path is None:
            file.close()


def passing_path(view: View) -> Path:
    """Where an audit that is not done is kept: by the log's key and by what it is read from."""
    place = hashlib.sha256(view.log.where.encode()).hexdigest()[:8]
    return data_path(view.policy, "audits", f"-{place}.sqlite")


@contextmanager
def _stoppable() -> Iterator[threading.Event | None]:
    """Set by the first Ctrl-C or SIGTERM, so that the audit saves and ends; the second ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield None
        return
    stop = threading.Event()

    def ask(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _going_on(found: Audit) -> str:
    if found.kept is None or not found.replay.size:
        return ""
    return f"; entries below {found.replay.size} are audited, and the same command goes on from there ({found.kept})"


def _stopped(found: Audit) -> Outcome:
    going_on = _going_on(found) or "; nothing of this audit is kept, so it begins anew next time"
    return Outcome(
        "audit", Verdict.NOT_CHECKED,
        f"stopped at entry {found.replay.size} of {found.upto}{going_on}",
        audit_result(found),
    )  # fmt: skip


# -- what comes out ------------------------------------------------------------------------------------


def _outcome(found: Audit) -> Outcome:
    found.finished = True
    violations = found.violations
    if not violations:
        scope = f"entries {found.since} to {found.upto - 1}" if found.since else f"all {found.upto} entries"
        if found.upto < found.view.size and not found.since:
            scope = f"the first {found.upto} entries"
        return Outcome(
            "audit", Verdict.HOLDS, f"{scope} were checked and there is no violation",
            audit_result(found), audit_lines(found),
        )  # fmt: skip
    collector = Collector(found.view.log, found.view.note, found.replay)
    for violation in violations[:SHOWN]:
        path = collector.write(violation)
        if path is not None:
            found.evidence[violation] = path
    first, count = violations[0], len(violations) + found.left_out
    if found.of_log:
        first = found.of_log[0]
        message = f"{count} violation{'s' * (count != 1)}, the first at entry {first.index}: {first.detail}"
    else:
        message = (
            f"this copy is not the log that was signed: {count} {'thing is' if count == 1 else 'things are'} false"
            f" in it, the first at entry {first.index}: {first.detail}"
        )
    error = RuleBroken(
        f"log {found.view.opened.checkpoint.origin}", message,
        checkpoint=found.view.note,
        violations=[_listed(found, violation) for violation in violations],
        violations_left_out=found.left_out,
    )  # fmt: skip
    path = write_refutation("audit", error, {"log": found.view.log.where})
    lines = audit_lines(found)
    if found.evidence:
        shown = "Check each with: glassbook-verify violation FILE --policy FILE"
        lines.insert(-1, Line(shown, "quiet"))
    return Outcome("audit", Verdict.REFUTED, message, audit_result(found), lines, path)


def _listed(found: Audit, violation: Any) -> dict[str, Any]:
    return asdict(violation) | {"rule": rule_of(violation), "evidence": found.evidence.get(violation)}
