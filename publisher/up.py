"""`glassbook up`: the embedded whole, three processes under one.

Ledger, sequencer and publisher each have work that keeps a core busy, so they are processes and not
threads. This one only watches: it starts them, says where everything is, passes SIGINT and SIGTERM on, and
starts again what ended by itself. A part that ends at once cannot work as it is set up: then all are ended,
and the reason stands above.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

import publisher.cli  # noqa: F401  what it starts: without the extra this is missing, and `glassbook up` says so
from ledger.settings import SettingsRefused, read_settings
from ledger.store import Store, StoreBusy, StoreUnusable
from ledger.store.charter import read_charter

SETTLED_SECONDS = 15.0
"""A part that ran for less than this and failed is not started again; a busy machine takes seconds to start one."""

STOP_SECONDS = 20.0
"""How long a part may take to end after SIGTERM before it is killed; nothing is lost then either."""

LOOK_SECONDS = 0.1

PARTS = (
    ("ledger serve", ("ledger", "serve")),
    ("ledger sequence", ("ledger", "sequence")),
    ("publisher run", ("publisher", "run")),
)


@dataclass(slots=True)
class Part:
    """One child process."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes]
    started: float


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
        _say(str(error))
        raise typer.Exit(3) from None
    _say(f"log       {settings.origin}")
    _say(f"ledger    {settings.ledger_url}   takes entries: POST /v1/entries")
    _say(f"public    http://{settings.publisher_listen}   checkpoint, tiles, index proofs")
    here = "settings, keys, database, policy.txt"
    if isinstance(settings.public, Path):
        _say(f"files     {settings.home}   {here}, {settings.public.name}/")
    else:
        _say(f"files     {settings.home}   {here}")
        _say(f"bucket    {settings.public.url}   checkpoint, tiles")
    if not settings.policy.exists():
        _say("no witness yet, so nothing is published; run: glassbook witness add VKEY URL")
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
    raise typer.Exit(supervise(commands))


def supervise(commands: dict[str, list[str]]) -> int:
    """Run these commands side by side until a signal or a part that cannot start; returns the exit code."""
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    parts = [_start(name, command) for name, command in commands.items()]
    code = 0
    try:
        while not stopping:
            time.sleep(LOOK_SECONDS)
            for at, part in enumerate(parts):
                ended = part.process.poll()
                if ended is None or stopping:
                    continue
                # Below 0: it was killed, by a person or for want of memory, and says nothing of its settings.
                if ended >= 0 and time.monotonic() - part.started < SETTLED_SECONDS:
                    _say(f"{part.name} ended at once with code {ended}; its message stands above. Ending all")
                    code, stopping = (ended if ended > 0 else 3), True
                else:
                    _say(f"{part.name} ended with code {ended}; starting it again")
                    parts[at] = _start(part.name, part.command)
    finally:
        _end(parts)
        for number, handler in before.items():
            signal.signal(number, handler)
    return code


def _start(name: str, command: list[str]) -> Part:
    # In our own process group, so that a part may ask for a passphrase at the terminal.
    process = subprocess.Popen(command)
    return Part(name, command, process, time.monotonic())


def _end(parts: list[Part]) -> None:
    """SIGTERM to each by its pid, in order: first no new entries, then no new batches, last the publisher."""
    for part in parts:
        if part.process.poll() is None:
            part.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for part in parts:
        try:
            part.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _say(f"{part.name} did not end; killing it")
            part.process.kill()
            part.process.wait()


def _say(text: str) -> None:
    # Where standard error goes, the disk may be full: no reason to end.
    with suppress(OSError):
        print(f"glassbook: {text}", file=sys.stderr, flush=True)
