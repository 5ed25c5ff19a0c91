"""An access token checked: signed by the provider, for this service, now (RFC 7519, RFC 9068, RFC 8725).

What the token says is looked at only once its signature holds; before that, its header's `alg`, `typ` and `kid`
choose what it is checked with, among what the settings and the provider's keys allow.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, Final

from joserfc import jws
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError
from joserfc.jwt import JWTClaimsRegistry

from ledger.core.encoding import b64url_decode
from ledger.core.errors import GlassbookError
from ledger.core.jose import parse_json
from ledger.department.keyservice.problems import Refused
from ledger.department.keyservice.provider import Provider, ProviderDown, UnknownKey
from ledger.department.keyservice.settings import KeyServiceSettings

TOKEN_BYTES: Final = 16 << 10
LEEWAY_S: Final = 60
"""Seconds by which the provider's clock may differ."""

_ACCESS_TOKEN: Final = ("at+jwt", "application/at+jwt")
_SIGN_IN: Final = "sign in again and ask with the new token"


class _Registry(jws.JWSRegistry):
    """joserfc's, for headers that carry certificates too, and of the algorithms the settings name, no other."""

    max_header_length = TOKEN_BYTES
    max_payload_length = TOKEN_BYTES

    def get_alg(self, name: str) -> Any:
        if not self.allowed or name not in self.allowed:
            raise JoseError("algorithm")
        return self.algorithms[name]


def check_token(token: str, settings: KeyServiceSettings, provider: Provider, now: int) -> dict[str, Any]:
    """The claims of a token that holds at `now` (Unix seconds).  Raises Refused, with nothing of the token in it."""
    if len(token) > TOKEN_BYTES:
        raise _invalid(f"it is longer than {TOKEN_BYTES} bytes")
    header = _header(token, settings)
    kid = header.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise _invalid("its kid is not a text")
    try:
        key = provider.key(kid, header["alg"])
    except UnknownKey:
        raise _invalid(f"it is signed with a key that the provider does not have; {_SIGN_IN}") from None
    except ProviderDown as down:
        raise Refused(
            "provider-unavailable",
            "the keys of the identity provider cannot be had; nothing is wrong with the token, ask again later",
            down.retry_after_s,
        ) from None
    try:
        registry = _Registry(algorithms=settings.algorithms, strict_check_header=False)
        payload = jws.deserialize_compact(token, key, registry=registry).payload or b""
    except (JoseError, ValueError, TypeError):
        raise _invalid(
            "its signature does not hold; ask with the token exactly as the provider gave it"
        ) from None
    try:
        claims = parse_json(payload, "token")
    except GlassbookError:
        claims = None
    if not isinstance(claims, dict):
        raise _invalid("its claims cannot be read, or one stands there twice")
    _check_claims(claims, settings, now)
    return claims


def _header(token: str, settings: KeyServiceSettings) -> dict[str, Any]:
    """The header, as far as it decides how the token is checked."""
    parts = token.split(".")
    if len(parts) != 3:
        raise _invalid(
            "it is no signed JWT; the provider must issue access tokens in that form for this audience"
        )
    try:
        header = parse_json(b64url_decode(parts[0], "token"), "token")
    except GlassbookError:
        raise _invalid("its header cannot be read") from None
    if not isinstance(header, dict) or "crit" in header or "b64" in header:
        raise _invalid("its header asks for what is not known here")
    if header.get("alg") not in settings.algorithms:
        raise _invalid(f"it must be signed with one of {', '.join(settings.algorithms)}")
    # RFC 9068 §4.  An ID token is no access token, though the same key signed it; without typ it could be one.
    typ = header.get("typ", "jwt")
    allowed = (*_ACCESS_TOKEN, "jwt") if settings.plain_jwt else _ACCESS_TOKEN
    if not isinstance(typ, str) or typ.lower() not in allowed:
        raise _invalid("it is no access token: its typ is not at+jwt")
    return header


def _check_claims(claims: dict[str, Any], settings: KeyServiceSettings, now: int) -> None:
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name, 0)
        if type(value) not in (int, float) or not isfinite(value):
            raise _invalid(f"its {name} is no time")
    if "cnf" in claims:
        # RFC 9449 §7.1, RFC 8705 §3: bound to a key that a bearer does not show.
        raise _invalid("it is bound to a key (cnf), which cannot be shown here; ask for a plain bearer token")
    if "at_hash" in claims or "c_hash" in claims:
        raise _invalid("it is an ID token; ask with the access token")
    registry = JWTClaimsRegistry(
        now=now,
        leeway=LEEWAY_S,
        iss={"essential": True, "value": settings.issuer},
        aud={"essential": True, "value": settings.audience},
        exp={"essential": True},
    )
    try:
        registry.validate(claims)
    except ExpiredTokenError:
        raise _invalid(f"it has expired; {_SIGN_IN}") from None
    except MissingClaimError as missing:
        raise _invalid(f"it has no {missing.claim}") from None
    except InvalidClaimError as invalid:
        raise _invalid(_WRONG.get(invalid.claim, "one of its claims is not of its kind")) from None
    if settings.scope and settings.scope not in _scopes(claims):
        raise Refused("scope-missing", f"ask the provider for a token with the scope {settings.scope}")


_WRONG: Final = {
    "iss": "it is of another issuer than the provider of this service",
    "aud": "it is for another service; ask the provider for a token with this service as its audience",
    "nbf": "it does not hold yet; look at the clocks",
    "iat": "it was issued in the future; look at the clocks",
}


def _scopes(claims: dict[str, Any]) -> list[str]:
    # RFC 8693 §4.2 has a text with spaces; some providers write a list under `scp`.
    found = claims.get("scope", claims.get("scp", ""))
    return found.split(" ") if isinstance(found, str) else found if isinstance(found, list) else []


def _invalid(detail: str) -> Refused:
    return Refused("token-invalid", detail)
