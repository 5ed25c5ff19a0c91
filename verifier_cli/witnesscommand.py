"""`glassbook-verify witness`: makes a witness, tells it of logs, serves it, says how it stands (docs/witness.md).

    glassbook-verify witness --init FILE --name witness.example/w1 [--plain] [--keys both] [--url URL]
    glassbook-verify witness FILE --log-vkey VKEY [--log-vkey VKEY] [--log URL|DIR …]      a log, also a second one
    glassbook-verify witness FILE --listen HOST:PORT [--jobs N] [--webhook URL]
    glassbook-verify witness FILE --status

They may be one call: `--init FILE --name NAME --log-vkey VKEY --log DIR --listen HOST:PORT`. Without `--plain` it is an
auditor, which needs `--log`. `--init` prints the vkeys on stdout, one a line, and all else on stderr. What a witness
is, its file remembers, so `--plain` may be left out or given again later.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ledger.core.errors import GlassbookError
from ledger.core.note import COSIGNATURE, MLDSA44, VerifierKey, parse_vkey
from ledger.files import FileRefused
from verifier_cli.witness import parse_listen, serve
from verifier_cli.witnessalarms import say
from verifier_cli.witnessfile import WitnessFile
from verifier_cli.witnesswords import init_words, status_words


class Keys(StrEnum):
    """Which keys a new witness gets."""

    ED25519 = "ed25519"
    MLDSA44 = "ml-dsa-44"
    BOTH = "both"

    @property
    def kinds(self) -> tuple[int, ...]:
        """Their note types."""
        return {"ed25519": (COSIGNATURE,), "ml-dsa-44": (MLDSA44,)}.get(self.value, (COSIGNATURE, MLDSA44))


def witness(
    file: Annotated[Path, typer.Argument(help="The witness's one file: keys, logs, what it cosigned.")],
    plain: Annotated[
        bool, typer.Option("--plain", help="Check that the log only grows; read no entries. For ever.")
    ] = False,
    init: Annotated[
        bool, typer.Option("--init", help="Make FILE with new keys and print the vkeys.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="With --init: the cosigner's name, a URL without scheme.")
    ] = None,
    keys: Annotated[
        Keys | None, typer.Option(help="With --init: which keys it gets; ed25519 unless said.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="With --init: where logs will reach it, to show.")] = None,
    log_vkey: Annotated[
        list[str] | None, typer.Option(help="A key of a log to serve; again for each of its keys.")
    ] = None,
    log: Annotated[
        list[str] | None,
        typer.Option("--log", metavar="URL|DIR", help="Where that log is read; again for each mirror."),
    ] = None,
    listen: Annotated[str | None, typer.Option(help="Serve at host:port (port 0: any free one).")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that check signatures of an audit.")] = max(
        1, os.cpu_count() or 1
    ),
    webhook: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Post alarms there as JSON; may be given again.")
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="Say how it stands with each log.")] = False,
) -> None:
    """A C2SP witness. It cosigns only what it has audited itself; with --plain, whatever only adds to what it saw."""
    try:
        _check_call(plain, init, name, keys, url, log_vkey, log, listen, status)
        log_keys = [parse_vkey(text, "--log-vkey") for text in log_vkey or ()]
        opened = _open(file, plain, init, name, keys or Keys.ED25519)
        try:
            _tell_logs(opened, log_keys, log or ())
            if init:
                for vkey in opened.vkeys:
                    print(vkey.text, flush=True)
                for line in init_words(opened, url):
                    say(line)
            if status:
                print("\n".join(status_words(opened)), flush=True)
            if listen is not None:
                _serve(opened, listen, jobs, webhook or ())
        finally:
            opened.close()
    except _Usage as error:
        raise _stop(2, str(error)) from None
    except (GlassbookError, FileRefused) as error:
        raise _stop(3, str(error)) from None
    except sqlite3.Error as error:
        raise _stop(3, f"{file}: {error}") from None
    except OSError as error:
        raise _stop(3, f"{error.filename or file}: {error.strerror or error}") from None


class _Usage(Exception):
    """The command was called wrongly."""


def _check_call(
    plain: bool,
    init: bool,
    name: str | None,
    keys: Keys | None,
    url: str | None,
    log_vkey: Sequence[str] | None,
    log: Sequence[str] | None,
    listen: str | None,
    status: bool,
) -> None:
    if init and name is None:
        raise _Usage("--init needs --name, the cosigner's name, such as witness.example/w1")
    if not init and (name is not None or keys is not None or url is not None):
        raise _Usage("--name, --keys and --url go with --init: a witness keeps what it was made with")
    if not (init or log_vkey or log or listen or status):
        raise _Usage("nothing to do: give --init, --log-vkey, --log, --listen or --status")
    if init and not plain and log_vkey and listen and not log:
        raise _Usage("an auditor reads the log: give --log URL|DIR with --log-vkey")
    if plain and log:
        raise _Usage("--plain reads no entries, so it needs no --log")
    if listen is not None:
        try:
            parse_listen(listen)
        except ValueError as error:
            raise _Usage(str(error)) from None


def _open(file: Path, plain: bool, init: bool, name: str | None, keys: Keys) -> WitnessFile:
    if init and name is not None:
        return WitnessFile.create(file, name, keys.kinds, auditor=not plain)
    opened = WitnessFile(file)
    if plain and opened.auditor:
        opened.close()
        raise _Usage(f"{file} is an auditor's: its keys say that all was audited, so it cannot be --plain")
    return opened


def _tell_logs(opened: WitnessFile, keys: Sequence[VerifierKey], log: Sequence[str]) -> None:
    """Take up the log with these keys, which is read at these places."""
    if log:
        if not opened.auditor:
            raise _Usage(f"{opened.path} is a plain witness's: it reads no entries, so it needs no --log")
        origins = {key.name for key in keys} or set(opened.origins())
        if len(origins) != 1:
            raise _Usage(
                "--log is where one log is read: give --log-vkey of that one log with it, and no other"
            )
    for key in keys:
        opened.add_log(key)
    if log:
        places = [place if "://" in place else str(Path(place).absolute()) for place in log]
        opened.set_places(origins.pop(), places)


def _serve(opened: WitnessFile, listen: str, jobs: int, webhooks: Sequence[str]) -> None:
    if opened.auditor:
        for origin in opened.origins():
            if not opened.places(origin):
                raise _Usage(f"an auditor reads the log: give --log URL|DIR for {origin}")
    try:
        serve(opened, parse_listen(listen), jobs, webhooks)
    except ModuleNotFoundError as error:
        raise _Usage(f"{error.name} is not installed; run: pip install 'glassbook[witness]'") from None
    except OSError as error:
        raise _stop(3, f"cannot listen at {listen}: {error}") from None


def _stop(code: int, text: str) -> typer.Exit:
    say(text)
    return typer.Exit(code)
