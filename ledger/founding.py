"""`glassbook init`: the keys, the charter and the first two leaves of a log."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ledger.charterfile import CharterFile, read_charter_file
from ledger.core.entries import Registry, decode_entry
from ledger.core.errors import GlassbookError
from ledger.core.jose import split_jws
from ledger.core.keys import Ed25519PrivateKey, MLDSA44PrivateKey, SigningKey
from ledger.core.note import Ed25519Signer, MLDSASigner
from ledger.core.statements import sign_charter
from ledger.core.texts import check_origin
from ledger.files import FileRefused, sync_folder, write_atomic
from ledger.keyfiles import (
    LEDGER,
    LOG_ED25519,
    LOG_MLDSA44,
    REGISTRAR,
    PassphraseWanted,
    new_passphrase,
    take_token_key,
    write_key,
)
from ledger.sequencer.run import begin_log
from ledger.settings import FILE, parse_settings
from ledger.store import Store, StoreBusy, StoreUnusable
from ledger.store.unchanged import store_file

DATABASE = "sqlite:///ledger.sqlite"
VKEYS = "log-vkeys.txt"  # Ed25519 first, then ML-DSA-44

SETTINGS = """\
# Settings of the log's operator. Members left out have the values shown here.
origin = {origin}
database = {database}
public = "public"

[ledger]
listen = {ledger}
public_url = {public_url}
inbox_limit = 200000
wait_s = 30
vectors = "auto"

[sequencer]
interval_ms = 500
batch = 10000

