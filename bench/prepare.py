"""Preparing records: signed, labelled and encrypted, for people the department meets first and those it knows.

The yardstick is made of the same parts, in the same run and by the same libraries: one VRF evaluation (for those met
first), two signatures (of the SD-JWT and of the entry, messages as long as theirs) and one AES-GCM of a plaintext as
long. Parts and whole take turns in short slices, the thread's own CPU time is counted and the fastest slice taken:
what else the machine does hinders both alike.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.figures import Figure, Report
from bench.logs import DAY, EPOCH, ORIGIN, bench_source, charter_entry, statement
from bench.logs import REGISTRAR as REGISTRAR_KEY
from ledger.core.encoding import format_date
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.statements import parse_charter, parse_source, sign_source
from ledger.core.streams import alpha, open_envelope
from ledger.core.vrf import evaluate
from ledger.department.access import Access
from ledger.department.records import RecordMaker
from ledger.department.registration import Registration

SLICES = 100
RECORDS = 20
ENTRY_MESSAGE = 20 + 1 + len(ORIGIN) + 82
"""Bytes that a source signs of a record (docs/formats.md §2)."""

NEW_SHARE = 0.5
KNOWN_SHARE = 0.4
KNOWN_TO_NEW = 5


def new_maker() -> RecordMaker:
    """A record maker for source 1, which knows nobody yet."""
    source = bench_source(1)
    charter = parse_charter(charter_entry(), ORIGIN)
    stated = parse_source(sign_source(REGISTRAR_KEY, charter, 1, statement(source)), 1, charter)
    seeds = {EPOCH: Ed25519PrivateKey.from_seed(source.vrf_seed)}
    return RecordMaker(Registration(charter, (stated,)), source.key, seeds)


def an_access(person: int) -> Access:
    """An access as a mapping makes it: all claims but `recipient`."""
    subject = f"id:{person}"
    return Access(
        subject,
        DAY,
        1,
        {
            "subject": subject,
            "actor": {"id": "official-77", "role": "caseworker", "unit": "North", "automated": False},
            "event": {
                "at": f"{format_date(DAY)}T10:11:12.123Z", "action": "https://w3id.org/dpv#Consult",
                "outcome": "success", "result": "opened", "system": "case", "trace_id": f"{person + 1:032x}",
            },
            "data": {"categories": ["https://w3id.org/dpv/pd#HealthRecord"], "fields": ["address", "name"]},
            "purpose": {"activity": 1},
            "reason": {"text": "Your application for a permit", "case": "2026-0815"},
        },
    )  # fmt: skip


def measure(report: Report, scale: float) -> None:
    """Records a second on one core, and their share of what the parts alone allow."""
    maker, source = new_maker(), bench_source(1)
    slices = max(5, int(SLICES * scale))
    persons = iter(range(slices * RECORDS))
    sample = maker.prepare(an_access(10**9), 1)
    key = maker.key_of(EPOCH, 0, f"id:{10**9}")
    jwt = open_envelope(key, 1, sample.envelope).partition("~")[0]
    signed, entry = jwt.rpartition(".")[0].encode(), os.urandom(ENTRY_MESSAGE)
    plaintext = bytes(len(sample.envelope) - 29)

    def vrf() -> None:
        for person in range(RECORDS):
            evaluate(source.vrf_seed, alpha(ORIGIN, 1, EPOCH, 0, f"raw:{person}"))

    def signatures_and_cipher() -> None:
        for _ in range(RECORDS):
            source.key.sign(signed)
            source.key.sign(entry)
            AESGCM(key.key).encrypt(sample.envelope[1:13], plaintext, sample.deposited)

    vrfs, parts, new, known = [], [], [], []
    for _ in range(slices):
        accesses = [an_access(next(persons)) for _ in range(RECORDS)]
        vrfs.append(_seconds(vrf))
        new.append(_seconds(lambda made=accesses: [maker.prepare(a, 1) for a in made]))  # type: ignore[misc]
        parts.append(_seconds(signatures_and_cipher))
        known.append(_seconds(lambda made=accesses: [maker.prepare(a, 2) for a in made]))  # type: ignore[misc]
    rate_new, rate_known = 1 / min(new), 1 / min(known)
    share_new = (min(vrfs) + min(parts)) / min(new)
    report.add(
        Figure("prepare: new subjects, of the parts alone", rate_new, "records/s", share_new, NEW_SHARE)
    )
    share_known = min(parts) / min(known)
    needed = min(KNOWN_TO_NEW * rate_new * min(parts), KNOWN_SHARE)
    report.add(
        Figure("prepare: known subjects, of the parts alone", rate_known, "records/s", share_known, needed)
    )


def _seconds(work: Callable[[], object]) -> float:
    """Seconds of one core for one record."""
    started = time.thread_time()
    work()
    return (time.thread_time() - started) / RECORDS
