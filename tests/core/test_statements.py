"""Statements of the registrar, member by member: each near miss is refused and its place named."""

import copy
import json
from typing import Any

import pytest
from logfactory import LogFactory, seed

from ledger.core import vrf
from ledger.core.encoding import b64url_encode
from ledger.core.entries import Record, Registry, decode_entry
from ledger.core.errors import BadSignature, GlassbookError, Malformed, RuleBroken
from ledger.core.jose import jwk, sign_jws, split_jws
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.statements import TYP, parse_charter, parse_source, sign_charter, sign_source

LOG = LogFactory()
LOG.add_source(seal_months=12)
CHARTER = LOG.register.charter
OTHER = Ed25519PrivateKey.from_seed(seed("another"))
VKEYS = [LOG.log_signer.vkey.text, LOG.mldsa_signer.vkey.text]
_REMOVE = object()


def payload_of(raw: bytes) -> dict[str, Any]:
    entry = decode_entry(raw)
    assert isinstance(entry, Registry)
    return copy.deepcopy(split_jws(entry.jws.decode(), "test").payload)


def changed(raw: bytes, path: str, value: Any) -> bytes:
    """The same statement with one member, at a path of names between dots, replaced or removed; signed anew."""
    payload = payload_of(raw)
    *above, last = path.split(".")
    place = payload
    for name in above:
        place = place[name]
    if value is _REMOVE:
        del place[last]
    else:
        place[last] = value
    entry = decode_entry(raw)
    assert isinstance(entry, Registry)
    return Registry(entry.source, entry.version, sign_jws(payload, TYP, LOG.registrar).encode()).encode()


CHARTER_FAULTS = [
    # member, value, where, what
    ("origin", "log.example.gov/other", "charter", "another origin"),
    ("origin", 7, "charter", "origin"),
    ("source", 1, "charter", "source"),
    ("source", 0.0, "charter source", "integer"),
    ("source", False, "charter source", "integer"),
    ("version", 1, "charter", "version"),
    ("spec", "glassbook/v2", "charter spec", "glassbook/v1"),
    ("spec", None, "charter spec", "glassbook/v1"),
    ("ledger", None, "charter ledger", "object"),
    ("ledger", jwk(LOG.registrar.public), "charter", "keys of their own"),
    ("ledger", jwk(LOG.log_signer.vkey.key), "charter", "keys of their own"),
    ("ledger.x", b64url_encode(bytes(32)), "charter ledger", "small order"),
    ("ledger.x", b64url_encode(b"\x02" + bytes(31)), "charter ledger", "point"),
    ("ledger.x", b64url_encode(b"\xff" * 32), "charter ledger", "canonical"),
    ("ledger.x", "AA", "charter ledger", "1 bytes"),
    ("ledger.x", "AA==", "charter ledger", "base64url"),
    ("ledger.kty", "EC", "charter ledger", "Ed25519"),
    ("ledger.d", "AA", "charter ledger", "unknown member d"),
    ("log_vkeys", [], "charter log_vkeys", "one Ed25519"),
    ("log_vkeys", VKEYS[:1], "charter log_vkeys", "one Ed25519"),
    ("log_vkeys", [*VKEYS, VKEYS[0]], "charter log_vkeys", "one Ed25519"),
    ("log_vkeys", [VKEYS[1], LOG.witness.vkey.text], "charter log_vkeys", "one Ed25519"),
    ("log_vkeys", " ".join(VKEYS), "charter log_vkeys", "list"),
    ("log_vkeys", [7, VKEYS[1]], "charter log_vkeys", "list"),
    ("log_vkeys", [VKEYS[0] + "=", VKEYS[1]], "vkey", "base64"),
    ("merge_delay_s", -1, "charter merge_delay_s", "integer"),
    ("merge_delay_s", 1.5, "charter merge_delay_s", "integer"),
    ("merge_delay_s", True, "charter merge_delay_s", "integer"),
    ("merge_delay_s", "60", "charter merge_delay_s", "integer"),
    ("claims", ["subject", "colour"], "charter claims", "claim"),
    ("claims", ["subject", "subject"], "charter claims", "twice"),
    ("claims", "subject", "charter claims", "list"),
    ("claims", {"subject": 1}, "charter claims", "list"),
    ("claims", [["subject"]], "charter claims", "list"),
    ("schemes", ["nhs"], "charter schemes", "object"),
    ("schemes.NHS", {"pattern": "a", "text": {"en": "x"}}, "charter schemes", "name"),
    ("schemes.n s", {"pattern": "a", "text": {"en": "x"}}, "charter schemes", "name"),
    ("schemes." + "a" * 33, {"pattern": "a", "text": {"en": "x"}}, "charter schemes", "name"),
    ("schemes.", {"pattern": "a", "text": {"en": "x"}}, "charter schemes", "name"),
    ("schemes.nhs", "[0-9]", "charter scheme nhs", "object"),
    ("schemes.nhs.pattern", r"\d+", "charter scheme nhs pattern", "escape"),
    ("schemes.nhs.pattern", 5, "charter scheme nhs pattern", "text"),
    ("schemes.nhs.pattern", _REMOVE, "charter scheme nhs", "no member pattern"),
    ("schemes.nhs.text", "NHS number", "charter scheme nhs text", "language"),
    ("schemes.nhs.text", {"en_GB": "x"}, "charter scheme nhs text", "BCP 47"),
    ("schemes.nhs.text", {"en": ""}, "charter scheme nhs text", "no text"),
    ("schemes.nhs.example", "1", "charter scheme nhs", "unknown member example"),
    ("predecessor", {}, "charter predecessor", "no member origin"),
    ("predecessor", [], "charter predecessor", "object"),
    ("predecessor", False, "charter predecessor", "object"),
    ("note", "x", "charter", "unknown member note"),
    ("prev", b64url_encode(bytes(32)), "charter", "unknown member prev"),
    *((name, _REMOVE, "charter", f"no member {name}") for name in (
        "origin", "source", "version", "spec", "ledger", "log_vkeys", "merge_delay_s", "claims", "schemes",
        "predecessor",
    )),
]  # fmt: skip

