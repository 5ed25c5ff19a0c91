"""`glassbook department reconcile`: another log against the outbox and its receipts.

Exit codes: 0 every access has a record · 3 one has none or a refused one, an event cannot be read, or a file cannot;
with --strict also while anything is left open on either side.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from ledger.core.encoding import parse_date
from ledger.core.errors import GlassbookError
from ledger.department.access import Fate, Outcome
from ledger.department.commandline import HERE, AsJson, HomeFolder, faults
from ledger.department.home import Home
from ledger.department.importers.formats import FORMATS, Format
from ledger.department.links import CLAIMS, IDENTITY, access_key
from ledger.department.mapfile import MapFile
from ledger.department.reading import inspect_files, read_files
from ledger.department.reconcile.classes import Class, Event
from ledger.department.reconcile.exchanges import exchanges
from ledger.department.reconcile.matching import LAST_DAY, Matching
from ledger.department.reconcile.result import Result
from ledger.department.reconcile.xroad import (
    XroadMapping,
    default_xroad_mapping,
    read_sides,
    read_xroad_mapping,
)
from ledger.department.settings import CannotGoOn

XROAD: Final = "xroad"


def _no_import(_source: object, _mapping: object) -> Iterator[Outcome]:
    """Operational monitoring names no person: it can be compared, not imported."""
    return iter(())


_XROAD_FORMAT: Final = Format(
    XROAD, "X-Road's operational monitoring", _no_import, read_xroad_mapping, default_xroad_mapping
)
NAMES: Final = (*FORMATS, XROAD)


@dataclass(frozen=True, slots=True)
class Days:
    """The days asked for, since 1970-01-01; None: no bound."""

    first: int | None = None
    last: int | None = None


def reconcile(
    format_: Annotated[str, typer.Argument(metavar="FORMAT", help=f"{', '.join(NAMES)}.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Plain or gzip.")],
    folder: HomeFolder = HERE,
    map_: Annotated[Path | None, typer.Option("--map", metavar="MAP.toml", help="The mapping file.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="The first UTC day, YYYY-MM-DD.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="DAY", help="The last UTC day.")] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="CLAIM", help=f"By what records are found: {', '.join((IDENTITY, *CLAIMS))}."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="List what is accounted for as well, with its entries.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit 3 when anything is left open, records without an access too."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare an application's log, or X-Road's monitoring, with the receipts, by day."""
    if format_ not in NAMES:
        known = ", ".join(NAMES)
        raise typer.BadParameter(f"{format_} is not read; the formats are: {known}", param_hint="FORMAT")
    if by is not None and by not in (IDENTITY, *CLAIMS):
        raise typer.BadParameter(f"must be one of {', '.join((IDENTITY, *CLAIMS))}", param_hint="--by")
    if by is not None and format_ == XROAD:
        raise typer.BadParameter("of exchanges stands in the mapping: [exchange] claim", param_hint="--by")
    days = Days(_day(from_, "--from"), _day(to, "--to"))
    if days.first is not None and days.last is not None and days.first > days.last:
        raise typer.BadParameter("is before --from", param_hint="--to")
    with faults(folder, as_json), Home(folder) as home:
        result = compare(home, format_, files, map_, days, by or IDENTITY, everything, as_json, typer.echo)
        if as_json:
            typer.echo(json.dumps(result.as_document(), ensure_ascii=False, indent=2))
        else:
            typer.echo(result.in_words())
        if not (result.exact if strict else result.accounted):
            raise typer.Exit(3)


def _day(text: str | None, option: str) -> int | None:
    with suppress(GlassbookError):
        return None if text is None else parse_date(text, option)
    raise typer.BadParameter("must be a day, YYYY-MM-DD", param_hint=option)


def compare(
    home: Home,
    format_name: str,
    files: list[Path],
    map_: Path | None,
    days: Days,
    by: str,
    everything: bool,
    as_json: bool,
    show: Callable[[str], None],
) -> Result:
    """Read the logs, look each event up, then the records that no event led to.

    Raises Malformed for a mapping that is not right or not for these files, CannotGoOn; later faults are in the result.
    """
    with ExitStack() as stack:
        if format_name == XROAD:
            mapping: XroadMapping = MapFile(_XROAD_FORMAT, map_).mapping
            by = mapping.claim
            events = exchanges(read_files(files, lambda source: read_sides(source, mapping), stack))
        else:
            events = _events(FORMATS[format_name], files, map_ or home.settings.map, by, stack)
        matching = Matching(home.outbox, by)
        result = Result(format_name, by, as_json, everything, show)
        try:
            for event in events:
                result.take(matching.find(event, days.first, days.last))
        except CannotGoOn as error:
            result.unfinished = str(error)
            return result
    first = result.first if days.first is None else days.first
    last = result.last if days.last is None else days.last
    if result.days or days != Days():
        for record in matching.records(first or 0, LAST_DAY if last is None else last):
            result.take_record(record)
    return result


def _events(
    format_: Format, files: list[Path], map_: Path | None, by: str, stack: ExitStack
) -> Iterator[Event]:
    mapping = MapFile(format_, map_).mapping
    inspect_files(files, format_, mapping)
    outcomes = read_files(files, lambda source: format_.read(source, mapping), stack)
    return (event for outcome in outcomes for event in [_event(outcome, by)])


def _event(outcome: Outcome, by: str) -> Event:
    if outcome.fate is not Fate.RECORDED:
        nobody = outcome.fate is Fate.NOT_ABOUT_A_PERSON
        class_ = Class.NOT_ABOUT_A_PERSON if nobody else Class.REJECTED
        return Event(
            outcome.file, outcome.position, class_=class_, reason=outcome.reason, unread=outcome.unread
        )
    accesses = outcome.accesses
    # All accesses of an event were at one time, in one request.
    key = outcome.identity if by == IDENTITY else access_key(by, accesses[0]) or b""
    return Event(outcome.file, outcome.position, accesses[0].day, outcome.identity, key, needed=len(accesses))
