"""Two ledgers on one PostgreSQL against one, each `ledger serve` held to half a core with all its children.

What is measured is how fast entries are accepted, which is what more ledgers are for: sequencer and publisher run
beside, as they do, and are not held. Signatures are checked and made one at a time: eight at a time a ledger takes less
of the CPU than all the rest does, and two cores are full before two ledgers have used their halves. How much CPU the
ledgers really got is printed, as it decides what the figure is worth.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import mean

from bench.figures import Figure, Report
from bench.limit import holding
from bench.load import prepare, send_all
from bench.logs import bench_source
from bench.operator import Operator
from bench.postgres import Postgres
from bench.processes import CpuWindow, cpu_s, family

EACH = 30_000
BATCH = 500
CONNECTIONS = 8
SHARE = 0.5
ENOUGH = 0.9


def measure(report: Report, scale: float) -> None:
    """One, two, two and one, each on a fresh database: a machine is not equally fast all the time."""
    with report.against_raw() as ratio:
        (one, its_share), (two, their_share), (two_again, theirs_again), (one_again, its_again) = [
            _accept(report, ledgers, scale) for ledgers in (1, 2, 2, 1)
        ]
        one, its_share = mean((one, one_again)), min(its_share, its_again)
        two, their_share = mean((two, two_again)), min(their_share, theirs_again)
        report.add(Figure("two ledgers on PostgreSQL: one accepts", one, "entries/s", ratio(one)))
    name = "two ledgers on PostgreSQL: two accept"
    if min(its_share, their_share) < ENOUGH * SHARE:
        name += ", on a machine too busy to give each its half core"
    report.add(Figure(name, two, "entries/s", two / one, 1.6, of="one"))


def _accept(report: Report, ledgers: int, scale: float) -> tuple[float, float]:
    """Entries a second that so many ledgers accept, and the least share of a core that one of them got."""
    count = max(4 * BATCH, int(EACH * scale)) // BATCH
    with (
        Postgres() as server,
        tempfile.TemporaryDirectory(prefix="glassbook-bench-") as folder,
        Operator(Path(folder), server.url, ledgers, vectors="off") as operator,
    ):
        operator.register(bench_source(1))
        addresses = [address for address, _ in operator.serving]
        pids = [process.pid for _, process in operator.serving]
        # The first requests start children and read the register.
        send_all(addresses, CONNECTIONS * ledgers, prepare(bench_source(1), [BATCH] * CONNECTIONS * ledgers))
        requests = prepare(bench_source(1), [BATCH] * count * ledgers)
        with holding(SHARE, pids):
            time.sleep(1.0)
            before, cpu = {pid: _used(pid) for pid in pids}, CpuWindow([server.pid])
            started = time.perf_counter()
            send_all(addresses, CONNECTIONS * ledgers, requests)
            seconds = time.perf_counter() - started
            shares = [(_used(pid) - before[pid]) / seconds for pid in pids]
            window = cpu.seconds()
    part = f"two ledgers on PostgreSQL, {ledgers} of them"
    for number, share in enumerate(shares, 1):
        report.add(Figure(f"{part}: cores that ledger {number} used", share, ""))
    report.add_cpu(part, window, BATCH * count * ledgers)
    return BATCH * count * ledgers / seconds, min(shares)


def _used(pid: int) -> float:
    return sum(map(cpu_s, family(pid)))
