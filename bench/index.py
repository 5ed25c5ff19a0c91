"""The index at a million labels: inserting, starting up, memory, and one proof, as the servers do it.

The log is sequenced by the real sequencer into a real SQLite database. The entries are records with random labels
and no valid signature: the sequencer does not look at signatures again, and the ledger that does is measured by
`ingest`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Figure, Report
from bench.logs import ORIGIN, charter_entry
from ledger.core.entries import Record
from ledger.core.index import MemoryRows, PrefixTree
from ledger.core.indexparts import SPLIT_BITS, PartedTree
from ledger.core.indexproof import ROW
from ledger.core.merkle import leaf_hash
from ledger.sequencer.run import Sequencer, begin_log
from ledger.store import Store, acceptances, inbox

LABELS = 1_000_000
BATCH = 10_000
PROOFS = 200
FULL, FULL_BITS, TRIED = 1_400, 4, 100
"""Labels a bucket in a log of 365 million, how many buckets of such are made, and how often each thing is done."""

_DAY = 20_500


def measure(report: Report, scale: float) -> None:
    """Build the index once, then open it in a fresh process: what a restart costs and what stays resident."""
    labels = max(BATCH, int(LABELS * scale))
    with tempfile.TemporaryDirectory(prefix="glassbook-bench-") as folder:
        url = f"sqlite:///{Path(folder, 'ledger.sqlite')}"
        with report.against_raw() as ratio:
            rate = _build(url, labels)
            report.add(Figure(f"index: sequenced into {labels:,} labels", rate, "labels/s", ratio(rate)))
        opened = json.loads(
            subprocess.run(
                [sys.executable, "-m", "bench.index", url], check=True, capture_output=True, text=True
            ).stdout
        )
    report.add(Figure("index: start-up", opened["start_s"], "s", target=2.0, at_least=False))
    report.add(Figure("index: resident", opened["resident_mib"], "MiB", target=300, at_least=False))
    report.add(
        Figure("index: one proof, slowest of 200", opened["proof_ms"], "ms", target=5.0, at_least=False)
    )

    insert_ms, proof_ms = _full_buckets()
    what = f"in a bucket of {FULL:,} labels"
    report.add(Figure(f"index: CPU to put a label in, {what}", insert_ms, "ms"))
    report.add(Figure(f"index: CPU of a proof, {what}", proof_ms, "ms"))


def _full_buckets() -> tuple[float, float]:
    """Milliseconds to put one label in and to prove one, where buckets are as full as in a log hundreds of times as
    large: few buckets stand for many, as what is done in one does not depend on how many there are."""
    rows = MemoryRows(FULL_BITS + SPLIT_BITS)
    tree = PartedTree(rows, FULL_BITS)
    count = FULL << FULL_BITS
    tree.insert_packed(rows, [ROW.pack(os.urandom(32), index) for index in range(count)])
    begun = time.process_time()
    for index in range(TRIED):
        tree.insert_packed(rows, [ROW.pack(os.urandom(32), count + index)])
    inserted = time.process_time()
    for _ in range(TRIED):
        tree.prove(os.urandom(32))
    return 1e3 * (inserted - begun) / TRIED, 1e3 * (time.process_time() - inserted) / TRIED


def _build(url: str, count: int) -> float:
    store = Store.open(url, create=True)
    begin_log(store, ORIGIN, charter_entry())
    sequencer = Sequencer(store, ORIGIN, BATCH)
    spent = 0.0
    for _ in range(0, count, BATCH):
        _fill_inbox(store)
        started = time.perf_counter()
        sequencer.step()
        while sequencer.settle():
            pass
        spent += time.perf_counter() - started
    store.close()
    return count / spent


def _fill_inbox(store: Store) -> None:
    rows = inbox.Arrivals()
    for _ in range(BATCH):
        record = Record(1, 2026, _DAY, 0, 1, os.urandom(32), bytes(32), bytes(64))
        entry = record.encode()
        rows.add(entry, record.index_label, leaf_hash(entry))
    with store.write() as db:
        first = inbox.next_number(db)
        inbox.put(db, first, rows)
        acceptances.note_runs(db, [acceptances.Run(first, 0, 1)])


def _open(url: str) -> dict[str, float]:
    """In a fresh process: load the index and prove labels, present and absent."""
    from ledger.store import log, recents
    from ledger.store.buckets import StoredRows, load_tree

    started = time.perf_counter()
    store = Store.open(url)
    with store.read() as db:
        state = log.read_state(db)
        rows = StoredRows(state.size)
        rows.db = db
        tree = PrefixTree(rows)
        load_tree(db, tree, state.size)
        if tree.root != state.index_root:
            raise SystemExit("the index that was loaded has another root than the one that was written")
        rows.catch_up()  # as the publisher does before anybody asks
        start_s = time.perf_counter() - started
        known = [label for label, _ in recents.unsettled(db, state.last)[: PROOFS // 2]]
        slowest = 0.0
        for label in known + [os.urandom(32) for _ in range(PROOFS // 2)]:
            begun = time.perf_counter()
            tree.prove(label)
            slowest = max(slowest, time.perf_counter() - begun)
    return {"start_s": start_s, "resident_mib": _resident_mib(), "proof_ms": slowest * 1000}


def _resident_mib() -> float:
    """The most memory this process ever held, in MiB."""
    try:
        # Not ru_maxrss: on Linux a child starts with its parent's.
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
            1024 if sys.platform == "linux" else 1 << 20
        )


if __name__ == "__main__":
    print(json.dumps(_open(sys.argv[1])))