[publisher]
listen = {publisher}
refresh_s = 300
witness_wait_ms = 200
"""


@dataclass(frozen=True, slots=True)
class Keys:
    """The four keys a log begins with, each with one role; `tokens` has what the file of a key in a token holds."""

    log: SigningKey
    log_mldsa: MLDSA44PrivateKey
    ledger: SigningKey
    registrar: SigningKey
    tokens: Mapping[str, bytes]

    def write(self, folder: Path, passphrase: bytes | None) -> None:
        """Each in its file of mode 0600, encrypted with the passphrase; for a key in a token, where it is."""
        named: tuple[tuple[str, SigningKey | MLDSA44PrivateKey], ...] = (
            (LOG_ED25519, self.log),
            (LOG_MLDSA44, self.log_mldsa),
            (LEDGER, self.ledger),
            (REGISTRAR, self.registrar),
        )
        for name, key in named:
            if isinstance(key, Ed25519PrivateKey | MLDSA44PrivateKey):
                write_key(folder / name, key, passphrase)
            else:
                write_atomic(folder / name, self.tokens[name], 0o600)


TokenKeyOption = Annotated[
    str | None, typer.Option(metavar="PKCS11-URI", help="This key lies in a PKCS#11 token (docs/keys.md).")
]


def init(
    home: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make; it must not be in use.")],
    origin: Annotated[str, typer.Option(help="The log's name: a URL without scheme, for ever.")],
    charter: Annotated[Path | None, typer.Option(help="CHARTER.toml: claims, schemes, merge delay.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the charter is signed.")] = False,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Encrypt the keys with the passphrase in this file (mode 0600).")
    ] = None,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Leave the keys unencrypted, in files of mode 0600.")
    ] = False,
    log_key: TokenKeyOption = None,
    ledger_key: TokenKeyOption = None,
    registrar_key: TokenKeyOption = None,
    listen: Annotated[str, typer.Option(help="HOST:PORT of the ledger.")] = "127.0.0.1:8101",
    public_listen: Annotated[str, typer.Option(help="HOST:PORT of the published log.")] = "127.0.0.1:8102",
    database: Annotated[
        str, typer.Option(metavar="URL", help="postgresql://USER@HOST/DATABASE, an empty database.")
    ] = DATABASE,
) -> None:
    """Make the keys of a log, sign its charter and write its first two leaves."""
    try:
        tokens = {LOG_ED25519: log_key, LEDGER: ledger_key, REGISTRAR: registrar_key}
        _init(
            home,
            origin,
            charter,
            yes,
            passphrase_file,
            no_passphrase,
            tokens,
            listen,
            public_listen,
            database,
        )
    except PassphraseWanted as error:
        raise _usage(str(error)) from None
    except (GlassbookError, FileRefused, StoreUnusable, StoreBusy, OSError) as error:
        typer.echo(f"glassbook init: {error}", err=True)
        raise typer.Exit(3) from None


def _init(
    home: Path,
    origin: str,
    charter: Path | None,
    yes: bool,
    passphrase_file: Path | None,
    no_passphrase: bool,
    tokens: Mapping[str, str | None],
    listen: str,
    public_listen: str,
    database: str,
) -> None:
    check_origin(origin, "--origin")
    settings = SETTINGS.format(
        origin=json.dumps(origin, ensure_ascii=False),
        database=json.dumps(database, ensure_ascii=False),
        ledger=json.dumps(listen),
        publisher=json.dumps(public_listen),
        public_url=json.dumps(f"http://{public_listen}"),
    ).encode()
    try:
        found = parse_settings(settings, home)
        file = store_file(found.database)
    except (ValueError, StoreUnusable) as error:
        raise _usage(str(error)) from None
    decided = read_charter_file(charter) if charter else CharterFile()
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise _usage(f"{home}: is not an empty folder; a log begins in one of its own")
    keys = _make_keys({name: uri for name, uri in tokens.items() if uri})
    entry = _sign(origin, keys, decided)
    typer.echo("The charter of this log, which can never be changed:\n")
    typer.echo(show_charter(entry))
    if not yes:
        if not sys.stdin.isatty():
            raise _usage("nobody is here to say yes to the charter; read it, then add --yes")
        if not typer.confirm("\nBegin the log with this charter?"):
            typer.echo("Nothing was written.")
            raise typer.Exit(1)
    passphrase = new_passphrase(passphrase_file, no_passphrase)

    with _whole_or_gone(home):
        found.keys.mkdir(mode=0o700)
        (home / "public").mkdir()
        keys.write(found.keys, passphrase)
        if file is not None:
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        store = Store.open(found.database, create=True)
        try:
            size = begin_log(store, origin, entry)
        finally:
            store.close()
        write_atomic(home / VKEYS, "".join(f"{vkey}\n" for vkey in _vkeys(origin, keys)).encode())
        # Last: a folder without settings is no operator's folder, so a half-made one is never used.
        write_atomic(home / FILE, settings, 0o644 if file else 0o600)  # a database's URL may hold a password
        sync_folder(home.absolute().parent)
    typer.echo(
        f"\n{home}: the log begins with its charter and an index root: size {size}, not yet published."
    )
    typer.echo(
        f"Keys are in {found.keys}{'' if passphrase else ', unencrypted'}; keep the registrar's elsewhere."
    )
    typer.echo(
        f"The log's two keys, one a line in {home / VKEYS}: every witness is told of both (--log-vkey)."
    )
    typer.echo(f"Next: glassbook witness add VKEY URL {home}; then: glassbook up {home}")


@contextmanager
def _whole_or_gone(home: Path) -> Iterator[None]:
    """Make the folder; when the block fails (a full disk, Ctrl-C) nothing of it stays, so that one can try again."""
    there = home.is_dir()
    home.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in home.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if not there:
            home.rmdir()
        raise


def _make_keys(tokens: Mapping[str, str]) -> Keys:
    """New keys; those named in `tokens` by file name are taken from, or made in, a PKCS#11 token."""
    taken = {name: take_token_key(uri) for name, uri in tokens.items()}

    def key(name: str) -> SigningKey:
        return taken[name][0] if name in taken else Ed25519PrivateKey.generate()

    keys = Keys(
        key(LOG_ED25519),
        MLDSA44PrivateKey.generate(),
        key(LEDGER),
        key(REGISTRAR),
        {name: content for name, (_, content) in taken.items()},
    )
    if len({keys.log.public, keys.ledger.public, keys.registrar.public}) < 3:
        raise _usage("one key in the token was given two roles; give each role a key of its own label")
    return keys


def _sign(origin: str, keys: Keys, decided: CharterFile) -> bytes:
    return sign_charter(
        keys.registrar,
        origin=origin,
        ledger=keys.ledger.public,
        log_vkeys=_vkeys(origin, keys),
        merge_delay_s=decided.merge_delay_s,
        claims=decided.claims,
        schemes=decided.schemes,
        predecessor=decided.predecessor,
    )


def _vkeys(origin: str, keys: Keys) -> list[str]:
    return [Ed25519Signer(origin, keys.log).vkey.text, MLDSASigner(origin, keys.log_mldsa).vkey.text]


def show_charter(raw: bytes) -> str:
    """The charter's payload as its readers will see it, indented."""
    entry = decode_entry(raw)
    assert isinstance(entry, Registry)
    payload = split_jws(entry.jws.decode("ascii"), "charter").payload
    return json.dumps(payload, indent=2, ensure_ascii=False)


def _usage(text: str) -> typer.Exit:
    typer.echo(f"glassbook init: {text}", err=True)
    return typer.Exit(2)
