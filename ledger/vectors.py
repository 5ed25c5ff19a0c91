"""Ed25519 for many at once: one after the other, or eight side by side where the machine and its operator have that.

A processor with AVX-512 IFMA multiplies eight big numbers at a time, and Intel's Cryptography Primitives Library
(`libcrypto_mb.so`, Apache-2.0) checks or makes eight signatures by it in the time that two take otherwise. It is no
part of what Glassbook installs (docs/adr/0026); where it lies in the environment's lib folder, or where `[ledger]
vectors` says, it is used.

The verdicts are those of `ledger.core.keys`, whichever does the work. The library computes R = [S]B − [k]A without
the cofactor, and compares encodings. It does not ask whether A and R are canonical and of no small order, and its
comparison of S with the group order takes too much (version 13 compares limb by limb, and one that is less is enough).
All of that is asked here, before it sees a signature. And before it is used, it has to judge `edge_cases` right.
"""

from __future__ import annotations

import ctypes
import re
import sys
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from ledger.core.errors import Malformed
from ledger.core.keys import (
    SMALL_ORDER_Y,
    Ed25519PrivateKey,
    P,
    SigningKey,
    check_ed25519_key,
    verify_ed25519,
)
from ledger.edgesignatures import ORDER, edge_cases

Job = tuple[bytes, bytes, bytes]
"""Key, signature and message."""

LIBRARY: Final = "libcrypto_mb.so"
RUNTIME: Final = ("libintlc.so.5", "libimf.so", "libirng.so", "libsvml.so")
"""What the library as Intel compiles it names as needed, in the order in which these need each other."""

LANES: Final = 8

Array: TypeAlias = "array[int]"  # of addresses ("Q"), lengths ("I") or bytes ("B")

# Nearly every signature is known to be well-formed by one byte of R and one of S: the highest.
_DOUBTFUL_R = re.compile(
    b"[%b]" % b"".join(re.escape(bytes([y >> 248 | sign])) for y in {*SMALL_ORDER_Y, P} for sign in (0, 128))
)
_DOUBTFUL_S = re.compile(b"[%b-\xff]" % re.escape(bytes([ORDER >> 248])))


class VectorsUnusable(Exception):
    """The library cannot be used; the text says which file, and why."""


class Bulk(Protocol):
    """Ed25519 for many at once. Rows lie back to back and are all of one width, in bytes.

    No method changes its arguments, and each may be called from any thread.
    """

    name: str

    def verify(self, jobs: Sequence[Job]) -> bytes:
        """A byte for each: 1 if the signature is good, 0 if it is not, or key or signature has another length."""
        ...

    def verify_rows(self, key: bytes, rows: bytes, width: int) -> bytes:
        """The same for rows that are each a message and its signature (64 bytes), by one key of 32 bytes."""
        ...

    def sign_rows(self, key: Ed25519PrivateKey, rows: bytes, width: int) -> list[bytes]:
        """The signature of each row."""
        ...


class OneByOne:
    """By `ledger.core.keys`: everywhere."""

    name = "one at a time"

    def verify(self, jobs: Sequence[Job]) -> bytes:
        return bytes([verify_ed25519(key, signature, message) for key, signature, message in jobs])

    def verify_rows(self, key: bytes, rows: bytes, width: int) -> bytes:
        ends = range(width, len(rows) + 1, width)
        return bytes(
            [verify_ed25519(key, rows[end - 64 : end], rows[end - width : end - 64]) for end in ends]
        )

    def sign_rows(self, key: SigningKey, rows: bytes, width: int) -> list[bytes]:
        return [key.sign(rows[at : at + width]) for at in range(0, len(rows), width)]


