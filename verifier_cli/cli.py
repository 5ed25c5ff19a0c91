"""The commands of `glassbook-verify`, their options and exit codes (docs/verifier.md).

Each command gathers its input, lets one module do the work and shows its `Outcome`. Whatever is raised
on the way becomes one message that says where, what and, in an exit code, whether something was refuted
(1), asked for wrongly (2) or could not be checked (3). Personal data is printed only as the result of a
command that was given keys, never in an error.
"""

import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ledger.client.openlog import open_log
from ledger.client.publiclog import ClosableLog, Moved, Unreachable
from ledger.core.encoding import sha256
from ledger.core.errors import GlassbookError, Malformed, Refuted
from ledger.core.policy import Policy, parse_policy
from ledger.files import FileRefused, read_limited
from verifier_cli.auditcommand import audit
from verifier_cli.options import (
    JsonOption,
    LangOption,
    LogOption,
    OfflineLogOption,
    PolicyOption,
    StateOption,
)
from verifier_cli.outcome import Outcome, Verdict, write_refutation
from verifier_cli.promisecommand import promise
from verifier_cli.report import Progress, show, warn
from verifier_cli.statscommand import stats
from verifier_cli.violationcommand import violation
from verifier_cli.watchcommand import watch

MAX_POLICY = 1 << 20  # bytes
MAX_FILE = 16 << 20  # bytes of a receipt, evidence or keys file

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

        data, trusted = _read(file), _policy(policy)
        about.update(policy=policy.read_bytes(), receipt=data)
        return check_receipt_file(str(file), data, trusted, _now(), lang)

    _run("receipt", as_json, work, about)


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

        data, trusted = _read(file), _policy(policy)
        # The file itself may open claims about a person: only its hash goes on.
        about.update(policy=policy.read_bytes(), evidence_sha256=sha256(data).hex())
        return check_evidence_file(str(file), data, trusted, _now(), lang)

    _run("evidence", as_json, work, about)


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
        files = [(str(path), _read(path)) for path in keys]
        trusted = _policy(policy)
        with Progress(as_json) as progress, closing(_log(log, progress)) as source:
            return mine_command(source, trusted, files, _now(), lang, wish, state, progress)

    _run("mine", as_json, work, {"policy": policy, "log": log})


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
            return judge_file(str(evidence_file), _read(evidence_file), _policy(policy))
        assert log
        about["policy"] = policy.read_bytes()
        earlier = None if since is None else (str(since), _read(since, 1 << 20))
        trusted = _policy(policy)
        with closing(_log(log)) as source:
            return consistency_command(source, trusted, _now(), earlier, state)

    about: dict[str, Any] = {"log": log}
    _run("consistency", as_json, work, about)


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
            return show_file(_read(Path(what)), lang)
        assert policy is not None and log
        trusted = _policy(policy)
        with closing(_log(log)) as source:
            return show_index(source, trusted, index, _now(), lang)

    _run("show", as_json, work)


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


# -- input ---------------------------------------------------------------------------------------------


def _now() -> int:
    return int(time.time())


def _read(path: Path, limit: int = MAX_FILE) -> bytes:
    return read_limited(path, limit)


def _policy(path: Path) -> Policy:
    return parse_policy(read_limited(path, MAX_POLICY))


def _log(where: str | list[str], progress: Progress | None = None) -> ClosableLog:
    return open_log(where, None if progress is None else progress.reading, warn)


def _claims(text: str) -> tuple[str, ...]:
    from ledger.core.sdjwt import CLAIMS

    named = tuple(part.strip() for part in text.split(",") if part.strip())
    if any(name not in CLAIMS and name != "all" for name in named):
        raise typer.BadParameter(f"--open: no claim of that name; there are: all, {', '.join(CLAIMS)}")
    return named


# -- what comes out ------------------------------------------------------------------------------------


def _run(
    command: str, as_json: bool, work: Callable[[], Outcome], about: Mapping[str, Any] | None = None
) -> NoReturn:
    """Do the work, show what came of it and end with its exit code. `about` goes into the evidence."""
    try:
        outcome = work()
    except Refuted as error:
        path = write_refutation(command, error, about)
        outcome = Outcome(command, Verdict.REFUTED, str(error), evidence_file=path)
    except Moved as error:
        outcome = Outcome(command, Verdict.NOT_CHECKED, f"{error}; try again")
    except Unreachable as error:
        outcome = Outcome(command, Verdict.NOT_CHECKED, str(error))
    except Malformed as error:
        outcome = Outcome(command, Verdict.NOT_CHECKED, f"{error}; nothing was checked with it")
    except (FileRefused, GlassbookError) as error:
        outcome = Outcome(command, Verdict.NOT_CHECKED, str(error))
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        outcome = Outcome(command, Verdict.NOT_CHECKED, f"{name}{error.strerror or type(error).__name__}")
    except KeyboardInterrupt:
        outcome = Outcome(command, Verdict.NOT_CHECKED, "stopped before the check was done")
    except Exception as error:  # a fault of this program: name its place, not the data it met
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = (
            f"a fault in this program ({type(error).__name__} at {Path(place.filename).name}:{place.lineno})"
        )
        outcome = Outcome(command, Verdict.NOT_CHECKED, f"{what}; please report it")
    code = outcome.verdict.exit_code
    try:
        show(outcome, as_json)
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            # A full disk is no refutation, and a result that nobody can read no success.
            code = code or Verdict.NOT_CHECKED.exit_code
            with suppress(OSError):
                print(f"the result could not be written: {error.strerror}; {outcome.told}", file=sys.stderr)
        # Of a pipe, whoever reads has enough. What is left in the buffers must not be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(code)
