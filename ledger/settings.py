"""`glassbook.toml`, the settings of one operator's folder.

    origin = "log.example.gov/access/2026"
    database = "sqlite:///ledger.sqlite"         # a relative path is relative to the folder
    public = "public"                            # where the publisher writes the log

    [ledger]
    listen = "127.0.0.1:8101"
    public_url = "http://127.0.0.1:8102"         # where the published log and its index proofs are read
    inbox_limit = 200000                         # entries waiting; beyond it the ledger answers 503
    wait_s = 30                                  # the longest that ?wait=published waits
    answer_ms = 1200                             # what could not be answered within this is refused at once (503)
    in_flight_mib = 128                          # request bodies in memory, all together
    connections = 500                            # beyond it those on which nothing happens are closed

    [sequencer]
    interval_ms = 250                            # the least time between two batches
    batch = 10000                                # the most entries in one

    [publisher]
    listen = "127.0.0.1:8102"
    refresh_s = 300                              # an idle log's checkpoint is cosigned anew after this long
    witness_wait_ms = 200                        # with a quorum, how long the other witnesses are still waited for

Every member has the default shown, but `origin`, which has none.  An unknown member is refused.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

FILE = "glassbook.toml"
LIMIT = 1 << 20


class SettingsRefused(ValueError):
    """A settings file cannot be used; the message names file and member and says what would do."""


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one operator's folder; paths are absolute."""

    home: Path
    origin: str
    database: str
    public: Path
    ledger_listen: Listen
    public_url: str
    inbox_limit: int
    wait_s: int
    answer_ms: int
    in_flight_mib: int
    connections: int
    interval_ms: int
    batch: int
    publisher_listen: Listen
    refresh_s: int
    witness_wait_ms: int

    @property
    def keys(self) -> Path:
        return self.home / "keys"

    @property
    def policy(self) -> Path:
        return self.home / "policy.txt"

    @property
    def ledger_url(self) -> str:
        return f"http://{self.ledger_listen}"


def read_settings(home: Path) -> Settings:
    """The settings in a folder.  Raises SettingsRefused."""
    path = home / FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise SettingsRefused(f"{path}: not there; run: glassbook init {home} --origin ORIGIN") from None
    except OSError as error:
        raise SettingsRefused(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > LIMIT:
        raise SettingsRefused(f"{path}: longer than {LIMIT} bytes; this is not a settings file")
    return parse_settings(data, home)


def parse_settings(data: bytes, home: Path) -> Settings:
    """The settings written in `data` for the folder `home`.  Raises SettingsRefused."""
    path = home / FILE
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsRefused(f"{path}: not TOML: {error}") from None
    top = _Members(path, "", document)
    ledger = top.table("ledger")
    sequencer = top.table("sequencer")
    publisher = top.table("publisher")
    settings = Settings(
        home=home.absolute(),
        origin=top.text("origin", None),
        database=_database(top.text("database", "sqlite:///ledger.sqlite"), home.absolute()),
        public=home.absolute() / top.text("public", "public"),
        ledger_listen=ledger.listen("127.0.0.1:8101"),
        public_url=ledger.url("public_url", "http://127.0.0.1:8102"),
        inbox_limit=ledger.number("inbox_limit", 200_000, 1, 10_000_000),
        wait_s=ledger.number("wait_s", 30, 1, 600),
        answer_ms=ledger.number("answer_ms", 1200, 50, 60_000),
        in_flight_mib=ledger.number("in_flight_mib", 128, 16, 65_536),
        connections=ledger.number("connections", 500, 8, 100_000),
        interval_ms=sequencer.number("interval_ms", 250, 0, 60_000),
        batch=sequencer.number("batch", 10_000, 1, 100_000),
        publisher_listen=publisher.listen("127.0.0.1:8102"),
        refresh_s=publisher.number("refresh_s", 300, 1, 600),
        witness_wait_ms=publisher.number("witness_wait_ms", 200, 0, 5_000),
    )
    for members in (ledger, sequencer, publisher, top):
        members.done()
    return settings


def _database(url: str, home: Path) -> str:
    scheme, _, path = url.partition(":///")
    if scheme == "sqlite" and path and not path.startswith("/"):
        return f"sqlite:///{home / path}"
    return url


class _Members:
    """One table of the file: each member is asked for once, what is left over is refused."""

    def __init__(self, path: Path, name: str, values: Mapping[str, object]) -> None:
        self.path, self.name, self.values = path, name, dict(values)

    def refuse(self, member: str, why: str) -> SettingsRefused:
        place = f"[{self.name}] {member}" if self.name else member
        return SettingsRefused(f"{self.path}: {place}: {why}")

    def table(self, name: str) -> _Members:
        value = self.values.pop(name, {})
        if not isinstance(value, dict):
            raise self.refuse(name, "must be a table")
        return _Members(self.path, name, value)

    def text(self, name: str, default: str | None) -> str:
        value = self.values.pop(name, default)
        if value is None:
            raise self.refuse(name, "is missing")
        if not isinstance(value, str) or not value:
            raise self.refuse(name, "must be a text in quotes, not empty")
        return value

    def number(self, name: str, default: int, low: int, high: int) -> int:
        value = self.values.pop(name, default)
        if type(value) is not int or not low <= value <= high:
            raise self.refuse(name, f"must be a whole number from {low} to {high}")
        return value

    def url(self, name: str, default: str) -> str:
        value = self.text(name, default)
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise self.refuse(name, "must be an http or https URL without query")
        return value.rstrip("/")

    def listen(self, default: str) -> Listen:
        value = self.text("listen", default)
        host, _, port = value.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise self.refuse("listen", 'must be "HOST:PORT", for instance "127.0.0.1:8101"')
        return Listen(host.removeprefix("[").removesuffix("]"), int(port))

    def done(self) -> None:
        for name in self.values:
            raise self.refuse(name, "is not a setting this program knows")
