"""What an audit found, for whoever puts it into words."""

from dataclasses import dataclass, field
from pathlib import Path

from ledger.client.view import View
from ledger.core.replay import Replay, Summary, Violation


@dataclass(slots=True)
class Audit:
    """An audit of the first `upto` entries under `view`.

    `of_log` are rules that entries of the signed tree break, `of_copy` files that are not that tree's. `summary` is
    None when the copy did not give every entry. Entries below `resumed` were audited by an earlier run, signatures
    below `since` by nobody. `kept` is the file from which a later run goes on; `evidence` has the file of each
    violation that has one.
    """

    view: View
    upto: int
    replay: Replay
    since: int = 0
    resumed: int = 0
    kept: Path | None = None
    passing: bool = False
    of_log: list[Violation] = field(default_factory=list)
    of_copy: list[Violation] = field(default_factory=list)
    copy_left_out: int = 0
    summary: Summary | None = None
    by_clock: bool = False
    finished: bool = False
    evidence: dict[Violation, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def violations(self) -> list[Violation]:
        """All of them, in the order of the entries."""
        return sorted(self.of_log + self.of_copy)

    @property
    def left_out(self) -> int:
        """Violations that are only counted, being too many to keep."""
        return self.replay.left_out + self.copy_left_out

    @property
    def warnings(self) -> list[str]:
        """What is no violation, and no good sign: keys of witnesses that have another role in the log (§1)."""
        register = self.replay.register
        if not register.has_charter:
            return list(self.notes)
        roles = dict(register.charter.roles)
        for versions in register.sources.values():
            for version in versions:
                roles |= version.roles
        return self.notes + [
            f"witness {witness.name} signs with the key for {roles[witness.vkey.key]}"
            for witness in self.view.policy.witnesses
            if witness.vkey.key in roles
        ]
