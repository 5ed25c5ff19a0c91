"""The command `glassbook-verify stats`: its options."""

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
)
from verifier_cli.outcome import Outcome

BY = ("source", "day", "month", "activity", "seal")


def stats(
    policy: PolicyOption,
    log: LogOption,
    by: Annotated[
        str, typer.Option("--by", metavar="|".join(BY), help="What one row stands for, of one source each.")
    ] = "source",
    source: Annotated[
        list[int] | None,
        typer.Option("--source", metavar="N", help="Only this source; may be repeated.", show_default=False),
    ] = None,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="DAY", help="Only from this day on: YYYY-MM-DD.", show_default=False),
    ] = None,
    last: Annotated[
        str | None,
        typer.Option("--to", metavar="DAY", help="Only up to this day, included.", show_default=False),
    ] = None,
    audited: Annotated[
        bool, typer.Option("--audited", help="Count what is audited already; audit no further.")
    ] = False,
    audit: AuditOption = None,
    jobs: JobsOption = JOBS,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print rows as CSV (docs/verifier.md).")] = False,
    lang: LangOption = "en",
) -> None:
    """Counts by source, day, month, activity or expiry of seals, from audited entries only."""
    if by not in BY:
        raise typer.BadParameter(f"--by {by}: one of {', '.join(BY)}")
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv: give one of them")
    since, until = _day("--from", first), _day("--to", last)
    if since is not None and until is not None and since > until:
        raise typer.BadParameter("--from is after --to")

    def work() -> Outcome:
        from ledger.client.seen import data_path
        from verifier_cli.auditprogress import AuditProgress
        from verifier_cli.stats import stats_command
        from verifier_cli.statsrows import Wish

        trusted = read_policy(policy)
        wish = Wish(by, tuple(source or ()), since, until, lang)
        place = audit or data_path(trusted, "audit", ".sqlite")
        with AuditProgress(as_json) as progress, closing(log_at(log)) as opened:
            return stats_command(
                opened, trusted, now(), place, wish,
                jobs=jobs, audited_only=audited, as_csv=as_csv, progress=progress,
            )  # fmt: skip

    run("stats", as_json, work, {"policy": policy, "log": log})


def _day(option: str, text: str | None) -> int | None:
    from ledger.core.encoding import parse_date
    from ledger.core.errors import GlassbookError

    if text is None:
        return None
    try:
        return parse_date(text, option)
    except GlassbookError:
        raise typer.BadParameter(f"{option}: a day is written YYYY-MM-DD") from None
