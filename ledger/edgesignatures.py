"""Signatures on which implementations of Ed25519 are known to differ, each with the verdict of docs/formats.md §1.

`ledger.core.keys` says what is good: [S]B = R + [k]A without the cofactor, S below the group order, A and R canonical
and not of small order. Every case here that is bad is bad for one of these reasons alone: where that can be had, the
equation itself holds.

A point of order 8 is T, so j·T for j from 0 to 7 are all points of small order. A key A = [a]B + T is of no small
order, and good. With R = [r]B + j·T and S = r + k·a the equation holds if and only if 8 divides j + k.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha512
from itertools import count

from nacl.bindings import crypto_core_ed25519_add, crypto_scalarmult_ed25519_base_noclamp

from ledger.core.keys import SMALL_ORDER_Y, Ed25519PrivateKey, P

Case = tuple[bytes, bytes, bytes, bool]
"""Key, signature, message, and whether it is good."""

ORDER = 2**252 + 27742317777372353535851937790883648493
"""L, the order of the base point (RFC 8032 §5.1)."""

_SIGN = 1 << 255  # the bit of an encoding that says which of the two x is meant
_KEY = Ed25519PrivateKey(bytes(range(32)))
_LENGTHS = (0, 1, 20, 63, 64, 111, 112, 127, 128, 200, 300)  # around the blocks of SHA-512


@cache
def edge_cases() -> list[Case]:
    """All of them; the first are plain and good, and all are by few keys."""
    return [*_plain(), *_altered(), *_small_keys(), *_small_r(), *_mixed()]


def small_points() -> list[bytes]:
    """0·T, 1·T, … 7·T, 32 bytes each, in their canonical encoding."""
    y_of_order_8 = max(y for y in SMALL_ORDER_Y if y < P // 2)
    t = _encode(y_of_order_8)
    points = [_encode(1)]
    while len(points) < 8:
        points.append(crypto_core_ed25519_add(points[-1], t))
    return points


def _encode(y: int) -> bytes:
    return y.to_bytes(32, "little")


def _other_encodings() -> list[bytes]:
    """What is no canonical encoding and could be read as a point of small order: y ≥ p, or x = 0 called negative."""
    return [_encode(y) for y in (P, P + 1, P | _SIGN, (P + 1) | _SIGN, 1 | _SIGN, (P - 1) | _SIGN)]


def _scalar(seed: bytes) -> int:
    raw = bytearray(sha512(seed).digest()[:32])
    raw[0] &= 248
    raw[31] = raw[31] & 63 | 64
    return int.from_bytes(raw, "little") % ORDER


def _base(scalar: int) -> bytes:
    return crypto_scalarmult_ed25519_base_noclamp(_encode(scalar % ORDER))


def _k(r: bytes, key: bytes, message: bytes) -> int:
    return int.from_bytes(sha512(r + key + message).digest(), "little") % ORDER


def _message(r: bytes, key: bytes, residue: int) -> bytes:
    """A message whose k leaves this residue modulo 8."""
    return next(m for m in map(b"message %d".__mod__, count()) if _k(r, key, m) % 8 == residue)


def _plain() -> list[Case]:
    return [(_KEY.public, _KEY.sign(bytes(n)), bytes(n), True) for n in _LENGTHS]


def _altered() -> list[Case]:
    message = b"altered"
    good = _KEY.sign(message)
    r, s = good[:32], int.from_bytes(good[32:], "little")
    other = Ed25519PrivateKey(bytes(32)).public
    cases = [(other, good, message, False), (_KEY.public, good, b"Altered", False)]
    # S + n·L is the same modulo L. What is not below L is refused, however a comparison by limbs may see it.
    cases += [
        (_KEY.public, r + _encode(s + n * ORDER), message, False)
        for n in (1, 2, 8, 15)
        if s + n * ORDER < 2**256
    ]
    cases += [
        (_KEY.public, r + _encode(value), message, False) for value in (0, ORDER, ORDER - 1, 2**256 - 1)
    ]
    for bit in (0, 7, 100, 247, 254, 255, 256, 300, 503, 508, 511):
        flipped = (int.from_bytes(good, "little") ^ 1 << bit).to_bytes(64, "little")
        cases.append((_KEY.public, flipped, message, False))
    # y = 2 and p + 3 … p + 18: no points, or not in their canonical encoding.
    wrong = [_encode(2), *(_encode(y) for y in range(P + 2, 2**255))]
    cases += [(key, good, message, False) for key in wrong]
    cases += [(_KEY.public, point + good[32:], message, False) for point in wrong]
    return cases


def _small_keys() -> list[Case]:
    """Under a key of small order, S = r is good for every message with 8 | k."""
    r = _scalar(b"r")
    point = _base(r)
    keys = [*small_points(), *_other_encodings()]
    return [(key, point + _encode(r), _message(point, key, 0), False) for key in keys]


def _small_r() -> list[Case]:
    a, points = _scalar(_KEY.seed), small_points()
    cases = []
    for key in (_KEY.public, crypto_core_ed25519_add(_KEY.public, points[1])):
        for j, r in [*enumerate(points), *((0, other) for other in _other_encodings())]:
            message = _message(r, key, -j % 8)
            cases.append((key, r + _encode(_k(r, key, message) * a % ORDER), message, False))
    return cases


def _mixed() -> list[Case]:
    """Keys and R with a part of small order: what the equation without the cofactor says, and no more."""
    a, nonce, points = _scalar(_KEY.seed), _scalar(b"nonce"), small_points()
    cases = []
    for i, j in ((0, 0), (0, 1), (0, 4), (1, 0), (1, 1), (1, 5), (1, 7)):
        key = crypto_core_ed25519_add(_KEY.public, points[i])
        r = crypto_core_ed25519_add(_base(nonce), points[j])
        for residue in range(8):
            message = _message(r, key, residue)
            s = (nonce + _k(r, key, message) * a) % ORDER
            cases.append((key, r + _encode(s), message, (j + i * residue) % 8 == 0))
    return cases
