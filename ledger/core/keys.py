"""Ed25519 (RFC 8032) and ML-DSA-44 (FIPS 204): verify, sign, and keep private keys as PKCS#8.

Verification has to give the same answer everywhere, or two auditors would disagree about one log. So
Ed25519 here is RFC 8032 §5.1.7 in its strictest reading, docs/formats.md §1:

- the equation without the cofactor: [S]B = R + [k]A,
- S below the group order L,
- A and R canonical (y below p), and neither of small order (order 1, 2, 4 or 8): under such a
  key anyone can make signatures.

libsodium up to 1.0.20 does just this, twice as fast as OpenSSL; a version that multiplies by the cofactor
would accept more. `_libsodium_is_strict` asks the library itself with a signature that only such a
version accepts, and verification then goes through OpenSSL with the missing checks added.
"""

import secrets
from functools import lru_cache
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from ledger.core.errors import Malformed

ED25519_KEY_BYTES = 32
ED25519_SIGNATURE_BYTES = 64
MLDSA44_KEY_BYTES = 1312
MLDSA44_SIGNATURE_BYTES = 2420

P = 2**255 - 19
"""The field of edwards25519 (RFC 8032 §5.1)."""
D = -121665 * pow(121666, -1, P) % P
"""The curve constant: −x² + y² = 1 + d·x²·y²."""
_Y_OF_ORDER_8 = int.from_bytes(
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"
)
SMALL_ORDER_Y = frozenset((1, P - 1, 0, _Y_OF_ORDER_8, P - _Y_OF_ORDER_8))
"""y of the eight points whose order divides 8: orders 1, 2, 4 (twice), 8 (four times)."""

# An honest key (seed 00 01 … 1f), and a signature whose R has a point of order 8 added to it: the equation
# holds after multiplication by 8 only.
_COFACTOR_KEY = bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
_COFACTOR_SIGNATURE = bytes.fromhex(
    "98519eadf35b995233b51b5cd23e9cc5a28b639b5a4af0ec903cb960d81b7819"
    "d583a6594a7525bcc48844650f39db33feb51a87cf7b4ae33460008c84af4807"
)
_COFACTOR_MESSAGE = b"cofactor"


def check_ed25519_key(key: bytes, where: str) -> None:
    """Malformed unless key is 32 bytes: a canonical point on the curve, not of small order."""
    if len(key) != ED25519_KEY_BYTES:
        raise Malformed(where, f"Ed25519 key of {len(key)} bytes, not {ED25519_KEY_BYTES}")
    fault = _point_fault(key)
    if fault:
        raise Malformed(where, f"Ed25519 key {fault}")


