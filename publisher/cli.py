"""`glassbook publisher run`, `glassbook publisher status` and `glassbook witness add`."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Annotated

import structlog
import typer

from ledger.core.errors import GlassbookError
from ledger.core.keys import MLDSA44PrivateKey
from ledger.core.note import ED25519, VerifierKey, parse_vkey
from ledger.core.policy import parse_policy
from ledger.core.statements import Charter
from ledger.files import FileRefused, read_limited, read_private, write_atomic
from ledger.keyfiles import (
    LOG_ED25519,
    LOG_MLDSA44,
    ask_passphrase,
    read_key,
    read_passphrase,
    read_signing_key,
)
from ledger.logs import configure_logs
from ledger.memory import settle_memory
from ledger.publicfiles import PlaceRefused, PublicFiles, open_public_files
from ledger.settings import Settings, SettingsRefused, read_settings
from ledger.slowclients import bounded_protocol
from ledger.store import Store, StoreBusy, StoreUnusable
from ledger.store.charter import read_charter
from publisher import statuscommand
from publisher.loop import publish_until
from publisher.policy import MAX_POLICY, PolicyFile, PolicyRefused, add_witness
from publisher.published import Published
from publisher.run import Publisher
from publisher.serve import Site, public_app
from publisher.signing import LogSigner, SignedFile

app = typer.Typer(
    help="Publish the log: tiles, checkpoint, cosignatures, index proofs.", no_args_is_help=True
)
witness = typer.Typer(help="The witnesses this log is published under.", no_args_is_help=True)

Home = Annotated[Path, typer.Argument(metavar="DIR", help="The operator's folder, made by glassbook init.")]
CONNECTIONS = 500
"""Beyond it those on which nothing happens are closed."""

Faults = (
    GlassbookError,
    FileRefused,
    SettingsRefused,
    StoreUnusable,
    StoreBusy,
    PolicyRefused,
    PlaceRefused,
    OSError,
)
"""What ends a command with a message and exit code 3."""


@app.callback()
def _publisher() -> None:
    """Publish the log: tiles, checkpoint, cosignatures, index proofs."""


@app.command()
def run(
    home: Home = Path("."),
    passphrase_file: Annotated[
        Path | None, typer.Option(help="A file of mode 0600 with the passphrase of the log's keys.")
    ] = None,
) -> None:
    """Publish what is sequenced, and serve it, until SIGINT or SIGTERM."""
    try:
        settings = read_settings(home)
        passphrase = read_passphrase(passphrase_file) if passphrase_file else None
        signer = read_signer(settings, passphrase)
        store = Store.open(settings.database)
        check_keys(signer, read_charter(store, settings.origin))
        files = open_public_files(settings.public)
        # One that does not answer now is tried again by the loop, before anything is written.
        with suppress(OSError):
            files.probe()
        bound = listen(settings)
    except Faults as error:
        raise _stop(str(error)) from None
    try:
        publish_and_serve(settings, signer, store, files, bound)
    finally:
        store.close()


@app.command()
def status(
    home: Home = Path("."),
    as_json: Annotated[bool, typer.Option("--json", help="For a program.")] = False,
) -> None:
    """Say what is published, and which witness does not cosign, since when and why."""
    try:
        settings = read_settings(home)
        store = Store.open(settings.database)
        try:
            keys = log_vkeys(read_charter(store, settings.origin))
            policy, _ = PolicyFile(settings.policy, *keys).read()
            found = statuscommand.look(settings, store, policy)
        finally:
            store.close()
    except Faults as error:
        raise _stop(str(error)) from None
    print(
        statuscommand.as_json(found) if as_json else "\n".join(statuscommand.words(found, int(time.time())))
    )


@witness.callback()
def _witness() -> None:
    """The witnesses this log is published under."""


@witness.command()
def add(
    vkey: Annotated[str, typer.Argument(metavar="VKEY", help="As the witness's own --init printed it.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="Its submission prefix: where it is asked.")],
    home: Home = Path("."),
    auditor: Annotated[
        bool, typer.Option("--auditor", help="It checks every entry before it cosigns.")
    ] = False,
) -> None:
    """Write policy.txt, or add one witness to it; a publisher that is running notices by itself."""
    try:
        settings = read_settings(home)
        store = Store.open(settings.database)
        try:
            log, log_mldsa = log_vkeys(read_charter(store, settings.origin))
        finally:
            store.close()
        path = settings.policy
        text = read_limited(path, MAX_POLICY).decode("utf-8", "surrogateescape") if path.exists() else None
        new, name = add_witness(text, log, log_mldsa, parse_vkey(vkey, "VKEY"), url, auditor)
        write_atomic(path, new.encode())
    except Faults as error:
        raise _stop(str(error)) from None
    print(f"{path}: {name} is {vkey.split('+')[0]}{', an auditor' if auditor else ''}; quorum: all of them")
    if parse_policy(new).auditor_in_quorum:
        print("Nothing is published that an auditor has not checked: lists of accesses are proved complete.")
    else:
        print(
            "No auditor stands behind the index yet, and readers are told so: that nothing is missing in a list rests"
            " on the log alone. Add one: glassbook witness add VKEY URL --auditor"
        )


def log_vkeys(charter: Charter) -> tuple[VerifierKey, VerifierKey]:
    """The log's Ed25519 and ML-DSA-44 keys, as its charter states them."""
    first, second = sorted(charter.log_vkeys, key=lambda vkey: vkey.kind != ED25519)
    return first, second