KEY = jwk(OTHER.public)
VRF = b64url_encode(vrf.public_key(seed("another VRF")))
SOURCE_FAULTS = [
    ("origin", "log.example.gov/other", "", "another origin"),
    ("source", 2, "", "source"),
    ("source", "1", " source", "integer"),
    ("version", 1, "", "version"),
    ("department", {}, " department", "language"),
    ("department", {"en": "x", "english_": "y"}, " department", "BCP 47"),
    ("system", "x", " system", "language"),
    ("system", {"en": 5}, " system", "no text"),
    ("key", jwk(LOG.registrar.public), "", "another role"),
    ("key", jwk(LOG.ledger_key.public), "", "another role"),
    ("key", jwk(LOG.log_signer.vkey.key), "", "another role"),
    ("key.kid", "x", " key", "unknown member kid"),
    ("vrf", [], " vrf", "object"),
    ("vrf.02026", VRF, " vrf epoch", "decimal"),
    ("vrf.+2026", VRF, " vrf epoch", "decimal"),
    ("vrf.65536", VRF, " vrf epoch", "below 65536"),
    ("vrf.٢٠٢٦", VRF, " vrf epoch", "decimal"),
    ("vrf.2027", payload_of(LOG.entries[1])["vrf"]["2026"], "", "another role"),
    ("vrf.2027", payload_of(LOG.entries[1])["key"]["x"], "", "another role"),
    ("vrf.2027", VRF + "=", " vrf key", "base64url"),
    ("vrf.2027", VRF[:-3], " vrf key", "32 bytes"),
    ("vrf.2027", b64url_encode(bytes(32)), " vrf key", "small order"),
    ("vrf.2027", None, " vrf key", "32 bytes"),
    ("schemes", ["nhs", "passport"], " schemes", "scheme of the charter"),
    ("schemes", ["nhs", "nhs"], " schemes", "twice"),
    ("schemes", {"nhs": 1}, " schemes", "list"),
    ("schemes", [None], " schemes", "list"),
    ("activities", [], " activities", "object"),
    ("activities.0", {}, " activities", "activity 0"),
    ("activities.01", {}, " activities number", "decimal"),
    ("activities.4294967296", {}, " activities number", "below"),
    ("activities.1", None, " activities 1", "object"),
    ("activities.1.purpose", "https://w3id.org/dpv#X", " activities 1 purpose", "list"),
    ("activities.1.purpose", ["no IRI"], " activities 1 purpose", "IRI"),
    ("activities.1.legal_basis", [1], " activities 1 legal_basis", "IRI"),
    ("activities.1.data", {}, " activities 1 data", "list"),
    ("activities.1.text", {}, " activities 1 text", "language"),
    ("activities.1.note", "x", " activities 1", "unknown member note"),
    ("activities.1.data", _REMOVE, " activities 1", "no member data"),
    ("seal_months", -1, " seal_months", "integer"),
    ("seal_months", 2**53, "", "2^53"),
    ("seal_months", 12.0, " seal_months", "integer"),
    ("seal_months", True, " seal_months", "integer"),
    ("key_service", "keys.example.gov", " key_service", "URL"),
    ("contact", "", " contact", "URL"),
    ("complaint", None, " complaint", "URL"),
    ("since", "2026-02-29", " since", "date"),
    ("since", "2026-2-01", " since", "date"),
    ("since", "20260201", " since", "date"),
    ("since", "2026-02-01T00:00:00Z", " since", "date"),
    ("since", "1969-12-31", " since", "1970"),
    ("since", "0000-01-01", " since", "date"),
    ("since", "10000-01-01", " since", "date"),
    ("since", 20_000, " since", "date"),
    ("status", "Active", " status", "active"),
    ("status", None, " status", "active"),
    ("status", ["active"], " status", "active"),
    ("status", "retired", "", "no member retired"),
    ("status", "revoked", "", "no member revoked"),
    ("retired", "2026-01-01", "", "unknown member retired"),
    ("revoked", "2026-01-01", "", "unknown member revoked"),
    ("prev", b64url_encode(bytes(32)), "", "unknown member prev"),
    ("a b\n", 1, "", "unknown member (name not shown)"),
    *((name, _REMOVE, "", f"no member {name}") for name in (
        "origin", "source", "version", "department", "system", "key", "vrf", "schemes", "activities",
        "seal_months", "key_service", "contact", "complaint", "since", "status",
    )),
]  # fmt: skip


