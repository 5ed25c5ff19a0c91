"""Strict JSON, and of JOSE the one key type and the one signature this project uses.

JSON as docs/formats.md §1 narrows it: two parsers that read the same bytes must get the same value, so
whatever they are known to differ on (members named twice, lone surrogates, -0, large integers, NaN,
byte order marks) is refused. Nothing is canonicalised: signatures cover the bytes as sent.

A key (RFC 7517, RFC 8037 §2) is exactly

    {"kty": "OKP", "crv": "Ed25519", "x": "<32 bytes, base64url>"}

and a signed object (RFC 7515 §3.1, compact) is base64url(header).base64url(payload).base64url(signature) with

    {"alg": "EdDSA", "typ": "…", "kid": "<RFC 7638 thumbprint of the key>"}
"""

import json
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ledger.core.encoding import b64url_decode, b64url_encode, sha256
from ledger.core.errors import BadSignature, Malformed
from ledger.core.keys import SigningKey, check_ed25519_key, verify_ed25519

MAX_DEPTH = 32
MAX_INTEGER = 2**53 - 1
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.$/-]{1,40}")


class _Fault(Exception):
    """A fault found inside json's own parser, which knows no `where`."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _Fault(f"member {_shown(twice)} stands twice")
    return found


def _integer(text: str) -> int:
    if text == "-0":
        raise _Fault("-0 is no number here")
    # The length first: int() of very long texts is slow, and refused by Python beyond 4,300 digits.
    if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
        raise _Fault("an integer beyond 2^53 − 1")
    return int(text)


def _fraction(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Fault("a number too large")
    if value == 0 and text[0] == "-":
        raise _Fault("-0 is no number here")
    return value


def _constant(text: str) -> Any:
    raise _Fault(f"{text} is no number here")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_fraction, parse_constant=_constant
)


def parse_json(data: bytes | str, where: str) -> Any:
    """The value of one JSON text (RFC 8259) as narrowed above; integers are int, other numbers float."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        if not isinstance(data, bytes):
            text.encode("utf-8")
    except UnicodeError:
        raise Malformed(where, "not UTF-8") from None
    if text.startswith("\ufeff"):
        raise Malformed(where, "starts with a byte order mark")
    try:
        value = _DECODER.decode(text)
    except _Fault as fault:
        raise Malformed(where, str(fault)) from None
    except json.JSONDecodeError as error:
        raise Malformed(
            where, f"not JSON: {error.msg.removesuffix(' starting at')} at character {error.pos}"
        ) from None
    except RecursionError:
        raise Malformed(where, f"nested more than {MAX_DEPTH} deep") from None
    # Both checks walk the value, so they run only when the text could need them. One character is looked for many times
    # faster than it is counted, or than two are looked for.
    if _has_more(text, "[", MAX_DEPTH // 2) or _has_more(text, "{", MAX_DEPTH // 2):
        _check_depth(value, where)
    if "\\" in text and "\\u" in text:
        _check_surrogates(value, where)
    return value


def _has_more(text: str, character: str, times: int) -> bool:
    """Whether the character stands in the text more often than so many times."""
    at = -1
    for _ in range(times + 1):
        at = text.find(character, at + 1)
        if at < 0:
            return False
    return True


def _check_depth(value: Any, where: str) -> None:
    level = [value]  # the containers at one depth; the outermost is at depth 1
    for _ in range(MAX_DEPTH):
        level = [part for whole in level for part in _parts(whole) if isinstance(part, dict | list)]
        if not level:
            return
    raise Malformed(where, f"nested more than {MAX_DEPTH} deep")


def _check_surrogates(value: Any, where: str) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict | list):
            stack.extend(_parts(item))
            if isinstance(item, dict):
                stack.extend(item)
        elif isinstance(item, str) and not item.isascii():
            try:
                item.encode("utf-8")
            except UnicodeEncodeError:
                raise Malformed(where, "an unpaired surrogate in a text") from None


def _parts(container: dict[str, Any] | list[Any]) -> Collection[Any]:
    return container.values() if isinstance(container, dict) else container


def _shown(name: str) -> str:
    """A member's name for a message, unless it could be something else than a name."""
    return name if _PLAIN_NAME.fullmatch(name) else "(name not shown)"


def members(
    obj: Any, where: str, required: Collection[str], optional: Collection[str] = ()
) -> dict[str, Any]:
    """obj, if it is an object with all required members and none but required and optional ones."""
    if not isinstance(obj, dict):
        raise Malformed(where, "not a JSON object")
    for name in required:
        if name not in obj:
            raise Malformed(where, f"no member {name}")
    if len(obj) > len(required):
        for name in obj:
            if name not in required and name not in optional:
                raise Malformed(where, f"unknown member {_shown(name)}")
    return obj


