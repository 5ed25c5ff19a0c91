"""`glassbook ledger serve` and `glassbook ledger sequence`: the ledger's two processes.

They are processes and not threads of one because both are bound by the interpreter's lock.
"""

from __future__ import annotations

import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from ledger.core.errors import GlassbookError
from ledger.core.keys import SigningKey
from ledger.core.statements import parse_charter
from ledger.files import FileRefused, read_private
from ledger.keyfiles import LEDGER, read_passphrase, read_signing_key
from ledger.logs import configure_logs
from ledger.memory import settle_memory
from ledger.sequencer.run import run_sequencer
from ledger.settings import Listen, Settings, SettingsRefused, read_settings
from ledger.slowclients import bounded_protocol
from ledger.store import Store, StoreBusy, StoreUnusable, log
from ledger.vectors import VectorsUnusable

app = typer.Typer(no_args_is_help=True, help="The ledger's own processes.")
Home = Annotated[Path, typer.Argument(metavar="DIR", help="The folder that glassbook init made.")]

GRACE_S = 10
OWN_FILES = 200
"""Files that a process opens beside its connections: database, pipes, connections to the publisher, libraries; and
connections that are on their way out."""
SWITCH_S = 0.005  # bulk checks run in children; a shorter slice only costs changes of thread


@app.command()
def serve(
    home: Home = Path("."),
    passphrase_file: Annotated[
        Path | None, typer.Option(help="A file of mode 0600 with the passphrase of the ledger's key.")
    ] = None,
) -> None:
    """Take entries in over HTTP, until SIGINT or SIGTERM."""
    # Here, so that the sequencer starts without them.
    import uvicorn

    from ledger.service.app import create_app

    settings, store = _open(home)
    key = _ledger_key(settings, store, passphrase_file)
    bound = _listen(settings.ledger_listen)
    configure_logs()
    sys.setswitchinterval(SWITCH_S)
    try:
        serving = create_app(settings, store, key=key)
    except VectorsUnusable as error:
        bound.close()
        store.close()
        raise _stop(f"{error}; look at [ledger] vectors in the settings") from None
    settle_memory()
    config = uvicorn.Config(
        serving,
        http=bounded_protocol(connections=_connections(settings.connections)),
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # Who waits for publication is answered now: the others get the time there is.
            serving.state.end_waiting()
            await super().shutdown(sockets)

    try:
        Server(config).run(sockets=[bound])
    finally:
        bound.close()
        store.close()


@app.command()
def sequence(home: Home = Path(".")) -> None:
    """Move accepted entries into the log, until SIGINT or SIGTERM; one at a time, others stand by."""
    settings, store = _open(home)
    configure_logs()
    settle_memory()
    try:
        run_sequencer(
            store,
            settings.origin,
            interval_s=settings.interval_ms / 1000,
            batch=settings.batch,
            stop=_until_signal(),
            keep_s=None if settings.keep_days is None else settings.keep_days * 86_400,
        )
    except (StoreUnusable, StoreBusy) as error:
        raise _stop(str(error)) from None
    finally:
        store.close()


def _open(home: Path) -> tuple[Settings, Store]:
    try:
        settings = read_settings(home)
        return settings, Store.open(settings.database)
    except (SettingsRefused, StoreUnusable, StoreBusy) as error:
        raise _stop(str(error)) from None


def _ledger_key(settings: Settings, store: Store, passphrase_file: Path | None) -> SigningKey | None:
    """The key that signs promises; None when its file is not there: the process runs, and is not ready."""
    path = settings.keys / LEDGER
    try:
        passphrase = read_passphrase(passphrase_file) if passphrase_file else None
        if not path.exists():
            typer.echo(
                f"glassbook ledger: {path}: not there, so no entry can be accepted: it signs the promises."
                " Put it in place, and start again",
                err=True,
            )
            return None
        key = read_signing_key(path, passphrase if b"ENCRYPTED" in read_private(path) else None)
        with store.read() as db:
            charter = parse_charter(log.read_charter_entry(db), settings.origin)
    except (GlassbookError, FileRefused, LookupError, StoreBusy, OSError) as error:
        raise _stop(str(error)) from None
    if key.public != charter.ledger:
        raise _stop(f"{path}: is not the ledger key of the charter; put the right file in place")
    return key


def _listen(at: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in at.host else socket.AF_INET
    try:
        return socket.create_server((at.host, at.port), family=family, backlog=512)
    except OSError as error:
        raise _stop(
            f"cannot listen at {at}: {error.strerror}; look at [ledger] listen in the settings"
        ) from None


def _connections(wanted: int) -> int:
    """So many, as far as the system lets this process have them; each is an open file."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OWN_FILES
    if now != resource.RLIM_INFINITY and now < needed:
        now = needed if most == resource.RLIM_INFINITY else min(needed, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (now, most))
    return wanted if now == resource.RLIM_INFINITY else max(1, min(wanted, now - OWN_FILES))


def _until_signal() -> Callable[[], bool]:
    """Whether SIGINT or SIGTERM has come since."""
    ended = False

    def end(_signal: int, _frame: FrameType | None) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    return lambda: ended


def _stop(text: str) -> typer.Exit:
    typer.echo(f"glassbook ledger: {text}", err=True)
    return typer.Exit(3)
