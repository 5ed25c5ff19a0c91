"""The commands `glassbook department erase` and `erase-epoch`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.core.encoding import format_date, parse_date
from ledger.core.errors import Malformed
from ledger.department import epochkeys
from ledger.department.commandline import (
    HERE,
    AsJson,
    HomeFolder,
    PassphraseFile,
    faults,
    passphrase_of,
    say,
    show,
)
from ledger.department.erasecommand import (
    Choice,
    ask_to_destroy,
    check_choice,
    destroy_epoch,
    erase_details,
    erasure_lines,
    finish_epoch,
)
from ledger.department.home import Home

if TYPE_CHECKING:
    from ledger.department.handin import LedgerClient


def erase(
    folder: HomeFolder = HERE,
    record: Annotated[
        list[int] | None,
        typer.Option(
            "--record", min=0, max=2**63 - 1, metavar="INDEX", help="This record, by its index in the log."
        ),
    ] = None,
    before: Annotated[
        str | None, typer.Option(metavar="DATE", help="Every record of a day before this one, YYYY-MM-DD.")
    ] = None,
    activity: Annotated[
        int | None,
        typer.Option(min=1, max=2**32 - 1, metavar="N", help="With --before: of this activity alone."),
    ] = None,
    rule: Annotated[
        bool, typer.Option("--rule", help="What [retention] in department.toml lets be kept no longer.")
    ] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Everything erased so far once more, after the operator restored a backup."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be erased, and erase nothing.")
    ] = False,
    as_json: AsJson = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Have the operator delete details; the log keeps every entry."""
    choice = Choice(tuple(record or ()), _day(before, "--before") if before else None, activity, rule, again)
    wrong = check_choice(choice)
    if wrong:
        raise typer.BadParameter(wrong)
    with faults(folder, as_json), Home(folder, passphrase_of(passphrase_file)) as home:
        result = erase_details(home, choice, dry_run, int(time.time()), say, lambda: _ledger(home))
        if as_json:
            show(result)
        else:
            typer.echo("\n".join(erasure_lines(result)))
        if result.get("unknown"):
            raise typer.Exit(3)


def _ledger(home: Home) -> LedgerClient:
    from ledger.department.handin import LedgerClient

    return LedgerClient(home.settings.ledger)


def erase_epoch(
    epoch: Annotated[
        int, typer.Argument(min=1970, max=9998, metavar="YEAR", help="The year of the accesses.")
    ],
    folder: HomeFolder = HERE,
    announce: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="People have until then to fetch their keys, YYYY-MM-DD."),
    ] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take the announcement back.")] = False,
    confirm: Annotated[
        str | None, typer.Option(metavar="CODE", help="The code that the first step showed.")
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Announce, and then in two steps destroy, the VRF key of a year: nobody can be given keys for it any more."""
    if sum((announce is not None, withdraw, confirm is not None)) > 1:
        raise typer.BadParameter("choose one of --announce, --withdraw and --confirm")
    day = _day(announce, "--announce") if announce is not None else None
    with faults(folder), Home(folder, passphrase_of(passphrase_file)) as home:
        now = int(time.time())
        if withdraw:
            there = epochkeys.withdraw(home.settings.home, epoch)
            typer.echo(
                f"Nothing is announced for {epoch} any more."
                if there
                else f"Nothing was announced for {epoch}."
            )
            return
        if epochkeys.is_unfinished(home.settings.home, epoch):
            home.hold_keys(alone=True)
            typer.echo("\n".join(finish_epoch(home, epoch, now)))
            return
        registration = home.registration(now, say)
        if day is not None:
            notice = home.settings.retention.notice_days
            epochkeys.announce(home.settings.home, epoch, day, registration.versions, notice, now)
            typer.echo(f"Announced: the VRF key of {epoch} is destroyed on {format_date(day)} or later.")
            typer.echo(
                "Every keys file that is given from now on says so. Say it where people look, too: who has no keys by "
                f"then will never find her accesses of {epoch}."
            )
        elif confirm is None:
            typer.echo("\n".join(ask_to_destroy(home, registration, epoch, now)))
        else:
            typer.echo("\n".join(destroy_epoch(home, registration, epoch, confirm, now)))


def _day(text: str, option: str) -> int:
    try:
        return parse_date(text, option)
    except Malformed as error:
        raise typer.BadParameter(error.what, param_hint=option) from None
