"""ECVRF-EDWARDS25519-SHA512-TAI, the verifiable random function of RFC 9381.

The holder of a private key turns alpha into beta, 64 bytes that look random, and a proof pi that shows to
anyone with the public key that beta is the only value alpha has under it:

    pi    Gamma[32] ‖ c[16] ‖ s[32]          80 bytes
    beta  SHA-512(0x03 ‖ 0x03 ‖ 8·Gamma ‖ 0x00)

Verification is the RFC's (§5.3, keys validated as in §5.4.5), and two things more that formats.md §4 asks
for: Gamma must be canonical and in the prime-order subgroup. Beta is never taken from a file, always
recomputed from pi.

The group is libsodium's. Its multiplication takes only points of the prime-order subgroup; the few others
that occur (a hash that became a point, a key with a small-order part, which the RFC allows) are brought
there by adding.
"""

from __future__ import annotations

from hashlib import sha512
from typing import Final

from nacl.bindings import (
    crypto_core_ed25519_add,
    crypto_core_ed25519_is_valid_point,
    crypto_core_ed25519_sub,
    crypto_scalarmult_ed25519_base_noclamp,
    crypto_scalarmult_ed25519_noclamp,
)

from ledger.core.errors import Malformed, ProofRefuted
from ledger.core.keys import SMALL_ORDER_Y, P, check_ed25519_key

KEY_BYTES: Final = 32
PROOF_BYTES: Final = 80
BETA_BYTES: Final = 64

_SUITE: Final = b"\x03"
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_EIGHTH: Final = pow(8, -1, _ORDER)
_IDENTITY: Final = b"\x01" + bytes(31)


def public_key(seed: bytes) -> bytes:
    """The 32-byte public key of a 32-byte private one (the RFC's SK), as in RFC 8032 §5.1.5."""
    return _base(_expand(seed)[0])


def evaluate(seed: bytes, alpha: bytes) -> bytes:
    """Beta (64 bytes) of `alpha` under the private key `seed`, without the work that a proof costs."""
    x, _ = _expand(seed)
    h = _encode_to_curve(_base(x), alpha)
    # 8·Gamma = 8·(x·H) in one multiplication: H is of prime order.
    return _beta(_multiply(8 * x, h))


def prove(seed: bytes, alpha: bytes) -> bytes:
    """Pi (80 bytes) for `alpha` under the private key `seed`; deterministic (RFC 9381 §5.1)."""
    x, nonce_key = _expand(seed)
    public = _base(x)
    h = _encode_to_curve(public, alpha)
    gamma = _multiply(x, h)
    k = int.from_bytes(sha512(nonce_key + h).digest(), "little") % _ORDER
    c = _challenge(public, h, gamma, _base(k), _multiply(k, h))
    s = (k + int.from_bytes(c, "little") * x) % _ORDER
    return gamma + c + s.to_bytes(32, "little")


def beta_of(pi: bytes) -> bytes:
    """Beta (64 bytes) of a pi that has been verified or that one has made oneself (RFC 9381 §5.2)."""
    return _beta(_times_cofactor(pi[:32]))


def verify(public: bytes, alpha: bytes, pi: bytes) -> bytes:
    """Beta (64 bytes) of `alpha`, if `pi` proves it under the key `public` (32 bytes).

    Malformed if the key is none or pi has another length; ProofRefuted for every other answer that
    RFC 9381 §5.3 calls INVALID, so that one altered bit of pi has one kind of result wherever it is.
    """
    check_key(public)
    if len(pi) != PROOF_BYTES:
        raise Malformed("VRF proof", f"{len(pi)} bytes instead of {PROOF_BYTES}")
    gamma, challenge = pi[:32], pi[32:48]
    c, s = int.from_bytes(challenge, "little"), int.from_bytes(pi[48:], "little")
    if s >= _ORDER:
        raise ProofRefuted("VRF proof", "s is not reduced modulo the group's order")
    if not crypto_core_ed25519_is_valid_point(gamma):
        raise ProofRefuted(
            "VRF proof", "Gamma is not the canonical form of a point of the prime-order subgroup"
        )
    h = _encode_to_curve(public, alpha)
    u = crypto_core_ed25519_sub(_base(s), _multiply_key(c, public))
    v = crypto_core_ed25519_sub(_multiply(s, h), _multiply(c, gamma))
    if _challenge(public, h, gamma, u, v) != challenge:
        raise ProofRefuted("VRF proof", "does not verify for this key and input", public_key=public, pi=pi)
    return beta_of(pi)