def integer(value: Any, where: str, low: int = 0, high: int = MAX_INTEGER) -> int:
    """value, if it is an integer (not true, not 1.0) from low to high, both included."""
    if type(value) is not int or not low <= value <= high:
        raise Malformed(where, f"not an integer from {low} to {high}")
    return value


def jwk(public: bytes) -> dict[str, str]:
    """The JWK of a 32-byte Ed25519 public key (RFC 8037 §2)."""
    return {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(public)}


def parse_jwk(obj: Any, where: str) -> bytes:
    """The 32-byte Ed25519 public key of a JWK with exactly the members kty, crv and x."""
    found = members(obj, where, ("kty", "crv", "x"))
    if found["kty"] != "OKP" or found["crv"] != "Ed25519" or not isinstance(found["x"], str):
        raise Malformed(where, "not an Ed25519 key: kty OKP, crv Ed25519, x in base64url")
    public = b64url_decode(found["x"], f"{where} x")
    check_ed25519_key(public, where)
    return public


@lru_cache(maxsize=4096)
def thumbprint(public: bytes) -> str:
    """RFC 7638 SHA-256 thumbprint of an Ed25519 public key, base64url (43 characters)."""
    # RFC 7638 §3.2: the required members only, in lexicographic order, without white space.
    canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{b64url_encode(public)}"}}'
    return b64url_encode(sha256(canonical.encode("ascii")))


@dataclass(frozen=True, slots=True)
class Jws:
    """A JWS taken apart; nothing about its header or signature has been checked."""

    header: dict[str, Any]
    payload: dict[str, Any]
    signing_input: bytes
    signature: bytes


def sign_jws(payload: dict[str, Any] | bytes, typ: str, key: SigningKey) -> str:
    """Compact JWS; a payload given as bytes is signed as it is."""
    text = signing_input(payload, typ, key.public)
    return f"{text}.{b64url_encode(key.sign(text.encode('ascii')))}"


def signing_input(payload: dict[str, Any] | bytes, typ: str, public: bytes) -> str:
    """What the key with this public half (32 bytes) signs in a JWS: header and payload (RFC 7515 §5.1)."""
    if isinstance(payload, dict):
        text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        payload = text.encode("utf-8")
    return f"{_header(typ, public)}.{b64url_encode(payload)}"


@lru_cache(maxsize=256)
def _header(typ: str, public: bytes) -> str:
    """The protected header in base64url: the same for every JWS of one key and type."""
    header = f'{{"alg":"EdDSA","typ":"{typ}","kid":"{thumbprint(public)}"}}'
    return b64url_encode(header.encode("ascii"))


def split_jws(compact: str, where: str) -> Jws:
    """The parts of a compact JWS whose header and payload are JSON objects; Malformed otherwise."""
    parts = compact.split(".")
    if len(parts) != 3:
        raise Malformed(where, f"a JWS has three parts between dots, this has {len(parts)}")
    header = parse_json(b64url_decode(parts[0], f"{where} header"), f"{where} header")
    payload = parse_json(b64url_decode(parts[1], f"{where} payload"), f"{where} payload")
    signature = b64url_decode(parts[2], f"{where} signature")
    if not isinstance(header, dict) or not isinstance(payload, dict):
        raise Malformed(where, "header and payload of a JWS must be JSON objects")
    return Jws(header, payload, compact[: len(parts[0]) + 1 + len(parts[1])].encode("ascii"), signature)


def check_header(jws: Jws, key: bytes, typ: str, where: str) -> None:
    """Check that the header is exactly alg EdDSA, this typ and the kid of key (32 bytes).

    Malformed for another shape, alg or typ; BadSignature for the kid of another key.
    """
    header = members(jws.header, f"{where} header", ("alg", "typ", "kid"))
    if header["alg"] != "EdDSA":
        raise Malformed(f"{where} header", "alg is not EdDSA")
    if header["typ"] != typ:
        raise Malformed(f"{where} header", f"typ is not {typ}")
    if header["kid"] != thumbprint(key):
        raise BadSignature(f"{where} header", "kid is not the thumbprint of the key that must have signed")


def verify_jws(compact: str, key: bytes, typ: str, where: str) -> dict[str, Any]:
    """The payload of a JWS of this typ by this 32-byte Ed25519 key."""
    jws = split_jws(compact, where)
    check_header(jws, key, typ, where)
    if not verify_ed25519(key, jws.signature, jws.signing_input):
        raise BadSignature(where, "the signature is not by the key named", jws=compact)
    return jws.payload
