"""A small department with a running key service, its own socket and clock, and a log published to a folder.

with SmallKeyService(folder, provider) as small:
    answer = small.ask(token)
    small.hand_in()                    what the outbox holds goes into the log, which is published
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from logfactory import ACTIVITIES, DPV, seed
from openidprovider import OpenIdProvider
from smalldepartment import SmallDepartment

from ledger.core import vrf
from ledger.core.encoding import b64url_encode
from ledger.core.keys import Ed25519PrivateKey, format_private_key
from ledger.department.home import Home
from ledger.department.keyservice.provider import Provider
from ledger.department.keyservice.server import KeyService
from ledger.files import write_atomic

AUDIENCE = "https://keys.health.example/"
RELEASE = 9
THIS_YEAR = datetime.now(UTC).year
AHEAD_S = 32 * 86_400

PEOPLE: dict[str, dict[str, Any]] = {
    "anna": {"dept_id": "anna-1"},
    "bela": {"dept_id": "bela-2", "nhs_number": "943 476 5919"},
    "helped": {"dept_id": "anna-1", "act": {"sub": "daughter@example.org"}},
}

ACTIVITY = {
    "purpose": [f"{DPV}#LegalCompliance"],
    "legal_basis": [f"{DPV}/legal/eu/gdpr#A6-1-c"],
    "data": [f"{DPV}/pd#Identifier"],
    "text": {"en": "We give you the keys to your list."},
}


def code(answer: httpx.Response) -> str:
    """Of a refusal: the end of its problem type."""
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    return str(answer.json()["type"]).removeprefix("urn:glassbook:problem:")


class SmallKeyService(SmallDepartment):
    def __init__(self, folder: Path, provider: OpenIdProvider, again_s: float = 0.0, **settings: Any) -> None:
        super().__init__(folder)
        self.provider, self.again_s = provider, again_s
        self.said: list[str] = []
        self.clock_ahead = 0.0
        self.ledger.now = self.now = int(time.time())
        # Tests look a month ahead: towards a year's end that is the next one's first.
        years = {THIS_YEAR, datetime.fromtimestamp(self.now + AHEAD_S, UTC).year}
        self.source.vrf_seeds |= {year: seed(f"vrf 1 {year}") for year in years}
        public = {str(epoch): b64url_encode(vrf.public_key(s)) for epoch, s in self.source.vrf_seeds.items()}
        activities = {**ACTIVITIES, str(RELEASE): ACTIVITY}
        self.log.change_source(
            self.source, schemes=["id", "nhs"], seal_months=12, activities=activities, vrf=public
        )
        self.ledger.publish()
        for year in years:
            key = Ed25519PrivateKey.from_seed(self.source.vrf_seeds[year])
            path = self.home_folder / "keys" / f"vrf-{year}.key"
            write_atomic(path, format_private_key(key, None), 0o600)
        self.write_settings(**settings)
        self._stack = ExitStack()

    def write_settings(self, **settings: Any) -> None:
        members = {
            "listen": '"127.0.0.1:0"',
            "issuer": f'"{self.provider.issuer}"',
            "audience": f'"{AUDIENCE}"',
            "activity": RELEASE,
            "scope": '"stream-keys"',
            "claims": '{ dept_id = "id", nhs_number = "nhs" }',
            **settings,
        }
        vrf_keys = "".join(f'{year} = "keys/vrf-{year}.key"\n' for year in self.source.vrf_seeds)
        (self.home_folder / "department.toml").write_text(
            f'origin = "{self.log.origin}"\nledger = "http://ledger.invalid"\nlog = "{self.ledger.folder}"\n'
            f'map = "map.toml"\n[vrf]\n{vrf_keys}[keyservice]\n'
            + "".join(f"{name} = {value}\n" for name, value in members.items())
        )

    def __enter__(self) -> SmallKeyService:
        home = self._stack.enter_context(Home(self.home_folder))
        home.registration(self.now, self.said.append)
        assert home.settings.keyservice is not None
        asked = Provider(self.provider.issuer, self.said.append, again_s=self.again_s)
        self.service = self._stack.enter_context(
            KeyService(home, home.settings.keyservice, self.said.append, self.clock, asked)
        )
        self.http = self._stack.enter_context(httpx.Client(base_url=self.service.address, trust_env=False))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def clock(self) -> float:
        return time.time() + self.clock_ahead

    def ask(self, token: str, query: str = "", **headers: str) -> httpx.Response:
        return self.http.get(
            f"/v1/stream-keys{query}", headers={"Authorization": f"Bearer {token}", **headers}
        )

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Claims of a token that holds; None leaves one out."""
        now = int(time.time())
        claims = {
            "iss": self.provider.issuer,
            "aud": AUDIENCE,
            "sub": "anna",
            "iat": now,
            "exp": now + 300,
            "scope": "stream-keys",
            "dept_id": "anna-1",
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, **changes: Any) -> str:
        """A token that the provider's own key signed, with other claims."""
        return self.provider.sign(self.claims(**changes))

    def recorded(self) -> int:
        """Records in the outbox that are not handed in yet."""
        with self.home() as home:
            return home.outbox.counts().waiting

    def hand_in(self) -> None:
        """Everything in the outbox into the log, with receipts."""
        self.now = self.ledger.now = int(time.time())
        self.send()
