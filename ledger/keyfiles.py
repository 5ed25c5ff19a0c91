"""Private keys in files: PKCS#8 in PEM, mode 0600, encrypted unless their owner said no.

Passphrases come from a file only its owner may read, or from a terminal; never from the command line or the
environment, where other processes could see them.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import sys
from pathlib import Path

from ledger.core.keys import Ed25519PrivateKey, PrivateKey, format_private_key, parse_private_key
from ledger.files import FileRefused, read_private, write_atomic

LOG_ED25519 = "log.ed25519.key"
LOG_MLDSA44 = "log.mldsa44.key"
LEDGER = "ledger.key"
REGISTRAR = "registrar.key"


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


def write_key(path: Path, key: PrivateKey, passphrase: bytes | None) -> None:
    """Write a private key, mode 0600; None leaves it unencrypted."""
    write_atomic(path, format_private_key(key, passphrase), 0o600)


def read_key(path: Path, passphrase: bytes | None = None) -> PrivateKey:
    """The private key in a file; an encrypted one is opened with `passphrase`, or one typed at the terminal.

    Raises FileRefused (its mode, no passphrase), Malformed (another passphrase, no key), OSError.
    """
    pem = read_private(path)
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
