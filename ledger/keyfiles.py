"""Private keys in files: PKCS#8 in PEM, mode 0600, encrypted unless their owner said no.

A key that only signs may lie in a PKCS#11 token instead: its file then says where (tokenkeys.py).

Passphrases come from a file only its owner may read, or from a terminal; never from the command line or the
environment, where other processes could see them.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import sys
from pathlib import Path

from ledger.core.keys import (
    Ed25519PrivateKey,
    PrivateKey,
    SigningKey,
    format_private_key,
    parse_private_key,
)
from ledger.files import FileRefused, read_private, write_atomic
from ledger.tokenkeys import SCHEME, TokenKey, TokenUri, format_token_uri, make_token_key, parse_token_uri

LOG_ED25519 = "log.ed25519.key"
LOG_MLDSA44 = "log.mldsa44.key"
LEDGER = "ledger.key"
REGISTRAR = "registrar.key"


class PassphraseWanted(Exception):
    """New keys need a passphrase, or the word that they shall have none; the message says how."""


def read_passphrase(path: Path) -> bytes:
    """The passphrase in a private file, without the newline at its end.  Raises FileRefused, OSError."""
    passphrase = read_private(path, 4096).removesuffix(b"\n").removesuffix(b"\r")
    if not passphrase:
        raise FileRefused(f"{path}: is empty; write the passphrase into it")
    return passphrase


def ask_passphrase(prompt: str) -> bytes | None:
    """A passphrase typed at the terminal, or None when there is no terminal.

    Parts that `glassbook up` starts together ask one after the other.
    """
    if not sys.stdin.isatty():
        return None
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            terminal = stack.enter_context(open("/dev/tty", "rb"))
            fcntl.flock(terminal, fcntl.LOCK_EX)
        return getpass.getpass(prompt).encode()


def new_passphrase(path: Path | None, none: bool) -> bytes | None:
    """The passphrase for keys about to be made; None only when their owner said so (`none`).

    From the file, or typed twice at the terminal.  Raises PassphraseWanted, FileRefused, OSError.
    """
    if path is not None and none:
        raise PassphraseWanted("--passphrase-file and --no-passphrase exclude each other")
    if none:
        return None
    if path is not None:
        return read_passphrase(path)
    first = ask_passphrase("Passphrase for the new keys: ")
    if first is None:
        raise PassphraseWanted(
            "nobody is here to type a passphrase; give --passphrase-file FILE or --no-passphrase"
        )
    if not first or first != ask_passphrase("The same again: "):
        raise PassphraseWanted("the passphrases differ, or are empty; nothing was written")
    return first


def write_key(path: Path, key: PrivateKey, passphrase: bytes | None) -> None:
    """Write a private key, mode 0600; None leaves it unencrypted."""
    write_atomic(path, format_private_key(key, passphrase), 0o600)


def read_key(path: Path, passphrase: bytes | None = None) -> PrivateKey:
    """The private key in a file; an encrypted one is opened with `passphrase`, or one typed at the terminal.

    Raises FileRefused (its mode, no passphrase), Malformed (another passphrase, no key), OSError.
    """
    pem = read_private(path)
    if pem.startswith(SCHEME.encode()):
        raise FileRefused(
            f"{path}: names a key in a PKCS#11 token; this key is not only signed with, so it has to be in a file"
        )
    if b"ENCRYPTED" not in pem:
        return parse_private_key(pem, None, str(path))
    if passphrase is None:
        passphrase = ask_passphrase(f"Passphrase of {path}: ")
    if passphrase is None:
        raise FileRefused(f"{path}: needs its passphrase; give --passphrase-file, or run it at a terminal")
    return parse_private_key(pem, passphrase, str(path))


def read_ed25519(path: Path, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """As `read_key`, when the key must be an Ed25519 one.  Raises FileRefused too when it is another."""
    key = read_key(path, passphrase)
    if not isinstance(key, Ed25519PrivateKey):
        raise FileRefused(f"{path}: not an Ed25519 key; this file belongs elsewhere")
    return key


def read_signing_key(path: Path, passphrase: bytes | None = None) -> SigningKey:
    """An Ed25519 key to sign with, from a file or, where the file says so, in a token.

    Raises as `read_ed25519` does, and TokenUnavailable.
    """
    uri = read_token_uri(path)
    return read_ed25519(path, passphrase) if uri is None else TokenKey(uri, ask_passphrase)


def read_token_uri(path: Path) -> TokenUri | None:
    """Where in a token the key of this file lies; None for a key in the file itself.

    Raises FileRefused (its mode), Malformed (no such URI), OSError.
    """
    data = read_private(path)
    if not data.startswith(SCHEME.encode()):
        return None
    return parse_token_uri(data.decode("utf-8", "replace"), str(path))


def take_token_key(text: str) -> tuple[SigningKey, bytes]:
    """A key in a token, as named on the command line, and what its key file has to hold.

    It is made when the token has none of this label.  Raises Malformed, TokenUnavailable, FileRefused (the PIN file's
    mode), OSError.
    """
    uri = parse_token_uri(text, "PKCS#11 URI")
    return make_token_key(uri, ask_passphrase), format_token_uri(uri).encode() + b"\n"
