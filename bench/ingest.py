"""Ingest: over HTTP until published under the log's keys and a plain witness, load generator included.

The clock runs from the first byte sent until the checkpoint that covers the last entry is published; every checkpoint
that appears on the way has its signatures checked once, and one receipt in a hundred is fetched and checked. Then the
same with every promise verified, and every receipt fetched and checked, by departments in processes of their own
(bench/checked.py). Everything is started with the commands an operator types.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.checked import checking
from bench.figures import Figure, Report
from bench.load import Prepared, prepare, send_all
from bench.logs import bench_source
from bench.operator import Operator
from bench.processes import CpuWindow
from ledger.client.urllog import UrlLog
from ledger.client.view import View
from ledger.core.policy import Opened

RECORDS = 120_000
BATCH = 1000
CONNECTIONS = 12
RECEIPTS_OF = 100
LOOK_S = 0.05
DEADLINE_S = 300

CHECKED_RECORDS = 60_000
DEPARTMENTS = 2


class Checkpoints:
    """The checkpoints as they are published, each opened under the policy once."""

    def __init__(self, operator: Operator) -> None:
        self._file = operator.home / "public" / "checkpoint"
        self._policy = operator.policy
        self._log = UrlLog(f"http://{operator.public}")
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

    def check_receipts(self, entries: Sequence[bytes]) -> None:
        """Make a receipt of each entry from the published log, as a department does, and check it."""
        view = View.open(self._log, self._policy, int(time.time()))
        receipts = view.receipts_of(entries)
        checker = view.checker()
        for receipt in receipts:
            if receipt is None:
                raise RuntimeError("an entry that was published has no receipt")
            checker.check(receipt)


def measure(report: Report, scale: float) -> None:
    """Hand in and publish; then the same with everything checked."""
    measure_plain(report, scale)
    measure_checked(report, scale)


def measure_plain(report: Report, scale: float) -> None:
    """Hand in RECORDS entries in requests of BATCH and wait until all are published."""
    count = rounded(RECORDS * scale, BATCH)
    with running() as operator:
        requests = prepare(bench_source(1), [BATCH] * (count // BATCH))
        checkpoints = Checkpoints(operator)
        before = len(checkpoints)
        with report.against_raw() as ratio:
            window, rate = send_and_publish(operator, checkpoints, requests)
            report.full_load = rate
            verified = f", {operator.verifying}" if operator.verifying else ""
            name = f"ingest: {count:,} entries, HTTP to published{verified}"
            report.add(Figure(name, rate, "entries/s", ratio(rate), 0.6))
        report.add_cpu("ingest", window, count)
        report.add(Figure("ingest: checkpoints on the way", len(checkpoints) - before, ""))


def measure_checked(report: Report, scale: float) -> None:
    """Everything checked: the clock stops when the last department has checked its last receipt."""
    each = rounded(CHECKED_RECORDS * scale / DEPARTMENTS, BATCH)
    with running() as operator, checking(operator, DEPARTMENTS, each, BATCH, CONNECTIONS) as departments:
        with report.against_raw() as ratio:
            cpu = CpuWindow()
            started = time.perf_counter()
            told = departments.run()
            rate = each * DEPARTMENTS / (time.perf_counter() - started)
            window = cpu.seconds()
            name = f"ingest, all checked: {each * DEPARTMENTS:,} entries, promises and receipts"
            report.add(Figure(name, rate, "entries/s", ratio(rate), 0.3))
        report.add_cpu("ingest, all checked", window, each * DEPARTMENTS)
        for what in told[0]:
            value = 1e6 * sum(spent[what] for spent in told) / (each * DEPARTMENTS)
            report.add(Figure(f"ingest, all checked: of the client's CPU, {what}", value, "µs/entry"))


@contextmanager
def running() -> Iterator[Operator]:
    """A running log with the sources of all departments registered."""
    with tempfile.TemporaryDirectory(prefix="glassbook-bench-") as folder, Operator(Path(folder)) as operator:
        for number in range(1, DEPARTMENTS + 1):
            operator.register(bench_source(number))
        yield operator


def rounded(count: float, batch: int) -> int:
    """So many, in whole batches, at least one."""
    return max(batch, int(count) // batch * batch)


def send_and_publish(
    operator: Operator, checkpoints: Checkpoints, requests: Sequence[Prepared]
) -> tuple[dict[str, float], float]:
    """CPU seconds by role, and entries a second, from the first byte sent until all is published and sampled."""
    entries = [entry for request in requests for entry in request.entries]
    size = checkpoints.newest.checkpoint.size
    cpu, started = CpuWindow(), time.perf_counter()
    sending = threading.Thread(target=send_all, args=([operator.ledger], CONNECTIONS, requests))
    sending.start()
    checkpoints.wait_until(size + len(entries))
    sending.join()
    checkpoints.check_receipts(_sample(entries))
    rate = len(entries) / (time.perf_counter() - started)
    return cpu.seconds(), rate


def _sample(entries: Sequence[bytes]) -> list[bytes]:
    """One entry in RECEIPTS_OF: a tenth of every tenth request, neighbours as a department asks about them."""
    some = 1000 * BATCH // RECEIPTS_OF // 100
    starts = range(0, len(entries), 10 * BATCH)
    return [entry for start in starts for entry in entries[start : start + some]]
