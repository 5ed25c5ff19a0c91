"""Strict JSON, JWK and JWS: near-valid input of every kind is refused."""

import json
from typing import Any

import pytest

from ledger.core.encoding import b64url_encode
from ledger.core.errors import BadSignature, Malformed
from ledger.core.jose import (
    integer,
    jwk,
    members,
    parse_json,
    parse_jwk,
    sign_jws,
    split_jws,
    thumbprint,
    verify_jws,
)
from ledger.core.keys import Ed25519PrivateKey

KEY = Ed25519PrivateKey(b"\x07" * 32)
TYP = "glassbook-test+jws"

NOT_JSON: list[tuple[str, str | bytes]] = [
    ("nothing", ""),
    ("space only", " "),
    ("two values", "1 2"),
    ("trailing comma", "[1,]"),
    ("comment", "[1] // one"),
    ("single quotes", "{'a': 1}"),
    ("bare name", "{a: 1}"),
    ("half a text", '{"a": "b'),
    ("half a number", '{"a": -'),
    ("leading zero", "[01]"),
    ("leading plus", "[+1]"),
    ("leading point", "[.5]"),
    ("trailing point", "[5.]"),
    ("hexadecimal", "[0x10]"),
    ("underscore", "[1_0]"),
    ("NaN", "[NaN]"),
    ("Infinity", "[Infinity]"),
    ("minus Infinity", "[-Infinity]"),
    ("number beyond double", "[1e400]"),
    ("minus zero", "[-0]"),
    ("minus zero with a fraction", "[-0.0]"),
    ("minus zero with an exponent", "[-0e5]"),
    ("2^53", "[9007199254740992]"),
    ("minus 2^53", "[-9007199254740992]"),
    ("5,000 digits", "[" + "9" * 5000 + "]"),
    ("True", "[True]"),
    ("newline in a text", '"a\nb"'),
    ("zero byte in a text", '"a\x00b"'),
    ("unknown escape", r'"\x41"'),
    ("lone high surrogate", r'"\ud800"'),
    ("lone low surrogate", r'"a\udc00"'),
    ("surrogates the wrong way round", r'"\udc00\ud800"'),
    ("lone surrogate in a name", r'{"\ud800": 1}'),
    ("lone surrogate deep inside", r'[[{"a": ["\ud83d"]}]]'),
    ("lone surrogate as such", "\ud800"),
    ("byte order mark", "\ufeff{}"),
    ("byte order mark in bytes", b"\xef\xbb\xbf{}"),
    ("UTF-16", '{"a": 1}'.encode("utf-16-le")),
    ("Latin-1", b'"\xe9"'),
    ("overlong UTF-8", b'"\xc0\xaf"'),
    ("surrogate in UTF-8", b'"\xed\xa0\x80"'),
    ("member twice", '{"a": 1, "a": 1}'),
    ("member twice, once escaped", r'{"a": 1, "\u0061": 1}'),
    ("member twice deep inside", '[{"b": {"a": 1, "c": 2, "a": 3}}]'),
    ("33 deep", "[" * 33 + "]" * 33),
    ("33 deep, of both kinds", '{"a":[' * 16 + "{" + "}" + "]}" * 16),
    ("33 deep behind many others", "[" + "[]," * 100 + "[" * 32 + "]" * 33),
    ("33 deep in objects", '{"a":' * 33 + "1" + "}" * 33),
    ("100,000 deep", "[" * 100_000),
    ("no-break space", "\u00a0[1]"),
    ("form feed", "\f[1]"),
    ("zeros", bytes(64)),
]


@pytest.mark.parametrize("data", [data for _, data in NOT_JSON], ids=[name for name, _ in NOT_JSON])
def test_json_that_readers_disagree_about_is_refused(data: str | bytes) -> None:
    with pytest.raises(Malformed, match="^payload: "):
        parse_json(data, "payload")


