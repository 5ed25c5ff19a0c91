"""Erasures: "give these records' details to nobody any more", signed by their source (docs/erasure.md).

A compact JWS of `typ` `glassbook-erasure+jws`, by the source's key in force, of the payload

    {"origin": "log.example.gov/access/2026", "source": 3, "iat": 1782997000, "leaves": ["<leaf hash, base64url>", …]}

`leaves` are 1 to 10,000 leaf hashes of records of that source, ascending, so that their order tells nothing. An
erasure deletes envelopes and nothing else: the entries stay in the log, and so do all proofs of them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from ledger.core.encoding import b64url_decode, b64url_encode
from ledger.core.errors import Malformed, RuleBroken
from ledger.core.jose import integer, members, sign_jws, split_jws, verify_jws
from ledger.core.keys import SigningKey
from ledger.core.merkle import HASH_BYTES

TYP: Final = "glassbook-erasure+jws"

MAX_LEAVES: Final = 10_000
AGE_S: Final = 3600
"""Seconds for which an erasure may be presented."""

AHEAD_S: Final = 300
"""Seconds that a source's clock may be ahead of the ledger's."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """Signed at `iat` (Unix seconds) by `source`: the leaf hashes, 32 bytes each, of the records."""

    origin: str
    source: int
    iat: int
    leaves: tuple[bytes, ...]


def sign_erasure(origin: str, source: int, iat: int, leaves: Collection[bytes], key: SigningKey) -> bytes:
    """The JWS in ASCII; the leaf hashes may come in any order, and each once."""
    payload = {
        "origin": origin,
        "source": source,
        "iat": iat,
        "leaves": [b64url_encode(leaf) for leaf in sorted(leaves)],
    }
    return sign_jws(payload, TYP, key).encode("ascii")


def claimed_source(data: bytes, where: str = "erasure") -> int:
    """The source that an erasure says it is of: whose key must have signed it.  Malformed when it is none."""
    return _source(split_jws(_text(data, where), where).payload, where)


def parse_erasure(data: bytes, origin: str, key: bytes, where: str = "erasure") -> Erasure:
    """The erasure in a JWS by this key, 32 bytes, that of the source it names (`claimed_source`).

    Malformed when it is none, BadSignature when it is by another key, RuleBroken when it is for another log.
    Whether it is of now is checked apart (`check_erasure_time`).
    """
    payload = members(
        verify_jws(_text(data, where), key, TYP, where), where, ("origin", "source", "iat", "leaves")
    )
    if payload["origin"] != origin:
        raise RuleBroken(where, "was signed for another log", rule="origin")
    source, iat = _source(payload, where), integer(payload["iat"], f"{where} iat")
    return Erasure(origin, source, iat, _leaves(payload["leaves"], f"{where} leaves"))


def check_erasure_time(erasure: Erasure, now: int) -> None:
    """RuleBroken unless it was signed within the hour before `now` (Unix seconds), or 5 minutes after."""
    if erasure.iat > now + AHEAD_S:
        raise RuleBroken("erasure iat", "is in the future; set the clock of the department", rule="iat")
    if erasure.iat < now - AGE_S:
        raise RuleBroken("erasure iat", f"is more than {AGE_S} s ago; sign it anew", rule="iat")


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise Malformed(where, "is not ASCII") from None


def _source(payload: dict[str, Any], where: str) -> int:
    return integer(payload.get("source"), f"{where} source", 1, 2**32 - 1)


def _leaves(value: Any, where: str) -> tuple[bytes, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_LEAVES:
        raise Malformed(where, f"is not a list of 1 to {MAX_LEAVES} leaf hashes")
    leaves = tuple(b64url_decode(text, where) if isinstance(text, str) else b"" for text in value)
    if any(len(leaf) != HASH_BYTES for leaf in leaves):
        raise Malformed(where, f"holds what is not {HASH_BYTES} bytes in base64url")
    if any(one >= next_ for one, next_ in zip(leaves, leaves[1:], strict=False)):
        raise Malformed(where, "is not in ascending order, each once")
    return leaves
