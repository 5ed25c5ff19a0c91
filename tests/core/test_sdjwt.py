"""Issuing, opening and presenting records; what must never be issued; and the PyPI package sd-jwt as second opinion."""

import json
from typing import Any

import pytest
from jwcrypto.jwk import JWK
from sd_jwt.holder import SDJWTHolder
from sd_jwt.verifier import SDJWTVerifier

from ledger.core.encoding import b64url_decode, b64url_encode, sha256
from ledger.core.errors import BadSignature, Malformed
from ledger.core.jose import jwk, sign_jws
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.sdjwt import CLAIMS, TYP, commitment, issue, issuer, parse_sd_jwt, present, split_sd_jwt

ORIGIN = "log.example.gov/access/2026"
KEY = Ed25519PrivateKey.from_seed(bytes(32))
OPENED: dict[str, Any] = {
    "subject": "nhs:9434765919",
    "actor": {"id": "official-3", "role": "caseworker", "unit": "North", "automated": False},
    "event": {"at": "2026-02-28T10:03:00Z", "action": "https://w3id.org/dpv#Consult", "outcome": "success"},
    "data": ["https://w3id.org/dpv/pd#HealthRecord"],
    "purpose": {"activity": 2},
    "reason": 'renewal … "urgent" é \U0001f511',
    "recipient": None,
}


def issued(**claims: Any) -> str:
    return issue(ORIGIN, 7, 2026, claims or OPENED, KEY)


def with_disclosures(*arrays: Any) -> str:
    """A well-signed SD-JWT whose disclosures hold anything at all."""
    disclosures = [b64url_encode(a if isinstance(a, bytes) else json.dumps(a).encode()) for a in arrays]
    digests = [b64url_encode(sha256(d.encode())) for d in disclosures]
    digests += [b64url_encode(bytes((i,)) * 32) for i in range(8 - len(digests))]
    payload = {"iss": issuer(ORIGIN, 7), "epoch": 2026, "_sd_alg": "sha-256", "_sd": sorted(digests)}
    return "~".join([sign_jws(payload, TYP, KEY), *disclosures, ""])


@pytest.mark.parametrize("names", [(), ("subject",), CLAIMS[:6], CLAIMS])
def test_digests_number_eight_however_many_claims_there_are(names: tuple[str, ...]) -> None:
    claims = {name: OPENED[name] for name in names}
    sd_jwt = parse_sd_jwt(issue(ORIGIN, 7, 2026, claims, KEY), KEY.public)
    assert sd_jwt.claims == claims
    assert len(sd_jwt.payload["_sd"]) == 8
    assert (sd_jwt.issuer, sd_jwt.epoch) == (f"https://{ORIGIN}#7", 2026)


def test_same_claims_never_look_the_same_twice() -> None:
    one, two = (parse_sd_jwt(issued(), KEY.public) for _ in range(2))
    assert set(one.payload["_sd"]).isdisjoint(two.payload["_sd"])
    assert commitment(one.jwt) != commitment(two.jwt)


def test_randomness_is_asked_for_in_the_lengths_that_the_format_needs() -> None:
    asked: list[int] = []

    def random(n: int) -> bytes:
        asked.append(n)
        return sha256(bytes(asked))[:n]

    issue(ORIGIN, 7, 2026, {"subject": "x:y"}, KEY, random)
    assert asked == [16] + [32] * 7


