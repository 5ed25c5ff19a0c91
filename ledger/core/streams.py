r"""Streams: one person at one source in one year, and what only the two of them can compute (formats.md §4).

    alpha        = "glassbook/v1/stream\0" ‖ lp(origin) ‖ u32 source ‖ u16 epoch ‖ u16 seal
                   ‖ lp(scheme) ‖ lp(value)
    (beta, pi)   = the VRF of that source and epoch over alpha
    stream_key   = HKDF-SHA256(ikm = beta, salt = "", info = "glassbook/v1/stream-key", 32)
    label(n)     = HMAC-SHA256(stream_key, "label\0" ‖ u64 n)           n = 1, 2, 3 … without a gap
    envelope_key = HMAC-SHA256(stream_key, "envelope\0" ‖ u64 n)
    fetch_token  = HMAC-SHA256(stream_key, "fetch\0" ‖ u64 n)

    envelope     = 0x01 ‖ nonce[12] ‖ AES-256-GCM(envelope_key, nonce, plaintext, aad = label)
    plaintext    = SD-JWT ‖ 0x80 ‖ zeros up to a multiple of 1,024 bytes, at most 65,536

Nothing here ever puts a subject, a key or a plaintext in an error.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final
from unicodedata import is_normalized

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger.core.encoding import lp, u16, u32, u64
from ledger.core.errors import Malformed, ProofRefuted
from ledger.core.texts import SCHEME_NAME, SPACE_OR_CONTROL

NONCE_BYTES: Final = 12
BLOCK_BYTES: Final = 1024
PLAINTEXT_LIMIT: Final = 65_536

_VERSION: Final = b"\x01"
_TAG_BYTES: Final = 16
_OVERHEAD: Final = len(_VERSION) + NONCE_BYTES + _TAG_BYTES
ENVELOPE_LIMIT: Final = PLAINTEXT_LIMIT + _OVERHEAD
"""Bytes of the largest envelope: 65,565."""


def parse_subject(text: str) -> tuple[str, str]:
    """(scheme, value) of `scheme:value`, divided by the first colon.

    The form alone: whether the value is in its scheme's canonical form, the charter knows.
    """
    scheme, colon, value = text.partition(":")
    if not colon or not SCHEME_NAME.fullmatch(scheme):
        raise Malformed("subject", "not scheme:value with a scheme of 1 to 32 characters a-z, 0-9 or -")
    try:
        length = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise Malformed("subject", "value holds a surrogate, which is no character") from None
    if not 1 <= length <= 255:
        raise Malformed("subject", f"value of {length} bytes instead of 1 to 255")
    if SPACE_OR_CONTROL.search(value):
        raise Malformed("subject", "value holds a space or a control character")
    if not is_normalized("NFC", value):
        raise Malformed("subject", "value is not in Unicode's normal form C")
    return scheme, value


def alpha(origin: str, source: int, epoch: int, seal: int, subject: str) -> bytes:
    """What the VRF is computed of for one stream; `subject` is `scheme:value`."""
    scheme, value = parse_subject(subject)
    return b"".join(
        (
            b"glassbook/v1/stream\0",
            lp(origin.encode("utf-8")),
            u32(source),
            u16(epoch),
            u16(seal),
            lp(scheme.encode("ascii")),
            lp(value.encode("utf-8")),
        )
    )


def stream_key(beta: bytes) -> StreamKey:
    """The key of the stream whose VRF output is `beta` (64 bytes)."""
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"glassbook/v1/stream-key")
    return StreamKey(derivation.derive(beta))


class StreamKey:
    """32 bytes from which all labels, envelope keys and fetch tokens of one stream follow; n counts from 1."""

    __slots__ = ("key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:
            raise Malformed("stream key", f"{len(key)} bytes instead of 32")
        self.key = key

    def __repr__(self) -> str:
        return "StreamKey(…)"

    def label(self, n: int) -> bytes:
        """The 32-byte label of record n."""
        return hmac.digest(self.key, b"label\0" + _number(n), sha256)

    def envelope_key(self, n: int) -> bytes:
        """The AES-256 key of the envelope of record n, 32 bytes."""
        return hmac.digest(self.key, b"envelope\0" + _number(n), sha256)

    def fetch_token(self, n: int) -> bytes:
        """Who presents these 32 bytes is given the envelope of record n."""
        return hmac.digest(self.key, b"fetch\0" + _number(n), sha256)

    def deposited(self, n: int) -> bytes:
        """H(fetch_token), 32 bytes: what the source leaves with the envelope."""
        return sha256(self.fetch_token(n)).digest()


def _number(n: int) -> bytes:
    if n < 1:
        raise Malformed("stream", "records are counted from 1")
    return u64(n)


def seal_envelope(stream: StreamKey, n: int, sd_jwt: str, nonce: bytes, label: bytes | None = None) -> bytes:
    """The envelope of record n, `sd_jwt` with all disclosures; `nonce` is 12 random bytes, never used before.

    `label` spares computing the label of n once more.

    A retry sends the same bytes again instead of sealing anew.
    """
    if len(nonce) != NONCE_BYTES:
        raise Malformed("envelope", f"nonce of {len(nonce)} bytes instead of {NONCE_BYTES}")
    try:
        plaintext = sd_jwt.encode("ascii") + b"\x80"
    except UnicodeEncodeError:
        raise Malformed("envelope", "the SD-JWT is not ASCII") from None
    plaintext += bytes(-len(plaintext) % BLOCK_BYTES)
    if len(plaintext) > PLAINTEXT_LIMIT:
        most = PLAINTEXT_LIMIT - 1
        raise Malformed("envelope", f"SD-JWT of {len(sd_jwt)} bytes, {most} are the most; shorten a claim")
    aad = stream.label(n) if label is None else label
    return _VERSION + nonce + AESGCM(stream.envelope_key(n)).encrypt(nonce, plaintext, aad)


def open_envelope(stream: StreamKey, n: int, data: bytes) -> str:
    """The SD-JWT in the envelope of record n, not yet checked itself.

    Malformed if `data` has not the form of an envelope, ProofRefuted if it is none of this record.
    """
    blocks, rest = divmod(len(data) - _OVERHEAD, BLOCK_BYTES)
    if rest or not 1 <= blocks <= PLAINTEXT_LIMIT // BLOCK_BYTES:
        raise Malformed("envelope", f"{len(data)} bytes; it has 29 and 1 to 64 times {BLOCK_BYTES}")
    if data[:1] != _VERSION:
        raise Malformed("envelope", f"unknown version {data[0]}, this is a reader of version 1")
    nonce = data[1 : 1 + NONCE_BYTES]
    try:
        plaintext = AESGCM(stream.envelope_key(n)).decrypt(nonce, data[1 + NONCE_BYTES :], stream.label(n))
    except InvalidTag:
        raise ProofRefuted("envelope", "does not decrypt: altered, or of another record") from None
    # Sealed by the source, so what is wrong from here on is the source's fault and not the operator's.
    padded = plaintext.rstrip(b"\0")
    if not padded.endswith(b"\x80") or len(plaintext) - len(padded) >= BLOCK_BYTES:
        raise Malformed("envelope", "padding is not 0x80 and zeros to the next multiple of 1,024 bytes")
    try:
        return padded[:-1].decode("ascii")
    except UnicodeDecodeError:
        raise Malformed("envelope", "what is in it is not ASCII") from None
