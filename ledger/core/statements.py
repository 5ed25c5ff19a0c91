"""What the registrar signs: the charter of a log, and each version of a source's statement (formats.md §2).

    charter   origin source=0 version=0 spec registrar ledger log_vkeys merge_delay_s claims schemes
              predecessor
    source    origin source version [prev] department system key vrf schemes activities seal_months
              key_service contact complaint since status [retired | revoked]

Here one statement is read by itself, member by member, and against the charter. What stood before it in
the log is for registry.py. `where` in errors names the statement and the member; both are public.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal

from ledger.core.encoding import (
    LAST_DAY,
    b64url_decode,
    b64url_encode,
    month_of,
    parse_date,
    parse_decimal,
    year_of,
)
from ledger.core.entries import ENTRY_LIMIT, Coverage, Record, Registry, decode_entry, entry_hash
from ledger.core.errors import Malformed, RuleBroken
from ledger.core.jose import integer, jwk, members, parse_jwk, sign_jws, split_jws, verify_jws
from ledger.core.keys import SigningKey
from ledger.core.note import ED25519, MLDSA44, VerifierKey, parse_vkey
from ledger.core.schemes import Scheme, check_canonical, parse_schemes
from ledger.core.sdjwt import CLAIMS
from ledger.core.texts import check_iris, check_language_map, check_names, check_origin, check_url
from ledger.core.vrf import check_key

TYP: Final = "glassbook-registry+jws"
SPEC: Final = "glassbook/v1"

Status = Literal["active", "retired", "revoked"]

_CHARTER_MEMBERS: Final = (
    "origin", "source", "version", "spec", "registrar", "ledger", "log_vkeys", "merge_delay_s", "claims",
    "schemes", "predecessor",
)  # fmt: skip
_SOURCE_MEMBERS: Final = (
    "origin", "source", "version", "department", "system", "key", "vrf", "schemes", "activities",
    "seal_months", "key_service", "contact", "complaint", "since", "status",
)  # fmt: skip
_DATED_STATUSES: Final = ("retired", "revoked")


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The log before this one, as it was left: its tree of `size` leaves has this 32-byte `root`."""

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Charter:
    """Source 0, version 0, leaf 0: what holds for the whole log and is never changed."""

    origin: str
    registrar: bytes
    ledger: bytes
    log_vkeys: tuple[VerifierKey, ...]
    merge_delay_s: int
    claims: tuple[str, ...]
    schemes: dict[str, Scheme]
    predecessor: Predecessor | None
    entry_hash: bytes
    index: int = 0

    @property
    def roles(self) -> dict[bytes, str]:
        """The Ed25519 keys stated here, each with the one role it has."""
        log_key = next(vkey.key for vkey in self.log_vkeys if vkey.kind == ED25519)
        return {self.registrar: "registrar", self.ledger: "ledger", log_key: "log"}

    def check_subject(self, scheme: str, value: str) -> None:
        """RuleBroken unless `value` is in the canonical form of a scheme of this log; never names the value."""
        check_canonical(self.schemes, scheme, value)


