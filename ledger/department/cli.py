"""`glassbook department`: a department's accesses into the log, and receipts back.

Exit codes: 0 done · 1 refuted: the log is not what it should be, evidence in a file · 2 usage · 3 could not.
Results go to standard output, what happens meanwhile to standard error.
"""

from __future__ import annotations

import sys
import time
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from ledger.core.encoding import year_of
from ledger.core.errors import GlassbookError
from ledger.core.keysfile import format_keys_file
from ledger.department import recovery, setup
from ledger.department.commandline import (
    HERE,
    AsJson,
    HomeFolder,
    PassphraseFile,
    faults,
    month_option,
    passphrase_of,
    say,
    show,
)
from ledger.department.coveragetable import coverage_receipts
from ledger.department.erasecli import erase, erase_epoch
from ledger.department.home import Home
from ledger.department.identifiers import canonical_subject
from ledger.department.importcommand import import_files
from ledger.department.importers.formats import FORMATS
from ledger.department.promisecommand import show_promises
from ledger.department.reconcile.command import reconcile
from ledger.department.release import notices_for, release
from ledger.department.rotating import pending_statement, rotate_key
from ledger.department.settings import CannotGoOn
from ledger.department.statuscommand import report, show_status
from ledger.department.unsealing import check_unseal, record_unsealing
from ledger.files import read_limited, write_atomic
from ledger.keyfiles import PassphraseWanted, new_passphrase, take_token_key

