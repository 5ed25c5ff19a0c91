"""The real processes with their public files in a bucket on a real S3 server: published, served, audited; and that
server killed under them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from bucketserver import KEY_ID, SECRET, BucketServer
from runninglog import BIN, Running, run
from smallledger import envelope, record, seed, statement
from smalllog import walk

from ledger.core import vrf
from ledger.core.encoding import b64encode, b64url_encode
from ledger.core.keys import Ed25519PrivateKey, parse_private_key
from ledger.core.policy import parse_policy
from ledger.core.statements import parse_charter, sign_source
from ledger.settings import PublicBucket, read_settings
from ledger.store import Store
from ledger.store.log import read_entries


class InBucket(Running):
    """A running log whose public files lie in a bucket of `server`."""

    def __init__(self, place: Path, server: BucketServer) -> None:
        at = server.new_bucket()

        def configure(home: Path) -> None:
            settings = home / "glassbook.toml"
            text = settings.read_text()
            assert 'public = "public"\n' in text
            settings.write_text(text.replace('public = "public"\n', server.settings(at)))

        self.at: PublicBucket = at
        super().__init__(place, configure, place / "log")

    @property
    def direct(self) -> str:
        """The files themselves, as a CDN fetches them."""
        return f"{self.at.endpoint}/{self.at.bucket}/{self.at.prefix}"

    def register(self) -> None:
        """Register source 1, and wait until it is published."""
        registrar = parse_private_key(
            (self.home / "keys" / "registrar.key").read_bytes(), None, "registrar.key"
        )
        assert isinstance(registrar, Ed25519PrivateKey)
        store = Store.open(read_settings(self.home).database)
        with store.read() as db:
            (charter,) = read_entries(db, 0, 1)
        store.close()
        year = time.gmtime().tm_year
        stated = statement(vrf={str(year): b64url_encode(vrf.public_key(seed("vrf")))}, since=f"{year}-01-01")
        self.hand_in([{"entry": b64encode(sign_source(registrar, parse_charter(charter), 1, stated))}])

    def hand_in(self, entries: list[dict[str, str]]) -> None:
        url = f"{read_settings(self.home).ledger_url}/v1/entries?wait=published"
        # The publisher may be there before the ledger is: it connects again for some seconds.
        with httpx.Client(transport=httpx.HTTPTransport(retries=6), timeout=60) as client:
            answer = client.post(url, json={"entries": entries})
        assert {result["status"] for result in answer.json()["results"]} == {"published"}, answer.text

    def records(self, count: int) -> None:
        """Hand in records of today, and wait until they are published."""
        today = int(time.time()) // 86_400
        made = [(record(day=today), envelope(), os.urandom(32)) for _ in range(count)]
        self.hand_in(
            [
                {"entry": b64encode(raw), "envelope": b64encode(sealed), "fetch": b64encode(fetch)}
                for raw, sealed, fetch in made
            ]
        )

    def state(self) -> dict[str, object]:
        answer: dict[str, object] = httpx.get(f"{self.url}/readyz", trust_env=False, timeout=30).json()
        return answer


@pytest.fixture
def in_bucket(tmp_path: Path) -> Iterator[tuple[InBucket, BucketServer]]:
    with BucketServer() as server:
        log = InBucket(tmp_path, server)
        yield log, server
        log.close()


def test_a_log_in_a_bucket_is_published_audited_and_outlives_its_server(
    in_bucket: tuple[InBucket, BucketServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, server = in_bucket
    monkeypatch.chdir(tmp_path)  # an audit that refutes writes its evidence where it is run
    log.register()
    log.records(300)
    size = log.size()
    assert size >= 2 + 2 + 301, "records are published in one batch or more"
    policy = log.home / "policy.txt"
    for number, url in enumerate((log.url, log.direct)):
        told = run(
            "glassbook-verify", "audit", "--policy", policy, "--log", url, "--audit", tmp_path / f"audit-{number}",
            "--state", tmp_path / f"seen-{number}",
        )  # fmt: skip
        assert f"{size} entries" in told.replace(",", "")
    for url in (log.url, log.direct):
        tile = httpx.get(f"{url}/tile/entries/000", trust_env=False)
        assert tile.headers["cache-control"] == "public, max-age=31536000, immutable"
        checkpoint = httpx.get(f"{url}/checkpoint", trust_env=False)
        assert checkpoint.headers["cache-control"] == "no-cache"
        assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"
    assert not (log.home / "public").is_dir() or not any((log.home / "public").iterdir())
    told = subprocess.run(
        [BIN / "glassbook", "doctor", log.home], capture_output=True, text=True, timeout=60
    ).stdout
    assert f"✓ bucket: {log.at.url} is reached" in told
    assert "✓ bucket, headers: " in told and f"✓ public files: {size} entries" in told

    server.kill()
    log.accept(5)
    wait_until(lambda: log.state()["state"] == "failing")
    assert f"{log.at.url}: " in str(log.state()["reasons"])
    answer = httpx.get(f"{log.url}/checkpoint", trust_env=False, timeout=30)
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
    server.restart()
    log.wait_for(size + 6, 60)
    policed = parse_policy(policy.read_bytes())
    entries = walk(lambda name: read(f"{log.direct}/{name}"), policed, int(time.time()))
    assert len(entries) == size + 6
    wait_until(lambda: log.state()["state"] == "publishing")

    said = (tmp_path / "log").read_text()
    assert said.count('"failing"') <= 3 and SECRET not in said and KEY_ID not in said
    for pid in log.children():
        shown = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
        assert SECRET.encode() not in shown


def read(url: str) -> bytes | None:
    answer = httpx.get(url, trust_env=False)
    return answer.content if answer.status_code == 200 else None


def wait_until(done: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)
