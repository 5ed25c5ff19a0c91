"""`glassbook department promises`, and what `status` says of promises."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import typer

from ledger.department.home import Home
from ledger.department.promises import Standing, export, in_words, standing
from ledger.department.registration import kept_registration
from ledger.department.settings import CannotGoOn


def _standing(home: Home, now: int) -> Standing | None:
    """None as long as the charter was never read: then nothing was handed in either."""
    registration = kept_registration(home.outbox, home.settings.origin)
    return None if registration is None else standing(home.outbox, registration.charter.merge_delay_s, now)


def promise_words(home: Home) -> list[str]:
    """What a person has to know of the promises now; empty when all is well."""
    found = _standing(home, int(time.time()))
    return [] if found is None else found.words


def promises_object(home: Home) -> dict[str, Any] | None:
    """The same for programs."""
    found = _standing(home, int(time.time()))
    if found is None:
        return None
    return {
        "kept": found.kept, "overdue": found.overdue, "bad": found.bad, "merge_delay_s": found.merge_delay_s,
    }  # fmt: skip


def show_promises(home: Home, out: Path | None, everything: bool, now: int, as_json: bool) -> None:
    """Say how many promises are kept and overdue at `now` (Unix seconds), and write the overdue ones, or all.

    Raises CannotGoOn before the register was ever read.
    """
    found = _standing(home, now)
    if found is None:
        raise CannotGoOn(
            "register", "was never read here, so nothing was promised; run: glassbook department send"
        )
    before = None if everything else now - found.merge_delay_s
    written = [] if out is None else export(home.outbox, out, before)
    if as_json:
        object_ = promises_object(home) or {}
        typer.echo(json.dumps(object_ | {"written": [str(path) for path in written]}, indent=2))
        return
    typer.echo(
        f"{found.kept} records are promised and have no receipt yet; {found.overdue} of them were accepted more than "
        f"{in_words(found.merge_delay_s)} ago, which is as long as this log allows itself."
    )
    if found.bad:
        typer.echo(found.words[-1])
    if written:
        first = written[0]
        typer.echo(
            f"{out}: {len(written)} promises, each with its entry. To judge one, and to show it to others:"
        )
        typer.echo(
            f"  glassbook-verify promise {first} --entry {first.with_suffix('.entry')} "
            f"--policy {home.settings.policy} --log {home.settings.log}"
        )
    elif out is not None:
        typer.echo(
            f"{out}: nothing to write{'' if everything else '; --all writes those that are not overdue'}"
        )