@lru_cache(maxsize=4096)
def _point_fault(encoded: bytes) -> str:
    """What is wrong with 32 bytes as a point, or "" (RFC 8032 §5.1.3)."""
    y = int.from_bytes(encoded, "little") & (2**255 - 1)
    if y >= P:
        return "is not canonical"
    # x is 0 for y = ±1 only, so this also settles that no "negative zero" is left.
    if y in SMALL_ORDER_Y:
        return "has small order"
    # x² = (y² − 1)/(d·y² + 1); the quotient of two numbers is a square when their product is one.
    if pow((y * y - 1) * (D * y * y + 1), (P - 1) // 2, P) != 1:
        return "is not a point of the curve"
    return ""


def verify_ed25519(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether signature (64 bytes) over message is by key (32 bytes); False for wrong lengths too."""
    # The lengths: the binding hands the buffers to C unchecked.
    if len(key) != ED25519_KEY_BYTES or len(signature) != ED25519_SIGNATURE_BYTES:
        return False
    return _verify(key, signature, message)


def _verify_libsodium(key: bytes, signature: bytes, message: bytes) -> bool:
    # crypto_sign_open copies the message. Calling C without the copy through nacl._sodium gains less than
    # 1 % on 128 bytes, which is not worth reaching into a private module.
    try:
        crypto_sign_open(signature + message, key)
    except BadSignatureError:
        return False
    return True


def _verify_openssl(key: bytes, signature: bytes, message: bytes) -> bool:
    # OpenSSL compares the encoded R and refuses S ≥ L, but asks nothing about orders or A's encoding.
    r = int.from_bytes(signature[:32], "little") & (2**255 - 1)
    if _point_fault(key) or r in SMALL_ORDER_Y:
        return False
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _libsodium_is_strict() -> bool:
    return not _verify_libsodium(_COFACTOR_KEY, _COFACTOR_SIGNATURE, _COFACTOR_MESSAGE)


_verify = _verify_libsodium if _libsodium_is_strict() else _verify_openssl


class SigningKey(Protocol):
    """Whatever signs with Ed25519, wherever the private key lies: in memory, or in a hardware token."""

    @property
    def public(self) -> bytes:
        """32 bytes (RFC 8032 §5.1.5)."""
        ...

    def sign(self, message: bytes) -> bytes:
        """64 bytes.  A key outside this process may raise GlassbookError: then nothing was signed."""
        ...


class Ed25519PrivateKey:
    """An Ed25519 key: `seed` and `public` are 32 bytes each (RFC 8032 §5.1.5)."""

    __slots__ = ("_secret", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise Malformed("private key", f"Ed25519 seed of {len(seed)} bytes, not 32")
        self.seed = seed
        self.public: bytes
        self.public, self._secret = crypto_sign_seed_keypair(seed)

    @classmethod
    def from_seed(cls, seed: bytes) -> "Ed25519PrivateKey":
        return cls(seed)

    @classmethod
    def generate(cls) -> "Ed25519PrivateKey":
        return cls(secrets.token_bytes(32))

    def sign(self, message: bytes) -> bytes:
        """64 bytes, deterministic."""
        signed: bytes = crypto_sign(message, self._secret)
        return signed[:ED25519_SIGNATURE_BYTES]


class MLDSA44PrivateKey:
    """An ML-DSA-44 key: `seed` 32 bytes, `public` 1,312 bytes (FIPS 204 §5.1)."""

    __slots__ = ("_key", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise Malformed("private key", f"ML-DSA-44 seed of {len(seed)} bytes, not 32")
        self.seed = seed
        self._key = mldsa.MLDSA44PrivateKey.from_seed_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()

    @classmethod
    def from_seed32(cls, seed: bytes) -> "MLDSA44PrivateKey":
        return cls(seed)

    @classmethod
    def generate(cls) -> "MLDSA44PrivateKey":
        return cls(secrets.token_bytes(32))

    def sign(self, message: bytes) -> bytes:
        """2,420 bytes, another each time; the context of FIPS 204 §5.2 is empty."""
        return self._key.sign(message)


def verify_mldsa44(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether signature (2,420 bytes) over message is by key (1,312 bytes), with an empty context."""
    if len(key) != MLDSA44_KEY_BYTES or len(signature) != MLDSA44_SIGNATURE_BYTES:
        return False
    try:
        _mldsa44_key(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=64)
def _mldsa44_key(key: bytes) -> mldsa.MLDSA44PublicKey:
    return mldsa.MLDSA44PublicKey.from_public_bytes(key)


PrivateKey = Ed25519PrivateKey | MLDSA44PrivateKey


def format_private_key(key: PrivateKey, passphrase: bytes | None) -> bytes:
    """PKCS#8 in PEM (RFC 5958, RFC 7468), encrypted when there is a passphrase; openssl reads it."""
    inner: ed25519.Ed25519PrivateKey | mldsa.MLDSA44PrivateKey
    if isinstance(key, Ed25519PrivateKey):
        inner = ed25519.Ed25519PrivateKey.from_private_bytes(key.seed)
    else:
        inner = mldsa.MLDSA44PrivateKey.from_seed_bytes(key.seed)
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        if not passphrase:
            raise Malformed("passphrase", "is empty; give one, or None to leave the key unencrypted")
        encryption = serialization.BestAvailableEncryption(passphrase)
    return inner.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def parse_private_key(pem: bytes, passphrase: bytes | None, where: str) -> PrivateKey:
    """The key in a PKCS#8 PEM file; Malformed says whether the passphrase or the file is at fault."""
    try:
        key = serialization.load_pem_private_key(pem, passphrase)
    except TypeError:
        # cryptography's word for: a passphrase is missing, or given for a key that has none.
        problem = "needs its passphrase" if passphrase is None else "is not encrypted: give no passphrase"
        raise Malformed(where, f"the private key {problem}") from None
    except (ValueError, UnsupportedAlgorithm):
        problem = "or the passphrase is wrong" if passphrase is not None else "in PEM"
        raise Malformed(where, f"not a PKCS#8 private key {problem}") from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return Ed25519PrivateKey(key.private_bytes_raw())
    if isinstance(key, mldsa.MLDSA44PrivateKey):
        return MLDSA44PrivateKey(key.private_bytes_raw())
    raise Malformed(where, "the private key is neither Ed25519 nor ML-DSA-44")
