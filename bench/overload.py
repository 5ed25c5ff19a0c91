"""Three times more than can be taken: what is admitted, how soon it and what is refused is answered, what is published.

Capacity is measured before and after, with as many connections as `ingest` uses, and with the same entries. In between
requests are made at three times that rate, whatever becomes of them; what is refused is offered again later. At the end
every entry that was answered as accepted is looked for in the published log.
"""

from __future__ import annotations

import http.client
import secrets
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import Figure, Report
from bench.ingest import BATCH, CONNECTIONS, Checkpoints
from bench.load import request_of
from bench.logs import BenchSource, bench_source
from bench.operator import Operator
from ledger.client.urllog import UrlLog
from ledger.client.view import View
from ledger.core.entries import decode_entry
from ledger.core.policy import Policy

SECONDS = 10.0
OFFERED = 3
ENOUGH = 2.5
"""Requests for each admitted, without which it was not three times too much."""
CLIENTS = 48
BODIES_A_SECOND = 14
"""Made before the clock starts; a machine that takes more ends the part sooner."""


@dataclass(slots=True)
class Load:
    """What clients met: entries accepted, how long answers took, and when the last came, in seconds."""

    accepted: list[bytes] = field(default_factory=list)
    admitted_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Entries accepted a second."""
        return len(self.accepted) / self.seconds

    @property
    def offered(self) -> float:
        """Requests made for each that was admitted."""
        return (len(self.admitted_s) + len(self.refused_s)) / len(self.admitted_s)


def measure(report: Report, scale: float) -> None:
    """Capacity for SECONDS, three times as much for as long, and capacity again."""
    source, seconds = bench_source(1), max(2.0, SECONDS * scale)
    loads: list[Load] = []
    with tempfile.TemporaryDirectory(prefix="glassbook-bench-") as folder, Operator(Path(folder)) as operator:
        operator.register(source)
        checkpoints = Checkpoints(operator)
        size = checkpoints.newest.checkpoint.size
        for offered in (1, OFFERED, 1):
            batches = _batches(source, seconds)
            between = BATCH / loads[0].rate / offered if loads else 0.0
            clients = CONNECTIONS if offered == 1 else CLIENTS
            loads.append(_offer(operator.ledger, batches, clients, seconds, between if offered > 1 else 0.0))
            size += len(loads[-1].accepted)
            checkpoints.wait_until(size)
        _check_published(operator.public, operator.policy, [raw for load in loads for raw in load.accepted])
    before, load, after = loads
    capacity = (before.rate + after.rate) / 2
    report.add(Figure("overload: capacity, before and after", capacity, "entries/s"))
    report.add(Figure("overload: requests made for each admitted", load.offered, "", target=ENOUGH))
    report.add(Figure("overload: admitted, of capacity", load.rate, "entries/s", load.rate / capacity, 0.8))
    for name, found in (("admitted", load.admitted_s), ("refused", load.refused_s)):
        if not found:
            continue
        report.add(Figure(f"overload: {name}, answered: median", _quantile(found, 0.5), "s"))
        target = 2.0 if name == "admitted" else None
        report.add(
            Figure(f"overload: {name}, answered: p99", _quantile(found, 0.99), "s", None, target, False)
        )
        report.add(Figure(f"overload: {name}, answered: slowest", max(found), "s"))
    report.add(Figure("overload: accepted and published", len(load.accepted), "entries"))


def _batches(source: BenchSource, seconds: float) -> list[tuple[list[bytes], bytes]]:
    """Entries and the body that hands them in, enough for so many seconds."""
    found = []
    for _ in range(int(BODIES_A_SECOND * seconds)):
        entries = [source.record(secrets.token_bytes(32), secrets.token_bytes(32)) for _ in range(BATCH)]
        found.append((entries, request_of(entries).body))
    return found


def _offer(
    address: str, batches: list[tuple[list[bytes], bytes]], clients: int, seconds: float, between: float
) -> Load:
    """Hand in for so many seconds, a request every `between` seconds; each client one after another.

    With 0 each client hands in without a pause, and waits as long as it is asked to when it is refused.
    """
    load, lock = Load(), threading.Lock()
    started = time.perf_counter()
    until, turn = started + seconds, started

    def next_turn() -> float:
        nonlocal turn
        with lock:
            turn = max(turn + between, time.perf_counter() - seconds * between)
            return turn

    def hand_in() -> None:
        connection = http.client.HTTPConnection(address, timeout=60)
        while time.perf_counter() < until:
            with lock:
                if not batches:
                    break
                entries, body = batches.pop()
            time.sleep(max(0.0, min(next_turn(), until) - time.perf_counter()))
            begun = time.perf_counter()
            connection.request("POST", "/v1/entries", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
            connection.close()  # by the next turn the ledger may have closed it
            took = time.perf_counter() - begun
            if response.status == 200:
                if answer.count(b'"accepted"') != BATCH:
                    raise RuntimeError(f"not every entry was accepted: {answer[:300]!r}")
                load.admitted_s.append(took)
                with lock:
                    load.accepted += entries
                    load.seconds = time.perf_counter() - started
                continue
            if response.status not in (429, 503):
                raise RuntimeError(f"the ledger answered {response.status}")
            load.refused_s.append(took)
            batches.insert(0, (entries, body))
            if not between:
                time.sleep(float(response.headers["Retry-After"]))

    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(hand_in) for _ in range(clients)]:
            done.result()
    return load


def _check_published(public: str, policy: Policy, entries: Sequence[bytes]) -> None:
    """Raise RuntimeError unless the published index has each of these."""
    view = View.open(UrlLog(f"http://{public}"), policy, int(time.time()))
    labels = [label for raw in entries if (label := decode_entry(raw).index_label)]
    found = [
        proof.index
        for start in range(0, len(labels), BATCH)
        for proof in view.proofs(labels[start : start + BATCH])
    ]
    if None in found or len(set(found)) != len(entries):
        raise RuntimeError("an entry that was accepted is not published")


def _quantile(found: Sequence[float], at: float) -> float:
    return sorted(found)[min(len(found) - 1, int(len(found) * at))]
