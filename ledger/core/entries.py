"""The four kinds of entry, byte for byte (formats.md §2).

A leaf of the log is H(0x00 ‖ entry). Byte 0 of an entry is the format version 0x01, byte 1 its kind;
integers are big-endian.

    record 0x01, 146 bytes              coverage 0x04, 84 bytes          registry 0x02, 11 bytes to 65,535
      2  u32  source                      2  u32  source                   2  u32  source, 0 for the charter
      6  u16  epoch, year of day          6  u16  epoch, year of day       6  u32  version: 0, 1, 2 …
      8  u32  day since 1970-01-01        8  u32  day                     10  JWS by the registrar, ASCII
     12  u16  seal month, or 0           12  u64  records of that day
     14  u32  activity, or 0             20  Ed25519[64] by the source   index root 0x03, 82 bytes
     18  label[32]                                                         2  u64  covers: leaves before it
     50  commitment[32]                                                   10  log_root[32]
     82  Ed25519[64] by the source                                        42  index_root[32]
                                                                          74  u64  labels in that index

Decoding checks the shape alone: what may stand where is for the register to say (registry.py), and a
signature is checked apart, so that many can be checked at once: `signed_message` is what it covers.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import Final, NamedTuple

from ledger.core.encoding import SECONDS_PER_DAY, lp, u32, year_of
from ledger.core.errors import GlassbookError, Malformed, RuleBroken
from ledger.core.jose import split_jws
from ledger.core.keys import SigningKey

VERSION: Final = 0x01
RECORD: Final = 0x01
REGISTRY: Final = 0x02
INDEX_ROOT: Final = 0x03
COVERAGE: Final = 0x04

ENTRY_LIMIT: Final = 65_535
RECORD_BYTES: Final = 146
COVERAGE_BYTES: Final = 84
INDEX_ROOT_BYTES: Final = 82

CLOCK_SLACK_S: Final = 300
"""How far, in seconds, an entry may be ahead of the newest witness timestamp."""

# The two bytes in front count as one u16, so that one unpack takes a whole entry apart.
_RECORD: Final = Struct(">HIHIHI32s32s64s")
_REGISTRY: Final = Struct(">HII")
_INDEX_ROOT: Final = Struct(">HQ32s32sQ")
_COVERAGE: Final = Struct(">HIHIQ64s")

_RECORD_SIGNED: Final = 82
_COVERAGE_SIGNED: Final = 20


class Record(NamedTuple):
    """One access: day since 1970-01-01, seal in months since 1970-01 or 0; label and commitment 32 bytes."""

    source: int
    epoch: int
    day: int
    seal: int
    activity: int
    label: bytes
    commitment: bytes
    signature: bytes

    def encode(self) -> bytes:
        """146 bytes."""
        return _RECORD.pack(VERSION << 8 | RECORD, *self)

    @property
    def index_label(self) -> bytes:
        return record_index_label(self.source, self.epoch, self.seal, self.label)


class Registry(NamedTuple):
    """A statement by the registrar: the charter (source 0) or a version of a source; the JWS is unparsed."""

    source: int
    version: int
    jws: bytes

    def encode(self) -> bytes:
        return _REGISTRY.pack(VERSION << 8 | REGISTRY, self.source, self.version) + self.jws

    @property
    def index_label(self) -> bytes | None:
        """None if the JWS cannot be parsed: such an entry takes no label."""
        try:
            split_jws(self.jws.decode("ascii"), "registry")
        except (GlassbookError, UnicodeDecodeError):
            return None
        return registry_index_label(self.source, self.version)


class IndexRoot(NamedTuple):
    """Tree and index over the `covers` leaves before it; both roots are 32 bytes."""

    covers: int
    log_root: bytes
    index_root: bytes
    labels: int

    def encode(self) -> bytes:
        """82 bytes."""
        return _INDEX_ROOT.pack(VERSION << 8 | INDEX_ROOT, *self)

    @property
    def index_label(self) -> None:
        """Index roots stand under no label."""


class Coverage(NamedTuple):
    """A source's statement that it has put exactly `records` records of `day` in the log before this leaf."""

    source: int
    epoch: int
    day: int
    records: int
    signature: bytes

    def encode(self) -> bytes:
        """84 bytes."""
        return _COVERAGE.pack(VERSION << 8 | COVERAGE, *self)

    @property
    def index_label(self) -> bytes:
        return coverage_index_label(self.source, self.day)


Entry = Record | Registry | IndexRoot | Coverage


