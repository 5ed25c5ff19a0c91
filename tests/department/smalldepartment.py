"""A department beside a real small log, and a ledger that takes entries into it or misbehaves on demand.

    small = SmallDepartment(tmp_path)
    small.record(r4(), r4())               events into the outbox
    small.ledger.plan = ["busy", "drop"]   what the next requests meet; afterwards all goes well
    small.sender().send(wait=True)

Keys, log, signatures, proofs and files are real; only the HTTP server is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
from logfactory import DAY, NOW, LogFactory, TestSource

from ledger.core.encoding import b64decode, format_date
from ledger.core.entries import Coverage, Record, decode_entry, signed_message
from ledger.core.keys import Ed25519PrivateKey, format_private_key, verify_ed25519
from ledger.core.merkle import leaf_hash
from ledger.core.promise import Promise, sign_promise
from ledger.department.access import Outcome
from ledger.department.handin import LedgerClient
from ledger.department.home import Home
from ledger.department.importers.fhir import read_fhir
from ledger.department.importing import FindCounters, none_before, record_events
from ledger.department.mapping import parse_mapping
from ledger.department.sending import Sender
from ledger.files import write_atomic

MAP = b"""
[subject]
from = ["patient", "entity"]
[[subject.pattern]]
match = 'Patient/([a-z0-9-]+)'
subject = "id:{1}"
[activity]
default = 1
"""
TODAY = format_date(DAY)


class Dropped(Exception):
    """The connection broke."""


class Ledger:
    """`POST /v1/entries` onto a LogFactory, published to a folder after each request."""

    def __init__(self, log: LogFactory, folder: Path) -> None:
        self.log, self.folder = log, folder
        self.plan: list[str] = []
        self.requests: list[list[bytes]] = []
        self.now = NOW
        self.publishing = True
        self.forgetting = False  # accept, and keep it out of the log
        self.accepted: dict[bytes, int] = {}
        log.publish(folder, self.now)

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        deed = self.plan.pop(0) if self.plan else "take"
        submissions = json.loads(request.content)["entries"]
        entries = [b64decode(item["entry"], "entry") for item in submissions]
        self.requests.append(entries)
        if deed == "busy":
            return httpx.Response(429, headers={"Retry-After": "7"})
        if deed == "lost":
            raise httpx.ConnectError("no route")
        if deed == "broken":
            return httpx.Response(500, content=b"oops")
        if deed == "nonsense":
            return httpx.Response(200, json={"results": [{"status": "whatever"}] * len(entries)})
        if deed == "short":
            return httpx.Response(200, json={"results": []})
        refuse = deed.removeprefix("refuse ") if deed.startswith("refuse ") else ""
        results = [self._refusal(refuse)] * len(entries) if refuse else [self._take(raw) for raw in entries]
        self.publish()
        if deed == "drop":
            raise httpx.ReadError("gone after it was taken")
        return httpx.Response(200, json={"results": results})

    def _take(self, raw: bytes) -> dict[str, Any]:
        entry = decode_entry(raw)
        assert isinstance(entry, Record | Coverage)
        for index, other in enumerate(self.log.entries):
            if other == raw:
                return {"status": "duplicate", "index": index}
            if decode_entry(other).index_label == entry.index_label:
                return self._refusal("label-conflict")
        version = self.log.register.in_force(entry.source)
        assert version is not None
        if not verify_ed25519(version.key, entry.signature, signed_message(self.log.origin, raw)):
            return self._refusal("bad-signature")
        if isinstance(entry, Coverage) and entry.records != self.records_of(entry.day):
            return self._refusal("rule-broken", "count")
        self.accepted.setdefault(raw, self.now)
        if not self.forgetting:
            self.log.append(raw)
        return {"status": "accepted", "promise": self.promise(raw)}

    def records_of(self, day: int) -> int:
        """Records of a day in the log."""
        entries = map(decode_entry, self.log.entries)
        return sum(isinstance(entry, Record) and entry.day == day for entry in entries)

    def promise(self, raw: bytes) -> str:
        """The promise for an entry; tests replace it."""
        promise = Promise(self.log.origin, leaf_hash(raw), self.accepted[raw])
        return sign_promise(promise, self.log.ledger_key).decode()

    def _refusal(self, code: str, rule: str = "") -> dict[str, Any]:
        problem = {"type": f"urn:glassbook:problem:{code}", "title": "No", "detail": "because"}
        return {"status": "refused", "problem": problem | ({"rule": rule} if rule else {})}

    def publish(self) -> None:
        if self.publishing:
            self.log.publish(self.folder, self.now)


class SmallDepartment:
    """A department's folder for source 1 of a LogFactory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = LogFactory(merge_delay_s=60)
        self.source: TestSource = self.log.add_source(schemes=["id"])
        self.ledger = Ledger(self.log, folder / "public")
        self.home_folder = folder / "department"
        self._write_home()
        self.slept: list[float] = []
        self.now = NOW

    def _write_home(self) -> None:
        (self.home_folder / "keys").mkdir(parents=True)
        keys = {"source": self.source.key} | {
            f"vrf-{epoch}": Ed25519PrivateKey.from_seed(secret)
            for epoch, secret in self.source.vrf_seeds.items()
        }
        for name, key in keys.items():
            write_atomic(self.home_folder / "keys" / f"{name}.key", format_private_key(key, None), 0o600)
        (self.home_folder / "policy.txt").write_text(self.log.policy_text())
        (self.home_folder / "map.toml").write_bytes(MAP)
        (self.home_folder / "department.toml").write_text(
            f'origin = "{self.log.origin}"\nledger = "http://ledger.invalid"\nlog = "{self.ledger.folder}"\n'
            f'map = "map.toml"\n[vrf]\n2025 = "keys/vrf-2025.key"\n2026 = "keys/vrf-2026.key"\n'
        )

    def home(self) -> Home:
        return Home(self.home_folder)

    def write_log(self, events: Iterable[dict[str, Any]], name: str = "log.ndjson") -> Path:
        path = self.folder / name
        path.write_bytes(b"".join(json.dumps(event).encode() + b"\n" for event in events))
        return path

    def record(self, *events: dict[str, Any], find: FindCounters = none_before) -> list[tuple[Outcome, bool]]:
        """Events into the outbox, as `import` does it."""
        with self.home() as home:
            maker = home.maker(home.registration(self.now, print))
            outcomes = read_fhir(self.write_log(events), parse_mapping(MAP, "map.toml"))
            return list(record_events(outcomes, maker, home.outbox, self.now, find))

    def sender(self, home: Home, patience: float = 5.0) -> Sender:
        return Sender(
            outbox=home.outbox,
            maker=home.maker(home.registration(self.now, print)),
            ledger=LedgerClient(home.settings.ledger, self.ledger.transport()),
            policy=home.policy,
            open_view=home.view,
            batch=7,
            say=lambda text: None,
            clock=lambda: self.now + sum(self.slept),
            sleep=self.slept.append,
            patience=patience,
        )

    def send(self, patience: float = 5.0) -> Any:
        with self.home() as home:
            return self.sender(home, patience).send(wait=True)

    def numbers_in_log(self, subject: str, epoch: int = 2026) -> list[int]:
        """Which of the numbers 1 … 200 of a stream are in the log, in their order there."""
        key = self.log.stream(self.source, subject, epoch)
        known = {key.label(n): n for n in range(1, 201)}
        found = []
        for raw in self.log.entries:
            entry = decode_entry(raw)
            if isinstance(entry, Record) and entry.label in known:
                found.append(known[entry.label])
        return found

    def leaf_hashes(self) -> set[bytes]:
        return {leaf_hash(raw) for raw in self.log.entries}