@dataclass(frozen=True, slots=True)
class Activity:
    """What a source does with data and on what ground: DPV IRIs, and a plain sentence per language."""

    purpose: tuple[str, ...]
    legal_basis: tuple[str, ...]
    data: tuple[str, ...]
    text: dict[str, str]


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """One version of the whole statement about a source, at leaf `index`; dates are days since 1970-01-01."""

    source: int
    version: int
    index: int
    entry_hash: bytes
    department: dict[str, str]
    system: dict[str, str]
    key: bytes
    vrf: dict[int, bytes]
    schemes: tuple[str, ...]
    activities: dict[int, Activity]
    seal_months: int
    key_service: str
    contact: str
    complaint: str
    since: int
    status: Status
    retired: int | None
    revoked: int | None
    prev: bytes | None
    statement: dict[str, Any] = field(repr=False)
    """The payload as signed, without origin, source, version and prev: what the next version starts from."""

    @property
    def roles(self) -> dict[bytes, str]:
        """The Ed25519 and VRF keys stated here, each with the one role it has."""
        named = {key: f"source {self.source}'s VRF of {epoch}" for epoch, key in self.vrf.items()}
        return {self.key: f"source {self.source}", **named}

    def check_signer(self, entry: Record | Coverage) -> None:
        """RuleBroken if this version, being in force, may not sign `entry`: records need an active source."""
        if self.status != "active" and isinstance(entry, Record):
            raise RuleBroken("record", f"source {self.source} is {self.status}", rule=f"source-{self.status}")

    def check_record(self, record: Record) -> None:
        """RuleBroken unless epoch, seal and activity fit the day and this version, which is in force.

        Its signature, and the time of its day, are checked apart (`signed_message`, `check_time`).
        """
        year, month = _calendar("record", record.day)
        if record.epoch != year:
            raise RuleBroken("record", "epoch is not the year of the day", rule="epoch")
        if record.epoch not in self.vrf:
            raise RuleBroken("record", f"no VRF key registered for epoch {record.epoch}", rule="vrf-key")
        if record.seal == 0:
            if record.activity not in self.activities:
                what = "is not registered" if record.activity else "is 0, yet the record is open"
                raise RuleBroken("record", f"activity {what}", rule="activity")
            return
        if record.activity:
            raise RuleBroken("record", "sealed, yet activity is not 0", rule="activity")
        if record.seal <= month:
            raise RuleBroken("record", "seal month is not after the month of the day", rule="seal")
        if record.seal > month + self.seal_months:
            what = f"sealed for longer than the {self.seal_months} months that the source may"
            raise RuleBroken("record", what, rule="seal")

    def check_coverage(self, coverage: Coverage) -> None:
        """RuleBroken unless the epoch is the year of the day; a VRF key of that year is not needed."""
        if coverage.epoch != _calendar("coverage", coverage.day)[0]:
            raise RuleBroken("coverage", "epoch is not the year of the day", rule="epoch")


def _calendar(where: str, day: int) -> tuple[int, int]:
    if day > LAST_DAY:
        raise RuleBroken(where, "day is after the year 9999", rule="day")
    return _year_and_month(day)


@lru_cache(maxsize=8192)
def _year_and_month(day: int) -> tuple[int, int]:
    return year_of(day), month_of(day)


def parse_charter(raw: bytes, origin: str | None = None) -> Charter:
    """The charter in the registry entry `raw`, signed by the registrar that it names.

    Malformed, BadSignature or RuleBroken; with `origin`, also when it is the charter of another log.
    """
    entry = _registry_entry(raw)
    if entry.source != 0 or entry.version != 0:
        what = f"is source {entry.source} version {entry.version} instead of 0 and 0"
        raise RuleBroken("charter", what, rule="charter")
    jws = _jws_text(entry, "charter")
    # The key that signed it is inside: taken out first, believed only once the signature holds.
    registrar = parse_jwk(split_jws(jws, "charter").payload.get("registrar"), "charter registrar")
    payload = members(verify_jws(jws, registrar, TYP, "charter"), "charter", _CHARTER_MEMBERS)
    _check_outside(payload, entry, origin or check_origin(payload["origin"], "charter"), "charter")
    if payload["spec"] != SPEC:
        raise Malformed("charter spec", f"not {SPEC}, which is all that this program reads")
    charter = Charter(
        origin=payload["origin"],
        registrar=registrar,
        ledger=parse_jwk(payload["ledger"], "charter ledger"),
        log_vkeys=_log_vkeys(payload["log_vkeys"], payload["origin"]),
        merge_delay_s=integer(payload["merge_delay_s"], "charter merge_delay_s"),
        claims=check_names(payload["claims"], CLAIMS, "charter claims", "claim of formats §3"),
        schemes=parse_schemes(payload["schemes"]),
        predecessor=_predecessor(payload["predecessor"], payload["origin"]),
        entry_hash=entry_hash(raw),
    )
    if len(charter.roles) != 3:
        raise RuleBroken("charter", "registrar, ledger and log must have keys of their own", rule="key-role")
    return charter