def test_charter_says_what_was_signed() -> None:
    predecessor = {"origin": "log.example.gov/2025", "size": 2, "root": b64url_encode(bytes(32))}
    charter = parse_charter(changed(LOG.entries[0], "predecessor", predecessor), LOG.origin)
    assert charter.predecessor is not None
    assert (charter.predecessor.size, charter.predecessor.root) == (2, bytes(32))
    assert set(charter.roles.values()) == {"registrar", "ledger", "log"}


@pytest.mark.parametrize(("member", "value", "where", "what"), CHARTER_FAULTS)
def test_near_charter_is_refused_at_the_member(member: str, value: Any, where: str, what: str) -> None:
    with pytest.raises(GlassbookError) as caught:
        parse_charter(changed(LOG.entries[0], member, value), LOG.origin)
    assert caught.value.where.startswith(where)
    assert what in caught.value.what


@pytest.mark.parametrize(
    ("member", "value", "what"),
    [
        ("size", 1, "integer from 2"),
        ("size", "9", "integer"),
        ("root", b64url_encode(bytes(31)), "32 bytes"),
        ("root", None, "32 bytes"),
        ("origin", LOG.origin, "this log itself"),
        ("origin", "a b", "space"),
    ],
)
def test_near_predecessor_is_refused(member: str, value: Any, what: str) -> None:
    predecessor = {
        "origin": "log.example.gov/2025",
        "size": 2,
        "root": b64url_encode(bytes(32)),
        member: value,
    }
    with pytest.raises(GlassbookError, match=what):
        parse_charter(changed(LOG.entries[0], "predecessor", predecessor), LOG.origin)


@pytest.mark.parametrize(("member", "value", "where", "what"), SOURCE_FAULTS)
def test_near_source_statement_is_refused_at_the_member(
    member: str, value: Any, where: str, what: str
) -> None:
    with pytest.raises(GlassbookError) as caught:
        parse_source(changed(LOG.entries[1], member, value), 1, CHARTER)
    assert caught.value.where.startswith(f"source 1 version 0{where}")
    assert what in caught.value.what


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("merge_delay_s", 0),
        ("merge_delay_s", 2**53 - 1),
        ("claims", []),
        ("claims", ["recipient", "reason", "purpose", "data", "event", "actor", "subject"]),
        ("schemes", {}),
        ("schemes", {"-" * 32: {"pattern": "", "text": {"x-own": " "}}}),
        ("log_vkeys", VKEYS[::-1]),
    ],
)
def test_charter_may_say_little_or_much(member: str, value: Any) -> None:
    parse_charter(changed(LOG.entries[0], member, value), LOG.origin)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("vrf", {}),
        ("vrf", {"0": VRF}),
        ("vrf", {"65535": VRF}),
        ("schemes", []),
        ("schemes", ["id", "nhs"]),
        ("activities", {}),
        ("activities.4294967295", {"purpose": [], "legal_basis": [], "data": [], "text": {"en": "x"}}),
        ("activities.1.data", ["urn:x:é", "urn:x:é"]),
        ("seal_months", 0),
        ("seal_months", 65_536),
        ("since", "1970-01-01"),
        ("since", "9999-12-31"),
        ("system", {"i-klingon": "x", "EN-gb": "y"}),
        ("contact", "https://größe.example/{x}"),
    ],
)
def test_source_may_say_little_or_much(member: str, value: Any) -> None:
    parse_source(changed(LOG.entries[1], member, value), 1, CHARTER)


