"""A provider that misbehaves: its documents, its keys, its silence.  A real HTTP server that answers as it is told."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from joserfc.errors import SecurityWarning
from joserfc.jwk import OctKey, OKPKey, RSAKey
from openidprovider import new_key

from ledger.department.keyservice.provider import DISCOVERY, Provider, ProviderDown, UnknownKey

KEY = new_key()
EC = new_key("ES256")


class Site:
    """Answers by path: a JSON value, bytes, a status, or a function that writes to the socket itself."""

    def __init__(self) -> None:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                answer = site.answers.get(self.path, 404)
                if callable(answer):
                    answer(self)
                    return
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(answer if isinstance(answer, int) else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.asked: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.document: dict[str, Any] = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}
        self.answers: dict[str, Any] = {DISCOVERY: self.document}
        self.serve(KEY.as_dict(private=False))
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def serve(self, *keys: Any) -> None:
        self.answers["/jwks"] = {"keys": list(keys)}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    running = Site()
    yield running
    running.close()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def provider(site: Site, clock: Clock, said: list[str]) -> Iterator[Provider]:
    made = Provider(site.url, said.append, clock)
    yield made
    made.close()


def down(provider: Provider, kid: str | None = None, algorithm: str = "RS256") -> int:
    with pytest.raises(ProviderDown) as found:
        provider.key(kid or str(KEY.kid), algorithm)
    return found.value.retry_after_s


def test_keys_are_fetched_for_every_token(provider: Provider, site: Site, clock: Clock) -> None:
    for _ in range(5):
        assert provider.key(str(KEY.kid), "RS256").kid == KEY.kid
    assert site.asked == [DISCOVERY, "/jwks"]
    clock.now += 601
    provider.key(str(KEY.kid), "RS256")
    assert len(site.asked) == 4


def test_a_withdrawn_key_is_believed_for_ever(provider: Provider, site: Site, clock: Clock) -> None:
    provider.key(str(KEY.kid), "RS256")
    site.serve(EC.as_dict(private=False))
    clock.now += 601
    with pytest.raises(UnknownKey):
        provider.key(str(KEY.kid), "RS256")


def test_invented_kids_make_the_provider_be_asked_each_time(
    provider: Provider, site: Site, clock: Clock
) -> None:
    provider.key(str(KEY.kid), "RS256")
    assert down(provider, "invented") == 10
    clock.now += 10
    with pytest.raises(UnknownKey):
        provider.key("invented", "RS256")
    for n in range(20):
        assert 1 <= down(provider, f"invented {n}") <= 10
    assert len(site.asked) == 4
    assert provider.key(str(KEY.kid), "RS256")


def test_known_keys_are_given_up_at_once_or_never(
    provider: Provider, site: Site, clock: Clock, said: list[str]
) -> None:
    provider.key(str(KEY.kid), "RS256")
    site.answers[DISCOVERY] = 500
    for later in (601, 20, 2900):
        clock.now += later
        assert provider.key(str(KEY.kid), "RS256")
    clock.now += 100  # more than an hour since they were fetched
    assert down(provider) == 10
    site.answers[DISCOVERY] = site.document
    clock.now += 10
    assert provider.key(str(KEY.kid), "RS256")
    assert len(said) == 2 and "500" in said[0] and "again" in said[1]


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example", "jwks_uri": "URL/jwks"},
        {"issuer": "URL/", "jwks_uri": "URL/jwks"},
        {"issuer": "URL"},
        {"issuer": "URL", "jwks_uri": ["URL/jwks"]},
        {"issuer": "URL", "jwks_uri": "http://keys.example/jwks"},
        {"issuer": "URL", "jwks_uri": "file:///etc/passwd"},
        {"issuer": "URL", "jwks_uri": "http://127.0.0.1:99999/"},
        {"issuer": "URL", "jwks_uri": "URL/nothing"},
        [], "x", None, 404, 301, b"", b"{", b"\xff", b'{"issuer": "URL", "issuer": "URL"}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_document_that_is_none_is_believed(provider: Provider, site: Site, document: Any) -> None:
    def here(value: Any) -> Any:
        return value.replace("URL", site.url) if isinstance(value, str) else value

    site.answers[DISCOVERY] = (
        {name: here(value) for name, value in document.items()} if isinstance(document, dict) else document
    )
    assert down(provider) == 10


@pytest.mark.parametrize(
    "keys",
    [{}, {"keys": {}}, {"keys": []}, {"keys": [None, 1, "x", {}]}, {"keys": [{"kty": "RSA"}] * 101}, [], 500],
)
def test_a_list_without_keys_is_taken_for_one(provider: Provider, site: Site, keys: Any) -> None:
    site.answers["/jwks"] = keys
    assert down(provider) == 10


def test_an_endless_or_slow_answer_holds_the_service(provider: Provider, site: Site, clock: Clock) -> None:
    site.answers["/jwks"] = b" " * (1 << 20)
    assert down(provider) == 10

    def bomb(handler: BaseHTTPRequestHandler) -> None:
        body = gzip.compress(b" " * (64 << 20))
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    site.answers["/jwks"] = bomb
    clock.now += 10
    assert down(provider) == 10

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        try:
            while True:
                time.sleep(0.2)
                handler.wfile.write(b"x")
        except OSError:
            pass

    site.answers["/jwks"] = drip
    clock.now += 10
    begun = time.monotonic()
    assert down(provider) == 10
    assert time.monotonic() - begun < 8


def test_a_key_that_is_not_for_this_is_chosen(provider: Provider, site: Site) -> None:
    public = KEY.as_dict(private=False)
    with pytest.warns(SecurityWarning):
        small = RSAKey.generate_key(1024, {"kid": "small"})
    site.serve(
        {**public, "kid": "encryption", "use": "enc"},
        {**public, "kid": "other use", "key_ops": ["encrypt"]},
        {**public, "kid": "other algorithm", "alg": "PS256"},
        {**public, "kid": 7},
        {**public, "kid": "no modulus", "n": None},
        {**KEY.as_dict(private=True), "kid": "private"},
        small.as_dict(private=False),
        OctKey.generate_key(256, {"kid": "secret"}).as_dict(),
        OKPKey.generate_key("X25519", {"kid": "agreement"}).as_dict(private=False),
        EC.as_dict(private=False),
        public,
    )
    assert provider.key(str(KEY.kid), "RS256").kid == KEY.kid
    for kid in (
        "encryption",
        "other use",
        "other algorithm",
        "no modulus",
        "private",
        "small",
        "secret",
        "agreement",
    ):
        for algorithm in ("RS256", "ES256", "EdDSA", "HS256", "none"):
            with pytest.raises((UnknownKey, ProviderDown)):
                provider.key(kid, algorithm)
    # The key, not the token, says which algorithm it is for.
    for key, algorithm in ((KEY, "ES256"), (KEY, "PS256"), (EC, "RS256"), (EC, "ES384")):
        with pytest.raises((UnknownKey, ProviderDown)):
            provider.key(str(key.kid), algorithm)


def test_without_a_kid_one_of_many_keys_is_guessed(provider: Provider, site: Site, clock: Clock) -> None:
    site.serve(KEY.as_dict(private=False), EC.as_dict(private=False))
    assert provider.key(None, "RS256").kid == KEY.kid
    site.serve(KEY.as_dict(private=False), {**new_key().as_dict(private=False)})
    clock.now += 601
    with pytest.raises((UnknownKey, ProviderDown)):
        provider.key(None, "RS256")


def test_each_of_many_threads_asks_the_provider(provider: Provider, site: Site) -> None:
    threads = [threading.Thread(target=provider.key, args=(str(KEY.kid), "RS256")) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert site.asked == [DISCOVERY, "/jwks"]
