"""Latency: from `POST /v1/entries?wait=published` sent until the witnessed receipts are there, at half of full load.

The load is that of `ingest`, and as there not every receipt is asked for: one request in WATCHED waits for its own. To
make all of them is other work, which `ingest, all checked` measures.

Requests of 1 to 200 entries arrive at fixed times, whether or not earlier ones are answered (open loop): a request
counts from the moment it was due, so that a log that falls behind cannot hide it. What the figures are held against is
the *publish interval*: two batches of the sequencer begin at least `[sequencer] interval_ms` apart, the publisher
looks every POLL_SECONDS whether there is a new one, and waits up to `[publisher] witness_wait_ms` for witnesses beyond
the quorum. The interval is the first of these, as it bounds how often something is published.
"""

from __future__ import annotations

import json
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from bench import ingest
from bench.figures import Figure, Report
from bench.load import Connection, Prepared, prepare
from bench.logs import bench_source
from bench.processes import CpuWindow
from ledger.core.policy import Policy
from ledger.core.receipt import check_receipt, read_receipt

SECONDS = 30
LARGEST = 200
CONNECTIONS = 64
SAMPLES = 50
WATCHED = 20
WAIT = "?wait=published"
SHARE = 0.5
OF_THE_INTERVAL = 2.0


class Arrival(NamedTuple):
    """A request, when it is due (seconds from the beginning), and whether it waits for its receipts."""

    at: float
    request: Prepared
    query: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """A request, when it was due (seconds by the monotonic clock), how long its answer took, and the answer."""

    request: Prepared
    query: str
    due: float
    seconds: float
    answer: bytes


def measure(report: Report, scale: float) -> None:
    """Half of the full load that `ingest` measured in this run; it is measured first where it was not."""
    if not report.full_load:
        ingest.measure_plain(report, scale)
    rate = SHARE * report.full_load
    sizes = _sizes(int(rate * max(2.0, SECONDS * scale)))
    with ingest.running() as operator:
        requests = prepare(bench_source(1), sizes)
        begin = [before / rate for before in accumulate(sizes, initial=0)]
        arrivals = [
            Arrival(at, request, "" if number % WATCHED else WAIT)
            for number, (at, request) in enumerate(zip(begin, requests, strict=False))
        ]
        cpu = CpuWindow()
        answered = [one for one in offer(operator.ledger, arrivals) if one.query]
        window = cpu.seconds()
        published = [
            one for one in answered if one.answer.count(b'"status":"published"') == len(one.request.entries)
        ]
        _check(random.sample(published, min(SAMPLES, len(published))), operator.policy)
        interval = operator.settings.interval_ms / 1000
    took = sorted(one.seconds for one in answered)
    name = f"latency: POST to witnessed receipts, {len(took):,} of {len(sizes):,} requests at {rate:,.0f} entries/s"
    slow = percentile(took, 99)
    report.add(Figure("latency: publish interval", interval, "s"))
    report.add(Figure(f"{name}, p50", percentile(took, 50), "s"))
    report.add(Figure(f"{name}, p99", slow, "s", slow / interval, OF_THE_INTERVAL, False, of="the interval"))
    report.add(
        Figure("latency: answered without a receipt", len(answered) - len(published), "", None, 0, False)
    )
    report.add_cpu("latency", window, sum(sizes))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value that `percent` of these are not above; they are in order."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _sizes(entries: int) -> list[int]:
    """Sizes of requests, each from 1 to LARGEST as likely as any other, until they have so many entries."""
    sizes: list[int] = []
    while sum(sizes) < entries:
        sizes.append(random.randint(1, LARGEST))
    return sizes


def offer(
    address: str,
    arrivals: Sequence[Arrival],
    connections: int = CONNECTIONS,
    answered: Callable[[Answered], None] = lambda one: None,
) -> list[Answered]:
    """Send each request when it is due, and wait for all answers; `answered` is told of each as it comes."""
    due_now: queue.SimpleQueue[tuple[float, Arrival] | None] = queue.SimpleQueue()
    found: list[Answered] = []
    failed: list[Exception] = []

    def send() -> None:
        connection = Connection(address)
        try:
            while (item := due_now.get()) is not None:
                due, one = item
                answer = connection.hand_in(one.request, one.query)
                found.append(Answered(one.request, one.query, due, time.monotonic() - due, answer))
                answered(found[-1])
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(connections)]
    for thread in threads:
        thread.start()
    begun = time.monotonic() + 0.1
    for one in arrivals:
        time.sleep(max(0.0, begun + one.at - time.monotonic()))
        due_now.put((begun + one.at, one))
    for _ in threads:
        due_now.put(None)
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return found


def _check(some: Sequence[Answered], policy: Policy) -> None:
    """The receipts in these answers hold, and are those of the entries that were sent."""
    now = int(time.time())
    for one in some:
        results = json.loads(one.answer)["results"]
        for entry, result in zip(one.request.entries, results, strict=True):
            checked = check_receipt(read_receipt(result["receipt"]), policy, now)
            if checked.receipt.entry != entry:
                raise RuntimeError("a receipt is for another entry than the one handed in")