app = typer.Typer(
    no_args_is_help=True,
    help="A department's accesses into the log, and receipts back.",
    add_completion=False,
)
app.command()(erase)
app.command("erase-epoch")(erase_epoch)
app.command()(reconcile)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for this source.")],
    statement: Annotated[
        Path, typer.Option(metavar="SYSTEM.toml", help="What the register will say about the system.")
    ],
    origin: Annotated[str, typer.Option(help="The log's name.")],
    ledger: Annotated[str, typer.Option(metavar="URL", help="Where entries are handed in.")],
    log: Annotated[str, typer.Option(metavar="URL|DIR", help="Where the log is published.")],
    policy: Annotated[
        str, typer.Option(metavar="FILE", help="The policy file, as named in settings.")
    ] = "policy.txt",
    map_: Annotated[
        str, typer.Option("--map", metavar="FILE", help="The mapping file, as named in settings.")
    ] = "",
    epoch: Annotated[
        list[str] | None,
        typer.Option(metavar="YEAR|FIRST-LAST", help="Years of accesses; this one and the next."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    unencrypted: Annotated[
        bool, typer.Option("--no-passphrase", help="Leave the keys unencrypted, mode 0600.")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(metavar="PKCS11-URI", help="The key that signs lies in a PKCS#11 token (docs/keys.md)."),
    ] = None,
) -> None:
    """Make keys, settings and the statement that the registrar signs."""
    with faults(folder.parent):
        this_year = year_of(int(time.time()) // 86_400)
        epochs = setup.parse_epochs(epoch or [f"{this_year}-{this_year + 1}"])
        system = setup.read_system(read_limited(statement, 1 << 20), str(statement))
        passphrase = _new_passphrase(passphrase_file, unencrypted)
        addresses = setup.Addresses(origin, ledger, log, policy, map_)
        token_key = take_token_key(key) if key is not None else None
        path = setup.make_home(folder, addresses, system, epochs, passphrase, token_key)
        typer.echo(f"{folder}: keys for {len(epochs)} epochs and settings are made.")
        typer.echo(f"Hand {path} to the registrar, who runs: glassbook source add DIR {path.name}")
        typer.echo(f"Put the log's policy file at {folder / policy}.")


def _new_passphrase(path: Path | None, unencrypted: bool) -> bytes | None:
    try:
        return new_passphrase(path, unencrypted)
    except PassphraseWanted as error:
        say(str(error))
        raise typer.Exit(2) from None


@app.command()
def epochs(
    years: Annotated[
        list[str], typer.Argument(metavar="YEAR|FIRST-LAST", help="For instance 2027, or 2015-2019.")
    ],
    folder: HomeFolder = HERE,
    passphrase_file: PassphraseFile = None,
    unencrypted: Annotated[
        bool, typer.Option("--no-passphrase", help="Leave the keys unencrypted, mode 0600.")
    ] = False,
) -> None:
    """Make VRF keys for more years, and a new statement for the registrar to sign."""
    with faults(folder), Home(folder, passphrase_of(passphrase_file)) as home:
        registration = home.registration(int(time.time()), say)
        wanted = [year for year in setup.parse_epochs(years) if year not in registration.newest.vrf]
        if not wanted:
            typer.echo("These epochs are registered already.")
            return
        statement = pending_statement(home, registration)
        missing = [year for year in wanted if year not in home.settings.vrf]
        if missing:
            passphrase = _new_passphrase(passphrase_file, unencrypted)
            path = setup.add_epochs(home.settings.home, missing, statement, passphrase)
        else:
            path = setup.write_statement(home.settings.home, statement)
        typer.echo(f"Hand {path} to the registrar, who runs:")
        typer.echo(f"  glassbook source rotate DIR {registration.source} {path.name}")


@app.command("rotate-key")
def rotate_key_(
    folder: HomeFolder = HERE,
    passphrase_file: PassphraseFile = None,
    unencrypted: Annotated[
        bool, typer.Option("--no-passphrase", help="Leave the key unencrypted, mode 0600.")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(metavar="PKCS11-URI", help="The next key lies in a PKCS#11 token (docs/keys.md)."),
    ] = None,
) -> None:
    """Make the next signing key beside the one in force, and a new statement for the registrar to sign."""
    with faults(folder), Home(folder, passphrase_of(passphrase_file)) as home:
        registration = home.registration(int(time.time()), say)
        token_key = take_token_key(key) if key is not None else None
        passphrase = None if token_key else _new_passphrase(passphrase_file, unencrypted)
        new, path = rotate_key(home, registration, passphrase, token_key)
        typer.echo(f"{new}: the next key. It signs as soon as the register names it, and not before.")
        typer.echo(f"Hand {path} to the registrar, who runs:")
        typer.echo(f"  glassbook source rotate DIR {registration.source} {path.name}")


@app.command("import")
def import_(
    format_: Annotated[str, typer.Argument(metavar="FORMAT", help=f"{', '.join(FORMATS)}.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Plain or gzip.")],
    folder: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="The department's folder.")
    ] = None,
    map_: Annotated[Path | None, typer.Option("--map", metavar="MAP.toml", help="The mapping file.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be recorded, and record nothing.")
    ] = False,
    as_json: AsJson = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 3 when an event was rejected.")] = False,
    seal: Annotated[
        int | None,
        typer.Option(
            parser=month_option,
            metavar="YYYY-MM",
            help="Open to their subjects from this month on, to nobody before.",
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Read log files into the outbox."""
    if format_ not in FORMATS:
        known = ", ".join(FORMATS)
        raise typer.BadParameter(f"{format_} is not read; the formats are: {known}", param_hint="FORMAT")
    with faults(folder or HERE, as_json):
        passphrase = passphrase_of(passphrase_file)
        result = import_files(format_, files, folder, map_, dry_run, as_json, passphrase, say, seal or 0)
        if result.unfinished is not None:
            say(str(result.unfinished))
            raise typer.Exit(3)
        if result.unread or (strict and result.summary.rejected):
            raise typer.Exit(3)


@app.command()
def send(
    folder: HomeFolder = HERE,
    wait: Annotated[bool, typer.Option("--wait", help="Until every record has a checked receipt.")] = False,
    patience: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="How long to wait without any progress.")
    ] = None,
    as_json: AsJson = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Hand in what the outbox holds, once, and collect receipts."""
    with faults(folder, as_json), Home(folder, passphrase_of(passphrase_file)) as home:
        from ledger.department.runcommand import open_sender

        counts = open_sender(home, patience, say).send(wait)
        report(counts, home, as_json)
        if counts.refused:
            raise typer.Exit(3)


@app.command()
def run(
    folder: HomeFolder = HERE,
    interval: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Between two rounds, on average.")
    ] = 20.0,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Hand in and collect receipts until stopped; receive OTLP and give keys where department.toml says so."""
    from ledger.department.runcommand import run_agent

    with faults(folder), Home(folder, passphrase_of(passphrase_file)) as home:
        run_agent(home, interval, say)


@app.command()
def status(folder: HomeFolder = HERE, as_json: AsJson = False) -> None:
    """What waits, what failed and why, and what to do about it; exit 3 when a person has to do something."""
    with faults(folder, as_json), Home(folder) as home:
        needed = show_status(home, as_json)
    if needed:
        raise typer.Exit(3)


@app.command()
def promises(
    folder: HomeFolder = HERE,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write those that are overdue to files.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that are not overdue as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """The ledger's promises for records without a receipt; one not kept is evidence."""
    with faults(folder, as_json), Home(folder) as home:
        show_promises(home, out, everything, int(time.time()), as_json)


@app.command()
def receipts(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")],
    folder: HomeFolder = HERE,
    limit: Annotated[
        int | None, typer.Option(min=1, max=2**63 - 1, help="At most so many of each, the newest.")
    ] = None,
) -> None:
    """Write receipts of records and of coverages as files, INDEX.receipt.json."""
    with faults(folder), Home(folder) as home:
        out.mkdir(parents=True, exist_ok=True)
        kept = written = 0
        for position, receipt in chain(home.outbox.receipts(limit), coverage_receipts(home.outbox, limit)):
            kept += 1
            path = out / f"{position}.receipt.json"
            if not path.exists():
                write_atomic(path, receipt)
                written += 1
        there = f", {kept - written} of them were there already" if written < kept else ""
        typer.echo(f"{out}: {kept} receipts{there}")


@app.command()
def keys(
    subject: Annotated[
        list[str], typer.Option(metavar="SCHEME:VALUE", help="Once for each identifier she has.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The keys file, mode 0600.")],
    folder: HomeFolder = HERE,
    unseal: Annotated[
        list[int] | None,
        typer.Option(
            parser=month_option,
            metavar="YYYY-MM",
            help="Also what is sealed until this month, before its time.",
        ),
    ] = None,
    activity: Annotated[
        int | None,
        typer.Option(
            min=1, max=2**32 - 1, metavar="N", help="With --unseal: the activity it is recorded under."
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Write a person's stream keys: every epoch, and every seal open by now."""
    with faults(folder), Home(folder, passphrase_of(passphrase_file)) as home:
        now = int(time.time())
        registration = home.registration(now, say)
        try:
            subjects = [canonical_subject(text, home.settings.identifiers) for text in subject]
        except GlassbookError as error:
            raise CannotGoOn("--subject", error.what) from None
        notices = notices_for(home.settings.home, home.outbox, registration.source, subjects)
        seals = sorted(set(unseal or ()))
        file = release(registration, home.seeds(), subjects, now, notices=notices, unseal=seals)
        if seals:
            record_unsealing(home, registration, subjects, seals, check_unseal(registration, activity), now)
        write_atomic(out, format_keys_file(file), 0o600)
        typer.echo(
            f"{out}: {len(file.keys)} stream keys of source {registration.source}; give it to the person alone"
        )


@app.command()
def recover(
    folder: HomeFolder = HERE,
    nothing_waits: Annotated[
        bool,
        typer.Option("--nothing-waits", help="The ledger's operator says its inbox holds none of yours."),
    ] = False,
    as_json: AsJson = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Rebuild lost counters from the public index; nothing is given a number until that is done."""
    with faults(folder, as_json), Home(folder, passphrase_of(passphrase_file)) as home:
        now = int(time.time())
        recovery.begin(home.outbox, now)
        view = home.view(now)
        registration = home.registration(now, say)
        done = recovery.finish(
            home.outbox, view, home.maker(registration), registration.charter.merge_delay_s, nothing_waits
        )
        if as_json:
            show({"streams": done.streams, "behind": done.behind, "renumbered": done.renumbered})
            return
        typer.echo(
            f"Recovered. Of {done.streams} streams in the outbox {done.behind} were behind the log; "
            f"{done.renumbered} records have another number."
        )
        typer.echo("Streams that the outbox does not know are asked for in the log at their first use.")


if __name__ == "__main__":
    sys.exit(app())
