"""Growth: what a record costs at three million entries against thirty thousand, and what such a log takes up.

The large log is filled through the inbox with records that nobody signed, envelopes as small as can be, and sequenced
and published by the real sequencer and publisher in this process. In a small log and in the large one, slices of
signed records with envelopes of 2 KiB go the ledger's whole way in turn: checked, written into the inbox in one
transaction for all who wait, sequenced, and published under a witness. Counted is this process's CPU time; signatures,
whose cost does not depend on the log, are checked in children and do not count. Then the large log is opened by the
commands an operator types, and at last its published entries leave the database.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.figures import Figure, Report
from bench.load import Prepared, prepare, send_all
from bench.logs import DAY, EPOCH, bench_source
from bench.operator import Operator
from bench.processes import memory_by_role
from bench.storage import stored
from ledger.client.urllog import UrlLog
from ledger.client.view import View
from ledger.core.entries import Record, decode_entry
from ledger.core.merkle import leaf_hash
from ledger.logs import configure_logs
from ledger.publicfiles import open_public_files
from ledger.sequencer.leaving import Leaving
from ledger.sequencer.run import Sequencer
from ledger.service.acceptance import Acceptance, Accepted
from ledger.service.body import Submission, parse_document
from ledger.store import Connection, Store, acceptances, inbox
from ledger.store.log import read_size
from publisher.cli import read_signer
from publisher.policy import PolicyFile
from publisher.published import Published
from publisher.run import Publisher
from publisher.signing import SignedFile

SMALL, LARGE = 30_000, 3_000_000
SLICE, SLICES, REQUEST = 10_000, 5, 1_000
LEAST_ENVELOPE = bytes(30)
PROVEN = 2_000
REGISTERED = 2
"""The charter and one source."""


def measure(report: Report, scale: float) -> None:
    """Grow two logs and measure slices of both in turn; then bytes, and memory of the large one as it runs."""
    configure_logs()
    large = max(2 * SMALL, int(LARGE * scale))
    with tempfile.TemporaryDirectory(prefix="glassbook-bench-") as folder:
        small, big = (Operator(Path(folder, name)) for name in ("small", "large"))
        try:
            for operator in (small, big):
                operator.found()
            with Writing(small) as one, Writing(big) as other:
                one.fill(SMALL)
                began = time.perf_counter()
                other.fill(large)
                filled = other.size / (time.perf_counter() - began)
                # In turn, as a machine that is shared is not always equally fast.
                costs = [(one.cost(), other.cost()) for _ in range(SLICES)]
                size = other.size
            little, much = (sum(found) / SLICES for found in zip(*costs, strict=True))
            report.add(Figure("growth: filled, sequenced and published", filled, "records/s"))
            name = f"growth: CPU per record at {large:,} entries, against {little:.1f} µs at {SMALL:,}"
            report.add(Figure(name, much, "µs", much / little, 1.3, False, of="the small log's"))
            _storage(report, big, size)
            _memory(report, big)
            big.stop()
            _leaving(report, big)
        finally:
            small.stop()
            big.stop()


class Writing:
    """Ledger, sequencer and publisher of one log in this process."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._settings = operator.settings
        self._store = Store.open(self._settings.database)
        self._sequencer = Sequencer(self._store, operator.origin, SLICE)
        signer = read_signer(self._settings, None)
        self._files = open_public_files(self._settings.public)
        self._publisher = Publisher(
            self._store,
            self._files,
            signer,
            SignedFile(self._settings.keys / "signed"),
            PolicyFile(self._settings.policy, *signer.vkeys),
            Published(self._store),
            witness_wait_s=self._settings.witness_wait_ms / 1000,
        )
        self._acceptance = Acceptance(self._store, operator.origin, self._settings.inbox_limit)
        self._source = bench_source(1)
        self.size = 0

    def __enter__(self) -> Writing:
        self._files.prepare()
        asyncio.run(self._accept([_document([self._operator.registration(self._source)])]))
        self._move_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._publisher.close()
        self._acceptance.close()
        self._store.close()

    def fill(self, size: int) -> None:
        """Grow the log to this size, about, past the ledger's checks."""
        while self.size < size:
            rows = inbox.Arrivals()
            for _ in range(SLICE):
                random = os.urandom(96)
                entry = Record(1, EPOCH, DAY, 0, 1, random[:32], random[32:64], bytes(64)).encode()
                label = decode_entry(entry).index_label or b""
                rows.add(entry, label, leaf_hash(entry), LEAST_ENVELOPE, random[64:])
            self._store.change(lambda db, rows=rows: _put(db, rows))  # type: ignore[misc]
            self._move_on()

    def cost(self) -> float:
        """CPU microseconds of a record on the ledger's whole way, over one slice."""
        requests = prepare(self._source, [REQUEST] * (SLICE // REQUEST))
        documents = [parse_document(one.body) for one in requests]
        begun = time.process_time()
        asyncio.run(self._accept(documents))
        self._move_on()
        return 1e6 * (time.process_time() - begun) / SLICE

    async def _accept(self, documents: Sequence[Sequence[object]]) -> None:
        now = int(time.time())
        accepted = await asyncio.gather(*(self._acceptance.accept(one, now) for one in documents))  # type: ignore[arg-type]
        for outcomes in accepted:
            if not all(isinstance(outcome, Accepted) for outcome in outcomes):
                raise RuntimeError(f"the ledger did not take an entry: {outcomes[:1]}")

    def _move_on(self) -> None:
        while (done := self._sequencer.step()) is not None:
            self.size = done.size
            while self._sequencer.settle():
                pass
        if not self._publisher.round():
            raise RuntimeError(f"nothing was published: {self._publisher.status}")


def _put(db: Connection, rows: inbox.Arrivals) -> None:
    first = inbox.next_number(db)
    inbox.put(db, first, rows)
    acceptances.note_runs(db, [acceptances.Run(first, 0, REGISTERED)])


def _document(entries: Sequence[bytes]) -> Sequence[object]:
    return [Submission(entry, None, None) for entry in entries]


def _storage(report: Report, operator: Operator, size: int) -> None:
    found = stored(operator)
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
        with store.read() as db:
            size = read_size(db)
    finally:
        store.close()
    found = stored(operator)
    value = (found.database - found.free + found.public) / size
    report.add(Figure("growth: storage without envelopes, with keep_days = 0", value, "bytes/record"))
    report.add(Figure("growth: of entries that leave, the longest transaction", 1e3 * max(slices), "ms"))


def _memory(report: Report, operator: Operator) -> None:
    """What the running log holds after it has started, taken records in and proven labels."""
    began = time.perf_counter()
    operator.start()
    requests = prepare(bench_source(1), [REQUEST] * 5)
    send_all([operator.ledger], 4, requests)
    view = _prove(operator, requests)
    report.add(Figure("growth: from `up` to the first proofs", time.perf_counter() - began, "s"))
    assert operator.up is not None
    found = memory_by_role(operator.up.pid)
    for role, mib in found.items():
        report.add(Figure(f"growth: resident, {role} ({len(mib)})", sum(mib), "MiB"))
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
