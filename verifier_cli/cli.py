"""The commands of `glassbook-verify`, their options and exit codes (docs/verifier.md).

Each command gathers its input, lets one module do the work and shows its `Outcome` (commandline.py). The longer ones
stand in files of their own, named after them.
"""

import re
import sys
from contextlib import closing
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.core.encoding import sha256
from verifier_cli.auditcommand import audit
from verifier_cli.commandline import log_at, now, read_file, read_policy, run
from verifier_cli.options import (
    JsonOption,
    LangOption,
    LogOption,
    OfflineLogOption,
    PolicyOption,
    StateOption,
)
from verifier_cli.outcome import Outcome
from verifier_cli.promisecommand import promise
from verifier_cli.report import Progress
from verifier_cli.statscommand import stats
from verifier_cli.violationcommand import violation
from verifier_cli.watchcommand import watch

app = typer.Typer(
    name="glassbook-verify",
    help="Check what a Glassbook log shows. Trusts the policy file you give, and nothing else.",
    epilog="Exit codes: 0 holds · 1 refuted, evidence written · 2 usage · 3 could not check or not complete.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def receipt(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A *.receipt.json file.")],
    policy: PolicyOption,
    log: OfflineLogOption = None,
    as_json: JsonOption = False,
    lang: LangOption = "en",
) -> None:
    """Check offline that an entry is in the log."""
    about: dict[str, Any] = {}

    def work() -> Outcome:
        from verifier_cli.offline import check_receipt_file

        data, trusted = read_file(file), read_policy(policy)
        about.update(policy=policy.read_bytes(), receipt=data)
        return check_receipt_file(str(file), data, trusted, now(), lang)

    run("receipt", as_json, work, about)


@app.command()
def evidence(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A *.evidence.json file.")],
    policy: PolicyOption,
    log: OfflineLogOption = None,
    as_json: JsonOption = False,
    lang: LangOption = "en",
) -> None:
    """Check offline what somebody shows of one access."""
    about: dict[str, Any] = {}

    def work() -> Outcome:
        from verifier_cli.offline import check_evidence_file

        data, trusted = read_file(file), read_policy(policy)
        # The file itself may open claims about a person: only its hash goes on.
        about.update(policy=policy.read_bytes(), evidence_sha256=sha256(data).hex())
        return check_evidence_file(str(file), data, trusted, now(), lang)

    run("evidence", as_json, work, about)


@app.command()
def mine(
    keys: Annotated[
        list[Path], typer.Argument(metavar="KEYS.json…", help="Your stream keys, one file or more.")
    ],
    policy: PolicyOption,
    log: LogOption,
    evidence_to: Annotated[
        Path | None,
        typer.Option(
            "--evidence", metavar="DIR", help="Write evidence of accesses to this folder.", show_default=False
        ),
    ] = None,
    entry: Annotated[
        list[int] | None,
        typer.Option(
            "--entry", metavar="INDEX", help="Only of this access; may be repeated.", show_default=False
        ),
    ] = None,
    opened: Annotated[
        str,
        typer.Option(
            "--open",
            metavar="CLAIM,…",
            help="What the evidence opens: actor,event,… or all.",
            show_default=False,
        ),
    ] = "",
    as_json: JsonOption = False,
    lang: LangOption = "en",
    state: StateOption = None,
) -> None:
    """Every access to your data, with the proof that none is missing, source by source."""
    if evidence_to is None and (entry or opened):
        raise typer.BadParameter("--entry and --open choose what --evidence DIR writes; give that as well")
    claims = _claims(opened)

    def work() -> Outcome:
        from verifier_cli.mine import Wish, mine_command

        wish = None if evidence_to is None else Wish(evidence_to, tuple(entry or ()), claims)
        files = [(str(path), read_file(path)) for path in keys]
        trusted = read_policy(policy)
        with Progress(as_json) as progress, closing(log_at(log, progress)) as source:
            return mine_command(source, trusted, files, now(), lang, wish, state, progress)

    run("mine", as_json, work, {"policy": policy, "log": log})


@app.command()
def consistency(
    policy: PolicyOption,
    log: Annotated[
        list[str] | None,
        typer.Option(
            "--log", metavar="URL|DIR|TAR", help="The published log; not with --evidence.", show_default=False
        ),
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option("--from", metavar="CHECKPOINT", help="A checkpoint saved earlier.", show_default=False),
    ] = None,
    evidence_file: Annotated[
        Path | None,
        typer.Option(
            "--evidence", metavar="FILE", help="Judge a file about two checkpoints.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
    lang: LangOption = "en",
    state: StateOption = None,
) -> None:
    """The log still contains all that was seen before; remembers what it saw."""
    if (not log) == (evidence_file is None):
        raise typer.BadParameter(
            "give --log URL|DIR to look at a log, or --evidence FILE to judge a file offline"
        )

    def work() -> Outcome:
        from verifier_cli.consistency import consistency_command
        from verifier_cli.forks import judge_file

        if evidence_file is not None:
            return judge_file(str(evidence_file), read_file(evidence_file), read_policy(policy))
        assert log
        about["policy"] = policy.read_bytes()
        earlier = None if since is None else (str(since), read_file(since, 1 << 20))
        trusted = read_policy(policy)
        with closing(log_at(log)) as source:
            return consistency_command(source, trusted, now(), earlier, state)

    about: dict[str, Any] = {"log": log}
    run("consistency", as_json, work, about)


app.command()(audit)


app.command()(promise)


app.command()(stats)


app.command()(watch)


app.command()(violation)


@app.command(name="show")
def show_entry(
    what: Annotated[str, typer.Argument(metavar="INDEX|FILE", help="An entry's number, or a file.")],
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="Needed with INDEX.", show_default=False)
    ] = None,
    log: Annotated[
        list[str] | None,
        typer.Option("--log", metavar="URL|DIR|TAR", help="Needed with INDEX.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
    lang: LangOption = "en",
) -> None:
    """An entry in words: by its index in the log, or out of a receipt, evidence or entry file."""
    index = int(what) if re.fullmatch("0|[1-9][0-9]{0,18}", what, re.ASCII) else None
    if index is not None and (policy is None or not log):
        raise typer.BadParameter("an INDEX needs --policy FILE and --log URL|DIR as well")

    def work() -> Outcome:
        from verifier_cli.show import show_file, show_index

        if index is None:
            return show_file(read_file(Path(what)), lang)
        assert policy is not None and log
        trusted = read_policy(policy)
        with closing(log_at(log)) as source:
            return show_index(source, trusted, index, now(), lang)

    run("show", as_json, work)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def witness(context: typer.Context) -> None:
    """Run a witness of your own (needs the extra `witness`)."""
    # Loaded only here: no other command needs its database, nor the web server of the extra.
    from verifier_cli.witnesscommand import witness as run_witness

    inner = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    inner.command()(run_witness)
    code = inner(args=context.args, prog_name="glassbook-verify witness", standalone_mode=False)
    raise typer.Exit(code if isinstance(code, int) else 0)


def main() -> None:
    """Entry point of the script `glassbook-verify`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal that lacks a letter gets its number instead, and no fault.
            stream.reconfigure(errors="backslashreplace")
    app()


def _claims(text: str) -> tuple[str, ...]:
    from ledger.core.sdjwt import CLAIMS

    named = tuple(part.strip() for part in text.split(",") if part.strip())
    if any(name not in CLAIMS and name != "all" for name in named):
        raise typer.BadParameter(f"--open: no claim of that name; there are: all, {', '.join(CLAIMS)}")
    return named
