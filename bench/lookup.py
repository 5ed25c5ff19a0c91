"""A citizen's look-up: 50 sources with 40 records each, one epoch, one scheme, no seals, 2,000 envelopes.

Time is the client's: what passes inside the log (a `MemoryLog` here, a server in life) is measured apart and taken
off. The first part is everything that proves the list whole: pi, labels, index proofs, the register, entries and
their signatures. The second opens the envelopes and checks what is in them.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TypeVar

from bench.figures import Figure, Report
from bench.logs import DAY, EPOCH, NOW, ORIGIN, POLICY, LogBuilder, bench_source, registry_entries
from ledger.client.publiclog import IndexAnswer
from ledger.client.register import read_register
from ledger.client.view import View
from ledger.core.encoding import format_date
from ledger.core.keysfile import StreamSecret
from ledger.core.merkle import leaf_hash, node_hash
from ledger.core.policy import parse_policy
from ledger.core.sdjwt import commitment, issue
from ledger.core.streams import alpha, seal_envelope, stream_key
from ledger.core.tiles import ENTRIES, Tile, encode_bundle
from ledger.core.vrf import prove, public_key, verify
from verifier_cli.lookup import fetch_details, locate, open_streams, read_details, read_records

SOURCES = 50
RECORDS = 40
SUBJECT = "id:citizen-1"
T = TypeVar("T")


class MemoryLog:
    """A published log in memory, and how long was spent in it."""

    where = "memory"

    def __init__(self, built: LogBuilder, envelopes: dict[bytes, bytes]) -> None:
        self._built = built
        self._note = built.checkpoint()
        self._hashes = [[leaf_hash(raw) for raw in built.entries]]
        while len(self._hashes[-1]) > 1:
            row = self._hashes[-1]
            self._hashes.append([node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)])
        self._envelopes = envelopes
        self.seconds = 0.0

    def _timed(self, answer: Callable[[], T]) -> T:
        started = time.perf_counter()
        result = answer()
        self.seconds += time.perf_counter() - started
        return result

    def checkpoint(self) -> bytes:
        return self._note

    def tile(self, tile: Tile) -> bytes:
        first = 256 * tile.n
        if tile.level == ENTRIES:
            return self._timed(lambda: encode_bundle(self._built.entries[first : first + tile.width]))
        return self._timed(lambda: b"".join(self._hashes[8 * tile.level][first : first + tile.width]))

    def index_proofs(self, labels: Sequence[bytes]) -> IndexAnswer:
        last = self._built.entries[-1]
        return self._timed(lambda: IndexAnswer(self._note, last, [], self._built.index.prove_many(labels)))

    def envelopes(self, tokens: Sequence[bytes]) -> list[bytes | None]:
        return self._timed(lambda: [self._envelopes.get(sha256(token).digest()) for token in tokens])


def measure(report: Report, scale: float) -> None:
    """Time both parts, the fastest of five runs each: what is asked is the cost, not the noise."""
    log, keys = _person(max(1, int(SOURCES * scale)))
    policy = parse_policy(POLICY)
    proofs, details = [], []
    with report.against_raw() as ratio:
        for _ in range(5):
            log.seconds, started = 0.0, time.perf_counter()
            view = View.open(log, policy, NOW)
            register = read_register(view).register
            streams, faults = open_streams(keys, register)
            accesses, refuted = read_records(view, register, streams, locate(view, streams, {}))
            proofs.append(time.perf_counter() - started - log.seconds)

            envelopes = fetch_details(log, accesses) or []
            started = time.perf_counter()
            unopened = read_details(register, accesses, envelopes)
            details.append(time.perf_counter() - started)
            if faults or refuted or unopened or len(accesses) != RECORDS * len(keys):
                raise RuntimeError("the look-up did not find what was put into the log")
        rate = len(accesses) / (min(proofs) + min(details))
        report.add(Figure("lookup: records proven and opened", rate, "records/s", ratio(rate)))
    name = f"lookup: {len(accesses):,} records of {len(keys)} sources"
    report.add(Figure(f"{name}, proven", min(proofs), "s", target=0.5, at_least=False))
    report.add(Figure(f"{name}, opened", min(details), "s", target=0.5, at_least=False))


def _person(count: int) -> tuple[MemoryLog, list[StreamSecret]]:
    sources = [bench_source(number) for number in range(1, count + 1)]
    built = LogBuilder()
    for raw in registry_entries(sources):
        built.append(raw)
    built.close()
    keys, envelopes, waiting = [], {}, []
    for source in sources:
        stream_alpha = alpha(ORIGIN, source.number, EPOCH, 0, SUBJECT)
        pi = prove(source.vrf_seed, stream_alpha)
        beta = verify(public_key(source.vrf_seed), stream_alpha, pi)
        keys.append(StreamSecret(source.number, EPOCH, 0, SUBJECT, beta, pi))
        waiting += [(source, stream_key(beta), n) for n in range(1, RECORDS + 1)]
    secrets.SystemRandom().shuffle(waiting)
    for source, stream, n in waiting:
        sd_jwt = issue(ORIGIN, source.number, EPOCH, _claims(n), source.key)
        built.append(source.record(stream.label(n), commitment(sd_jwt.split("~")[0])))
        envelopes[stream.deposited(n)] = seal_envelope(stream, n, sd_jwt, secrets.token_bytes(12))
    built.close()
    return MemoryLog(built, envelopes), keys


def _claims(n: int) -> dict[str, object]:
    return {
        "subject": SUBJECT,
        "actor": {
            "id": f"official-{n}", "role": "caseworker", "unit": "North", "on_behalf_of": "Department",
            "automated": False,
        },
        "event": {
            "at": f"{format_date(DAY)}T10:{n:02d}:00Z", "action": "https://w3id.org/dpv#Consult", "result": "opened",
            "system": "case", "outcome": "success", "trace_id": f"{n:032x}",
        },
        "data": {"categories": ["https://w3id.org/dpv/pd#HealthRecord"], "fields": ["address", "name"]},
        "purpose": {
            "activity": 1, "purpose": ["https://w3id.org/dpv#ServiceProvision"],
            "legal_basis": ["https://w3id.org/dpv#PublicInterest"],
        },
        "reason": {"text": "Renewal of a licence, as asked by letter", "case": f"C-{n}"},
    }  # fmt: skip