def test_json_at_the_limits_is_read() -> None:
    assert parse_json("[9007199254740991, -9007199254740991, 0, 0.5, -0.5, 1e3]", "x") == [
        2**53 - 1, 1 - 2**53, 0, 0.5, -0.5, 1000.0,
    ]  # fmt: skip
    assert parse_json(r'"\ud83d\ude00 é"', "x") == "\U0001f600 é"
    assert parse_json(b' \t\r\n{"\xc3\xa9": [true, false, null]} ', "x") == {"é": [True, False, None]}
    deep = "[" * 32 + "]" * 32
    assert json.dumps(parse_json(deep, "x")) == deep
    assert parse_json("[" + "[]," * 50 + "1]", "x")[-1] == 1


def test_message_about_json_does_not_show_what_it_holds() -> None:
    for data in (
        '{"Jane Doe, born 1970": 1, "Jane Doe, born 1970": 2}',
        '["Jane Doe" oops',
        '"Jane \\q Doe"',
    ):
        with pytest.raises(Malformed) as caught:
            parse_json(data, "disclosure")
        assert "Jane" not in str(caught.value)
        assert not caught.value.evidence


def test_members_are_exactly_those_named() -> None:
    assert members({"a": 1, "b": 2}, "charter", ("a",), ("b",)) == {"a": 1, "b": 2}
    refused: list[tuple[Any, str]] = [
        ([], "not a JSON object"),
        (None, "not a JSON object"),
        ({}, "no member a"),
        ({"b": 2}, "no member a"),
        ({"a": 1, "c": 3}, "unknown member c"),
        ({"a": 1, "Jane Doe": 3}, "unknown member \\(name not shown\\)"),
    ]
    for value, what in refused:
        with pytest.raises(Malformed, match=f"^charter: {what}"):
            members(value, "charter", ("a",), ("b",))


@pytest.mark.parametrize("value", [True, False, 1.0, "1", None, -1, 11, [1]], ids=repr)
def test_integer_is_neither_true_nor_a_fraction_nor_out_of_range(value: Any) -> None:
    with pytest.raises(Malformed, match="not an integer from 0 to 10"):
        integer(value, "n", 0, 10)
    assert integer(10, "n", 0, 10) == 10


def test_jwk_and_thumbprint_of_rfc_8037() -> None:
    # RFC 8037 appendix A.2 and A.3.
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    key = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert jwk(public) == key
    assert parse_jwk(key, "key") == public
    assert thumbprint(public) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


GOOD = jwk(KEY.public)
NOT_JWKS: dict[str, Any] = {
    "no object": "key",
    "no kty": {"crv": GOOD["crv"], "x": GOOD["x"]},
    "no crv": {"kty": "OKP", "x": GOOD["x"]},
    "no x": {"kty": "OKP", "crv": "Ed25519"},
    "kid added": GOOD | {"kid": "1"},
    "private part": GOOD | {"d": GOOD["x"]},
    "kty in lower case": GOOD | {"kty": "okp"},
    "X25519": GOOD | {"crv": "X25519"},
    "x is a number": GOOD | {"x": 5},
    "x padded": GOOD | {"x": GOOD["x"] + "="},
    "x cut short": GOOD | {"x": GOOD["x"][:-4]},
    "x of small order": GOOD | {"x": b64url_encode(bytes(32))},
    "x is null": GOOD | {"x": None},
}


@pytest.mark.parametrize("name", NOT_JWKS)
def test_near_jwk_is_refused(name: str) -> None:
    with pytest.raises(Malformed, match="^source key"):
        parse_jwk(NOT_JWKS[name], "source key")


def compact(header: Any, payload: bytes = b'{"a":1}', key: Ed25519PrivateKey = KEY) -> str:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    signing_input = f"{b64url_encode(raw)}.{b64url_encode(payload)}"
    return f"{signing_input}.{b64url_encode(key.sign(signing_input.encode()))}"


