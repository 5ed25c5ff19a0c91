"""`department.toml`, the settings of one source's folder (the department's home).

    origin = "log.example.gov/access/2026"
    ledger = "http://127.0.0.1:8101"        # where entries are handed in
    log = "http://127.0.0.1:8102"           # the published log: a URL or a folder
    policy = "policy.txt"                   # which checkpoints are believed (tlog-policy)
    map = "map.toml"                        # the mapping file, when none is named on the command line
    key = "keys/source.key"                 # signs records
    next_key = "keys/source-2.key"          # signs them as soon as the register says so (rotate-key)

    [vrf]                                   # one key an epoch, kept until its last seal has opened
    2026 = "keys/vrf-2026.key"

    [send]
    batch = 500                             # records handed in at once, in random order
    wait_s = 60                             # how long `send --wait` waits without any progress

    [otlp]                                  # without it `run` receives nothing (docs/otlp.md)
    listen = "127.0.0.1:4318"               # where applications send spans and log records
    map = "otlp.toml"                       # the mapping file for them, of format ldv
    token = "keys/otlp.token"               # senders must show it; needed where listen is no loopback address

    [identifiers]                           # the form of a scheme not named as its form (identifiers.py)
    patient = "nhs"

    [keyservice]                            # without it `run` gives no keys (docs/key-service.md)
    listen = "127.0.0.1:8120"               # …

    [coverage]                              # when a day is covered (coveragerule.py, docs/department.md)
    hour = 4

    [retention]                             # which details are erased by themselves (docs/erasure.md)
    days = 3650

Relative paths are relative to the folder.  An unknown member is refused.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from ledger.core.errors import GlassbookError, Malformed
from ledger.core.policy import Policy, parse_policy
from ledger.core.texts import SCHEME_NAME, check_origin
from ledger.department.coveragerule import CoverageRule, read_coverage
from ledger.department.identifiers import FORMS
from ledger.department.keyservice.settings import KeyServiceSettings, read_key_service
from ledger.department.retention import Retention, read_retention
from ledger.department.strict_toml import LIMIT, Table, parse_toml
from ledger.files import FileRefused, read_limited

FILE = "department.toml"


class CannotGoOn(GlassbookError):
    """The department's own folder or surroundings do not allow it; the message says what to do (CLI exit 3)."""


@dataclass(frozen=True, slots=True)
class OtlpSettings:
    """Where OTLP is received, by which mapping, and the file of the token that senders must show."""

    host: str
    port: int
    map: Path
    token: Path | None


@dataclass(frozen=True, slots=True)
class Settings:
    """One department's settings; paths are absolute."""

    home: Path
    origin: str
    ledger: str
    log: str
    policy: Path
    map: Path | None
    key: Path
    next_key: Path | None
    vrf: dict[int, Path]
    batch: int
    wait_s: int
    otlp: OtlpSettings | None = None
    identifiers: dict[str, str] = field(default_factory=dict)
    """Forms of identifiers by scheme, where a scheme is not named as its form."""
    keyservice: KeyServiceSettings | None = None
    retention: Retention = field(default_factory=Retention)
    coverage: CoverageRule = field(default_factory=CoverageRule)

    @property
    def outbox(self) -> Path:
        return self.home / "outbox.sqlite"

    @property
    def seen(self) -> Path:
        """The last checkpoint seen of the log."""
        return self.home / "seen.checkpoint"


def read_settings(home: Path) -> Settings:
    """The settings in a folder.  Raises CannotGoOn without one, Malformed for a file that is not right."""
    path = home / FILE
    if not path.is_file():
        raise CannotGoOn(
            str(path),
            "not there; name the department's folder with --dir, or make one: glassbook department init DIR",
        )
    return _settings(parse_toml(_read(path, LIMIT), str(path)), home.absolute())


def _settings(top: Table, home: Path) -> Settings:
    origin = check_origin(top.text("origin"), f"{top.where}: origin")
    map_, next_key = top.text("map", ""), top.text("next_key", "")
    vrf, send = top.table("vrf"), top.table("send")
    log = top.text("log")
    settings = Settings(
        home=home,
        origin=origin,
        ledger=_url(top, "ledger", top.text("ledger")),
        log=log if is_url(log) else str(home / log),
        policy=home / top.text("policy", "policy.txt"),
        map=home / map_ if map_ else None,
        key=home / top.text("key", "keys/source.key"),
        next_key=home / next_key if next_key else None,
        vrf={_epoch(vrf, name): home / vrf.text(name) for name in vrf.names()},
        batch=send.integer("batch", 1, 10_000, 500) or 500,
        wait_s=send.integer("wait_s", 1, 86_400, 60) or 60,
        otlp=_otlp(top.table("otlp"), home) if "otlp" in top else None,
        identifiers=_identifiers(top.table("identifiers")),
        keyservice=read_key_service(top.table("keyservice")) if "keyservice" in top else None,
        retention=read_retention(top.table("retention")),
        coverage=read_coverage(top.table("coverage")),
    )
    for table in (vrf, send, top):
        table.finish()
    return settings


def _otlp(table: Table, home: Path) -> OtlpSettings:
    host, colon, port = table.text("listen").rpartition(":")
    if not colon or not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise table.wrong("listen", "must be HOST:PORT, for instance 127.0.0.1:4318")
    host = host.removeprefix("[").removesuffix("]")
    token = table.text("token", "")
    if not token and not _is_loopback(host):
        raise table.wrong("listen", "is open to other machines; name a file with a token for the senders")
    otlp = OtlpSettings(host, int(port), home / table.text("map"), home / token if token else None)
    table.finish()
    return otlp


def _identifiers(table: Table) -> dict[str, str]:
    forms = {scheme: table.text(scheme) for scheme in table.names()}
    for scheme, form in forms.items():
        if not SCHEME_NAME.fullmatch(scheme):
            raise table.wrong(scheme, "must be a scheme: 1 to 32 characters a-z, 0-9 or -")
        if form not in FORMS:
            raise table.wrong(scheme, f"must be a form of identifiers: {', '.join(FORMS)}")
    table.finish()
    return forms


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_url(text: str) -> bool:
    """Whether a log is named by its URL, and not by its folder."""
    return text.startswith(("http://", "https://"))


def _url(table: Table, name: str, text: str) -> str:
    parts = urlsplit(text)
    if not is_url(text) or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise table.wrong(name, "must be an http or https URL without password and query")
    return text.rstrip("/")


def _epoch(table: Table, name: str) -> int:
    if not re.fullmatch(r"(19[7-9][0-9]|[2-9][0-9]{3})", name):
        raise table.wrong(name, "is no year from 1970 to 9999")
    return int(name)


def read_policy(settings: Settings) -> Policy:
    """The policy file.  Raises CannotGoOn without one, Malformed for a bad one or one of another log."""
    path = settings.policy
    if not path.is_file():
        raise CannotGoOn(
            str(path), "not there; get the log's policy file, and look at it before you trust it"
        )
    policy = parse_policy(_read(path, LIMIT))
    if policy.origin != settings.origin:
        raise Malformed(str(path), f"is the policy of another log than {settings.origin}")
    return policy


def _read(path: Path, limit: int) -> bytes:
    try:
        return read_limited(path, limit)
    except FileRefused as error:
        raise Malformed(str(path), str(error)) from None
    except OSError as error:
        raise CannotGoOn(os.fspath(path), f"cannot be read: {error.strerror}") from None
