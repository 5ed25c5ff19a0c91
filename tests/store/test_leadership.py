"""Leading by lease: taken over from whoever stops, and nothing changed by one that was stopped and goes on."""

from __future__ import annotations

import contextlib
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import POOLED, new_url

from ledger.core.index import EMPTY
from ledger.core.merkle import EMPTY_ROOT
from ledger.store import Leadership, LeadershipLost, Store, StoreBusy, leases, log
from ledger.store.engine import run

TAKEN_OVER_S = 10.0
"""What a standby is allowed."""


class Leader:
    """leaderprocess.py, and the lines it says."""

    def __init__(self, url: str, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("leaderprocess.py")), url, *words],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._said: queue.Queue[str] = queue.Queue()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.put(line.strip())

    def says(self, wanted: str, within_s: float = TAKEN_OVER_S) -> float:
        """Seconds until it says this."""
        begun = time.monotonic()
        while self._said.get(timeout=max(0.01, begun + within_s - time.monotonic())) != wanted:
            pass
        return time.monotonic() - begun

    def until(self, wanted: str) -> list[str]:
        """What it says before this."""
        deadline, before = time.monotonic() + TAKEN_OVER_S, []
        while (line := self._said.get(timeout=max(0.01, deadline - time.monotonic()))) != wanted:
            before.append(line)
        return before

    def heard(self) -> list[str]:
        """What it has said and nobody has taken."""
        found = []
        while not self._said.empty():
            found.append(self._said.get())
        return found

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reading.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(params=("postgresql", POOLED))
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url = new_url(request.param, tmp_path)
    store = Store.open(url, create=True)
    with store.write() as db:
        log.begin_log(db, log.State(0, EMPTY_ROOT, 0, EMPTY, 0, 0, 0))
    store.close()
    return url


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = Store.open(url)
    yield store
    store.close()


@pytest.fixture
def leaders(url: str) -> Iterator[tuple[Leader, Leader]]:
    """One that leads, and one that stands by."""
    first = Leader(url)
    first.says("leads", 30)
    second = Leader(url)
    second.says("stands by", 30)
    yield first, second
    for leader in (first, second):
        leader.close()


def term(store: Store) -> int:
    lease = store.lease("sequencer")
    assert lease is not None
    return lease.term


@contextlib.contextmanager
def led_at_last(store: Store) -> Iterator[Leadership]:
    """Lead once nobody else does, in the time that a standby is allowed."""
    begun = time.monotonic()
    with contextlib.ExitStack() as held:
        leadership = None
        while leadership is None:
            assert time.monotonic() - begun < TAKEN_OVER_S
            with contextlib.suppress(StoreBusy):
                leadership = held.enter_context(store.lead("sequencer"))
            time.sleep(0.2)
        yield leadership


def test_a_leader_that_was_stopped_is_not_taken_over_from_or_writes_when_it_goes_on(
    store: Store, leaders: tuple[Leader, Leader]
) -> None:
    first, second = leaders
    first.says("wrote")
    assert term(store) == 1
    first.signal(signal.SIGSTOP)
    assert second.says("leads") <= TAKEN_OVER_S
    assert term(store) == 2
    second.signal(signal.SIGTERM)  # and ends, so that nobody but the first could write from here on
    second.process.wait(10)
    first.heard()
    with store.read() as db:
        before = log.read_state(db).labels
    taken = store.lead("sequencer")
    with taken as leadership:
        assert leadership is not None and term(store) == 3
        first.signal(signal.SIGCONT)
        first.says("stands by")  # "lost" before it, or "busy" when it was stopped inside a transaction
        with store.read() as db:
            assert log.read_state(db).labels == before
    first.says("leads")
    assert term(store) == 4


def test_a_killed_leader_leaves_the_log_without_one_for_long(
    store: Store, leaders: tuple[Leader, Leader]
) -> None:
    first, second = leaders
    first.says("wrote")
    first.signal(signal.SIGKILL)
    assert second.says("leads") <= TAKEN_OVER_S
    second.says("wrote")


def test_a_leader_that_ends_cleanly_keeps_the_next_waiting(
    store: Store, leaders: tuple[Leader, Leader]
) -> None:
    first, second = leaders
    lease = store.lease("sequencer")
    assert lease is not None
    first.signal(signal.SIGTERM)
    assert second.says("leads") * 1000 < lease.left_ms, "it waited until the lease had run out"


def test_a_leader_stopped_in_a_transaction_locks_the_others_out(url: str, store: Store) -> None:
    first = Leader(url, "--inside")
    try:
        first.says("leads", 30)
        # All is asserted while we lead: whoever stands by may lead again, and write, as soon as we do not.
        with led_at_last(store) as leadership:
            leadership.change(lambda db: run(db, "UPDATE state SET labels = 77 WHERE id = 1"))
            first.signal(signal.SIGCONT)
            assert "wrote" not in first.until("stands by")
            with store.read() as db:
                assert log.read_state(db).labels == 77
    finally:
        first.close()


def test_a_write_that_passed_its_check_is_overtaken_by_a_take_over(url: str, store: Store) -> None:
    other = Store.open(url)
    with store.lead("sequencer") as leadership:
        assert leadership is not None
        taken: list[float] = []

        def take() -> None:
            other.change(lambda db: leases.take_lease(db, "sequencer", "other"))
            taken.append(time.monotonic())

        taking = threading.Thread(target=take)
        with store.write() as db:
            leadership.check(db)
            with other.write() as expiring:
                run(expiring, "UPDATE leases SET expires = 0")  # not held up: as the renewal is not
            taking.start()
            time.sleep(0.3)
            assert not taken
            ended = time.monotonic()
        taking.join()
        assert taken[0] >= ended
        with pytest.raises(LeadershipLost):
            leadership.change(lambda db: None)
        assert leadership.lost
    lease = store.lease("sequencer")
    assert lease is not None and lease.holder == "other" and lease.left_ms > 0, "the loser gave up another's"
    other.close()


def test_a_lease_runs_out_while_its_holder_is_at_work(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LENGTH_MS", 2500)
    monkeypatch.setattr(leases, "RENEW_S", 0.4)
    with store.lead("sequencer") as leadership:
        assert leadership is not None
        with store.write() as db:  # a long batch
            leadership.check(db)
            time.sleep(3.5)
            with store.lead("sequencer") as other:
                assert other is None
        assert not leadership.lost


def test_the_clock_of_this_machine_decides_who_leads(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.lead("sequencer") as leadership:
        assert leadership is not None
        monkeypatch.setattr(time, "time", lambda: 9e9)
        with store.lead("sequencer") as other:
            assert other is None