def parse_source(raw: bytes, index: int, charter: Charter) -> SourceVersion:
    """The version of a source in the registry entry `raw` at leaf `index`, signed by the charter's registrar.

    Malformed, BadSignature or RuleBroken. What earlier entries forbid is not looked at (Register.check).
    """
    entry = _registry_entry(raw)
    where = f"source {entry.source} version {entry.version}"
    if entry.source == 0:
        raise RuleBroken(where, "source 0 stands at leaf 0 alone, in version 0", rule="charter")
    payload = verify_jws(_jws_text(entry, where), charter.registrar, TYP, where)
    status: Any = payload.get("status")
    dated = (status,) if status in _DATED_STATUSES else ()
    prev = ("prev",) if entry.version else ()
    members(payload, where, (*_SOURCE_MEMBERS, *prev, *dated))
    _check_outside(payload, entry, charter.origin, where)
    if status != "active" and not dated:
        raise Malformed(f"{where} status", "not active, retired or revoked")
    version = SourceVersion(
        source=entry.source,
        version=entry.version,
        index=index,
        entry_hash=entry_hash(raw),
        department=check_language_map(payload["department"], f"{where} department"),
        system=check_language_map(payload["system"], f"{where} system"),
        key=parse_jwk(payload["key"], f"{where} key"),
        vrf=_vrf_keys(payload["vrf"], f"{where} vrf"),
        schemes=check_names(payload["schemes"], charter.schemes, f"{where} schemes", "scheme of the charter"),
        activities=_activities(payload["activities"], f"{where} activities"),
        seal_months=integer(payload["seal_months"], f"{where} seal_months"),
        key_service=check_url(payload["key_service"], f"{where} key_service"),
        contact=check_url(payload["contact"], f"{where} contact"),
        complaint=check_url(payload["complaint"], f"{where} complaint"),
        since=_day(payload["since"], f"{where} since"),
        status=status,
        retired=_day(payload["retired"], f"{where} retired") if status == "retired" else None,
        revoked=_day(payload["revoked"], f"{where} revoked") if status == "revoked" else None,
        prev=_bytes32(payload["prev"], f"{where} prev") if prev else None,
        statement={k: v for k, v in payload.items() if k not in ("origin", "source", "version", "prev")},
    )
    if len(version.roles) != 1 + len(version.vrf) or not charter.roles.keys().isdisjoint(version.roles):
        raise RuleBroken(where, "a key of it has another role already", rule="key-role")
    return version


def sign_charter(
    registrar: SigningKey,
    *,
    origin: str,
    ledger: bytes,
    log_vkeys: Sequence[str],
    merge_delay_s: int,
    claims: Sequence[str],
    schemes: Mapping[str, Any],
    predecessor: Mapping[str, Any] | None = None,
) -> bytes:
    """The charter as an entry, read back and so known to be one that everybody accepts."""
    payload = {
        "origin": origin, "source": 0, "version": 0, "spec": SPEC,
        "registrar": jwk(registrar.public), "ledger": jwk(ledger), "log_vkeys": list(log_vkeys),
        "merge_delay_s": merge_delay_s, "claims": list(claims), "schemes": dict(schemes),
        "predecessor": predecessor and dict(predecessor),
    }  # fmt: skip
    raw = _sign(registrar, 0, 0, payload)
    parse_charter(raw, origin)
    return raw


def sign_source(
    registrar: SigningKey,
    charter: Charter,
    source: int,
    statement: Mapping[str, Any],
    before: SourceVersion | None = None,
) -> bytes:
    """The next version of `source` as an entry; `statement` has all but origin, source, version and prev.

    Read back against the charter; whether it may follow `before` is for Register.check to say.
    """
    payload: dict[str, Any] = {"origin": charter.origin, "source": source, "version": 0}
    if before is not None:
        payload |= {"version": before.version + 1, "prev": b64url_encode(before.entry_hash)}
    raw = _sign(registrar, source, payload["version"], {**statement, **payload})
    parse_source(raw, 0, charter)
    return raw


