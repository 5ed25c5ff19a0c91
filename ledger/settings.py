"""`glassbook.toml`, the settings of one operator's folder.

    origin = "log.example.gov/access/2026"
    database = "sqlite:///ledger.sqlite"         # a relative path is relative to the folder; or
                                                 # "postgresql://USER@HOST/DATABASE", password in a passfile
    public = "public"                            # where the publisher writes the log; or "s3://BUCKET/PREFIX"

    [bucket]                                     # only with public = "s3://…"
    credentials = "keys/bucket.toml"             # a file of mode 0600: key_id = "…", secret = "…"
    region = "us-east-1"
    endpoint = "https://s3.us-east-1.amazonaws.com"     # by default AWS's own in that region
    virtual_hosted = false                       # whether the bucket's name stands in the host, not in the path
    allow_http = false                           # an endpoint without TLS that is not on this machine

    [ledger]
    listen = "127.0.0.1:8101"
    public_url = "http://127.0.0.1:8102"         # where the published log and its index proofs are read
    inbox_limit = 200000                         # entries waiting; beyond it the ledger answers 503
    wait_s = 30                                  # the longest that ?wait=published waits
    vectors = "auto"                             # Ed25519 eight at a time, if installed; or "off", or the library
    answer_ms = 1200                             # what could not be answered within this is refused at once (503)
    in_flight_mib = 128                          # request bodies in memory, all together
    connections = 500                            # beyond it those on which nothing happens are closed

    [sequencer]
    interval_ms = 500                            # the least time between two batches, but after a full one
    batch = 10000                                # the most entries in one
    keep_days = 30                               # days after which entries leave the database, once they are in
                                                 # full published bundles; left out, they stay for ever

    [publisher]
    listen = "127.0.0.1:8102"
    refresh_s = 300                              # an idle log's checkpoint is cosigned anew after this long
    witness_wait_ms = 200                        # with a quorum, how long the other witnesses are still waited for

Every member has the default shown, but `origin` and `keep_days`, which have none.  An unknown member is refused.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
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
class PublicBucket:
    """A bucket for the public files, or a prefix ("" or "a/b") in one; `endpoint` is a URL without a path."""

    bucket: str
    prefix: str
    endpoint: str
    region: str
    credentials: Path
    virtual_hosted: bool
    allow_http: bool

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one operator's folder; paths are absolute."""

    home: Path
    origin: str
    database: str = field(repr=False)  # it may hold a password
    public: Path | PublicBucket
    ledger_listen: Listen
    public_url: str
    inbox_limit: int
    wait_s: int
    vectors: str
    answer_ms: int
    in_flight_mib: int
    connections: int
    interval_ms: int
    batch: int
    keep_days: int | None
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
    bucket = top.table("bucket")
    settings = Settings(
        home=home.absolute(),
        origin=top.text("origin", None),
        database=_database(top.text("database", "sqlite:///ledger.sqlite"), home.absolute()),
        public=_public(top, bucket, home.absolute()),
        ledger_listen=ledger.listen("127.0.0.1:8101"),
        public_url=ledger.url("public_url", "http://127.0.0.1:8102"),
        inbox_limit=ledger.number("inbox_limit", 200_000, 1, 10_000_000),
        wait_s=ledger.number("wait_s", 30, 1, 600),
        vectors=ledger.vectors(),
        answer_ms=ledger.number("answer_ms", 1200, 50, 60_000),
        in_flight_mib=ledger.number("in_flight_mib", 128, 16, 65_536),
        connections=ledger.number("connections", 500, 8, 100_000),
        interval_ms=sequencer.number("interval_ms", 500, 0, 60_000),
        batch=sequencer.number("batch", 10_000, 1, 100_000),
        keep_days=sequencer.number_if_there("keep_days", 0, 36_500),
        publisher_listen=publisher.listen("127.0.0.1:8102"),
        refresh_s=publisher.number("refresh_s", 300, 1, 600),
        witness_wait_ms=publisher.number("witness_wait_ms", 200, 0, 5_000),
    )
    for members in (bucket, ledger, sequencer, publisher, top):
        members.done()
    return settings


def _database(url: str, home: Path) -> str:
    scheme, _, path = url.partition(":///")
    if scheme == "sqlite" and path and not path.startswith("/"):
        return f"sqlite:///{home / path}"
    return url


_BUCKET = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)/?")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_HERE = ("localhost", "127.0.0.1", "::1")


def _public(top: _Members, members: _Members, home: Path) -> Path | PublicBucket:
    value = top.text("public", "public")
    found = _BUCKET.fullmatch(value)
    if found is None:
        if "://" in value:
            raise top.refuse("public", 'must be a folder, or a bucket as "s3://BUCKET/PREFIX"')
        if members.values:
            raise top.refuse("bucket", 'goes with public = "s3://BUCKET/PREFIX", and public is a folder')
        return home / value
    region = members.text("region", "us-east-1")
    if not _REGION.fullmatch(region):
        raise members.refuse("region", 'must be the name of a region, for instance "eu-central-1"')
    endpoint = members.url("endpoint", f"https://s3.{region}.amazonaws.com")
    parts = urlsplit(endpoint)
    if parts.path or parts.username is not None:
        raise members.refuse("endpoint", "must be a URL without a path and without a name in it")
    allow_http = members.flag("allow_http", False)
    here = parts.hostname in _HERE
    if parts.scheme == "http" and not (allow_http or here):
        raise members.refuse("endpoint", "must be https; allow_http = true takes http all the same")
    return PublicBucket(
        bucket=found[1],
        prefix=found[2].removeprefix("/"),
        endpoint=endpoint,
        region=region,
        credentials=home / members.text("credentials", "keys/bucket.toml"),
        virtual_hosted=members.flag("virtual_hosted", False),
        allow_http=parts.scheme == "http",
    )


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

    def number_if_there(self, name: str, low: int, high: int) -> int | None:
        return self.number(name, 0, low, high) if name in self.values else None

    def flag(self, name: str, default: bool) -> bool:
        value = self.values.pop(name, default)
        if not isinstance(value, bool):
            raise self.refuse(name, "must be true or false")
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

    def vectors(self) -> str:
        value = self.text("vectors", "auto")
        if value not in ("auto", "off") and not Path(value).is_absolute():
            raise self.refuse("vectors", 'must be "auto", "off", or the absolute path of libcrypto_mb.so')
        return value

    def done(self) -> None:
        for name in self.values:
            raise self.refuse(name, "is not a setting this program knows")