def test_statement_may_be_spelt_in_any_json() -> None:
    payload = payload_of(LOG.entries[1])
    text = json.dumps(payload, indent=1, sort_keys=True).replace('"since"', '"\\u0073ince"')
    raw = Registry(1, 0, sign_jws(text.encode(), TYP, LOG.registrar).encode()).encode()
    assert parse_source(raw, 1, CHARTER).statement == parse_source(LOG.entries[1], 1, CHARTER).statement
    twice = text.replace('"\\u0073ince"', '"since": "2026-01-01", "\\u0073ince"')
    with pytest.raises(Malformed, match="since stands twice"):
        raw = Registry(1, 0, sign_jws(twice.encode(), TYP, LOG.registrar).encode()).encode()
        parse_source(raw, 1, CHARTER)


def test_statement_signed_by_anyone_else_is_refused() -> None:
    entry = decode_entry(LOG.entries[1])
    assert isinstance(entry, Registry)
    forged = Registry(1, 0, sign_jws(payload_of(LOG.entries[1]), TYP, OTHER).encode()).encode()
    with pytest.raises(BadSignature):
        parse_source(forged, 1, CHARTER)
    charter = payload_of(LOG.entries[0])
    with pytest.raises(BadSignature):
        parse_charter(Registry(0, 0, sign_jws(charter, TYP, OTHER).encode()).encode())


def test_statement_of_another_type_is_refused() -> None:
    jws = sign_jws(payload_of(LOG.entries[1]), "glassbook-promise+jws", LOG.registrar)
    with pytest.raises(Malformed, match="typ"):
        parse_source(Registry(1, 0, jws.encode()).encode(), 1, CHARTER)


def test_record_is_no_statement() -> None:
    record = Record(1, 2026, 20512, 0, 1, bytes(32), bytes(32), bytes(64)).encode()
    with pytest.raises(Malformed, match="another kind"):
        parse_charter(record)
    with pytest.raises(Malformed, match="another kind"):
        parse_source(record, 1, CHARTER)


def test_charter_of_another_log_is_refused_when_the_log_is_known() -> None:
    assert parse_charter(LOG.entries[0]).origin == LOG.origin
    with pytest.raises(RuleBroken, match="another origin"):
        parse_charter(LOG.entries[0], "log.example.gov/other")


def test_what_no_reader_would_accept_is_not_signed() -> None:
    with pytest.raises(Malformed, match="I-Regexp"):
        sign_charter(
            LOG.registrar,
            origin=LOG.origin,
            ledger=LOG.ledger_key.public,
            log_vkeys=VKEYS,
            merge_delay_s=60,
            claims=["subject"],
            schemes={"nhs": {"pattern": "[", "text": {"en": "x"}}},
        )
    statement = LOG.version(LOG.sources[0]).statement
    with pytest.raises(Malformed, match="URL"):
        sign_source(LOG.registrar, CHARTER, 2, {**statement, "contact": "nowhere"})
    with pytest.raises(Malformed, match="65535"):
        sign_source(LOG.registrar, CHARTER, 2, {**statement, "system": {"en": "x" * 70_000}})


def test_statement_can_be_signed_again_as_the_next_version() -> None:
    before = LOG.version(LOG.sources[0])
    raw = sign_source(
        LOG.registrar, CHARTER, 1, {**before.statement, "contact": "mailto:a@b.example"}, before
    )
    after = parse_source(raw, 9, CHARTER)
    assert (after.version, after.prev, after.contact) == (1, before.entry_hash, "mailto:a@b.example")
    assert json.dumps(after.statement, sort_keys=True) == json.dumps(
        {**before.statement, "contact": "mailto:a@b.example"}, sort_keys=True
    )
