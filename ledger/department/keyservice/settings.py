"""`[keyservice]` of department.toml, read strictly.

[keyservice]
listen = "127.0.0.1:8120"                   # behind a TLS proxy
issuer = "https://login.example.gov"        # the OpenID provider, exactly as its tokens name it
audience = "https://keys.health.example/"   # what its access tokens for this service have in `aud`
activity = 9                                # the registered activity under which a release is recorded
scope = "stream-keys"                       # what the token's `scope` must hold; none when left out
algorithms = ["RS256", "PS256", "ES256", "EdDSA"]   # what a token may be signed with
plain_jwt = false                           # also take tokens whose `typ` is JWT, or that have none
delegates = false                           # also take tokens with `act`: somebody acting for the person
origins = ["https://log.example.gov"]       # web pages that may ask from a browser (CORS)
proxies = ["127.0.0.1"]                     # whose X-Forwarded-For is believed
releases_an_hour = 20                       # to one person
requests_a_minute = 60                      # from one address

[keyservice.claims]                         # which claim holds the identifier of which scheme
nhs_number = "nhs"
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from ledger.core.texts import SCHEME_NAME
from ledger.department.strict_toml import Table

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip
"""Signatures by private keys alone (RFC 7518, RFC 8037, RFC 9864): with `HS256` the public key would be the secret."""

_USUAL: Final = ("RS256", "PS256", "ES256", "EdDSA")
_LISTEN: Final = re.compile(r"(\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class KeyServiceSettings:
    """What the key service is told; `claims` leads from a claim's name to a scheme."""

    host: str
    port: int
    issuer: str
    audience: str
    activity: int
    scope: str
    algorithms: tuple[str, ...]
    plain_jwt: bool
    delegates: bool
    origins: tuple[str, ...]
    proxies: tuple[str, ...]
    releases_an_hour: int
    requests_a_minute: int
    claims: dict[str, str]


def read_key_service(table: Table) -> KeyServiceSettings:
    """The settings in `[keyservice]`.  Malformed names the member at fault; unknown ones are refused."""
    host, port = _listen(table, table.text("listen"))
    claims = table.table("claims")
    settings = KeyServiceSettings(
        host=host,
        port=port,
        issuer=_issuer(table, table.text("issuer")),
        audience=table.text("audience"),
        activity=_required(table, "activity", 2**32 - 1),
        scope=table.text("scope", ""),
        algorithms=table.texts("algorithms", _USUAL),
        plain_jwt=table.flag("plain_jwt", False),
        delegates=table.flag("delegates", False),
        origins=tuple(_origin(table, text) for text in table.texts("origins", ())),
        proxies=tuple(_proxy(table, text) for text in table.texts("proxies", ())),
        releases_an_hour=table.integer("releases_an_hour", 1, 100_000, 20) or 20,
        requests_a_minute=table.integer("requests_a_minute", 1, 100_000, 60) or 60,
        claims={name: _scheme(claims, name) for name in claims.names()},
    )
    for name in settings.algorithms:
        if name not in ALGORITHMS:
            raise table.wrong("algorithms", f"has one that is not taken; there are: {', '.join(ALGORITHMS)}")
    if not settings.algorithms:
        raise table.wrong("algorithms", "is empty; leave it out for the usual ones")
    if re.search(r"\s", settings.scope):
        raise table.wrong("scope", "must be one scope, without spaces")
    if not settings.claims:
        raise table.wrong(
            "claims", 'is empty; say which claim holds whose identifier, such as nhs_number = "nhs"'
        )
    claims.finish()
    table.finish()
    return settings


def _listen(table: Table, text: str) -> tuple[str, int]:
    found = _LISTEN.fullmatch(text)
    if found is None or int(found.group(2)) > 65_535:
        raise table.wrong("listen", "must be HOST:PORT, for instance 127.0.0.1:8120")
    return found.group(1).strip("[]"), int(found.group(2))


def is_safe_url(url: str) -> bool:
    """Whether it is https, or http on this machine alone."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host or "")))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _issuer(table: Table, text: str) -> str:
    # OpenID Connect Discovery §3: https, without query and fragment.
    if not is_safe_url(text) or "?" in text or "#" in text or "@" in text:
        raise table.wrong("issuer", "must be an https URL without query; http is taken on this machine alone")
    return text


def _origin(table: Table, text: str) -> str:
    # As a browser writes it in `Origin` (RFC 6454 §6.2): nothing after the port.
    if not re.fullmatch(r"https?://[a-z0-9.\-\[\]:]+", text) or not is_safe_url(text):
        raise table.wrong(
            "origins", "must be origins such as https://log.example.gov, in small letters and without path"
        )
    return text


def _proxy(table: Table, text: str) -> str:
    try:
        ip_network(text)
    except ValueError:
        raise table.wrong(
            "proxies", "must be addresses or networks, such as 127.0.0.1 or 10.0.0.0/8"
        ) from None
    return text


def _scheme(table: Table, name: str) -> str:
    scheme = table.text(name)
    if not SCHEME_NAME.fullmatch(scheme):
        raise table.wrong(name, "must be a scheme: 1 to 32 characters a-z, 0-9 or -")
    return scheme


def _required(table: Table, name: str, highest: int) -> int:
    found = table.integer(name, 1, highest)
    if found is None:
        raise table.wrong(name, "missing; it must be given")
    return found
