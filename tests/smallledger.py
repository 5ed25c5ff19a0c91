"""A ledger with one registered source on a real database, for tests of store, sequencer and service.

    ledger = SmallLedger(tmp_path)
    raw = ledger.record()                  a signed record of yesterday with a fresh label
    ledger.accept([raw])                   through the service's own acceptance
    ledger.sequencer.step()
    assert ledger.violations() == []       the whole log replayed by the audit

Every key comes from a fixed seed that is public here and protects nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from ledger.core import vrf
from ledger.core.encoding import b64url_encode
from ledger.core.entries import sign_coverage, sign_record
from ledger.core.jose import jwk
from ledger.core.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from ledger.core.note import Ed25519Signer, MLDSASigner
from ledger.core.replay import Replay, Violation, bad_signatures
from ledger.core.statements import SourceVersion, parse_charter, parse_source, sign_charter, sign_source
from ledger.sequencer.run import Sequencer, begin_log
from ledger.service.acceptance import Acceptance, Outcome
from ledger.service.body import Submission
from ledger.service.problems import Refusal
from ledger.store import Store, log

ORIGIN = "log.example.gov/access/2026"
NOW = 1_790_000_000  # Unix seconds: 21 September 2026
DAY = NOW // 86_400 - 1
IRI = "https://w3id.org/dpv#Purpose"


def seed(name: str) -> bytes:
    """32 bytes, the same for the same name."""
    return sha256(b"small ledger " + name.encode()).digest()


LOG_KEY = Ed25519PrivateKey.from_seed(seed("log"))
LOG_MLDSA = MLDSA44PrivateKey.from_seed32(seed("log ML-DSA"))
REGISTRAR = Ed25519PrivateKey.from_seed(seed("registrar"))
LEDGER_KEY = Ed25519PrivateKey.from_seed(seed("ledger"))
SOURCE = Ed25519PrivateKey.from_seed(seed("source 1"))
LOG_VKEYS = (Ed25519Signer(ORIGIN, LOG_KEY).vkey, MLDSASigner(ORIGIN, LOG_MLDSA).vkey)

CHARTER = sign_charter(
    REGISTRAR,
    origin=ORIGIN,
    ledger=LEDGER_KEY.public,
    log_vkeys=[vkey.text for vkey in LOG_VKEYS],
    merge_delay_s=600,
    claims=["subject"],
    schemes={"id": {"pattern": "[a-z]{1,9}", "text": {"en": "a number"}}},
)


def statement(name: str = "source 1", **changed: Any) -> dict[str, Any]:
    """What a department says about its system; keys are made from `name`."""
    activity = {"purpose": [IRI], "legal_basis": [IRI], "data": [IRI], "text": {"en": "We look."}}
    stated = {
        "department": {"en": "Department"},
        "system": {"en": "System"},
        "key": jwk(Ed25519PrivateKey.from_seed(seed(name)).public),
        "vrf": {"2026": b64url_encode(vrf.public_key(seed(f"{name} vrf")))},
        "schemes": ["id"],
        "activities": {"1": activity},
        "seal_months": 12,
        "key_service": "https://keys.example.gov/",
        "contact": "https://contact.example.gov/",
        "complaint": "https://complaint.example.gov/",
        "since": "2026-01-01",
        "status": "active",
    }
    return stated | changed


def source_entry(number: int, stated: dict[str, Any], before: SourceVersion | None = None) -> bytes:
    """A registry entry by the registrar."""
    return sign_source(REGISTRAR, parse_charter(CHARTER), number, stated, before)


SOURCE_1 = source_entry(1, statement())
SOURCE_1_VERSION = parse_source(SOURCE_1, 2, parse_charter(CHARTER))


def envelope(steps: int = 1) -> bytes:
    """Bytes of the shape of an envelope: 0x01, nonce, steps · 1,024 bytes, tag."""
    return b"\x01" + os.urandom(12 + 1024 * steps + 16)


def record(key: Ed25519PrivateKey = SOURCE, **changed: Any) -> bytes:
    """A record by `key`, of yesterday, under a fresh label, unless said otherwise."""
    fields: dict[str, Any] = {
        "source": 1,
        "day": DAY,
        "seal": 0,
        "activity": 1,
        "label": os.urandom(32),
        "commitment": os.urandom(32),
    }
    return sign_record(ORIGIN, key, **(fields | changed))


def coverage(records: int, day: int = DAY, key: Ed25519PrivateKey = SOURCE) -> bytes:
    """A coverage entry by source 1."""
    return sign_coverage(ORIGIN, key, source=1, day=day, records=records)


def submission(raw: bytes) -> Submission:
    """As a source hands it in: a record with an envelope and a deposited token hash, all else bare."""
    return Submission(raw, envelope(), os.urandom(32)) if raw[1] == 1 else Submission(raw, None, None)


class SmallLedger:
    """A database with charter, index root, and source 1 sequenced: size 4."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.url = url or f"sqlite:///{folder / 'ledger.sqlite'}"
        self.store = Store.open(self.url, create=True)
        begin_log(self.store, ORIGIN, CHARTER)
        self.sequencer = Sequencer(self.store, ORIGIN)
        self.accept([SOURCE_1])
        self.sequencer.step()

    def accept(self, raws: Sequence[bytes], now: int = NOW) -> list[Outcome]:
        """Hand entries in, each with what belongs to it."""
        return self.hand_in([submission(raw) for raw in raws], now)

    def hand_in(
        self, submissions: Sequence[Submission | Refusal], now: int = NOW, by: Acceptance | None = None
    ) -> list[Outcome]:
        """Through `by`, or a process that has just started."""
        acceptance = by or Acceptance(self.store, ORIGIN, 100_000)

        async def accept() -> list[Outcome]:
            return await acceptance.accept(submissions, now)

        try:
            acceptance.refresh()
            return asyncio.run(accept())
        finally:
            if by is None:
                acceptance.close()

    def reopen(self) -> None:
        """Start again on the same database, as after a crash of all processes."""
        self.store.close()
        self.store = Store.open(self.url)
        self.sequencer = Sequencer(self.store, ORIGIN)

    def entries(self) -> list[bytes]:
        """Every entry of the log."""
        with self.store.read() as db:
            return log.read_entries(db, 0, log.read_size(db))

    def size(self) -> int:
        with self.store.read() as db:
            return log.read_size(db)

    def violations(self) -> list[Violation]:
        """What an audit of the whole log finds."""
        replay = Replay(ORIGIN, NOW)
        replay.report(bad_signatures(ORIGIN, replay.feed_many(self.entries())))
        replay.finish()
        return list(replay.violations)

    def close(self) -> None:
        self.store.close()
