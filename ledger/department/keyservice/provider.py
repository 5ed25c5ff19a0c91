"""The OpenID provider's public keys: where they are (OpenID Connect Discovery 1.0), fetched, kept, fetched again.

fetched        used for 10 minutes, then fetched anew
unknown kid    fetched anew at once, at most once in 10 seconds: a provider that changed its key is followed,
               and who sends tokens with invented kids cannot make this service ask all the time
no answer      keys are used for an hour at most since they were fetched; then nothing is believed
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey, import_key

from ledger.client.bounded import BoundedHttp
from ledger.core.errors import GlassbookError, Malformed
from ledger.core.jose import parse_json
from ledger.department.keyservice.settings import is_safe_url

FRESH_S: Final = 600.0
STALE_S: Final = 3600.0
AGAIN_S: Final = 10.0
ANSWER_S: Final = 5.0
ANSWER_BYTES: Final = 256 << 10
KEYS: Final = 100
RSA_BITS: Final = 2048
_MODULUS: Final = 342
"""Characters of base64url that so many bits take; joserfc warns of fewer wherever warnings go."""

DISCOVERY: Final = "/.well-known/openid-configuration"


class ProviderDown(Exception):
    """The provider's keys cannot be had now; `retry_after_s` is when to ask again."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__()
        self.retry_after_s = retry_after_s


class UnknownKey(Exception):
    """The provider has no key of this id that makes such signatures."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    keys: tuple[Key, ...]
    at: float


class Provider:
    """One provider.  Safe to use from several threads: one fetches, the others wait a moment for it."""

    def __init__(
        self,
        issuer: str,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        again_s: float = AGAIN_S,
    ) -> None:
        self._issuer, self._say, self._clock, self._again_s = issuer, say, clock, again_s
        self._http = BoundedHttp(answer_seconds=ANSWER_S, attempts=1)
        self._fetched: _Fetched | None = None
        self._asked_at = float("-inf")
        self._lock = threading.Lock()
        self._trouble = ""

    def close(self) -> None:
        self._http.close()

    def key(self, kid: str | None, algorithm: str) -> Key:
        """The key of this id; without one, the only key there is for the algorithm.

        Raises UnknownKey, and ProviderDown when only the provider could tell and does not.
        """
        seen = before = self._fetched
        if seen is None or self._clock() - seen.at > FRESH_S:
            seen = self._fetch(seen)
        found = _choose(seen.keys, kid, algorithm)
        if found is None and seen is before:
            seen = self._fetch(seen, needed=True)
            found = _choose(seen.keys, kid, algorithm)
        if found is None:
            raise UnknownKey
        return found

    def _fetch(self, seen: _Fetched | None, needed: bool = False) -> _Fetched:
        """Keys newer than those `seen`; or those again, when they are still good and newer ones are not `needed`."""
        if not self._lock.acquire(timeout=ANSWER_S):
            raise ProviderDown(ceil(ANSWER_S))
        try:
            if self._fetched is not None and self._fetched is not seen:
                return self._fetched
            wait = self._asked_at + self._again_s - self._clock()
            if wait <= 0:
                self._asked_at = self._clock()
                try:
                    self._fetched = _Fetched(self._ask(), self._clock())
                except GlassbookError as error:
                    self._tell(str(error))
                else:
                    self._tell("")
                    return self._fetched
                wait = self._again_s
        finally:
            self._lock.release()
        if seen is None or needed or self._clock() - seen.at > STALE_S:
            raise ProviderDown(max(1, ceil(wait)))
        return seen

    def _ask(self) -> tuple[Key, ...]:
        url = self._issuer.rstrip("/") + DISCOVERY
        document = self._get(url)
        # Discovery §4.3: a document of another issuer is no answer.
        if document.get("issuer") != self._issuer:
            raise Malformed(
                url, "names another issuer than [keyservice] issuer; they must be the same, to the letter"
            )
        where = document.get("jwks_uri")
        if not isinstance(where, str) or not is_safe_url(where):
            raise Malformed(url, "its jwks_uri is no https URL")
        listed = self._get(where).get("keys")
        if not isinstance(listed, list) or len(listed) > KEYS:
            raise Malformed(where, f"its keys are not a list of at most {KEYS}")
        keys = tuple(key for item in listed if (key := _read_key(item)) is not None)
        if not keys:
            raise Malformed(where, "has no key that signatures can be checked with")
        return keys

    def _get(self, url: str) -> dict[str, Any]:
        body = self._http.get(url, ANSWER_BYTES)
        value = parse_json(body, url) if body is not None else None
        if not isinstance(value, dict):
            raise Malformed(url, "is no JSON object; is this the provider's address?")
        return value

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._say(f"key service: {trouble}" if trouble else "key service: the provider answers again")
        self._trouble = trouble


def _read_key(item: Any) -> Key | None:
    """A JWK as a public key for signatures; None when it is something else, which the list may hold (RFC 7517 §5)."""
    if not isinstance(item, dict) or item.get("kty") not in ("RSA", "EC", "OKP") or "d" in item:
        return None
    if item.get("use", "sig") != "sig" or "verify" not in item.get("key_ops", ["verify"]):
        return None
    if item["kty"] == "RSA" and len(str(item.get("n"))) < _MODULUS:
        return None
    if not isinstance(item.get("kid", ""), str) or not isinstance(item.get("alg", ""), str):
        return None
    try:
        key = import_key(item)
        weak = isinstance(key, RSAKey) and key.public_key.key_size < RSA_BITS
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return None if weak else key


def _choose(keys: tuple[Key, ...], kid: str | None, algorithm: str) -> Key | None:
    fitting = [key for key in keys if _fits(key, algorithm) and (kid is None or key.get("kid") == kid)]
    return fitting[0] if len(fitting) == 1 else None


_CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


def _fits(key: Key, algorithm: str) -> bool:
    """Whether such a signature can be by this key: the key decides, not the token (RFC 8725 §3.1)."""
    stated = key.get("alg")
    if stated is not None and stated != algorithm:
        return False
    if isinstance(key, RSAKey):
        return algorithm[:2] in ("RS", "PS")
    if isinstance(key, ECKey):
        return algorithm in _CURVES and key.get("crv") == _CURVES[algorithm]
    return isinstance(key, OKPKey) and algorithm in ("EdDSA", "Ed25519") and key.get("crv") == "Ed25519"
