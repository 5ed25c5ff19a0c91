"""A new signing key, without stopping: `glassbook department rotate-key`.

made, beside the old one ── statement to the registrar ── in the register ──► signs; the old one is not used any more
(department.toml: next_key)                                (every program looks which of the two is in force)
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ledger.core.encoding import b64url_encode
from ledger.core.jose import jwk
from ledger.core.keys import Ed25519PrivateKey, SigningKey, format_private_key
from ledger.department.home import Home
from ledger.department.registration import Registration
from ledger.department.settings import FILE, CannotGoOn
from ledger.department.setup import write_statement
from ledger.files import write_atomic


def pending_statement(home: Home, registration: Registration) -> dict[str, Any]:
    """What the register should say: as it does, with the newest keys that the department has made."""
    newest = registration.newest
    candidates = [key.public for key in home.signing_keys()]
    vrf = dict(newest.statement["vrf"])
    vrf |= {
        str(epoch): b64url_encode(seed.public)
        for epoch, seed in home.seeds().items()
        if epoch not in newest.vrf
    }
    return newest.statement | {"key": jwk(candidates[-1]), "vrf": vrf}


def rotate_key(
    home: Home,
    registration: Registration,
    passphrase: bytes | None,
    token_key: tuple[SigningKey, bytes] | None = None,
) -> tuple[Path, Path]:
    """Make the next signing key and the statement that names it; their paths.

    `token_key` is a key in a PKCS#11 token and what its file holds (`ledger.keyfiles.take_token_key`); without it one
    is made, in a file under `passphrase`.

    Raises CannotGoOn while an earlier new key waits to be registered, and for one that the register named before.
    Old keys stay where they are.
    """
    settings = home.settings
    current, *following = home.signing_keys()
    path = settings.key
    if following and settings.next_key is not None:
        if following[0].public != registration.newest.key:
            raise CannotGoOn(
                str(settings.next_key),
                f"is a new key already, and the register does not name it yet: hand "
                f"{write_statement(settings.home, pending_statement(home, registration))} to the registrar",
            )
        current, path = following[0], settings.next_key
    if current.public != registration.newest.key:
        raise CannotGoOn(
            str(path), "is not the key that the register names; put the right file in place first"
        )
    if token_key is not None and any(token_key[0].public == v.key for v in registration.versions):
        raise CannotGoOn("--key", "is a key that the register named before; give the new one another label")
    new = _free(settings.home)
    content = (
        format_private_key(Ed25519PrivateKey.generate(), passphrase) if token_key is None else token_key[1]
    )
    write_atomic(new, content, 0o600)
    _name_keys(settings.home, _named(settings.home, path), _named(settings.home, new))
    home.reload()
    return new, write_statement(settings.home, pending_statement(home, registration))


def _free(home: Path) -> Path:
    number = 2
    while (home / "keys" / f"source-{number}.key").exists():
        number += 1
    (home / "keys").mkdir(mode=0o700, exist_ok=True)
    return home / "keys" / f"source-{number}.key"


def _named(home: Path, path: Path) -> str:
    """A path as department.toml has it: relative to the folder where it is inside."""
    return str(path.relative_to(home)) if path.is_relative_to(home) else str(path)


def _name_keys(home: Path, key: str, next_key: str) -> None:
    """Write `key` and `next_key` into department.toml, and leave all else in it as it is."""
    path = home / FILE
    head, bracket, tables = _split(path.read_text(encoding="utf-8"))
    lines = [line for line in head.splitlines() if not re.match(r"\s*(next_)?key\s*=", line)]
    while lines and not lines[-1].strip():
        lines.pop()
    lines += [
        f"key = {json.dumps(key)}",
        f"next_key = {json.dumps(next_key)}    # signs once the register names it",
    ]
    write_atomic(
        path, ("\n".join(lines) + "\n" + ("\n" + bracket + tables if bracket else "")).encode(), 0o600
    )


def _split(text: str) -> tuple[str, str, str]:
    """What stands before the first table, and the rest."""
    found = re.search(r"(?m)^\s*\[", text)
    if found is None:
        return text, "", ""
    # A comment above a table belongs to it.
    start = found.start()
    lines = text[:start].splitlines(keepends=True)
    rest: list[str] = []
    while lines and lines[-1].lstrip().startswith("#"):
        rest.insert(0, lines.pop())
    return "".join(lines), "".join(rest) + text[start:].lstrip("\n")[:1], text[start:].lstrip("\n")[1:]
