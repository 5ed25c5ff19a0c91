"""Growth: what a record costs at three million entries against thirty thousand, and what such a log takes up.

Logs are filled (filling.py), and started by the commands an operator types. Then slices of signed records with
envelopes of 2 KiB are handed over HTTP, as `ingest` does, to the large one and to a small one in turn, until they are
published under a witness; to a new small one each time, as slices would soon make it several times as large. Counted
is the CPU time of all processes of the log: not that of the load generator and the witness. At last the large log is
stopped, and its published entries leave the database.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from bench.figures import Figure, Report
from bench.filling import fill
from bench.ingest import CONNECTIONS, Checkpoints
from bench.load import Prepared, prepare, send_all
from bench.logs import bench_source
from bench.operator import Operator
from bench.processes import SIGNATURES, cpu_s, family, memory_by_role, role
from bench.storage import stored
from ledger.client.urllog import UrlLog
from ledger.client.view import View
from ledger.core.entries import decode_entry
from ledger.logs import configure_logs
from ledger.sequencer.leaving import Leaving
from ledger.store import Store
from ledger.store.log import read_size

SMALL, LARGE = 30_000, 3_000_000
SLICE, SLICES, REQUEST = 20_000, 5, 1_000
ON = 10
"""Slices that one small log goes on for: of that many entries about half come when labels settle."""
PROVEN = 2_000
IDLE, IDLE_S, PATIENCE_S = 0.1, 1.0, 120


def measure(report: Report, scale: float) -> None:
    """Grow a large log, and measure slices of it and of small ones; then its bytes, and its memory as it runs."""
    configure_logs()
    large = max(2 * SMALL, int(LARGE * scale))
    with tempfile.TemporaryDirectory(prefix="glassbook-bench-") as folder:
        big = Operator(Path(folder, "large"))
        try:
            big.found()
            began = time.perf_counter()
            fill(big, bench_source(1), large)
            report.add(Figure("growth: filled", large / (time.perf_counter() - began), "records/s"))
            _start(report, big)
            _costs(report, Path(folder), big, large)
            _memory(report, big)
            big.stop()
            _storage(report, big)
            _leaving(report, big)
        finally:
            big.stop()


def _start(report: Report, big: Operator) -> None:
    began = time.perf_counter()
    big.start()
    report.add(Figure("growth: from `up` until all answer", time.perf_counter() - began, "s"))
    _wait_idle(big)
    report.add(Figure("growth: from `up` until the sequencer has warmed", time.perf_counter() - began, "s"))


@contextmanager
def _small(folder: Path) -> Iterator[Operator]:
    """A running log of SMALL entries, the last of them handed in: they make what is made when needed."""
    small = Operator(folder)
    try:
        small.found()
        fill(small, bench_source(1), SMALL - SLICE)
        small.start()
        _wait_idle(small)
        _cost(small)
        yield small
    finally:
        small.stop()


def _wait_idle(operator: Operator) -> None:
    """Until its processes together take less than IDLE of a core."""
    assert operator.up is not None
    deadline = time.monotonic() + PATIENCE_S
    while True:
        pids = family(operator.up.pid)
        before = sum(map(cpu_s, pids))
        time.sleep(IDLE_S)
        if sum(map(cpu_s, pids)) - before < IDLE * IDLE_S:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the log is still at work {PATIENCE_S} s after its start")


class Cost(NamedTuple):
    """CPU microseconds of a record: of the children that check and make signatures, and of all other processes."""

    signatures: float
    others: float

    @property
    def all(self) -> float:
        """Both."""
        return self.signatures + self.others


def _costs(report: Report, folder: Path, big: Operator, large: int) -> None:
    _cost(big)
    costs = []
    for number in range(SLICES):  # in turn, as a machine that is shared is not always equally fast
        with _small(folder / f"small-{number}") as small:
            costs.append((_cost(small), _cost(big)))
            if number == SLICES - 1:
                on = [costs[-1][0].all, *(_cost(small).all for _ in range(ON - 1))]
    little, much = (Cost(*map(mean, zip(*found, strict=True))) for found in zip(*costs, strict=True))
    name = f"growth: CPU per record at {large:,} entries, against {little.all:.1f} µs at {SMALL:,}"
    report.add(Figure(name, much.all, "µs", much.all / little.all, 1.3, False, of="the small log's"))
    name = f"growth: the same without signatures, against {little.others:.1f} µs"
    report.add(Figure(name, much.others, "µs", much.others / little.others, of="the small log's"))
    # The first labels of a log wait: what it costs to settle them comes later, when others are handed in.
    on_to = f"{mean(on):.1f} µs from {SMALL:,} to {SMALL + ON * SLICE:,}, as labels settle"
    name = f"growth: CPU per record at {large:,} entries, against {on_to}"
    report.add(Figure(name, much.all, "µs", much.all / mean(on), of="the small log's"))


def _cost(operator: Operator) -> Cost:
    """What a record takes on the ledger's whole way, over one slice."""
    requests = prepare(bench_source(1), [REQUEST] * (SLICE // REQUEST))
    checkpoints = Checkpoints(operator)
    assert operator.up is not None
    pids = family(operator.up.pid)
    before = {pid: cpu_s(pid) for pid in pids}
    send_all([operator.ledger], CONNECTIONS, requests)
    checkpoints.wait_until(checkpoints.newest.checkpoint.size + SLICE)
    spent = {pid: 1e6 * (cpu_s(pid) - before[pid]) / SLICE for pid in pids}
    signatures = sum(spent[pid] for pid in pids if role(pid) == SIGNATURES)
    return Cost(signatures, sum(spent.values()) - signatures)


def _storage(report: Report, operator: Operator) -> None:
    found, size = stored(operator), _size(operator)
    report.add(Figure("growth: database without envelopes", found.database / size, "bytes/record"))
    report.add(Figure("growth: public files", found.public / size, "bytes/record"))
    name = f"growth: storage without envelopes, {size:,} entries"
    value = (found.database + found.public) / size
    report.add(Figure(name, value, "bytes/record", target=450, at_least=False))


def _leaving(report: Report, operator: Operator) -> None:
    """The same with keep_days = 0: what the last pages hold once all entries that may have left."""
    store = Store.open(operator.settings.database)
    try:
        one, slices = Leaving(store, store, 0), []
        more = True
        while more:
            began = time.perf_counter()
            more = one.step()
            slices.append(time.perf_counter() - began)
    finally:
        store.close()
    found, size = stored(operator), _size(operator)
    value = (found.database - found.free + found.public) / size
    report.add(Figure("growth: storage without envelopes, with keep_days = 0", value, "bytes/record"))
    report.add(Figure("growth: of entries that leave, the longest transaction", 1e3 * max(slices), "ms"))


def _size(operator: Operator) -> int:
    store = Store.open(operator.settings.database)
    try:
        with store.read() as db:
            return read_size(db)
    finally:
        store.close()


def _memory(report: Report, operator: Operator) -> None:
    """What the running log holds after it has taken records in and proven labels."""
    requests = prepare(bench_source(1), [REQUEST] * 5)
    send_all([operator.ledger], 4, requests)
    view = _prove(operator, requests)
    assert operator.up is not None
    found = memory_by_role(operator.up.pid)
    for name, mib in found.items():
        report.add(Figure(f"growth: resident, {name} ({len(mib)})", sum(mib), "MiB"))
    name = f"growth: resident, all processes together, {view.size:,} entries"
    report.add(Figure(name, sum(map(sum, found.values())), "MiB", target=500, at_least=False))


def _prove(operator: Operator, requests: Sequence[Prepared]) -> View:
    """Prove PROVEN labels of what was handed in, under a checkpoint that covers them all."""
    labels = [decode_entry(raw).index_label or b"" for one in requests for raw in one.entries][-PROVEN:]
    deadline = time.monotonic() + 60
    while True:
        view = View.open(UrlLog(f"http://{operator.public}"), operator.policy, int(time.time()))
        if all(one.index is not None for one in view.proofs(labels)):
            return view
        if time.monotonic() > deadline:
            raise RuntimeError("what was handed in is not published after a minute")
        time.sleep(0.2)
