"""Which access tokens are believed: real ones, and every way of making up one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jws
from openidprovider import OpenIdProvider, new_key
from smallkeyservice import AUDIENCE, PEOPLE, SmallKeyService

from ledger.core.keysfile import parse_keys_file


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(claims: dict[str, Any], header: dict[str, Any]) -> str:
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"


def refused(service: SmallKeyService, token: str) -> str:
    """The words of a 401; nothing was recorded."""
    before = service.recorded()
    answer = service.ask(token)
    assert answer.status_code == 401, answer.text
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    problem = answer.json()
    assert problem["type"] == "urn:glassbook:problem:token-invalid" and problem["status"] == 401
    assert service.recorded() == before
    assert "anna" not in answer.text
    return str(problem["detail"])


def test_a_token_of_the_provider_is_refused(service: SmallKeyService, provider: OpenIdProvider) -> None:
    answer = service.ask(provider.log_in("anna", AUDIENCE))
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert {key.subject for key in parse_keys_file(answer.content).keys} == {"id:anna-1"}


def test_a_token_for_another_service_is_taken(service: SmallKeyService, provider: OpenIdProvider) -> None:
    assert "another service" in refused(service, provider.log_in("anna", "https://tax.example/"))
    assert "another service" in refused(service, service.token(aud=[AUDIENCE + "x", "y"]))
    assert "aud" in refused(service, service.token(aud=None))
    assert service.ask(service.token(aud=["https://tax.example/", AUDIENCE])).status_code == 200


def test_an_id_token_opens_a_list(service: SmallKeyService, provider: OpenIdProvider) -> None:
    refused(service, str(provider.tokens("anna", AUDIENCE)["id_token"]))
    assert "ID token" in refused(service, service.token(at_hash="x"))


def test_an_expired_token_of_the_provider_is_taken(tmp_path: Path) -> None:
    with (
        OpenIdProvider(tmp_path, PEOPLE, ttl=30) as brief,
        SmallKeyService(tmp_path, brief) as small,
    ):
        token = brief.log_in("anna", AUDIENCE)
        assert small.ask(token).status_code == 200
        small.clock_ahead = 30 + 55  # within the minute that clocks may differ
        assert small.ask(token).status_code == 200
        small.clock_ahead = 30 + 65
        assert "expired" in refused(small, token)
        small.clock_ahead = -70
        assert "clocks" in refused(small, token)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": None}, "iss"),
        ({"iss": ["x"]}, "issuer"),
        ({"exp": None}, "exp"),
        ({"exp": "2099"}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": 1e400}, "cannot be read"),
        ({"nbf": 4_000_000_000}, "clocks"),
        ({"iat": 4_000_000_000}, "clocks"),
        ({"cnf": {"jkt": "x"}}, "cnf"),
    ],
)
def test_a_claim_that_must_be_right_is_not_looked_at(
    service: SmallKeyService, changes: dict[str, Any], word: str
) -> None:
    assert word in refused(service, service.token(**changes))


def test_a_time_without_end_is_taken(service: SmallKeyService, provider: OpenIdProvider) -> None:
    payload = json.dumps(service.claims()).replace('"exp": ', '"exp": 1e999, "was": ')
    key = provider.keys[0]
    token = jws.serialize_compact({"alg": "RS256", "kid": key.kid, "typ": "at+jwt"}, payload, key)
    assert "cannot be read" in refused(service, token)


def test_a_claim_given_twice_is_taken(service: SmallKeyService, provider: OpenIdProvider) -> None:
    payload = json.dumps(service.claims())[:-1] + ', "dept_id": "bela-2"}'
    key = provider.keys[0]
    token = jws.serialize_compact({"alg": "RS256", "kid": key.kid, "typ": "at+jwt"}, payload, key)
    assert "twice" in refused(service, token)


def test_a_token_that_nobody_signed_is_taken(service: SmallKeyService, provider: OpenIdProvider) -> None:
    for alg in ("none", "None", "NONE", ""):
        header = {"alg": alg, "kid": provider.keys[0].kid, "typ": "at+jwt"}
        for signature in ("", "AA"):
            assert "RS256" in refused(service, f"{unsigned(service.claims(), header)}.{signature}")


def test_the_public_key_is_taken_for_a_secret(service: SmallKeyService, provider: OpenIdProvider) -> None:
    key = provider.keys[0]
    for secret in (key.as_pem(private=False), key.as_pem(private=False).strip(), b""):
        for kid in (key.kid, None):
            signed = unsigned(
                service.claims(), {"alg": "HS256", "typ": "at+jwt"} | ({"kid": kid} if kid else {})
            )
            tag = hmac.digest(secret, signed.encode(), hashlib.sha256)
            assert "RS256" in refused(service, f"{signed}.{b64(tag)}")


def test_a_key_in_the_token_is_believed(service: SmallKeyService, provider: OpenIdProvider) -> None:
    own = new_key()
    jwk = own.as_dict(private=False)
    for header in (
        {"jwk": jwk, "kid": provider.keys[0].kid},
        {"jku": "http://127.0.0.1:1/jwks", "kid": provider.keys[0].kid},
        {"x5u": "http://127.0.0.1:1/", "kid": provider.keys[0].kid},
    ):
        registry = jws.JWSRegistry(algorithms=["RS256"], strict_check_header=False)
        token = jws.serialize_compact(
            {"alg": "RS256", "typ": "at+jwt", **header}, json.dumps(service.claims()), own, registry=registry
        )
        assert "signature" in refused(service, token)


def test_an_unknown_kid_is_taken(service: SmallKeyService, provider: OpenIdProvider) -> None:
    claims = service.claims()
    for kid in ("another", "", "../../etc/passwd", "x" * 4000):
        assert "does not have" in refused(service, provider.sign(claims, {"kid": kid}))
    header = {"alg": "RS256", "typ": "at+jwt", "kid": 7}
    assert "kid" in refused(service, f"{unsigned(claims, header)}.AA")


def test_a_token_without_kid_is_refused_though_there_is_one_key(
    service: SmallKeyService, provider: OpenIdProvider
) -> None:
    assert service.ask(provider.sign(service.claims(), {"kid": None})).status_code == 200


@pytest.mark.parametrize("typ", ["JWT", "dpop+jwt", "logout+jwt", "secevent+jwt", 7, None, "at+jwt "])
def test_another_kind_of_token_is_taken(
    service: SmallKeyService, provider: OpenIdProvider, typ: object
) -> None:
    header = {"alg": "RS256", "kid": provider.keys[0].kid, "typ": typ}
    signed = unsigned(service.claims(), header)
    assert "typ" in refused(service, f"{signed}.AA")


def test_the_kinds_of_access_tokens_are_refused(service: SmallKeyService, provider: OpenIdProvider) -> None:
    for typ in ("at+jwt", "AT+JWT", "application/at+jwt"):
        assert service.ask(provider.sign(service.claims(), {"typ": typ})).status_code == 200


def test_plain_jwts_are_refused_where_the_settings_take_them(
    provider: OpenIdProvider, tmp_path: Path
) -> None:
    with SmallKeyService(tmp_path, provider, plain_jwt="true") as small:
        assert small.ask(provider.sign(small.claims(), {"typ": "JWT"})).status_code == 200
        assert small.ask(provider.sign(small.claims(), {"typ": None})).status_code == 200
        assert small.ask(provider.sign(small.claims(), {"typ": "dpop+jwt"})).status_code == 401
        assert "ID token" in refused(small, provider.sign(small.claims(at_hash="x"), {"typ": "JWT"}))


@pytest.mark.parametrize("member", [{"crit": ["exp"]}, {"b64": False, "crit": ["b64"]}, {"b64": True}])
def test_an_extension_is_overlooked(service: SmallKeyService, member: dict[str, Any]) -> None:
    header = {"alg": "RS256", "kid": service.provider.keys[0].kid, "typ": "at+jwt", **member}
    assert "header" in refused(service, f"{unsigned(service.claims(), header)}.AA")


@pytest.mark.parametrize(
    "token",
    [
        "x", "a.b", "a.b.c", "a.b.c.d", "..", "e30.e30.e30", "eyJhbGciOiJSUzI1NiJ9..", "W10.e30.AA", "bnVsbA.e30.AA",
        b64(b'{"alg":["RS256"]}') + ".e30.AA", b64(b'{"alg":"RS256","alg":"none"}') + ".e30.AA", "A" * 20_000,
        b64(b"[" * 9000) + ".e30.AA", b64(b'{"alg":"\xff"}') + ".e30.AA", "=.=.=",
    ],
)  # fmt: skip
def test_garbage_is_more_than_a_bad_token(service: SmallKeyService, token: str) -> None:
    refused(service, token)


def test_one_altered_character_goes_unseen(service: SmallKeyService) -> None:
    token = service.token()
    header, payload, signature = token.split(".")
    for place in range(0, len(payload), 41):
        other = "A" if payload[place] != "A" else "B"
        refused(service, f"{header}.{payload[:place]}{other}{payload[place + 1 :]}.{signature}")
    other = "A" if signature[9] != "A" else "B"
    refused(service, f"{header}.{payload}.{signature[:9]}{other}{signature[10:]}")
    refused(service, f"{header}.{payload}.")


def test_a_token_without_the_scope_is_taken(service: SmallKeyService, provider: OpenIdProvider) -> None:
    for token in (
        service.token(scope=None),
        service.token(scope="stream-keysx openid"),
        provider.log_in("anna", AUDIENCE, "openid"),
    ):
        answer = service.ask(token)
        assert answer.status_code == 403, answer.text
        assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
    assert service.ask(service.token(scope="openid stream-keys")).status_code == 200
    assert service.ask(service.token(scope=None, scp=["stream-keys"])).status_code == 200


def test_a_request_without_a_token_is_told_nothing(service: SmallKeyService) -> None:
    wrong: list[dict[str, str | bytes]] = [
        {},
        {"Authorization": "Basic eDp5"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer a b"},
        {"Authorization": b"Bearer \xff"},
    ]
    for headers in wrong:
        answer = service.http.get("/v1/stream-keys", headers=httpx.Headers(headers))  # type: ignore[arg-type]
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    twice = service.http.get(
        "/v1/stream-keys",
        headers=[("Authorization", f"Bearer {service.token()}"), ("Authorization", "Bearer x")],
    )
    assert twice.status_code == 401
    in_url = service.http.get("/v1/stream-keys", params={"access_token": service.token()})
    assert in_url.status_code in (400, 401)


def test_the_provider_changes_its_key_and_nobody_can_ask(tmp_path: Path) -> None:
    with OpenIdProvider(tmp_path, PEOPLE) as own, SmallKeyService(tmp_path, own) as small:
        before = own.log_in("anna", AUDIENCE)
        assert small.ask(before).status_code == 200
        own.rotate()
        assert small.ask(own.log_in("anna", AUDIENCE)).status_code == 200
        # The old key is gone at the provider, and so it is here.
        assert "does not have" in refused(small, before)


@pytest.mark.parametrize("algorithm", ["ES256", "PS256", "EdDSA"])
def test_tokens_by_another_usual_kind_of_key_are_refused(tmp_path: Path, algorithm: str) -> None:
    with (
        OpenIdProvider(tmp_path, PEOPLE, algorithm=algorithm) as own,
        SmallKeyService(tmp_path, own) as small,
    ):
        assert small.ask(own.log_in("anna", AUDIENCE)).status_code == 200
        signed = unsigned(small.claims(), {"alg": "RS256", "kid": own.keys[0].kid, "typ": "at+jwt"})
        assert "does not have" in refused(small, f"{signed}.{b64(bytes(256))}")


def test_the_provider_is_away_and_tokens_are_called_wrong(tmp_path: Path) -> None:
    with OpenIdProvider(tmp_path, PEOPLE) as own:
        small = SmallKeyService(tmp_path, own, again_s=2.0)
        token = own.log_in("anna", AUDIENCE)
        own.stop()
        with small:
            answer = small.ask(token)
            assert answer.status_code == 503 and 1 <= int(answer.headers["retry-after"]) <= 2
            assert answer.json()["type"] == "urn:glassbook:problem:provider-unavailable"
            assert small.recorded() == 0
            own.start()
            assert small.ask(token).status_code == 503  # not asked again so soon
            time.sleep(2.1)
            assert small.ask(token).status_code == 200
            own.stop()
            assert small.ask(token).status_code == 200  # its keys are known and fresh
        assert any("cannot be reached" in line for line in small.said)
        assert not any("anna" in line or "eyJ" in line for line in small.said)
