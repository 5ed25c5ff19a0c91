"""Promises: "I took this in and will publish it in time", signed by the ledger (docs/formats.md §6).

A `*.promise` file is a compact JWS in ASCII without newline, by the charter's `ledger` key, of the payload

    {"origin": "log.example.gov/access/2026", "leaf": "<leaf hash, base64url>", "accepted": 1782997000}

A promise that was not kept is evidence against the operator: what it accepted it has kept out of the log.
"""

from dataclasses import dataclass
from typing import Final, Literal

from ledger.core.encoding import b64url_decode, b64url_encode
from ledger.core.errors import Malformed, RuleBroken
from ledger.core.jose import integer, members, sign_jws, verify_jws
from ledger.core.keys import SigningKey
from ledger.core.merkle import HASH_BYTES

TYP: Final = "glassbook-promise+jws"

Verdict = Literal["kept", "published late", "open", "broken"]


@dataclass(frozen=True, slots=True)
class Promise:
    """The leaf with hash `leaf` (32 bytes) was accepted at `accepted` (Unix seconds)."""

    origin: str
    leaf: bytes
    accepted: int


def parse_promise(data: bytes, origin: str, ledger_key: bytes, where: str = "promise") -> Promise:
    """The promise in a file, by the `ledger` key (32 bytes) of the charter of `origin`.

    Malformed when it is none, BadSignature when it is by another key, RuleBroken when it is of another log.
    """
    try:
        compact = data.decode("ascii")
    except UnicodeDecodeError:
        raise Malformed(where, "is not ASCII") from None
    payload = members(verify_jws(compact, ledger_key, TYP, where), where, ("origin", "leaf", "accepted"))
    if payload["origin"] != origin:
        raise RuleBroken(where, "was made for another log", promise=data)
    leaf = b64url_decode(payload["leaf"], f"{where} leaf") if isinstance(payload["leaf"], str) else b""
    if len(leaf) != HASH_BYTES:
        raise Malformed(f"{where} leaf", f"is not {HASH_BYTES} bytes in base64url")
    return Promise(origin, leaf, integer(payload["accepted"], f"{where} accepted"))


def sign_promise(promise: Promise, key: SigningKey) -> bytes:
    """The file's bytes: what parse_promise takes."""
    payload = {
        "origin": promise.origin,
        "leaf": b64url_encode(promise.leaf),
        "accepted": promise.accepted,
    }
    return sign_jws(payload, TYP, key).encode("ascii")


class PromiseSigner:
    """Promises of one log by one ledger key, many a second: what `sign_promise` makes, byte for byte."""

    __slots__ = ("_after", "_before", "_header", "_key")

    def __init__(self, origin: str, key: SigningKey) -> None:
        self._key = key
        leaf = bytes(HASH_BYTES)
        header, payload, _ = sign_promise(Promise(origin, leaf, 0), key).decode("ascii").split(".")
        self._header = header
        before, after = b64url_decode(payload, "promise").split(b64url_encode(leaf).encode("ascii"))
        self._before, self._after = before, after.removesuffix(b"0}")

    def sign(self, leaf: bytes, accepted: int) -> bytes:
        """The promise that the leaf with this hash (32 bytes) was accepted then (Unix seconds)."""
        leaf_text = b64url_encode(leaf).encode("ascii")
        payload = b"%b%b%b%d}" % (self._before, leaf_text, self._after, accepted)
        signing_input = f"{self._header}.{b64url_encode(payload)}".encode("ascii")
        return b"%b.%b" % (signing_input, b64url_encode(self._key.sign(signing_input)).encode("ascii"))


def verdict(
    accepted: int, merge_delay_s: int, in_log: bool, oldest: int | None, newest: int | None
) -> Verdict:
    """What one checkpoint says about a promise accepted then; another may show more.

    `in_log`: whether the leaf is under it. `oldest` and `newest` are the timestamps (Unix seconds) of its witnesses
    other than the log, None when it has none: then nobody but the log vouches for its time, and all is open.
    """
    due = accepted + merge_delay_s
    if oldest is None or newest is None:
        return "open"
    if in_log:
        return "kept" if oldest <= due else "published late"
    return "broken" if newest > due else "open"
