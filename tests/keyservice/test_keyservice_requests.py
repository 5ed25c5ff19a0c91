"""Who may ask, how often and by what request: whatever token comes with it."""

from __future__ import annotations

import socket
from functools import partial
from pathlib import Path

import pytest
from openidprovider import OpenIdProvider
from smallkeyservice import SmallKeyService, code

from ledger.department.keyservice import server
from ledger.slowclients import bounded_protocol


def test_one_person_asks_without_end(provider: OpenIdProvider, tmp_path: Path) -> None:
    with SmallKeyService(tmp_path, provider, releases_an_hour=3) as small:
        assert [small.ask(small.token()).status_code for _ in range(3)] == [200] * 3
        answer = small.ask(small.token())
        assert answer.status_code == 429 and code(answer) == "too-often"
        assert 3500 < int(answer.headers["retry-after"]) <= 3600
        assert small.ask(small.token(dept_id="bela-2")).status_code == 200
        assert small.recorded() == 4


def test_one_address_asks_without_end(provider: OpenIdProvider, tmp_path: Path) -> None:
    with SmallKeyService(tmp_path, provider, requests_a_minute=5) as small:
        assert {small.ask("a.b.c").status_code for _ in range(5)} == {401}
        answer = small.ask(small.token())
        assert answer.status_code == 429 and 1 <= int(answer.headers["retry-after"]) <= 60
        # Nobody is believed to be a proxy, also not on this machine.
        assert small.ask(small.token(), **{"X-Forwarded-For": "192.0.2.7"}).status_code == 429


def test_addresses_behind_the_proxy_are_one(provider: OpenIdProvider, tmp_path: Path) -> None:
    with SmallKeyService(tmp_path, provider, requests_a_minute=1, proxies='["127.0.0.1"]') as small:

        def ask(address: str) -> int:
            return small.ask(small.token(), **{"X-Forwarded-For": address}).status_code

        assert [ask("192.0.2.7"), ask("192.0.2.7"), ask("192.0.2.8")] == [200, 429, 200]
        # One household has a /64; what a client writes in front of the proxy's word does not count.
        assert [ask("2001:db8::1"), ask("2001:db8::2"), ask("2001:db8:0:1::1")] == [200, 429, 200]
        assert ask("198.51.100.1, 192.0.2.7") == 429


def test_any_page_may_ask_from_a_browser(provider: OpenIdProvider, tmp_path: Path) -> None:
    page, evil = "https://log.example.gov", "https://evil.example"
    with SmallKeyService(tmp_path, provider, origins=f'["{page}"]') as small:
        asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
        allowed = small.http.options("/v1/stream-keys", headers={"Origin": page, **asked})
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == page
        assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
        assert "access-control-allow-credentials" not in allowed.headers
        refused = small.http.options("/v1/stream-keys", headers={"Origin": evil, **asked})
        assert "access-control-allow-origin" not in refused.headers
        given = small.ask(small.token(), Origin=page)
        assert given.headers["access-control-allow-origin"] == page and "Origin" in given.headers["vary"]
        assert "access-control-allow-origin" not in small.ask(small.token(), Origin=evil).headers
        # A page has to be able to read why it got nothing.
        assert small.ask("x", Origin=page).headers["access-control-allow-origin"] == page


def test_another_method_or_a_body_is_taken(service: SmallKeyService) -> None:
    before = service.recorded()
    bearer = {"Authorization": f"Bearer {service.token()}"}
    for method in ("POST", "PUT", "DELETE", "PATCH", "HEAD"):
        answer = service.http.request(method, "/v1/stream-keys", headers=bearer)
        assert answer.status_code == 405 and answer.headers["allow"] == "GET"
    for _ in range(20):
        body = service.http.request("GET", "/v1/stream-keys", headers=bearer, content=b"x" * 30_000)
        assert body.status_code == 413 and code(body) == "body-refused"
    assert code(service.http.get("/v1/stream-keys/x")) == "not-found"
    assert service.http.get("/healthz").text == "ok\n"
    assert service.recorded() == before


def test_a_head_without_end_holds_a_connection(
    provider: OpenIdProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "bounded_protocol", partial(bounded_protocol, 1.0))
    with SmallKeyService(tmp_path, provider) as small:
        for piece in (
            b"",
            b"GET /v1/stream-keys HTTP/1.1\r\nHost: x\r\n",
            b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000,
        ):
            with socket.create_connection(
                (small.http.base_url.host, small.http.base_url.port or 0), timeout=20
            ) as slow:
                slow.sendall(piece)
                answer = slow.recv(1000)
                assert answer == b"" or b" 400 " in answer
        assert small.ask(small.token()).status_code == 200
