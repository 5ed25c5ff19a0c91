"""The record itself as an SD-JWT, RFC 9901, narrowed by formats.md §3.

    <issuer-signed JWT>~<disclosure>~<disclosure>~

The JWT is signed with the source's key and holds no claim, only 8 digests, of real disclosures and of
nothing:

    {"iss": "https://<origin>#<source>", "epoch": 2026, "_sd_alg": "sha-256", "_sd": [8 × SHA-256, sorted]}

A disclosure is base64url of ["<salt>", "<claim>", <value>]; whoever has it can leave it out or pass it
on, and without it the digest tells nothing. The entry in the log commits to the JWT alone, never to
disclosures.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from ledger.core.encoding import b64url_decode, b64url_encode
from ledger.core.errors import BadSignature, Malformed
from ledger.core.jose import (
    MAX_DEPTH,
    MAX_INTEGER,
    check_header,
    integer,
    members,
    parse_json,
    sign_jws,
    split_jws,
)
from ledger.core.keys import SigningKey, verify_ed25519

CLAIMS: Final = ("subject", "actor", "event", "data", "purpose", "reason", "recipient")
TYP: Final = "access-record+sd-jwt"
DIGESTS: Final = 8
SALT_BYTES: Final = 16

_WHERE: Final = "SD-JWT"
_ISSUER: Final = re.compile(r"https://.{1,255}#[1-9][0-9]{0,9}")
# 32 bytes in canonical base64url: the last character carries 4 bits and two zeros.
_DIGEST: Final = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", re.ASCII)
_ENCODE: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_PAYLOAD_MEMBERS: Final = ("iss", "epoch", "_sd_alg", "_sd")


@dataclass(frozen=True, slots=True)
class SdJwt:
    """An SD-JWT taken apart: opened `claims` by name, and by the same names the `disclosures` that open them."""

    jwt: str
    payload: dict[str, Any]
    claims: dict[str, Any]
    disclosures: dict[str, str]
    signing_input: bytes
    signature: bytes

    @property
    def issuer(self) -> str:
        return str(self.payload["iss"])

    @property
    def epoch(self) -> int:
        return int(self.payload["epoch"])

    @property
    def text(self) -> str:
        """The SD-JWT again, with all disclosures it came with."""
        return "~".join((self.jwt, *self.disclosures.values(), ""))


def issuer(origin: str, source: int) -> str:
    """`iss` of the records of `source`."""
    return f"https://{origin}#{source}"


def commitment(jwt: str) -> bytes:
    """The 32 bytes by which an entry commits to an issuer-signed JWT (without disclosures)."""
    return sha256(b"glassbook/v1/commitment\0" + jwt.encode("ascii")).digest()


def issue(
    origin: str,
    source: int,
    epoch: int,
    claims: Mapping[str, Any],
    key: SigningKey,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> str:
    """An SD-JWT with one disclosure for each of `claims`, in that order; decoys fill up to 8 digests.

    Malformed if a claim is unknown or holds what a reader would refuse. `random(n)` gives n bytes.
    """
    texts = _claim_texts(claims)
    salts = _b64url_each([random(SALT_BYTES) for _ in texts])
    disclosures = [
        b64url_encode(f'["{salt}","{name}",{text}]'.encode())
        for salt, (name, text) in zip(salts, texts.items(), strict=True)
    ]
    hashed = [disclosure.encode("ascii") for disclosure in disclosures]
    # A decoy is the digest of a salt that nobody keeps (RFC 9901 §4.2.7).
    hashed += [random(32) for _ in range(DIGESTS - len(hashed))]
    digests = _b64url_each([sha256(item).digest() for item in hashed])
    listed = '","'.join(sorted(digests))
    payload = f'{_payload_head(origin, source, epoch)}"_sd":["{listed}"]}}'
    return "~".join((sign_jws(payload.encode(), TYP, key), *disclosures, ""))


def _b64url_each(items: list[bytes]) -> list[str]:
    """base64url of each of some byte strings, all of one length, in one go: a record has fifteen of them."""
    if not items:
        return []
    size = len(items[0])
    fill = bytes(-size % 3)
    text = b64url_encode(fill.join(items) + fill)
    step, kept = (size + len(fill)) // 3 * 4, (8 * size + 5) // 6
    return [text[at : at + kept] for at in range(0, len(text), step)]


def _claim_texts(claims: Mapping[str, Any]) -> dict[str, str]:
    """The JSON text of each claim; Malformed for what no reader would open, which must not be committed to."""
    texts: dict[str, str] = {}
    for name, value in claims.items():
        if name not in CLAIMS:
            raise Malformed("disclosure", f"its claim is none of {', '.join(CLAIMS)}")
        try:
            texts[name] = text = _ENCODE(value)
            text.encode()
        except (ValueError, TypeError, RecursionError):
            raise Malformed(
                _WHERE, "a claim cannot be written as JSON; its value is of another kind"
            ) from None
        if type(value) is not str:
            _check_readable(value, name, MAX_DEPTH - 1)
    return texts


def _check_readable(value: Any, name: str, levels: int) -> None:
    """Malformed for a value whose JSON text `parse_json` or `_open_disclosure` would refuse.

    It may have so many levels of arrays and objects; encoding has settled all the rest.
    """
    if levels < 1 and isinstance(value, dict | list | tuple):
        raise Malformed("disclosure", f"claim {name} is nested too deep")
    if isinstance(value, dict):
        for member, part in value.items():
            if type(member) is not str or member == "_sd" or member == "...":
                what = (
                    "a disclosure of its own" if isinstance(member, str) else "a member whose name is no text"
                )
                raise Malformed("disclosure", f"claim {name} holds {what}")
            if type(part) is not str:
                _check_readable(part, name, levels - 1)
    elif isinstance(value, list | tuple):
        for part in value:
            if type(part) is not str:
                _check_readable(part, name, levels - 1)
    else:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and (abs(value) > MAX_INTEGER if isinstance(value, int) else str(value) == "-0.0"):
            raise Malformed("disclosure", f"claim {name} holds -0 or an integer beyond 2^53 − 1")
        return


@lru_cache(maxsize=64)
def _payload_head(origin: str, source: int, epoch: int) -> str:
    """The payload's text up to its digests, without them the same for every record; Malformed if it cannot be."""
    head = {"iss": issuer(origin, source), "epoch": epoch, "_sd_alg": "sha-256"}
    _check_payload(head | {"_sd": sorted(b64url_encode(sha256(bytes([i])).digest()) for i in range(DIGESTS))})
    return _ENCODE(head)[:-1] + ","


