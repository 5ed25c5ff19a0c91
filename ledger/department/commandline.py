"""What the department's commands share: options, how errors are told, JSON on standard output."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.core.encoding import b64encode
from ledger.core.errors import GlassbookError, Malformed, Refuted
from ledger.department.sealing import parse_seal
from ledger.department.sentence import printable
from ledger.files import FileRefused, write_atomic
from ledger.keyfiles import read_passphrase

HomeFolder = Annotated[Path, typer.Option("--dir", metavar="DIR", help="The department's folder.")]
PassphraseFile = Annotated[Path | None, typer.Option(help="The keys' passphrase, in a file of mode 0600.")]
AsJson = Annotated[bool, typer.Option("--json", help="The result as JSON.")]
HERE = Path(".")


def say(text: str) -> None:
    # Where standard error goes, the disk may be full: no reason to end.
    with suppress(OSError):
        typer.echo(printable(text), err=True)


@contextmanager
def faults(folder: Path, as_json: bool = False) -> Iterator[None]:
    """Every error as one line on standard error and an exit code; Refuted ones leave their evidence in a file.

    With `as_json` standard output has it too: `{"error": {"message", "evidence_file"}, "exit"}`.
    """
    evidence = None
    try:
        yield
        return
    except Refuted as error:
        code, message = 1, f"Refuted: {error}"
        evidence = _keep_evidence(folder, error)
    except (GlassbookError, FileRefused) as error:
        code, message = 3, str(error)
    except OSError as error:
        code, message = 3, f"{error.filename or 'input/output'}: {error.strerror or error}"
    except KeyboardInterrupt:
        code, message = 130, "Stopped. Nothing is lost: run the same command again to go on."
    say(message)
    if evidence is not None:
        say(f"The evidence is in {evidence}: show it to the log's witnesses and to whoever oversees it.")
    if as_json:
        file = str(evidence) if evidence is not None else None
        with suppress(OSError):
            show({"error": {"message": message, "evidence_file": file}, "exit": code})
    raise typer.Exit(code)


def _keep_evidence(folder: Path, error: Refuted) -> Path | None:
    """What the error carries, bytes in base64, in a file; None when it carries nothing that can be written."""
    kept: dict[str, Any] = {"where": error.where, "what": error.what}
    for name, value in error.evidence.items():
        if isinstance(value, bytes):
            kept[name] = b64encode(value)
        elif isinstance(value, list) and all(isinstance(item, bytes) for item in value):
            kept[name] = [b64encode(item) for item in value]
    path = folder / f"refuted-{int(time.time())}.json"
    try:
        write_atomic(path, json.dumps(kept, indent=2).encode() + b"\n")
    except OSError:
        return None
    return path


def month_option(text: str) -> int:
    """The month of an option, YYYY-MM, in months since 1970-01; another text is a wrong use of the program."""
    try:
        return parse_seal(text)
    except Malformed as error:
        raise typer.BadParameter(error.what) from None


def passphrase_of(path: Path | None) -> bytes | None:
    return read_passphrase(path) if path is not None else None


def show(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