def check_key(public: bytes, where: str = "VRF key") -> None:
    """Malformed unless `public` is 32 bytes, canonical, a point, not of small order (RFC 9381 §5.4.5)."""
    # The same questions that are asked of a signing key: both are points of edwards25519.
    check_ed25519_key(public, where)


def _expand(seed: bytes) -> tuple[int, bytes]:
    """The secret scalar and the nonce key of RFC 8032 §5.1.5."""
    if len(seed) != KEY_BYTES:
        raise Malformed("VRF private key", f"{len(seed)} bytes instead of {KEY_BYTES}")
    digest = sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | (1 << 254)
    return scalar, digest[32:]


def _encode_to_curve(public: bytes, alpha: bytes) -> bytes:
    """ECVRF_encode_to_curve_try_and_increment, RFC 9381 §5.4.1.1; half of all hashes are points."""
    prefix = sha512(_SUITE + b"\x01" + public + alpha)
    for counter in range(256):
        attempt = prefix.copy()
        attempt.update(bytes((counter, 0)))
        candidate = attempt.digest()[:32]
        # libsodium decodes what is not canonical too; and 8 times a point of small order is the identity.
        y = int.from_bytes(candidate, "little") % 2**255
        if y >= P or y in SMALL_ORDER_Y:
            continue
        try:
            return _times_cofactor(candidate)
        except RuntimeError:  # PyNaCl's: no point of the curve
            continue
    raise Malformed("VRF input", "no point within 256 attempts")  # pragma: no cover (chance 2^-256)


def _challenge(*points: bytes) -> bytes:
    """The 16 bytes of ECVRF_challenge_generation over Y, H, Gamma, U and V, RFC 9381 §5.4.3."""
    return sha512(_SUITE + b"\x02" + b"".join(points) + b"\x00").digest()[:16]


def _beta(cofactor_gamma: bytes) -> bytes:
    return sha512(_SUITE + b"\x03" + cofactor_gamma + b"\x00").digest()


def _times_cofactor(point: bytes) -> bytes:
    """8·point, for any point; RuntimeError (PyNaCl's) if these 32 bytes are no point of the curve."""
    double = crypto_core_ed25519_add(point, point)
    quadruple = crypto_core_ed25519_add(double, double)
    return crypto_core_ed25519_add(quadruple, quadruple)


def _base(scalar: int) -> bytes:
    scalar %= _ORDER
    return crypto_scalarmult_ed25519_base_noclamp(scalar.to_bytes(32, "little")) if scalar else _IDENTITY


def _multiply(scalar: int, point: bytes) -> bytes:
    """scalar·point for a point of prime order; libsodium never answers with the identity, this does."""
    scalar %= _ORDER
    return crypto_scalarmult_ed25519_noclamp(scalar.to_bytes(32, "little"), point) if scalar else _IDENTITY


def _multiply_key(scalar: int, public: bytes) -> bytes:
    """scalar·public for a checked key; where it is P + T, T of small order, scalar·P + (scalar mod 8)·T."""
    try:
        return _multiply(scalar, public)
    except RuntimeError:  # libsodium's answer to a point outside the prime-order subgroup
        pass
    prime_part = _multiply(_EIGHTH, _times_cofactor(public))
    small_part = crypto_core_ed25519_sub(public, prime_part)
    product = _multiply(scalar, prime_part)
    for _ in range(scalar % 8):
        product = crypto_core_ed25519_add(product, small_part)
    return product