class EightAtATime:
    """By the library at `path`.  Raises VectorsUnusable when it cannot be loaded, or gives one wrong answer."""

    name = "eight at a time"

    def __init__(self, path: Path) -> None:
        try:
            # By their paths, so that the loader finds them there already; local, so that nothing else gets to see them.
            for name in RUNTIME:
                if (path.parent / name).exists():
                    ctypes.CDLL(str(path.parent / name))
            library = ctypes.CDLL(str(path))
            applicable = library.mbx_is_crypto_mb_applicable
            verify, sign = library.mbx_ed25519_verify_mb8, library.mbx_ed25519_sign_mb8
        except (OSError, AttributeError) as error:
            raise VectorsUnusable(f"{path}: cannot be loaded: {error}") from None
        applicable.argtypes, applicable.restype = [ctypes.c_uint64], ctypes.c_int
        if not applicable(0):
            raise VectorsUnusable(f"{path}: this processor does not have what it needs (AVX-512 IFMA)")
        # Each pointer is to eight pointers, or to eight lengths; four bits a lane come back, 0 for good.
        verify.argtypes, verify.restype = [ctypes.c_void_p] * 5, ctypes.c_uint32
        sign.argtypes, sign.restype = [ctypes.c_void_p] * 6, ctypes.c_uint32
        self._verify8: Callable[..., int] = verify
        self._sign8: Callable[..., int] = sign
        if not _judges_right(self):
            raise VectorsUnusable(f"{path}: gives wrong answers on this machine; do not use it")

    def verify(self, jobs: Sequence[Job]) -> bytes:
        good = bytearray(len(jobs))
        places: list[int] = []
        parts: list[bytes] = []
        starts: list[int] = []
        at = 0
        for place, (key, signature, message) in enumerate(jobs):
            if len(key) == 32 and len(signature) == 64 and _key_is_good(key) and _well_formed(signature):
                places.append(place)
                parts += (key, signature, message)
                starts.append(at)
                at += 96 + len(message)
        data = array("B", b"".join(parts))
        base = _address(data)
        keys, r, s, messages = (array("Q", [base + start + n for start in starts]) for n in (0, 32, 64, 96))
        lengths = array("I", [len(message) for message in parts[2::3]])
        for place, verdict in zip(places, self._verify(r, s, messages, lengths, keys), strict=True):
            good[place] = verdict
        return bytes(good)

    def verify_rows(self, key: bytes, rows: bytes, width: int) -> bytes:
        count = len(rows) // width
        if not count or not _key_is_good(key):
            return bytes(count)
        data, key_data = array("B", rows), array("B", key)
        bad = [place for place in _doubtful(rows, width) if not _well_formed(_signature(rows, width, place))]
        for place in bad:  # the library sees zeros instead
            data[(place + 1) * width - 64 : (place + 1) * width] = array("B", bytes(64))
        first = _address(data)
        end = first + count * width
        good = self._verify(
            array("Q", range(first + width - 64, end, width)),
            array("Q", range(first + width - 32, end, width)),
            array("Q", range(first, end, width)),
            array("I", [width - 64]) * count,
            array("Q", [_address(key_data)]) * count,
        )
        for place in bad:
            good[place] = 0
        return bytes(good)

    def _verify(self, r: Array, s: Array, messages: Array, lengths: Array, keys: Array) -> bytearray:
        """1 or 0 for each of these, which are addresses but for the lengths."""
        good = bytearray(b"\1") * len(r)
        r_at, s_at, messages_at, lengths_at, keys_at = map(_in_eights, (r, s, messages, lengths, keys))
        for first in range(0, len(good), LANES):
            at = 8 * first
            wrong = self._verify8(r_at + at, s_at + at, messages_at + at, lengths_at + at // 2, keys_at + at)
            if wrong:
                for place in range(first, min(first + LANES, len(good))):
                    good[place] = not wrong >> 4 * (place - first) & 15
        return good

    def sign_rows(self, key: Ed25519PrivateKey, rows: bytes, width: int) -> list[bytes]:
        count = len(rows) // width
        if not count:
            return []
        data, pair, made = array("B", rows), array("B", key.seed + key.public), array("B", bytes(64 * count))
        first, made_at = _address(data), _address(made)
        r, s = (array("Q", range(made_at + half, made_at + 64 * count, 64)) for half in (0, 32))
        messages = array("Q", range(first, first + count * width, width))
        seeds, publics = (array("Q", [_address(pair) + half]) * LANES for half in (0, 32))
        lengths = array("I", [width]) * LANES
        r_at, s_at, messages_at = map(_in_eights, (r, s, messages))
        same = _address(lengths), _address(seeds), _address(publics)
        for at in range(0, 8 * count, 8 * LANES):
            if self._sign8(r_at + at, s_at + at, messages_at + at, *same):
                return OneByOne().sign_rows(key, rows, width)  # it says that it did not
        signatures = made.tobytes()
        return [signatures[at : at + 64] for at in range(0, len(signatures), 64)]


def _address(of: Array) -> int:
    """Where it lies in memory, as long as it lives and does not grow."""
    return of.buffer_info()[0]


def _in_eights(values: Array) -> int:
    """Make whole groups of eight, the last value as often as that takes; where they lie."""
    values.extend(values[-1:] * (-len(values) % LANES))
    return _address(values)


def _signature(rows: bytes, width: int, place: int) -> bytes:
    return rows[(place + 1) * width - 64 : (place + 1) * width]


def _doubtful(rows: bytes, width: int) -> set[int]:
    """The places of all signatures that could be ill-formed, and of a few more."""
    found = {match.start() for match in _DOUBTFUL_R.finditer(rows[width - 33 :: width])}
    return found.union(match.start() for match in _DOUBTFUL_S.finditer(rows[width - 1 :: width]))


def _well_formed(signature: bytes) -> bool:
    """Whether R is no other encoding than the canonical one, and of no small order, and S below the group order."""
    y = int.from_bytes(signature[:32], "little") & (1 << 255) - 1
    # x is 0 for y = ±1 only, and these have small order: no "negative zero" is left.
    return y < P and y not in SMALL_ORDER_Y and int.from_bytes(signature[32:], "little") < ORDER


@lru_cache(maxsize=4096)
def _key_is_good(key: bytes) -> bool:
    try:
        check_ed25519_key(key, "key")
    except Malformed:
        return False
    return True


def _judges_right(bulk: Bulk) -> bool:
    """Whether it gives the known answers, and signs as `ledger.core.keys` does."""
    cases = edge_cases()
    expected = [good for *_, good in cases]
    # All together, so that good and bad ones of several keys meet in one group; and each where it can be a row.
    if [bool(good) for good in bulk.verify([case[:3] for case in cases])] != expected:
        return False
    for key, signature, message, good in cases:
        if list(bulk.verify_rows(key, message + signature, len(message) + 64)) != [good]:
            return False
    private = Ed25519PrivateKey(bytes(range(32)))
    for width, count in ((1, 1), (120, 8), (240, 11)):
        rows = bytes(number % 251 for number in range(width * count))
        if bulk.sign_rows(private, rows, width) != OneByOne().sign_rows(private, rows, width):
            return False
    return True


@dataclass(frozen=True, slots=True)
class Choice:
    """What does the work; `path` is that of the library, "" without it; `why` says why one that is there is left."""

    bulk: Bulk
    path: str = ""
    why: str = ""


@lru_cache(maxsize=8)
def choose(setting: str) -> Choice:
    """By `[ledger] vectors`: "off", "auto" (where the library is installed and works), or its path.

    Raises VectorsUnusable when the setting is a path and the library there cannot be used.
    """
    if setting == "off":
        return Choice(OneByOne())
    path = installed() if setting == "auto" else Path(setting)
    if path is None:
        return Choice(OneByOne())
    try:
        return Choice(EightAtATime(path), str(path))
    except VectorsUnusable as error:
        if setting != "auto":
            raise
        return Choice(OneByOne(), why=str(error))


def installed() -> Path | None:
    """The library in this environment, if it is there."""
    path = Path(sys.prefix) / "lib" / LIBRARY
    return path if path.is_file() else None
