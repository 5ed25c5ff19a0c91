"""A log grown past the ledger's checks: by the real sequencer and publisher, in this process.

What it is filled with are records that nobody signed, with envelopes as small as can be.
"""

from __future__ import annotations

import os

from bench.logs import DAY, EPOCH, BenchSource
from bench.operator import Operator
from ledger.core.entries import Record, decode_entry
from ledger.core.merkle import leaf_hash
from ledger.publicfiles import open_public_files
from ledger.sequencer.run import Sequencer
from ledger.store import Connection, Store, acceptances, inbox, log
from publisher.cli import read_signer
from publisher.policy import PolicyFile
from publisher.published import Published
from publisher.run import Publisher
from publisher.signing import SignedFile

BATCH = 10_000
LEAST_ENVELOPE = bytes(30)


def fill(operator: Operator, source: BenchSource, size: int) -> None:
    """Grow a log to this size, about, and register the source in it. It was founded, its witness runs, and nothing else
    of it does."""
    settings = operator.settings
    store = Store.open(settings.database)
    sequencer, signer = Sequencer(store, operator.origin, BATCH), read_signer(settings, None)
    files = open_public_files(settings.public)
    files.prepare()
    publisher = Publisher(
        store,
        files,
        signer,
        SignedFile(settings.keys / "signed"),
        PolicyFile(settings.policy, *signer.vkeys),
        Published(store),
        witness_wait_s=settings.witness_wait_ms / 1000,
    )
    registration = operator.registration(source)
    try:
        store.change(lambda db: _register(db, registration))
        grown = 0
        while grown < size:
            rows = _unsigned(min(BATCH, size - grown))
            store.change(lambda db, rows=rows: _put(db, rows, registrations=2))  # type: ignore[misc]
            while (done := sequencer.step()) is not None:
                grown = done.size
                while sequencer.settle():
                    pass
            if not publisher.round():
                raise RuntimeError(f"nothing was published: {publisher.status}")
    finally:
        publisher.close()
        store.close()


def _unsigned(count: int) -> inbox.Arrivals:
    rows = inbox.Arrivals()
    for _ in range(count):
        random = os.urandom(96)
        entry = Record(1, EPOCH, DAY, 0, 1, random[:32], random[32:64], bytes(64)).encode()
        label = decode_entry(entry).index_label or b""
        rows.add(entry, label, leaf_hash(entry), LEAST_ENVELOPE, random[64:])
    return rows


def _register(db: Connection, registration: bytes) -> None:
    label = decode_entry(registration).index_label or b""
    _put(db, inbox.Arrivals((registration, label, leaf_hash(registration), None, None)), registrations=1)
    log.add_registration(db, 2, None, registration)


def _put(db: Connection, rows: inbox.Arrivals, registrations: int) -> None:
    first = inbox.next_number(db)
    inbox.put(db, first, rows)
    acceptances.note_runs(db, [acceptances.Run(first, 0, registrations)])
