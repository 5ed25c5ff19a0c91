"""`glassbook department import`: files in, a result for people or programs out, with or without recording."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import typer

from ledger.client.publiclog import Unreachable
from ledger.department.access import Fate, Outcome
from ledger.department.home import Home
from ledger.department.importers.formats import FORMATS
from ledger.department.importing import none_before, record_events
from ledger.department.importresult import Result, Say
from ledger.department.mapfile import MapFile
from ledger.department.reading import inspect_files, read_files
from ledger.department.records import RecordMaker
from ledger.department.recovery import RECOVERING, asking, is_recovering, must_ask
from ledger.department.registration import Registration
from ledger.department.sealing import check_seal, seal_outcomes
from ledger.department.settings import FILE, CannotGoOn


def import_files(
    format_name: str,
    files: list[Path],
    folder: Path | None,
    map_: Path | None,
    dry_run: bool,
    as_json: bool,
    passphrase: bytes | None,
    say: Say,
    seal: int = 0,
) -> Result:
    """Import, or show what an import would do, and print the result.

    A dry run needs no department: without one it cannot say whether the register allows what it shows.
    Raises CannotGoOn, Malformed (a mapping that is not right, or not for these files) and the like before the
    first event; later ones are in the result.
    """
    now = int(time.time())
    format_ = FORMATS[format_name]
    result = Result(format_name, dry_run, as_json, say)
    with ExitStack() as stack:
        home = None
        if folder is not None or not dry_run or Path(FILE).is_file():
            home = stack.enter_context(Home(folder or Path("."), passphrase))
        else:
            say("No department's folder is named (--dir): what the register allows is not checked.")
        map_file = MapFile(format_, map_ or (home.settings.map if home else None))
        maker, result.registration = _maker(home, dry_run, now, say)
        if result.registration is not None:
            map_file.check(result.registration)
            if seal:
                check_seal(seal, result.registration, now)
        inspect_files(files, format_, map_file.mapping)
        outcomes = seal_outcomes(
            read_files(files, lambda source: format_.read(source, map_file.mapping), stack), seal
        )
        if dry_run:
            pairs: Iterator[tuple[Outcome, bool]] = ((_allowed(o, maker, now), False) for o in outcomes)
        else:
            assert home is not None and maker is not None
            find = (
                asking(lambda: home.view(int(time.time())), maker) if must_ask(home.outbox) else none_before
            )
            pairs = record_events(outcomes, maker, home.outbox, now, find)
        try:
            for outcome, before in pairs:
                result.take(outcome, before)
        except CannotGoOn as error:
            result.unfinished = error
    if as_json:
        typer.echo(json.dumps(result.as_document(), ensure_ascii=False, indent=2))
    else:
        typer.echo(result.in_words())
    return result


def _maker(
    home: Home | None, dry_run: bool, now: int, say: Say
) -> tuple[RecordMaker | None, Registration | None]:
    if home is None:
        return None, None
    if not dry_run and is_recovering(home.outbox):
        raise CannotGoOn("outbox", RECOVERING)
    try:
        registration = home.registration(now, say)
    except (CannotGoOn, Unreachable) as error:
        if not dry_run:
            raise
        say(f"{error}; what the register allows is not checked")
        return None, None
    return home.maker(registration), registration


def _allowed(outcome: Outcome, maker: RecordMaker | None, now: int) -> Outcome:
    for access in outcome.accesses if maker else ():
        assert maker is not None
        fault = maker.fault(access, now)
        if fault:
            return replace(outcome, fate=Fate.REJECTED, reason=fault, accesses=())
    return outcome
