"""`glassbook-verify audit`: the whole log replayed, every file of it recomputed (verifier_cli.auditing)."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ledger.client.publiclog import PublicLog
from ledger.client.view import View
from ledger.core.encoding import b64encode
from ledger.core.errors import GlassbookError, Malformed, RuleBroken
from ledger.core.policy import Policy
from ledger.core.replay import Replay, Summary, Violation
from verifier_cli.auditing import advance
from verifier_cli.auditwords import audit_lines, audit_result
from verifier_cli.consistency import remember
from verifier_cli.outcome import Outcome, Verdict, write_refutation
from verifier_cli.report import Progress

SHOWN = 50
"""Violations of which the evidence file holds the entry and its inclusion proof."""


@dataclass(slots=True)
class Audit:
    """What an audit found. `summary` is None when it had to stop at a file that cannot be read as one."""

    view: View
    since: int
    replay: Replay
    violations: list[Violation] = field(default_factory=list)
    summary: Summary | None = None
    by_clock: bool = False

    @property
    def warnings(self) -> list[str]:
        """What is no violation, and no good sign: keys of witnesses that have another role in the log (§1)."""
        register = self.replay.register
        if not register.has_charter:
            return []
        roles = dict(register.charter.roles)
        for versions in register.sources.values():
            for version in versions:
                roles |= version.roles
        return [
            f"witness {witness.name} signs with the key for {roles[witness.vkey.key]}"
            for witness in self.view.policy.witnesses
            if witness.vkey.key in roles
        ]


def audit_command(
    log: PublicLog, policy: Policy, now: int, since: int, jobs: int, state: Path | None, progress: Progress
) -> Outcome:
    """Audit a log. Raises `Unreachable` for a file that is not there, `QuorumNotMet`, `BadSignature`."""
    view = View.open(log, policy, now)
    if since > view.size:
        raise Malformed("--from", f"{since} is above the log's size, {view.size}")
    if state is not None:
        remember(view, state)
    found = audit_log(view, jobs, since, progress)
    if not found.violations:
        scope = f"entries {since} to {view.size - 1}" if since else f"all {view.size} entries"
        return Outcome(
            "audit", Verdict.HOLDS, f"{scope} were checked and there is no violation",
            audit_result(found), audit_lines(found),
        )  # fmt: skip
    first = found.violations[0]
    count = len(found.violations)
    message = f"{count} violation{'s' * (count != 1)}, the first at entry {first.index}: {first.detail}"
    error = RuleBroken(
        f"log {view.opened.checkpoint.origin}", message,
        checkpoint=view.note,
        violations=[asdict(violation) for violation in found.violations],
        entries=_shown(found),
    )  # fmt: skip
    path = write_refutation("audit", error)
    return Outcome("audit", Verdict.REFUTED, message, audit_result(found), audit_lines(found), path)


def audit_log(view: View, jobs: int, since: int = 0, progress: Progress | None = None) -> Audit:
    """Replay the log under `view`, with signatures checked in `jobs` processes; those of entries below `since`
    are not checked again, and violations there not told again."""
    newest = view.opened.newest
    replay = Replay(view.opened.checkpoint.origin, view.now if newest is None else newest, view.size)
    found = Audit(view, since, replay, by_clock=newest is None)
    advanced = advance(
        view.log, replay, view.opened.checkpoint, jobs=jobs, signed_from=since,
        progress=None if progress is None else lambda done, size: progress.step("auditing", done, size),
    )  # fmt: skip
    found.summary = advanced.summary
    of_log = [violation for violation in advanced.of_log if violation.index >= since]
    found.violations = sorted(of_log + advanced.of_copy)
    if replay.register.has_charter:
        view.check_charter_keys(replay.register.charter)
    return found


def _shown(found: Audit) -> list[dict[str, Any]]:
    """The entries of the first violations with their inclusion proofs, where the published tree gives them."""
    shown = []
    for index in sorted({violation.index for violation in found.violations})[:SHOWN]:
        try:
            raw = found.view.entries([index])[index]
            proof = [b64encode(hash_) for hash_ in found.view.inclusion(index)]
        except GlassbookError:
            continue
        shown.append({"index": index, "entry": b64encode(raw), "inclusion_proof": proof})
    return shown