def _sign(registrar: SigningKey, source: int, version: int, payload: dict[str, Any]) -> bytes:
    raw = Registry(source, version, sign_jws(payload, TYP, registrar).encode("ascii")).encode()
    if len(raw) > ENTRY_LIMIT:
        raise Malformed("statement", f"{len(raw)} bytes as an entry; shorten it to {ENTRY_LIMIT}")
    return raw


def _registry_entry(raw: bytes) -> Registry:
    entry = decode_entry(raw)
    if not isinstance(entry, Registry):
        raise Malformed("registry", "the entry is of another kind")
    return entry


def _jws_text(entry: Registry, where: str) -> str:
    try:
        return entry.jws.decode("ascii")
    except UnicodeDecodeError:
        raise Malformed(where, "the JWS is not ASCII") from None


def _check_outside(payload: dict[str, Any], entry: Registry, origin: str, where: str) -> None:
    """What stands before the JWS, unsigned, must be what was signed."""
    if payload["origin"] != origin:
        raise RuleBroken(where, "was signed for another origin", rule="origin")
    for name, outside in (("source", entry.source), ("version", entry.version)):
        if integer(payload[name], f"{where} {name}") != outside:
            raise RuleBroken(where, f"{name} in the signed payload is another than before it", rule="payload")


def _log_vkeys(value: Any, origin: str) -> tuple[VerifierKey, ...]:
    where = "charter log_vkeys"
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise Malformed(where, "not a list of vkeys")
    vkeys = tuple(parse_vkey(text) for text in value)
    if sorted(vkey.kind for vkey in vkeys) != [ED25519, MLDSA44]:
        raise Malformed(where, "not exactly one Ed25519 and one ML-DSA-44 key")
    if any(vkey.name != origin for vkey in vkeys):
        raise RuleBroken(where, "a key has another name than the origin", rule="origin")
    return vkeys


def _predecessor(value: Any, origin: str) -> Predecessor | None:
    where = "charter predecessor"
    if value is None:
        return None
    found = members(value, where, ("origin", "size", "root"))
    if check_origin(found["origin"], where) == origin:
        raise RuleBroken(where, "is this log itself", rule="predecessor")
    size = integer(found["size"], f"{where} size", low=2)
    return Predecessor(found["origin"], size, _bytes32(found["root"], f"{where} root"))


def _vrf_keys(value: Any, where: str) -> dict[int, bytes]:
    if not isinstance(value, dict):
        raise Malformed(where, "not an object of epochs")
    keys = {}
    for epoch, text in value.items():
        key = _bytes32(text, f"{where} key")
        check_key(key, f"{where} key")
        keys[parse_decimal(epoch, f"{where} epoch", 2**16)] = key
    return keys


def _activities(value: Any, where: str) -> dict[int, Activity]:
    if not isinstance(value, dict):
        raise Malformed(where, "not an object of activity numbers")
    activities = {}
    for text, content in value.items():
        number = parse_decimal(text, f"{where} number", 2**32)
        if number == 0:
            raise Malformed(where, "activity 0 is that of sealed records and cannot be registered")
        here = f"{where} {number}"
        found = members(content, here, ("purpose", "legal_basis", "data", "text"))
        activities[number] = Activity(
            purpose=check_iris(found["purpose"], f"{here} purpose"),
            legal_basis=check_iris(found["legal_basis"], f"{here} legal_basis"),
            data=check_iris(found["data"], f"{here} data"),
            text=check_language_map(found["text"], f"{here} text"),
        )
    return activities


def _day(value: Any, where: str) -> int:
    day = parse_date(value, where) if isinstance(value, str) else -1
    if day < 0:
        raise Malformed(where, "not a date from 1970-01-01 on, YYYY-MM-DD")
    return day


def _bytes32(value: Any, where: str) -> bytes:
    data = b64url_decode(value, where) if isinstance(value, str) else b""
    if len(data) != 32:
        raise Malformed(where, "not 32 bytes in base64url")
    return data