def decode_entry(data: bytes) -> Entry:
    """The entry that `data` is by its version, kind and length; Malformed if it is none."""
    if len(data) < 2:
        raise Malformed("entry", f"{len(data)} bytes; version and kind alone are 2")
    if len(data) > ENTRY_LIMIT:
        raise Malformed("entry", f"{len(data)} bytes; an entry has at most {ENTRY_LIMIT}")
    if data[0] != VERSION:
        raise Malformed("entry", f"unknown version {data[0]}, this is a reader of version {VERSION}")
    kind = data[1]
    if kind == RECORD:
        _check_length("record", data, RECORD_BYTES)
        return Record._make(_RECORD.unpack(data)[1:])
    if kind == COVERAGE:
        _check_length("coverage", data, COVERAGE_BYTES)
        return Coverage._make(_COVERAGE.unpack(data)[1:])
    if kind == INDEX_ROOT:
        _check_length("index root", data, INDEX_ROOT_BYTES)
        return IndexRoot._make(_INDEX_ROOT.unpack(data)[1:])
    if kind == REGISTRY:
        if len(data) <= _REGISTRY.size:
            raise Malformed("registry", f"{len(data)} bytes: no JWS after the first {_REGISTRY.size}")
        _, source, version = _REGISTRY.unpack_from(data)
        return Registry(source, version, data[_REGISTRY.size :])
    raise Malformed("entry", f"unknown kind {kind}")


def _check_length(kind: str, data: bytes, expected: int) -> None:
    if len(data) != expected:
        raise Malformed(kind, f"{len(data)} bytes instead of {expected}")


def entry_hash(raw: bytes) -> bytes:
    """H(entry), 32 bytes: what `prev` of the next registry version names. Not the leaf hash."""
    return sha256(raw).digest()


def signed_message(origin: str, raw: bytes) -> bytes:
    """What the source signs of the record or coverage `raw`: prefix, lp(origin), raw without signature."""
    if raw[1] == RECORD:
        return record_message_prefix(origin) + raw[:_RECORD_SIGNED]
    if raw[1] == COVERAGE:
        return _signed_prefix(b"glassbook/v1/coverage\n", origin) + raw[:_COVERAGE_SIGNED]
    raise Malformed("entry", "only records and coverages are signed by a source")


def record_message_prefix(origin: str) -> bytes:
    """What stands before a record's own first 82 bytes in what its source signs."""
    return _signed_prefix(b"glassbook/v1/record\n", origin)


@lru_cache(maxsize=64)
def _signed_prefix(prefix: bytes, origin: str) -> bytes:
    return prefix + lp(origin.encode())


def sign_record(
    origin: str,
    key: SigningKey,
    *,
    source: int,
    day: int,
    seal: int,
    activity: int,
    label: bytes,
    commitment: bytes,
) -> bytes:
    """A record entry, 146 bytes, signed by the source's `key`; its epoch is the year of `day`."""
    unsigned = Record(source, year_of(day), day, seal, activity, label, commitment, bytes(64)).encode()
    return unsigned[:_RECORD_SIGNED] + key.sign(signed_message(origin, unsigned))


def sign_coverage(origin: str, key: SigningKey, *, source: int, day: int, records: int) -> bytes:
    """A coverage entry, 84 bytes, signed by the source's `key`; its epoch is the year of `day`."""
    unsigned = Coverage(source, year_of(day), day, records, bytes(64)).encode()
    return unsigned[:_COVERAGE_SIGNED] + key.sign(signed_message(origin, unsigned))


def check_time(entry: Record | Coverage, now: int, slack: int = CLOCK_SLACK_S) -> None:
    """RuleBroken if `entry` speaks of a time after `now` (Unix seconds) and `slack` seconds more.

    A record's day must have begun, a coverage's day must have ended. Readers take the newest witness
    timestamp for `now`, the ledger its own clock and no slack.
    """
    if isinstance(entry, Record):
        if entry.day * SECONDS_PER_DAY > now + slack:
            raise RuleBroken("record", "day is in the future", rule="day-in-future")
    elif (entry.day + 1) * SECONDS_PER_DAY > now + slack:
        raise RuleBroken("coverage", "day has not ended", rule="day-in-future")


def record_index_label(source: int, epoch: int, seal: int, label: bytes) -> bytes:
    """The 32-byte index label of a record (formats.md §5)."""
    return sha256(_RECORD_LABEL.pack(b"glassbook/v1/record-label\0", source, epoch, seal, label)).digest()


def record_label_prefix(source: int, epoch: int, seal: int) -> bytes:
    """What a record's index label is the hash of, but for the 32-byte label at its end."""
    return b"glassbook/v1/record-label\0" + _STREAM.pack(source, epoch, seal)


def registry_index_label(source: int, version: int) -> bytes:
    """The 32-byte index label of a registry entry (formats.md §5)."""
    return sha256(b"glassbook/v1/registry-label\0" + u32(source) + u32(version)).digest()


def coverage_index_label(source: int, day: int) -> bytes:
    """The 32-byte index label of a coverage (formats.md §5)."""
    return sha256(b"glassbook/v1/coverage-label\0" + u32(source) + u32(day)).digest()


_RECORD_LABEL: Final = Struct(">26sIHH32s")
_STREAM: Final = Struct(">IHH")


def index_label(entry: Entry) -> bytes | None:
    """The label of `entry` in the index; None for an index root, and a registry entry without a JWS."""
    return entry.index_label