def check_keys(signer: LogSigner, charter: Charter) -> None:
    """Raise FileRefused unless these are the keys that the charter states."""
    if signer.vkeys != log_vkeys(charter):
        raise FileRefused(
            "the log's keys in keys/ are not those that its charter states; bring the right ones back: a log keeps its"
            " keys"
        )


def read_signer(settings: Settings, passphrase: bytes | None) -> LogSigner:
    """Both keys of the log from `keys/`; asks for their passphrase once, at the terminal, when it is not
    given.

    Raises FileRefused, Malformed, OSError.
    """
    first, second = settings.keys / LOG_ED25519, settings.keys / LOG_MLDSA44
    if passphrase is None and any(b"ENCRYPTED" in read_private(path) for path in (first, second)):
        passphrase = ask_passphrase("Passphrase of the log's keys: ")
    mldsa = read_key(second, passphrase)
    if not isinstance(mldsa, MLDSA44PrivateKey):
        raise FileRefused(f"{second}: not an ML-DSA-44 key; this file belongs elsewhere")
    return LogSigner(settings.origin, read_signing_key(first, passphrase), mldsa)


def listen(settings: Settings) -> socket.socket:
    """The socket that readers connect to. Raises OSError that says which address."""
    at = settings.publisher_listen
    try:
        family = socket.AF_INET6 if ":" in at.host else socket.AF_INET
        return socket.create_server((at.host, at.port), family=family, backlog=512)
    except OSError as error:
        raise OSError(
            f"cannot listen at {at}: {error.strerror}; look at [publisher] listen in the settings"
        ) from None


def publish_and_serve(
    settings: Settings, signer: LogSigner, store: Store, files: PublicFiles, bound: socket.socket
) -> None:
    """The publisher's loop in a thread and the HTTP server in this one, until a signal ends the server."""
    import uvicorn

    configure_logs()
    published = Published(store)
    policy_file = PolicyFile(settings.policy, *signer.vkeys)
    publisher = Publisher(
        store,
        files,
        signer,
        SignedFile(settings.keys / "signed"),
        policy_file,
        published,
        refresh_s=settings.refresh_s,
        witness_wait_s=settings.witness_wait_ms / 1000,
    )
    site = Site(
        store,
        files,
        published,
        settings.origin,
        signer.vkeys,
        lambda: policy_file.text or None,
        lambda: publisher.status,
        publisher.standings,
    )
    stop = threading.Event()
    threads = [
        threading.Thread(target=publish_until, args=(publisher, store, stop), name="publish"),
        threading.Thread(target=published.keep_up, args=(stop,), name="index", daemon=True),
    ]
    host, port = bound.getsockname()[:2]
    structlog.get_logger("publisher").info(
        "serving", url=f"http://{f'[{host}]' if ':' in host else host}:{port}", files=files.where
    )
    config = uvicorn.Config(
        public_app(site),
        http=bounded_protocol(connections=CONNECTIONS),
        access_log=False,
        log_level="warning",
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)

    def end(_signal: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn raises a signal anew when it has ended; without these the process would be gone before the loop has.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    settle_memory()
    for thread in threads:
        thread.start()
    try:
        server.run(sockets=[bound])
    finally:
        stop.set()
        publisher.close()
        threads[0].join()


def _stop(text: str) -> typer.Exit:
    # Where standard error goes, the disk may be full: no reason to end.
    with suppress(OSError):
        print(f"publisher: {text}", file=sys.stderr, flush=True)
    return typer.Exit(3)
