"""`glassbook department status`: what waits, what failed and why, and what to do about it."""

from __future__ import annotations

import time
from typing import Any

import typer

from ledger.department import recovery
from ledger.department.commandline import show
from ledger.department.erasecommand import erasure_object, erasure_words
from ledger.department.home import Home
from ledger.department.outbox import Counts
from ledger.department.promisecommand import promise_words, promises_object
from ledger.department.refusals import what_next
from ledger.department.sentence import printable


def line(counts: Counts) -> str:
    """What is in the outbox, in one sentence or two."""
    return (
        f"{counts.receipts} records have a checked receipt; {counts.handed_in} are handed in, {counts.waiting} wait, "
        f"{counts.refused} are refused. {counts.streams_done} of {counts.streams} streams are done."
    )


def show_status(home: Home, as_json: bool) -> bool:
    """Print how the department stands; whether a person has to do something."""
    # Loaded here: `send` reports without it.
    from ledger.department.standing import find_standing

    standing = find_standing(home, int(time.time()))
    counts = home.outbox.counts()
    needed = bool(standing.attention or counts.refused or recovery.is_recovering(home.outbox))
    if as_json:
        more = {"attention": standing.attention, "notes": standing.notes}
        show(_object(counts, home) | standing.facts | more | {"exit": 3 if needed else 0})
        return needed
    _print(counts, home)
    for words in standing.notes:
        typer.echo(printable(f"  {words}"))
    for words in standing.attention:
        typer.echo(printable(f"  To do: {words.rstrip('.')}."))
    return needed


def report(counts: Counts, home: Home, as_json: bool) -> None:
    """What a send has left behind."""
    if as_json:
        show(_object(counts, home))
    else:
        _print(counts, home)


def _object(counts: Counts, home: Home) -> dict[str, Any]:
    return {
        "outbox": {
            "waiting": counts.waiting,
            "handed_in": counts.handed_in,
            "refused": counts.refused,
            "receipts": counts.receipts,
        },
        "streams": {"known": counts.streams, "done": counts.streams_done},
        "promises": promises_object(home),
        "erasure": erasure_object(home),
        "recovering": recovery.is_recovering(home.outbox),
        "refused": [
            {"count": count, "problem": problem, "next": what_next(problem)}
            for problem, count in home.outbox.problems()
        ],
    }


def _print(counts: Counts, home: Home) -> None:
    typer.echo(line(counts))
    for problem, count in home.outbox.problems():
        typer.echo(printable(f"  {count} refused: {problem}"))
        typer.echo(f"    What to do: {what_next(problem)}.")
    for words in [*promise_words(home), *erasure_words(home)]:
        typer.echo(f"  {words}")
    if recovery.is_recovering(home.outbox):
        typer.echo("  The counters are being recovered; run: glassbook department recover")