HEADER = {"alg": "EdDSA", "typ": TYP, "kid": thumbprint(KEY.public)}


def test_signed_object_verifies_and_is_the_compact_form_of_rfc_7515() -> None:
    text = sign_jws({"ä": [1, 2]}, TYP, KEY)
    assert verify_jws(text, KEY.public, TYP, "entry") == {"ä": [1, 2]}
    assert split_jws(text, "entry").header == HEADER
    assert text == compact(b64_header(text), '{"ä":[1,2]}'.encode())
    # RFC 8037 appendix A.4, whose payload is no JSON: the signature is over the bytes as given.
    assert sign_jws(b"any bytes", TYP, KEY).split(".")[1] == b64url_encode(b"any bytes")
    assert verify_jws(compact(HEADER), KEY.public, TYP, "entry") == {"a": 1}


def b64_header(text: str) -> bytes:
    from ledger.core.encoding import b64url_decode

    return b64url_decode(text.split(".")[0], "header")


FINE = compact(HEADER)
NOT_JWS: dict[str, str] = {
    "empty": "",
    "two parts": FINE.rpartition(".")[0],
    "four parts": FINE + ".",
    "trailing newline": FINE + "\n",
    "leading space": " " + FINE,
    "padded": FINE.replace(".", "=.", 1),
    "not ASCII": FINE + "é",
    "header is a list": compact([HEADER]),
    "header is not JSON": compact(b"{alg}"),
    "header member twice": compact(json.dumps(HEADER)[:-1].encode() + b',"alg":"EdDSA"}'),
    "payload is a list": compact(HEADER, b"[1]"),
    "payload member twice": compact(HEADER, b'{"a":1,"a":2}'),
    "payload empty": compact(HEADER, b""),
    "alg none": compact(HEADER | {"alg": "none"}),
    "alg Ed25519": compact(HEADER | {"alg": "Ed25519"}),
    "alg in lower case": compact(HEADER | {"alg": "eddsa"}),
    "no alg": compact({"typ": TYP, "kid": HEADER["kid"]}),
    "no typ": compact({"alg": "EdDSA", "kid": HEADER["kid"]}),
    "no kid": compact({"alg": "EdDSA", "typ": TYP}),
    "typ of another": compact(HEADER | {"typ": "glassbook-other+jws"}),
    "typ in capitals": compact(HEADER | {"typ": TYP.upper()}),
    "crit added": compact(HEADER | {"crit": []}),
    "jwk added": compact(HEADER | {"jwk": GOOD}),
    "b64 false": compact(HEADER | {"b64": False}),
}


@pytest.mark.parametrize("name", NOT_JWS)
def test_near_jws_is_malformed(name: str) -> None:
    with pytest.raises(Malformed, match="^entry"):
        verify_jws(NOT_JWS[name], KEY.public, TYP, "entry")


def test_jws_by_another_key_or_changed_is_a_bad_signature() -> None:
    other = Ed25519PrivateKey(b"\x08" * 32)
    for text in (
        compact(HEADER | {"kid": thumbprint(other.public)}),
        compact(HEADER, key=other),
        sign_jws({"a": 1}, TYP, other),
        FINE.rpartition(".")[0] + ".",
        FINE.rpartition(".")[0] + "." + b64url_encode(bytes(64)),
    ):
        with pytest.raises(BadSignature, match="^entry"):
            verify_jws(text, KEY.public, TYP, "entry")
    head, payload, signature = FINE.split(".")
    changed = b64url_encode(b'{"a":2}')
    with pytest.raises(BadSignature):
        verify_jws(f"{head}.{changed}.{signature}", KEY.public, TYP, "entry")
    # Another spelling of the same header is another message.
    respelled = b64url_encode(json.dumps(HEADER, indent=1).encode())
    with pytest.raises(BadSignature):
        verify_jws(f"{respelled}.{payload}.{signature}", KEY.public, TYP, "entry")