def test_presenting_leaves_the_jwt_and_so_the_commitment_alone() -> None:
    whole = parse_sd_jwt(issued(), KEY.public)
    part = parse_sd_jwt(present(whole, ("reason", "event")), KEY.public)
    assert part.jwt == whole.jwt
    assert part.claims == {name: OPENED[name] for name in ("event", "reason")}
    with pytest.raises(Malformed, match="event, reason"):
        present(part, ("subject",))
    assert "urgent" not in present(whole, ("subject",))


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "claims",
    [
        {"colour": "x"},
        {"iss": "x"},
        {"actor": {"_sd": []}},
        {"actor": {"a": [{"...": "x"}]}},
        {"reason": "\ud800"},
        {"data": 2**53},
        {"data": nested(31)},
        {"data": nested(100_000)},
        {"reason": float("nan")},
        {"reason": float("inf")},
        {"reason": b"bytes"},
    ],
)
def test_what_no_reader_would_open_is_not_issued(claims: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        issued(**claims)
    issued(data=nested(30), actor={})


@pytest.mark.parametrize(("source", "epoch"), [(0, 2026), (-1, 2026), (7, -1), (7, 65_536)])
def test_source_or_epoch_that_cannot_be_is_not_issued(source: int, epoch: int) -> None:
    with pytest.raises(Malformed):
        issue(ORIGIN, source, epoch, OPENED, KEY)


SALT = b64url_encode(bytes(16))
NEAR_DISCLOSURES = [
    (["x", "y"], "array of salt"),
    ([SALT, "subject", "a", "b"], "array of salt"),
    ([SALT, "subject"], "array of salt"),
    ([5, "subject", "a"], "array of salt"),
    ({"subject": "a"}, "array of salt"),
    ("subject", "array of salt"),
    ([SALT, 5, "a"], "none of"),
    ([SALT, None, "a"], "none of"),
    ([SALT, "Subject", "a"], "none of"),
    ([SALT, "_sd", "a"], "none of"),
    (["AAAA", "subject", "a"], "less than 16 bytes"),
    (["", "subject", "a"], "less than 16 bytes"),
    (["A" * 20, "subject", "a"], "less than 16 bytes"),
    (["A" * 21 + "B", "subject", "a"], "canonical"),
    (["=" * 22, "subject", "a"], "base64url"),
    (["é" * 22, "subject", "a"], "base64"),
    ([SALT, "actor", {"_sd": []}], "disclosure of its own"),
    ([SALT, "actor", [[{"x": {"...": 1}}]]], "disclosure of its own"),
    (b'["%s","actor",{"\\u005fsd":1}]' % SALT.encode(), "disclosure of its own"),
    (b'["%s","actor",{"\\u002e..":1}]' % SALT.encode(), "disclosure of its own"),
    (b'["%s","actor",{"a":1,"a":1}]' % SALT.encode(), "twice"),
    (b'["%s","actor",NaN]' % SALT.encode(), "no number"),
    (b'["%s","actor",-0]' % SALT.encode(), "no number"),
    (b'["%s","actor","\\ud800"]' % SALT.encode(), "surrogate"),
    (b'\xef\xbb\xbf["%s","actor",1]' % SALT.encode(), "byte order mark"),
    (b'["%s","actor","\xff"]' % SALT.encode(), "UTF-8"),
    (b'["%s","actor",1] x' % SALT.encode(), "not JSON"),
    (b"", "not JSON"),
]


@pytest.mark.parametrize(("disclosure", "what"), NEAR_DISCLOSURES)
def test_near_disclosure_is_refused(disclosure: Any, what: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_sd_jwt(with_disclosures(disclosure), KEY.public)
    assert caught.value.where.startswith("disclosure")
    assert what in caught.value.what


def test_values_that_only_look_like_nested_disclosures_are_read() -> None:
    claims = {"reason": "see _sd and ... and \\u", "actor": {"_sd_": ["..."]}}
    assert parse_sd_jwt(issued(**claims), KEY.public).claims == claims


def test_salt_longer_than_needed_is_read() -> None:
    text = with_disclosures([b64url_encode(bytes(99)), "subject", "x:y"])
    assert parse_sd_jwt(text, KEY.public).claims == {"subject": "x:y"}


def near_texts() -> list[tuple[str, str]]:
    jwt, *disclosures = issued(subject="secret:1", reason="secret").split("~")[:-1]
    whole = "~".join([jwt, *disclosures, ""])
    return [
        ("", "end in ~"),
        ("~", "three parts"),
        (jwt, "end in ~"),
        (whole[:-1], "end in ~"),
        (whole + "x", "end in ~"),
        (whole + "~", "no digest"),
        (jwt + "~~", "no digest"),
        (jwt + "~" + disclosures[0] + "~" + disclosures[0] + "~", "twice"),
        (jwt + "~" + disclosures[0] + "=~", "no digest"),
        (jwt + "~" + disclosures[0] + "\n~", "no digest"),
        (jwt + "~é~", "ASCII"),
        ("é" + whole, "base64"),
        (" " + whole, "base64"),
        (jwt.replace(".", "..", 1) + "~", "three parts"),
    ]


@pytest.mark.parametrize(("text", "what"), near_texts())
def test_near_sd_jwt_is_refused_and_no_error_holds_a_claim(text: str, what: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_sd_jwt(text, KEY.public)
    assert what in caught.value.what
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("member", "value", "what"),
    [
        ("iss", "http://log.example.gov#7", "iss"),
        ("iss", f"https://{ORIGIN}#0", "iss"),
        ("iss", f"https://{ORIGIN}#07", "iss"),
        ("iss", f"https://{ORIGIN}#", "iss"),
        ("iss", f"https://{ORIGIN}", "iss"),
        ("iss", "https://#7", "iss"),
        ("iss", None, "iss"),
        ("epoch", -1, "integer"),
        ("epoch", 65_536, "integer"),
        ("_sd_alg", "SHA-256", "sha-256"),
        ("_sd", None, "8 digests"),
        ("_sd", "x" * 8, "8 digests"),
        ("_sd", [1] * 8, "8 digests"),
        ("_sd", [""] * 8, "32 bytes"),
        ("_sd", ["A" * 42 + "B"] * 8, "canonical"),
    ],
)
def test_near_payload_is_refused(member: str, value: Any, what: str) -> None:
    payload = {**parse_sd_jwt(issued(), KEY.public).payload, member: value}
    with pytest.raises(Malformed, match=what):
        parse_sd_jwt(sign_jws(payload, TYP, KEY) + "~", KEY.public)


def test_signature_can_be_left_for_later_and_must_not_be_forgotten() -> None:
    jwt = issued().partition("~")[0]
    head, payload, signature = jwt.split(".")
    forged = bytearray(b64url_decode(signature, "test"))
    forged[0] ^= 1
    text = f"{head}.{payload}.{b64url_encode(bytes(forged))}~"
    assert split_sd_jwt(text, KEY.public).signature == bytes(forged)
    with pytest.raises(BadSignature):
        parse_sd_jwt(text, KEY.public)


def test_key_of_another_source_is_refused() -> None:
    with pytest.raises(BadSignature):
        parse_sd_jwt(issued(), Ed25519PrivateKey.from_seed(b"\x01" * 32).public)


# -- second opinion ------------------------------------------------------------------------------------


def library_reads(text: str) -> dict[str, Any]:
    """What the package sd-jwt makes of it. (It accepts more than it should, so it is asked about good ones alone.)"""
    key = JWK.from_json(json.dumps(jwk(KEY.public)))
    payload: dict[str, Any] = SDJWTVerifier(text, lambda _issuer, _header: key).get_verified_payload()
    return payload


def test_another_implementation_opens_what_is_issued_here() -> None:
    read = library_reads(issued())
    assert {name: read[name] for name in CLAIMS} == OPENED
    assert read.keys() - set(CLAIMS) == {"iss", "epoch"}


def test_another_implementation_reads_what_is_presented_here() -> None:
    whole = parse_sd_jwt(issued(), KEY.public)
    read = library_reads(present(whole, ("event", "purpose")))
    assert read.keys() & set(CLAIMS) == {"event", "purpose"}


def test_what_another_implementation_presents_is_read_here() -> None:
    holder = SDJWTHolder(issued())
    holder.create_presentation({"reason": True, "actor": True})
    opened = parse_sd_jwt(holder.sd_jwt_presentation, KEY.public).claims
    assert opened == {"actor": OPENED["actor"], "reason": OPENED["reason"]}
