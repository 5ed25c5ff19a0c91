"""A new source's folder: its keys, its settings, and the statement that the registrar will sign.

The statement is the public payload of a Source entry (docs/formats.md §2) without origin, source, version
and prev, which the registrar adds.  It is written from a TOML file:

    schemes = ["nhs"]
    seal_months = 0
    key_service = "https://keys.health.example/"
    contact = "mailto:dpo@health.example"
    complaint = "https://regulator.example/complain"
    since = "2026-01-01"

    [department]
    en = "Department of Health"
    [system]
    en = "Patient records"

    [activities.1]
    purpose = ["https://w3id.org/dpv/sector/health#ServiceProvision"]
    legal_basis = ["https://w3id.org/dpv#PublicInterest"]
    data = ["https://w3id.org/dpv/pd#HealthRecord"]
    text = { en = "Looking after you." }
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.core.encoding import b64url_encode, parse_date, parse_decimal
from ledger.core.errors import Malformed
from ledger.core.jose import jwk
from ledger.core.keys import Ed25519PrivateKey, SigningKey, format_private_key
from ledger.core.texts import check_iris, check_language_map, check_url
from ledger.department.settings import FILE, CannotGoOn
from ledger.department.strict_toml import Table, parse_toml
from ledger.files import write_atomic

STATEMENT = "statement.json"
_YEARS = re.compile(r"(19[7-9][0-9]|[2-9][0-9]{3})(?:-(19[7-9][0-9]|[2-9][0-9]{3}))?")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the log is: its origin, the ledger's URL, the published log, and the policy file."""

    origin: str
    ledger: str
    log: str
    policy: str
    map: str


def parse_epochs(texts: list[str]) -> list[int]:
    """Years from `2026` and `2020-2026`, sorted, each once."""
    years: set[int] = set()
    for text in texts:
        found = _YEARS.fullmatch(text)
        first, last = (int(found.group(1)), int(found.group(2) or found.group(1))) if found else (1, 0)
        if first > last or last - first > 200:
            raise Malformed("epoch", f"{text!a} is no year (2026) and no range of years (2020-2026)")
        years |= set(range(first, last + 1))
    return sorted(years)


def read_system(data: bytes, where: str) -> dict[str, Any]:
    """The statement in a TOML file, without keys and status.  Malformed names the member at fault."""
    top = parse_toml(data, where)
    statement: dict[str, Any] = {
        "department": _language_map(top.table("department")),
        "system": _language_map(top.table("system")),
        "schemes": list(top.texts("schemes")),
        "activities": _activities(top.table("activities")),
        "seal_months": top.integer("seal_months", 0, 1200, 0),
        "key_service": check_url(top.text("key_service"), f"{where}: key_service"),
        "contact": check_url(top.text("contact"), f"{where}: contact"),
        "complaint": check_url(top.text("complaint"), f"{where}: complaint"),
        "since": top.text("since"),
        "status": "active",
    }
    parse_date(statement["since"], f"{where}: since")
    top.finish()
    return statement


def _language_map(table: Table) -> dict[str, str]:
    return check_language_map({tag: table.text(tag) for tag in table.names()}, table.where)


def _activities(table: Table) -> dict[str, Any]:
    activities = {}
    for number in table.names():
        if parse_decimal(number, f"{table.where} number", 2**32) == 0:
            raise table.wrong(number, "is that of sealed records and cannot be stated")
        activity = table.table(number)
        activities[number] = {
            name: list(check_iris(list(activity.texts(name)), f"{activity.where}.{name}"))
            for name in ("purpose", "legal_basis", "data")
        } | {"text": _language_map(activity.table("text"))}
        activity.finish()
    if not activities:
        raise Malformed(table.where, "has no activity; records need one")
    return activities


def make_home(
    home: Path,
    addresses: Addresses,
    system: dict[str, Any],
    epochs: list[int],
    passphrase: bytes | None,
    token_key: tuple[SigningKey, bytes] | None = None,
) -> Path:
    """Make keys, `department.toml` and `statement.json` in `home`; returns the statement's path.

    `token_key` is a source's key in a PKCS#11 token and what its file holds (`ledger.keyfiles.take_token_key`).

    Raises CannotGoOn when the folder holds a department already: keys are never overwritten.
    """
    if (home / FILE).exists() or (home / "keys").exists():
        raise CannotGoOn(str(home), "holds a department's keys or settings already; take another folder")
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    (home / "keys").mkdir(mode=0o700)
    key: SigningKey
    if token_key is None:
        key = made = Ed25519PrivateKey.generate()
        content = format_private_key(made, passphrase)
    else:
        key, content = token_key
    write_atomic(home / "keys" / "source.key", content, 0o600)
    statement = system | {"key": jwk(key.public), "vrf": make_vrf_keys(home, epochs, passphrase)}
    write_atomic(home / FILE, _settings_text(addresses, epochs).encode(), 0o600)
    return write_statement(home, statement)


def make_vrf_keys(home: Path, epochs: list[int], passphrase: bytes | None) -> dict[str, str]:
    """One new VRF key an epoch under keys/; their public halves as a statement has them."""
    public = {}
    for epoch in epochs:
        path = home / "keys" / f"vrf-{epoch}.key"
        if path.exists():
            raise CannotGoOn(str(path), "is there already; a VRF key is never changed")
        key = Ed25519PrivateKey.generate()
        write_atomic(path, format_private_key(key, passphrase), 0o600)
        public[str(epoch)] = b64url_encode(key.public)
    return public


def write_statement(home: Path, statement: dict[str, Any]) -> Path:
    """Write statement.json, which is public."""
    path = home / STATEMENT
    write_atomic(path, json.dumps(statement, ensure_ascii=False, indent=2).encode() + b"\n")
    return path


def add_epochs(home: Path, epochs: list[int], statement: dict[str, Any], passphrase: bytes | None) -> Path:
    """New VRF keys for more years, named in department.toml and in a new statement.json to be registered."""
    public = make_vrf_keys(home, epochs, passphrase)
    path = home / FILE
    text = path.read_text(encoding="utf-8")
    lines = "".join(f'{epoch} = "keys/vrf-{epoch}.key"\n' for epoch in epochs)
    if "\n[vrf]\n" in text:
        text = text.replace("\n[vrf]\n", f"\n[vrf]\n{lines}", 1)
    else:
        text = f"{text.rstrip()}\n\n[vrf]\n{lines}"
    write_atomic(path, text.encode(), 0o600)
    return write_statement(home, statement | {"vrf": dict(statement.get("vrf", {})) | public})


def _settings_text(addresses: Addresses, epochs: list[int]) -> str:
    """department.toml; texts are quoted as JSON quotes them, which TOML reads the same."""
    quoted = {name: json.dumps(getattr(addresses, name), ensure_ascii=False) for name in Addresses.__slots__}
    lines = [
        "# One source of the access ledger: where the log is, and which keys are this department's.",
        f"origin = {quoted['origin']}",
        f"ledger = {quoted['ledger']}    # where entries are handed in",
        f"log = {quoted['log']}    # the published log, a URL or a folder",
        f"policy = {quoted['policy']}    # which checkpoints are believed",
    ]
    if addresses.map:
        lines.append(f"map = {quoted['map']}    # which reference is whom, and which event is which activity")
    lines += [
        'key = "keys/source.key"',
        "",
        "# One VRF key an epoch. Keep each until the last seal of its year has opened.",
        "[vrf]",
    ]
    lines += [f'{epoch} = "keys/vrf-{epoch}.key"' for epoch in epochs]
    return "\n".join(lines) + "\n"
