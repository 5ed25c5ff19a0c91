"""Ingest: over HTTP until published under the log's keys and a plain witness, load generator included.

What a department makes (signature, label, envelope) is made before the clock starts. The clock runs from the first
byte sent until the checkpoint that covers the last entry is published; every checkpoint that appears on the way has
its signatures checked once, and one receipt in a hundred is fetched and checked. Everything is started with the
commands an operator types.
"""

from __future__ import annotations

import http.client
import json
import queue
import secrets
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from bench.figures import Figure, Report
from bench.logs import bench_source
from bench.operator import Operator
from ledger.client.urllog import UrlLog
from ledger.client.view import View
from ledger.core.encoding import b64encode
from ledger.core.entries import decode_entry
from ledger.core.policy import Opened
from ledger.core.receipt import check_receipt

RECORDS = 120_000
BATCH = 1000
CONNECTIONS = 12
# The plaintext is 2 KiB; version, nonce and tag come on top (docs/formats.md §4).
ENVELOPE_BYTES = 2048 + 29
RECEIPTS_OF = 100
LOOK_S = 0.05
DEADLINE_S = 300


class Checkpoints:
    """The checkpoints as they are published, each opened under the policy once."""

    def __init__(self, operator: Operator) -> None:
        self._file = operator.home / "public" / "checkpoint"
        self._policy = operator.policy
        self._opened: dict[bytes, Opened] = {}
        self.newest = self._open(self._file.read_bytes())

    def __len__(self) -> int:
        return len(self._opened)

    def _open(self, note: bytes) -> Opened:
        if note not in self._opened:
            self._opened[note] = self._policy.open(note, int(time.time()))
        return self._opened[note]

    def wait_until(self, size: int) -> None:
        """Look at the published checkpoint until it covers `size` entries."""
        deadline = time.monotonic() + DEADLINE_S
        while self.newest.checkpoint.size < size:
            if time.monotonic() > deadline:
                raise RuntimeError(f"size {self.newest.checkpoint.size} after {DEADLINE_S} s, not {size}")
            time.sleep(LOOK_S)
            self.newest = self._open(self._file.read_bytes())

    def check_receipts(self, public: str, entries: Sequence[bytes]) -> None:
        """Make a receipt of each entry from the published log, as a department does, and check it."""
        now = int(time.time())
        view = View.open(UrlLog(f"http://{public}"), self._policy, now)
        for receipt in view.receipts([label for raw in entries if (label := decode_entry(raw).index_label)]):
            if receipt is None:
                raise RuntimeError("an entry that was published has no receipt")
            check_receipt(receipt, self._policy, now, view.opened)


def measure(report: Report, scale: float) -> None:
    """Hand in RECORDS entries in requests of BATCH and wait until all are published."""
    source = bench_source(1)
    count = max(BATCH, int(RECORDS * scale) // BATCH * BATCH)
    with tempfile.TemporaryDirectory(prefix="glassbook-bench-") as folder, Operator(Path(folder)) as operator:
        operator.register(source)
        entries = [source.record(secrets.token_bytes(32), secrets.token_bytes(32)) for _ in range(count)]
        bodies = [make_body(entries[start : start + BATCH]) for start in range(0, count, BATCH)]
        checkpoints = Checkpoints(operator)
        before, size = len(checkpoints), checkpoints.newest.checkpoint.size
        with report.against_raw() as ratio:
            started = time.perf_counter()
            sending = threading.Thread(target=_send_all, args=(operator.ledger, bodies))
            sending.start()
            checkpoints.wait_until(size + count)
            sending.join()
            checkpoints.check_receipts(operator.public, _sample(entries))
            rate = count / (time.perf_counter() - started)
            report.add(
                Figure(f"ingest: {count:,} entries, HTTP to published", rate, "entries/s", ratio(rate), 0.35)
            )
        report.add(Figure("ingest: checkpoints on the way", len(checkpoints) - before, ""))


def _sample(entries: Sequence[bytes]) -> list[bytes]:
    """One entry in RECEIPTS_OF: a tenth of every tenth request, neighbours as a department asks about them."""
    some = 1000 * BATCH // RECEIPTS_OF // 100
    starts = range(0, len(entries), 10 * BATCH)
    return [entry for start in starts for entry in entries[start : start + some]]


def make_body(entries: Sequence[bytes]) -> bytes:
    """A request's body with these entries, each with an envelope of ENVELOPE_BYTES."""
    submissions = []
    for entry in entries:
        # A ledger cannot tell an envelope from random bytes, and must not be able to.
        envelope = b"\x01" + secrets.token_bytes(ENVELOPE_BYTES - 1)
        fetch = sha256(secrets.token_bytes(32)).digest()
        submissions.append(
            {"entry": b64encode(entry), "envelope": b64encode(envelope), "fetch": b64encode(fetch)}
        )
    return json.dumps({"entries": submissions}, separators=(",", ":")).encode()


def _send_all(address: str, bodies: Sequence[bytes]) -> None:
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for body in bodies:
        waiting.put(body)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for done in [pool.submit(_send, address, waiting) for _ in range(CONNECTIONS)]:
            done.result()


def _send(address: str, waiting: queue.SimpleQueue[bytes]) -> None:
    """Hand bodies in over one connection until none is left; a busy ledger is asked again when it says."""
    connection = http.client.HTTPConnection(address, timeout=60)
    while True:
        try:
            body = waiting.get_nowait()
        except queue.Empty:
            connection.close()
            return
        while True:
            connection.request("POST", "/v1/entries", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
            if response.status == 200:
                break
            if response.status not in (429, 503):
                raise RuntimeError(f"the ledger answered {response.status}")
            time.sleep(float(response.headers.get("Retry-After", "1")))
        if answer.count(b'"accepted"') != BATCH:
            raise RuntimeError(f"the ledger did not accept every entry of a batch: {answer[:300]!r}")
