"""Whatever the sequencer was doing when it died, the log is the one before its batch or the one after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import ENGINES, new_url
from smallledger import NOW, ORIGIN, SmallLedger, coverage, record, source_entry, statement
from sqlalchemy import event

from ledger.core.entries import decode_entry
from ledger.sequencer.run import Sequencer, SequencerLost
from ledger.service.acceptance import Accepted, Duplicate
from ledger.store import StoreBusy, StoreUnusable, inbox, labels, log, recents, settling, treetiles
from ledger.store.engine import run
from ledger.store.knownlabels import KnownLabels


class Crash(Exception):
    """The process ends here."""


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ledger(tmp_path: Path, engine: str) -> Iterator[SmallLedger]:
    ledger = SmallLedger(tmp_path, new_url(engine, tmp_path))
    yield ledger
    ledger.close()


def fill(ledger: SmallLedger) -> list[bytes]:
    """Every kind of entry that can wait: 300 records (so that a tile fills up), a registry entry, a coverage."""
    raws = [record() for _ in range(300)] + [source_entry(2, statement("source 2")), coverage(300)]
    assert all(isinstance(outcome, Accepted) for outcome in ledger.accept(raws))
    return raws


def check(ledger: SmallLedger, before: int, raws: list[bytes]) -> None:
    """Nothing lost, nothing twice, no violation; what waited is in the log after one more step at most."""
    assert ledger.size() in (before, before + len(raws) + 1)
    ledger.sequencer.step()
    entries = ledger.entries()
    assert entries[before:-1] == raws
    assert ledger.violations() == []
    with ledger.store.read() as db:
        assert inbox.backlog(db) == 0
        state = log.read_state(db)
        assert state.registrations == 3
        assert log.read_day_count(db, 1, decode_entry(raws[0]).day) == 300  # type: ignore[union-attr]
        for number, index, entry in log.read_registrations(db):
            assert index is not None and entries[index] == entry, number
    ledger.reopen()
    ledger.sequencer.load()


def statements_of_a_batch(folder: Path, engine: str) -> int:
    """How many writes one batch makes."""
    ledger = SmallLedger(folder, new_url(engine, folder))
    fill(ledger)
    written = []
    event.listen(ledger.store.engine, "before_cursor_execute", lambda *args: written.append(args[2]))
    ledger.sequencer.step()
    ledger.close()
    return sum(not text.startswith(("SELECT", "WITH", "BEGIN")) for text in written)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_any_write_of_a_batch_leaves_the_log_before_it(
    tmp_path: Path, engine: str, when: str
) -> None:
    for name in ("count", "crash"):
        (tmp_path / name).mkdir()
    writes = statements_of_a_batch(tmp_path / "count", engine)
    assert writes >= 6
    ledger = SmallLedger(tmp_path / "crash", new_url(engine, tmp_path / "crash"))
    raws = fill(ledger)
    before = ledger.size()
    for at in range(writes):
        left = at

        def crash(_db: Any, _cursor: Any, text: str, *_more: Any) -> None:
            nonlocal left
            if text.startswith(("SELECT", "WITH", "BEGIN")):
                return
            if left == 0:
                raise Crash
            left -= 1

        name = "before_cursor_execute" if when == "before" else "after_cursor_execute"
        event.listen(ledger.store.engine, name, crash)
        with pytest.raises(Crash):
            ledger.sequencer.step()
        event.remove(ledger.store.engine, name, crash)
        assert ledger.size() == before
        ledger.reopen()
    check(ledger, before, raws)
    ledger.close()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_while_labels_settle_leaves_one_of_them_in_no_place_or_in_two(
    ledger: SmallLedger, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "RECENT", 40)
    raws = fill(ledger)
    ledger.sequencer.step()
    more = [record() for _ in range(30)]  # these wait, and stay where they are
    ledger.accept(more)
    known = [decode_entry(raw).index_label or b"" for raw in raws + more]
    left, settled = 0, 0

    def crash(_db: Any, _cursor: Any, text: str, *_more: Any) -> None:
        nonlocal left
        if not text.startswith(("SELECT", "WITH", "BEGIN")):
            if left == 0:
                raise Crash
            left -= 1

    event.listen(ledger.store.engine, f"{when}_cursor_execute", crash)
    at = 0
    while True:
        left = at
        try:
            ledger.sequencer.load()
            if not ledger.sequencer.settle():
                break
            at, settled = 0, settled + 1
        except Crash:
            at += 1
        left = 10**6
        with ledger.store.read() as db:
            taken = KnownLabels()
            taken.catch_up(db)
            assert taken.find(db, known).keys() == set(known)
            assert labels.count_labels(db, log.read_state(db).last) == log.read_state(db).labels
    event.remove(ledger.store.engine, f"{when}_cursor_execute", crash)
    assert settled > 8
    while ledger.sequencer.step() is not None or ledger.sequencer.settle():
        pass
    assert ledger.violations() == []
    outcomes = ledger.accept([*raws, *more])
    assert [outcome.at for outcome in outcomes if isinstance(outcome, Duplicate)] == [
        index for index, raw in enumerate(ledger.entries()) if raw in set(raws + more)
    ]
    ledger.reopen()
    ledger.sequencer.load()


def test_a_sequencer_that_goes_on_after_a_failed_batch_reads_everything_anew(ledger: SmallLedger) -> None:
    raws = fill(ledger)
    before = ledger.size()

    def full(_db: Any, _cursor: Any, text: str, *_more: Any) -> None:
        if text.startswith("INSERT INTO index_changes"):
            raise Crash

    event.listen(ledger.store.engine, "before_cursor_execute", full)
    with pytest.raises(Crash):
        ledger.sequencer.step()
    event.remove(ledger.store.engine, "before_cursor_execute", full)
    check(ledger, before, raws)


def test_a_full_disk_stops_the_batch_and_loses_nothing(tmp_path: Path) -> None:
    ledger = SmallLedger(tmp_path)
    raws = fill(ledger)
    before = ledger.size()
    with ledger.store.read() as db:
        pages = int(run(db, "PRAGMA page_count").scalar_one())
    # SQLite gives the same error for this limit as for a disk without space.
    limit = event.listens_for(ledger.store.engine, "begin")

    @limit
    def set_limit(db: Any) -> None:
        db.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(StoreBusy, match="disk is full"):
        ledger.sequencer.step()
    assert ledger.size() == before
    ledger.reopen()
    check(ledger, before, raws)
    ledger.close()


def test_a_second_sequencer_cannot_change_a_log_that_has_moved(ledger: SmallLedger) -> None:
    stale = Sequencer(ledger.store, ORIGIN)
    stale.load()
    ledger.accept([record()])
    ledger.sequencer.step()
    size = ledger.size()
    ledger.accept([record()])
    with pytest.raises(SequencerLost):
        stale.step()
    assert ledger.size() == size
    ledger.sequencer.step()
    assert ledger.violations() == []


def test_a_database_whose_tiles_or_labels_were_changed_is_not_sequenced_on(ledger: SmallLedger) -> None:
    raws = fill(ledger)
    ledger.sequencer.step()
    with ledger.store.write() as db:
        tile = treetiles.read_tile(db, 0, 1, ledger.size() - 256)
        treetiles.write_tiles(db, [(0, 1, bytes(32) + tile[32:])])
    ledger.reopen()
    with pytest.raises(StoreUnusable, match="root"):
        ledger.sequencer.load()
    with ledger.store.write() as db:
        treetiles.write_tiles(db, [(0, 1, tile)])
        label = decode_entry(raws[5]).index_label
        recents.forget(db, next(number for found, number in recents.unsettled(db, 1 << 60) if found == label))
    ledger.reopen()
    with pytest.raises(StoreUnusable, match="index labels are stored, not"):
        ledger.sequencer.load()


SEQUENCE = """
import sys
from ledger.sequencer.run import run_sequencer
from ledger.store import Store
store = Store.open(sys.argv[1])
print("ready", flush=True)
run_sequencer(store, sys.argv[2], interval_s=0.0, batch=7, stop=lambda: False)
"""


def test_a_killed_sequencer_process_leaves_a_whole_log(ledger: SmallLedger) -> None:
    raws: list[bytes] = []
    sizes = [ledger.size()]
    for pause in (0.0, 0.02, 0.05):
        new = [record() for _ in range(60)]
        ledger.accept(new)
        raws += new
        process = subprocess.Popen(
            [sys.executable, "-c", SEQUENCE, ledger.url, ORIGIN],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + 10
        while ledger.size() == sizes[-1] and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(pause)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        sizes.append(ledger.size())
        assert ledger.violations() == []
    assert sizes == sorted(set(sizes)), "every run moved something before it was killed"
    ledger.reopen()
    while ledger.sequencer.step() is not None:
        pass
    records = [raw for raw in ledger.entries()[4:] if raw[1] == 1]
    assert records == raws
    assert ledger.violations() == []
    outcomes = ledger.accept(raws[:3], NOW)
    assert all(isinstance(outcome, Duplicate) for outcome in outcomes)
