"""`glassbook doctor`: looks at an operator's or a department's folder, and says what to mend."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Final

import typer

from ledger.files import FileRefused
from ledger.keyfiles import read_passphrase

GROUP: Final = "glassbook.checks"
_KINDS: Final = {"glassbook.toml": "operator", "department.toml": "department"}
_SIGNS: Final = {"good": "✓", "look": "!", "mend": "✗"}
_PLAIN: Final = {"good": "ok", "look": "!", "mend": "FAIL"}


def doctor(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="What glassbook init or department init made.")
    ] = Path("."),
    passphrase_file: Annotated[
        Path | None,
        typer.Option(help="The keys' passphrase, in a file of mode 0600; without it they are not opened."),
    ] = None,
    thorough: Annotated[bool, typer.Option("--thorough", help="Read large databases whole, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For a program.")] = False,
) -> None:
    """Check settings, clocks, keys, database, bucket, witnesses; say what to mend; change nothing.

    In a bucket an object is put under .probe/, and removed again.

    Exit code 0 when nothing has to be mended (what is marked ! may be looked at), 3 when something has.
    """
    kinds = [kind for file, kind in _KINDS.items() if (folder / file).is_file()]
    if len(kinds) != 1:
        raise _stop(
            f"{folder}: holds neither {' nor '.join(_KINDS)}, or both; name the folder of one of them", 2
        )
    try:
        passphrase = read_passphrase(passphrase_file) if passphrase_file else None
    except (FileRefused, OSError) as error:
        raise _stop(str(error), 2) from None
    signs = _SIGNS if _can_write("✓✗") else _PLAIN
    kept, marks = [], Counter[str]()
    for finding in _findings(kinds[0], folder, passphrase, thorough):
        marks[finding["mark"]] += 1
        kept.append(finding)
        if not as_json:
            line = f"{signs[finding['mark']]} {finding['check']}: {finding['says']}"
            line += f". To do: {finding['do']}" if finding["do"] else ""
            # What stands in files and answers may hold anything; a terminal takes none of it.
            typer.echo("".join(c if c.isprintable() else "?" for c in line))
    code = 3 if marks["mend"] else 0
    if as_json:
        counts = {mark: marks[mark] for mark in _SIGNS}
        found = {"folder": str(folder), "kind": kinds[0], "findings": kept, **counts, "exit": code}
        typer.echo(json.dumps(found, indent=2))
    else:
        typer.echo(
            f"{marks['good']} are well, {marks['look']} to look at, {marks['mend']} to mend."
            + ("" if marks["mend"] else " Nothing has to be mended.")
        )
    raise typer.Exit(code)


def _findings(kind: str, folder: Path, passphrase: bytes | None, thorough: bool) -> Iterator[dict[str, str]]:
    from ledger.checkup import Place

    place = Place(folder.absolute(), passphrase, thorough, int(time.time()))
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    for point in points:
        if point.name.partition("-")[0] != kind:
            continue
        try:
            check = point.load()
        except ModuleNotFoundError as error:
            raise _stop(f"it needs {error.name}; run: pip install 'glassbook[all]'", 2) from None
        try:
            for finding in check(place):
                yield asdict(finding)
        except Exception as error:
            # The text of an error nobody foresaw may hold anything.
            yield {
                "mark": "mend",
                "check": point.name,
                "says": f"the check itself failed ({type(error).__name__})",
                "do": "please report this, with what stands above",
            }


def _can_write(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _stop(text: str, code: int) -> typer.Exit:
    typer.echo(f"glassbook doctor: {text}", err=True)
    return typer.Exit(code)
