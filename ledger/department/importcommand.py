"""`glassbook department import`: files in, a result for people or programs out, with or without recording."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from ledger.client.publiclog import Unreachable
from ledger.department.access import Fate, Outcome, Summary
from ledger.department.home import Home
from ledger.department.importers.fhir import read_fhir
from ledger.department.importing import none_before, record_events
from ledger.department.mapping import Mapping
from ledger.department.records import RecordMaker
from ledger.department.recovery import RECOVERING, asking, is_recovering, must_ask
from ledger.department.registration import Registration
from ledger.department.sentence import printable, sentence
from ledger.department.settings import FILE, CannotGoOn, read_mapping

Say = Callable[[str], None]


@dataclass(slots=True)
class Result:
    """What came of an import; `unfinished` is why it stopped before the end of the files, `unread` counts those
    that could not be read."""

    dry_run: bool
    summary: Summary = field(default_factory=Summary)
    rejected: list[Outcome] = field(default_factory=list)
    nobody: list[Outcome] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)
    unfinished: CannotGoOn | None = None
    unread: int = 0

    def as_json(self) -> dict[str, Any]:
        result: dict[str, Any] = {
            "summary": self.summary.as_json(),
            "dry_run": self.dry_run,
            "complete": self.unfinished is None and not self.unread,
            "files": [{"file": file, **counts} for file, counts in self.summary.by_file.items()],
            "rejected": [_placed(outcome) for outcome in self.rejected],
            "not_about_a_person": [_placed(outcome) for outcome in self.nobody],
        }
        if self.dry_run:
            result["accesses"] = self.shown
        return result


def _placed(outcome: Outcome) -> dict[str, str]:
    return {"file": outcome.file, "position": outcome.position, "reason": outcome.reason}


def import_files(
    files: list[Path],
    folder: Path | None,
    map_: Path | None,
    dry_run: bool,
    as_json: bool,
    passphrase: bytes | None,
    say: Say,
) -> Result:
    """Import, or show what an import would do, and print the result.

    A dry run needs no department: without one it cannot say whether the register allows what it shows.
    Raises CannotGoOn and the like before the first event; later ones are in the result.
    """
    now = int(time.time())
    result = Result(dry_run)
    with ExitStack() as stack:
        home = None
        if folder is not None or not dry_run or Path(FILE).is_file():
            home = stack.enter_context(Home(folder or Path("."), passphrase))
        mapping = read_mapping(map_ or (home.settings.map if home else None))
        maker, registration = _maker(home, dry_run, now, say)
        outcomes = _read(files, mapping, stack)
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
                _take(result, outcome, before, registration, as_json, say)
        except CannotGoOn as error:
            result.unfinished = error
    if as_json:
        typer.echo(json.dumps(result.as_json(), ensure_ascii=False, indent=2))
    else:
        typer.echo(_words(result))
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
            return Outcome(outcome.file, outcome.position, Fate.REJECTED, fault)
    return outcome


def _read(files: list[Path], mapping: Mapping, stack: ExitStack) -> Iterator[Outcome]:
    """All events of all files, with progress on a terminal."""
    show = _progress(len(files), stack) if sys.stderr.isatty() else None
    events = 0
    for done, path in enumerate(files):
        for outcome in read_fhir(path, mapping):
            events += 1
            yield outcome
            if show is not None and events % 100 == 0:
                show(done, events)


def _progress(files: int, stack: ExitStack) -> Callable[[int, int], None]:
    """A bar on standard error; what it returns moves it to so many files and events."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("Reading"), BarColumn(), TextColumn("{task.fields[events]} events"))
    progress = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = progress.add_task("Reading", total=files, events=0)
    return lambda done, events: progress.update(task, completed=done, events=events)


def _take(
    result: Result, outcome: Outcome, before: bool, registration: Registration | None, as_json: bool, say: Say
) -> None:
    result.summary.count(outcome, before)
    result.unread += outcome.unread
    if outcome.fate is Fate.REJECTED:
        result.rejected.append(outcome)
        if not as_json:
            say(f"rejected: {outcome.file}: {outcome.position}: {outcome.reason}")
    elif outcome.fate is Fate.NOT_ABOUT_A_PERSON:
        result.nobody.append(outcome)
    elif result.dry_run:
        for access in outcome.accesses:
            activity = registration.newest.activities.get(access.activity) if registration else None
            shown = {
                "file": outcome.file,
                "position": outcome.position,
                "subject": access.subject,
                "activity": access.activity,
                "sentence": sentence(access, activity),
            }
            if as_json:
                result.shown.append(shown)
            else:
                typer.echo(printable(f"{access.subject}  {shown['sentence']}"))


def _words(result: Result) -> str:
    summary = result.summary
    verb = "would be recorded" if result.dry_run else "recorded"
    nobody = f"{summary.not_about_a_person} not about a person"
    lines = [f"{summary.events} events: {summary.recorded} {verb}, {nobody}, {summary.rejected} rejected."]
    if summary.records != summary.recorded - summary.recorded_before:
        lines.append(f"They make {summary.records} records: an event about two persons makes one for each.")
    if summary.recorded_before:
        lines.append(
            f"{summary.recorded_before} of them had been recorded before and are not recorded again."
        )
    for file, counts in summary.by_file.items():
        if counts["not_about_a_person"]:
            lines.append(
                f"  not about a person: {counts['not_about_a_person']} of {counts['events']} in {printable(file)}"
            )
    if not result.dry_run and summary.records:
        lines.append("Next: glassbook department send --wait")
    return "\n".join(lines)
