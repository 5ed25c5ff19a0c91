"""`glassbook up`: the embedded whole, three processes under one.

Ledger, sequencer and publisher each have work that keeps a core busy, so they are processes and not
threads. This one looks whether they can work at all, says where everything is, and then only watches
(watching.py).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import publisher.cli  # noqa: F401  what it starts: without the extra this is missing, and `glassbook up` says so
from ledger.settings import SettingsRefused, read_settings
from ledger.store import Store, StoreBusy, StoreUnusable
from ledger.store.charter import read_charter
from publisher.watching import become, say

PARTS = (
    ("ledger serve", ("ledger", "serve")),
    ("ledger sequence", ("ledger", "sequence")),
    ("publisher run", ("publisher", "run")),
)


def up(
    home: Annotated[Path, typer.Argument(metavar="DIR", help="The operator's folder.")] = Path("."),
    passphrase_file: Annotated[
        Path | None, typer.Option(help="A file of mode 0600 with the passphrase of log and ledger keys.")
    ] = None,
) -> None:
    """Run ledger, sequencer and publisher of one log until SIGINT or SIGTERM."""
    try:
        settings = read_settings(home)
        # Here, and not in three parts one after another: settings of another log, or a database of another.
        store = Store.open(settings.database)
        try:
            read_charter(store, settings.origin)
        finally:
            store.close()
    except (SettingsRefused, StoreUnusable, StoreBusy) as error:
        say(str(error))
        raise typer.Exit(3) from None
    say(f"log       {settings.origin}")
    say(f"ledger    {settings.ledger_url}   takes entries: POST /v1/entries")
    say(f"public    http://{settings.publisher_listen}   checkpoint, tiles, index proofs")
    here = "settings, keys, database, policy.txt"
    if isinstance(settings.public, Path):
        say(f"files     {settings.home}   {here}, {settings.public.name}/")
    else:
        say(f"files     {settings.home}   {here}")
        say(f"bucket    {settings.public.url}   checkpoint, tiles")
    if not settings.policy.exists():
        say("no witness yet, so nothing is published; run: glassbook witness add VKEY URL")
    extra = ["--passphrase-file", str(passphrase_file)] if passphrase_file else []
    commands = {
        name: [
            sys.executable,
            "-c",
            "from ledger.cli import main; main()",
            *words,
            str(settings.home),
            *(extra if words != ("ledger", "sequence") else ()),
        ]
        for name, words in PARTS
    }
    become(commands)
