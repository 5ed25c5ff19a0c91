"""The command `glassbook-verify audit`: its options."""

from contextlib import closing
from typing import Annotated

import typer

from verifier_cli.commandline import log_at, now, read_policy, run
from verifier_cli.options import (
    JOBS,
    AuditOption,
    JobsOption,
    JsonOption,
    LangOption,
    LogOption,
    PolicyOption,
    StateOption,
)
from verifier_cli.outcome import Outcome


def audit(
    policy: PolicyOption,
    log: LogOption,
    since: Annotated[
        int, typer.Option("--from", metavar="SIZE", min=0, help="Do not check signatures below this entry.")
    ] = 0,
    upto: Annotated[
        int | None,
        typer.Option("--to", metavar="SIZE", min=1, help="Only entries below this one.", show_default=False),
    ] = None,
    jobs: JobsOption = JOBS,
    kept: AuditOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, whatever was audited before.")] = False,
    as_json: JsonOption = False,
    lang: LangOption = "en",
    state: StateOption = None,
) -> None:
    """Replay the whole log: every entry, every tile, every index root, every rule. Goes on where it was stopped."""

    def work() -> Outcome:
        from verifier_cli.audit import Wish, audit_command
        from verifier_cli.auditprogress import AuditProgress

        wish = Wish(since, upto, jobs, kept, fresh, state)
        trusted = read_policy(policy)
        with AuditProgress(as_json) as progress, closing(log_at(log)) as source:
            return audit_command(source, trusted, now(), wish, progress)

    run("audit", as_json, work, {"policy": policy, "log": log})