def parse_sd_jwt(text: str, key: bytes) -> SdJwt:
    """`text` taken apart and checked under the source's 32-byte `key`; Malformed or BadSignature."""
    sd_jwt = split_sd_jwt(text, key)
    if not verify_ed25519(key, sd_jwt.signature, sd_jwt.signing_input):
        raise BadSignature(_WHERE, "the signature is not by the key named", jwt=sd_jwt.jwt)
    return sd_jwt


def split_sd_jwt(text: str, key: bytes) -> SdJwt:
    """As parse_sd_jwt but for the signature, so that many can be verified together."""
    if not text.endswith("~"):
        raise Malformed(_WHERE, "does not end in ~; a key binding JWT has no place here")
    jwt, *disclosures = text[:-1].split("~")
    jws = split_jws(jwt, _WHERE)
    check_header(jws, key, TYP, _WHERE)
    payload = members(jws.payload, f"{_WHERE} payload", _PAYLOAD_MEMBERS)
    undisclosed = _check_payload(payload)
    claims: dict[str, Any] = {}
    named: dict[str, str] = {}
    for disclosure in disclosures:
        digest = _digest(disclosure)
        if digest not in undisclosed:
            raise Malformed(_WHERE, "a disclosure stands twice, or has no digest in _sd")
        undisclosed.remove(digest)
        name, value = _open_disclosure(disclosure)
        if name in claims:
            raise Malformed(_WHERE, f"claim {name} stands twice")
        claims[name] = value
        named[name] = disclosure
    return SdJwt(jwt, payload, claims, named, jws.signing_input, jws.signature)


def present(sd_jwt: SdJwt, claims: Collection[str]) -> str:
    """The SD-JWT with the disclosures of `claims` alone; Malformed if it cannot open one of these."""
    for name in claims:
        if name not in sd_jwt.disclosures:
            held = ", ".join(sd_jwt.claims) or "none"
            raise Malformed(_WHERE, f"a claim asked for is not in it; it can open {held}")
    return "~".join((sd_jwt.jwt, *(d for name, d in sd_jwt.disclosures.items() if name in claims), ""))


def _digest(disclosure: str) -> str:
    """base64url SHA-256 over the disclosure as it stands (RFC 9901 §4.2.3)."""
    try:
        return b64url_encode(sha256(disclosure.encode("ascii")).digest())
    except UnicodeEncodeError:
        raise Malformed(_WHERE, "a disclosure is not ASCII") from None


def _check_payload(payload: dict[str, Any]) -> set[str]:
    """The 8 digests of a payload whose members are all as they must be."""
    where = f"{_WHERE} payload"
    if not isinstance(payload["iss"], str) or not _ISSUER.fullmatch(payload["iss"]):
        raise Malformed(where, "iss is not https://<origin>#<source>")
    integer(payload["epoch"], f"{where} epoch", high=2**16 - 1)
    if payload["_sd_alg"] != "sha-256":
        raise Malformed(where, "_sd_alg is not sha-256")
    digests = payload["_sd"]
    if not isinstance(digests, list) or [type(digest) for digest in digests] != [str] * DIGESTS:
        raise Malformed(where, f"_sd is not a list of {DIGESTS} digests")
    if not all(map(_DIGEST.fullmatch, digests)):
        raise Malformed(where, "a digest in _sd is not 32 bytes in canonical base64url")
    found = set(digests)
    if len(found) != DIGESTS or sorted(digests) != digests:
        raise Malformed(where, "the digests in _sd are not in ASCII order, each once")
    return found


def _open_disclosure(disclosure: str) -> tuple[str, Any]:
    """Name and value of the claim in a disclosure (RFC 9901 §4.2.1, §7.1)."""
    where = "disclosure"
    raw = b64url_decode(disclosure, where)
    array = parse_json(raw, where)
    if not isinstance(array, list) or len(array) != 3 or not isinstance(array[0], str):
        raise Malformed(where, "not an array of salt, claim and value")
    salt, name, value = array
    if len(b64url_decode(salt, f"{where} salt")) < SALT_BYTES:
        raise Malformed(where, f"salt of less than {SALT_BYTES} bytes")
    if not isinstance(name, str) or name not in CLAIMS:
        raise Malformed(where, f"its claim is none of {', '.join(CLAIMS)}")
    # The value is walked only if its text could hold such a member, escaped or not.
    if (b"_sd" in raw or b"..." in raw or b"\\u" in raw) and _has_nested(value):
        raise Malformed(where, f"claim {name} holds a disclosure of its own")
    return name, value


def _has_nested(value: Any) -> bool:
    """Whether a member named `_sd` or `...` stands anywhere in `value`."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if "_sd" in item or "..." in item:
                return True
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return False
